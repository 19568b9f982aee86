//! The machine: how many files may be open, which ports are free, and how much others use its
//! cores.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ports for servers: below those that the system gives to clients, of which thousands wait in its
/// tables after a run.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Raises the limit of open files, which children inherit, as far as it goes; returns it.
pub(crate) fn raise_open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let enough = |n: Option<u64>| n.is_none_or(|n| n >= wanted);
    if !enough(limit.maximum) {
        // For the superuser.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(wanted) });
    } else if !enough(limit.current) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let limit = getrlimit(Resource::Nofile);
    if !enough(limit.current) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Hands out ports on which nobody listens.
#[derive(Debug)]
pub(crate) struct Ports(std::iter::Cycle<std::ops::Range<u16>>);

impl Ports {
    pub(crate) fn new() -> Self {
        // Different processes begin at different places, so that two runs seldom try the same.
        let skip = std::process::id() as usize * 97 % PORTS.len();
        let mut ports = PORTS.cycle();
        ports.nth(skip);
        Self(ports)
    }

    pub(crate) fn take(&mut self) -> Result<u16> {
        for port in self.0.by_ref().take(PORTS.len()) {
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(port);
            }
        }
        bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
    }
}

/// Time that a core has been busy and idle since the machine started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreTime {
    busy: u64,
    idle: u64,
}

impl CoreTime {
    /// Of the given cores together, now.
    pub(crate) fn read(cores: &[usize]) -> Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("could not read /proc/stat")?;
        Ok(Self::parse(&text, cores))
    }

    fn parse(text: &str, cores: &[usize]) -> Self {
        let mut sum = Self::default();
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let core = fields.next().and_then(|name| name.strip_prefix("cpu")?.parse().ok());
            if core.is_none_or(|core: usize| !cores.contains(&core)) {
                continue;
            }
            // user, nice, system, idle, iowait, irq, softirq, steal; what follows is contained in
            // user and nice.
            for (at, ticks) in fields.take(8).map(|f| f.parse().unwrap_or(0)).enumerate() {
                *(if matches!(at, 3 | 4) { &mut sum.idle } else { &mut sum.busy }) += ticks;
            }
        }
        sum
    }

    /// The part of the time from `before` until now in which the cores were busy beyond `ours`
    /// seconds.
    pub(crate) fn others(self, before: Self, ours: f64) -> f64 {
        let (busy, idle) = ((self.busy - before.busy) as f64, (self.idle - before.idle) as f64);
        let ours = ours * clock_ticks_per_second() as f64;
        if busy + idle == 0.0 { 0.0 } else { (busy - ours).max(0.0) / (busy + idle) }
    }
}

/// Seconds of processor time that a process has used.
pub(crate) fn process_seconds(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has gone"))?;
    let ticks = process_ticks(&text).with_context(|| format!("/proc/{pid}/stat is not as expected"))?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// User and system time, fields 14 and 15; the name, field 2, may have spaces and parentheses in
/// it.
fn process_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_and_idle_time_of_the_chosen_cores_is_added_up() {
        let text =
            "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 100 10 4 5 6 7 8\ncpu1 10 0 0 1 0 0 0 0 0 0\ncpu11 5 5 5 5 5 5 5 5 5 5\nintr 1 2 3\n";
        assert_eq!(CoreTime::parse(text, &[0]), CoreTime { busy: 21, idle: 110 });
        assert_eq!(CoreTime::parse(text, &[0, 1]), CoreTime { busy: 31, idle: 111 });
    }

    #[test]
    fn what_others_use_is_what_is_left_of_the_busy_time() {
        let (before, after) = (CoreTime { busy: 100, idle: 100 }, CoreTime { busy: 190, idle: 110 });
        let second = clock_ticks_per_second() as f64;
        assert!((after.others(before, 50.0 / second) - 0.4).abs() < 1e-9);
        assert_eq!(after.others(before, 95.0 / second), 0.0);
        assert_eq!(before.others(before, 0.0), 0.0);
    }

    #[test]
    fn the_time_of_a_process_is_read_behind_its_name() {
        assert_eq!(process_ticks("7 (a) b) c) S 1 7 7 0 -1 4194304 10 0 0 0 31 11 0 0 20 0 1 0"), Some(42));
        assert_eq!(process_ticks("7 (a S"), None);
        assert!(process_seconds(std::process::id()).is_ok());
    }

    #[test]
    fn a_port_that_is_taken_is_not_handed_out() {
        let mut ports = Ports::new();
        let first = ports.take().expect("a free one");
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).expect("free");
        let mut again = Ports((first..first + 2).cycle());
        assert_eq!(again.take().ok().filter(|port| *port == first), None);
    }
}
