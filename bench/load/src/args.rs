//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Bytes that may be on the way on one connection.
const MOST_IN_FLIGHT: usize = 16 << 20;

/// No process has a number as high as this (the kernel's `PID_MAX_LIMIT`).
pub(crate) const MOST_PID: i32 = 1 << 22;

/// Sends messages to an echo server, checks every byte that comes back, and prints rates and
/// latencies as one JSON object.
#[derive(Clone, Debug, Parser)]
#[command(after_help = "Example:\n  load 127.0.0.1:9999 --connections 64 --size 64 --seconds 5 --core 1 --engine uring")]
pub(crate) struct Args {
    /// The server. It may still be starting: connecting is tried for ten seconds.
    pub(crate) server: SocketAddr,
    /// Connections that send all the time.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) connections: u32,
    /// Connections beside them that echo once at the beginning and once at the end.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) idle: u32,
    /// Messages on the way on each busy connection.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub(crate) depth: u32,
    /// Bytes of a message.
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub(crate) size: u32,
    /// Seconds to measure.
    #[arg(short = 't', long, default_value = "2", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Seconds to run before that.
    #[arg(short, long, default_value = "0.3", value_parser = parse_seconds)]
    pub(crate) warm_up: Duration,
    /// Send so many messages in place of a time, without warming up.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) echoes: Option<u64>,
    /// Core to run on. Default: wherever the system puts it.
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// The kernel interface to use.
    #[arg(short, long, value_enum, default_value_t = Engine::Uring)]
    pub(crate) engine: Engine,
    /// Also report the processor time that this process uses meanwhile: the server.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..=i64::from(MOST_PID)))]
    pub(crate) watch: Option<i32>,
}

/// What the generator itself runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// epoll, with one send and one receive for each message.
    Epoll,
    /// io_uring, with multishot receives: takes less of the generator's own time, so that it limits
    /// the server less.
    Uring,
}

impl Args {
    /// Busy and idle connections together.
    pub(crate) fn total(&self) -> usize {
        self.connections as usize + self.idle as usize
    }

    /// Refuses what clap cannot see.
    pub(crate) fn check(&self) -> Result<()> {
        let in_flight = self.depth as usize * self.size as usize;
        ensure!(in_flight <= MOST_IN_FLIGHT, "depth times size is {in_flight}, more than {MOST_IN_FLIGHT} bytes: ask for less");
        Ok(())
    }

    /// Moves to the core that was asked for.
    pub(crate) fn pin(&self) -> Result<()> {
        let Some(core) = self.core else { return Ok(()) };
        ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).with_context(|| format!("could not move to core {core}"))
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.0..=1e6).contains(&s) => Ok(Duration::from_secs_f64(s)),
        _ => Err("not a time in seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn seconds_are_read() {
        assert_eq!(parse_seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "x", "-1", "nan", "1e9"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn too_much_on_the_way_is_refused() {
        let args = Args::parse_from(["load", "127.0.0.1:1", "--depth", "65536", "--size", "65536"]);
        assert!(args.check().expect_err("4 GiB").to_string().contains("depth times size"));
    }
}
