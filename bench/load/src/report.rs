//! What a run prints.
// UNSAFETY: asking for the clock of another process is not in any safe wrapper.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::args::{Args, Engine};
use crate::streams::Streams;

/// The result of a run. Times are of the measured part.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    engine: &'static str,
    connections: u32,
    idle: u32,
    depth: u32,
    size: u32,
    seconds: f64,
    /// Messages that came back whole; each byte of them was checked.
    echoes: u64,
    echoes_per_second: f64,
    latency: Latency,
    /// Part of the time in which the generator found nothing to do: near 0 it is the generator that
    /// limits.
    generator_idle: f64,
    /// Processor time of the generator from its start to its end.
    generator_cpu_seconds: f64,
    /// Processor time of the watched process.
    server_cpu_seconds: Option<f64>,
}

/// In nanoseconds, from the moment when a message was handed to the system.
#[derive(Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Report {
    pub(crate) fn new(args: &Args, streams: &Streams, window: Duration, idle: Duration, server: Option<Duration>, own: Duration) -> Self {
        let seconds = window.as_secs_f64();
        Self {
            engine: match args.engine {
                Engine::Epoll => "epoll",
                Engine::Uring => "uring",
            },
            connections: args.connections,
            idle: args.idle,
            depth: args.depth,
            size: args.size,
            seconds,
            echoes: streams.echoes,
            echoes_per_second: streams.echoes as f64 / seconds,
            latency: Latency::of(&streams.latency),
            generator_idle: idle.as_secs_f64() / seconds,
            generator_cpu_seconds: own.as_secs_f64(),
            server_cpu_seconds: server.map(|t| t.as_secs_f64()),
        }
    }
}

impl Latency {
    fn of(h: &Histogram<u64>) -> Self {
        let at = |q| h.value_at_quantile(q);
        Self { mean: h.mean(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: h.max() }
    }
}

/// Processor time, in user and kernel, that all threads of a process have used.
///
/// # Errors
/// There is no such process.
pub(crate) fn processor_time(pid: i32) -> Result<Duration> {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both calls write only to what they are given.
    let done = unsafe {
        match libc::clock_getcpuclockid(pid, &mut clock) {
            0 => libc::clock_gettime(clock, &mut time) == 0,
            _ => false,
        }
    };
    let found = done.then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
    found.with_context(|| format!("process {pid} to be watched is not there: the server has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::MOST_PID;

    #[test]
    fn the_processor_time_of_this_process_grows_with_its_work() {
        let pid = std::process::id() as i32;
        let before = processor_time(pid).expect("this process is there");
        while processor_time(pid).expect("still there") < before + Duration::from_millis(5) {}
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(processor_time(MOST_PID).expect_err("beyond all processes").to_string().contains("not there"));
    }
}
