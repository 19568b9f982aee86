//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::points::{self, Point};
use crate::servers::Extra;

/// Compares echo servers: builds all, runs each at each point in interleaved rounds, and prints
/// medians, their spread and ratios.
///
/// The server runs on one core and the load generator, which checks every byte, on another. The
/// table also goes to target/bench/echo.md and target/bench/echo.json.
#[derive(Clone, Debug, Parser)]
#[command(
    bin_name = "cargo xtask bench echo",
    after_help = "Examples:\n  cargo xtask bench echo --quick\n  cargo xtask bench echo --points 1x1,16x1x16k --only raw,lcore --rounds 9\n  \
        cargo xtask bench echo --quick --peer spdk='/opt/spdk/examples/hello_sock -S -P {port}'"
)]
pub(crate) struct Args {
    /// Be done within three minutes (when all is built): three points, short rounds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Points to measure at: `CONNECTIONSxDEPTH[xSIZE][+IDLE]`, the size in bytes or with a k
    /// (default 64), IDLE connections beside the busy ones. Default: all six; with --quick
    /// 1x1,512x1,16x1x16k.
    #[arg(long, value_delimiter = ',', value_name = "POINTS", value_parser = points::parse)]
    points: Option<Vec<Point>>,
    /// Another echo server: a name for the table and a command, in which {port} stands for the port
    /// on 127.0.0.1. Can be given more than once.
    #[arg(long, value_name = "NAME='COMMAND {port}'")]
    pub(crate) peer: Vec<Extra>,
    /// Only servers with these names, or whose names begin so.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) only: Vec<String>,
    /// Rounds. Default: 5; with --quick 3.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..1000))]
    rounds: Option<u32>,
    /// Seconds of one measurement. Default: 1.5; with --quick 0.6.
    #[arg(long, value_parser = parse_seconds)]
    seconds: Option<f64>,
    /// What the load generator runs on: io_uring costs it less, so that it limits the servers less.
    #[arg(long, value_enum, default_value_t = Engines::Uring)]
    pub(crate) engine: Engines,
    /// Cores of the server and of the load generator.
    #[arg(long, value_name = "SERVER,LOAD", default_value = "0,1", value_parser = parse_cores)]
    pub(crate) cores: (usize, usize),
    /// Also draw the table: target/bench/echo.svg.
    #[arg(long)]
    pub(crate) plot: bool,
    /// Print JSON in place of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Build hello-sock with these of its features, in place of those that are on by default.
    #[arg(long, value_name = "FEATURES")]
    pub(crate) features: Option<String>,
    /// Only count instructions, and measure nothing.
    #[arg(long, conflicts_with_all = ["points", "rounds", "seconds", "plot"])]
    pub(crate) count_only: bool,
}

/// Which engines of the load generator to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engines {
    Epoll,
    Uring,
    Both,
}

impl Args {
    pub(crate) fn points(&self) -> Vec<Point> {
        self.points.clone().unwrap_or_else(|| if self.quick { points::quick() } else { points::all() })
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.6 } else { 1.5 })
    }

    /// No round begins that would not end within this time.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.quick.then_some(Duration::from_secs(170))
    }

    pub(crate) fn engines(&self) -> &'static [&'static str] {
        match self.engine {
            Engines::Epoll => &["epoll"],
            Engines::Uring => &["uring"],
            Engines::Both => &["epoll", "uring"],
        }
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(s) if (0.05..=3600.0).contains(&s) => Ok(s),
        _ => Err("not a time from 0.05 to 3600 seconds".to_owned()),
    }
}

fn parse_cores(text: &str) -> Result<(usize, usize), String> {
    let pair = text.split_once(',').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    match pair {
        Some((a, b)) if a != b => Ok((a, b)),
        _ => Err("not two different cores, such as 0,1".to_owned()),
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
    fn quick_has_fewer_points_and_rounds_unless_they_are_given() {
        let parse = |args: &[&str]| Args::parse_from([&["echo"], args].concat());
        let (full, quick) = (parse(&[]), parse(&["--quick"]));
        assert!(quick.points().len() < full.points().len() && quick.rounds() < full.rounds() && quick.seconds() < full.seconds());
        let given = parse(&["--quick", "--rounds", "7", "--points", "64x16,1x1"]);
        assert_eq!((given.rounds(), given.points().len()), (7, 2));
    }

    #[test]
    fn cores_are_two_and_different() {
        assert_eq!(parse_cores("2, 5"), Ok((2, 5)));
        for wrong in ["", "1", "1,1", "a,b", "1,2,3"] {
            assert!(parse_cores(wrong).is_err(), "{wrong:?}");
        }
    }
}
