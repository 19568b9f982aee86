//! `cargo xtask bench hyper`: hyper on lcore-async beside the same hyper on tokio.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::child::{Child, Line};
use crate::nvmf::{cpu_time, median};
use crate::packages::{self, Needed};
use crate::{kv, program, run};

/// What loads the servers and holds them to a core.
const PROGRAMS: [Needed; 2] = [packages::program("wrk", "wrk"), packages::program("util-linux", "taskset")];

/// Starting and stopping take this long at most, each.
const PATIENCE: Duration = Duration::from_secs(60);

/// hyper on lcore-async beside the same hyper on tokio: requests, latency, processor time.
///
/// Builds the server of bench/hyper in release: one service and one configuration of HTTP, on
/// lcore-async over posix and over uring, and on tokio's current_thread. In each round all three
/// are started anew on the same core, and wrk loads one after the other with one thread, from a
/// core of its own where there is one. The time is the server's, user's and system's; lcore's cores
/// sleep after 20 us without work, which are in it. The table has medians; a ratio is the median of
/// the rounds' ratios.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Be done in a minute: one short round.
    #[arg(long)]
    quick: bool,
    /// Rounds. Default: 3; with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..100))]
    rounds: Option<u32>,
    /// Seconds of one measurement. Default: 5; with --quick 2.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..3600))]
    seconds: Option<u32>,
    /// Numbers of connections.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512", value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: Vec<u32>,
}

/// What the server is told, by the name in the table. The others are held against the first.
const SERVERS: [(&str, &[&str]); 3] = [
    ("tokio", &["--on", "tokio"]),
    ("lcore-async, posix", &["--no-cpumask-locks", "-N", "posix"]),
    ("lcore-async, uring", &["--no-cpumask-locks", "-N", "uring"]),
];

/// What one server did in one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    /// Requests in a second.
    rate: f64,
    /// Microseconds within which half of the answers came, and 99 of 100.
    p50: f64,
    p99: f64,
    /// Microseconds of the processor for each request.
    each: f64,
}

/// By number of connections, what each server did.
type Round = Vec<Vec<Measured>>;

pub(crate) fn main(args: &Args) -> Result<()> {
    packages::need("a measurement beside tokio", &PROGRAMS)?;
    println!("building bench-hyper in release");
    let program = program::build_measured("bench-hyper")?;
    let cores = run::cores(&std::fs::read_to_string("/proc/self/status").context("could not read the cores of this process")?)?;
    let (first, last) = (cores.first().copied().unwrap_or(0), cores.last().copied().unwrap_or(0));
    let seconds = args.seconds.unwrap_or(if args.quick { 2 } else { 5 });
    let round = |_| -> Result<Round> {
        let start = |(name, options): &(&'static str, &[&str])| {
            let mut command = on_core(first, &program);
            command.args(*options);
            let mut server = Child::start(name, command)?;
            let port = kv::port(&mut server)?;
            Ok((server, port))
        };
        let mut servers = SERVERS.iter().map(start).collect::<Result<Vec<_>>>()?;
        let measure = |connections: &u32| servers.iter().map(|(server, port)| load(server, last, *port, *connections, seconds)).collect();
        let round = args.connections.iter().map(measure).collect::<Result<Round>>()?;
        servers.iter_mut().try_for_each(|(server, _)| stop(server))?;
        Ok(round)
    };
    let rounds = (0..args.rounds.unwrap_or(if args.quick { 1 } else { 3 })).map(round).collect::<Result<Vec<_>>>()?;
    println!("servers on core {first}, wrk on core {last}");
    show(&args.connections, &rounds);
    Ok(())
}

fn on_core(core: u16, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// In good order.
fn stop(server: &mut Child) -> Result<()> {
    server.interrupt()?;
    let status = run::ended(server, Instant::now() + PATIENCE)?;
    ensure!(status.success(), "after SIGINT it ended with {status}{}", server.said());
    Ok(())
}

/// Loads a server by wrk.
fn load(server: &Child, core: u16, port: u16, connections: u32, seconds: u32) -> Result<Measured> {
    let mut command = on_core(core, "wrk");
    command.args(["--latency", "-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), "--timeout", "10s"]);
    command.arg(format!("http://127.0.0.1:{port}/"));
    let before = cpu_time(server.id())?;
    let said = said(command, Instant::now() + PATIENCE + Duration::from_secs(seconds.into()))?;
    let spent = cpu_time(server.id())? - before;
    let found = read(&said).with_context(|| format!("wrk said something else than expected:\n{said}"))?;
    Ok(Measured { each: spent.as_secs_f64() * 1e6 / found.requests, rate: found.rate, p50: found.p50, p99: found.p99 })
}

/// What a load prints, which ends by then.
fn said(command: Command, deadline: Instant) -> Result<String> {
    let (mut client, mut said) = (Child::start("wrk", command)?, String::new());
    while let Some(Line(_, line)) = client.next(deadline)? {
        said += &(line + "\n");
    }
    let status = client.wait(deadline)?;
    ensure!(status.success(), "wrk ended with {status}{}", client.said());
    Ok(said)
}

/// What wrk says of a load in which nothing went wrong.
#[derive(Debug, PartialEq)]
struct Found {
    requests: f64,
    rate: f64,
    p50: f64,
    p99: f64,
}

fn read(said: &str) -> Option<Found> {
    // It counts what went wrong in lines of their own, which are there only then.
    if said.contains("Socket errors:") || said.contains("Non-2xx") {
        return None;
    }
    let behind = |head: &str| said.lines().find_map(|line| line.trim().strip_prefix(head)).map(str::trim);
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in "))?.0.parse().ok()?;
    Some(Found { requests, rate: behind("Requests/sec:")?.parse().ok()?, p50: micros(behind("50%")?)?, p99: micros(behind("99%")?)? })
}

/// Microseconds of a time as wrk writes it: `87.00us`, `1.23ms`, `2.00s`.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, each)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * each))
}

fn show(connections: &[u32], rounds: &[Round]) {
    println!("| connections | hyper on | k requests/s | to tokio's | p50 us | p99 us | to tokio's | CPU us each | to tokio's |");
    println!("|--:|---|--:|--:|--:|--:|--:|--:|--:|");
    for (at, connections) in connections.iter().enumerate() {
        for (server, (name, _)) in SERVERS.iter().enumerate() {
            let of = |what: fn(&Measured) -> f64| median(rounds.iter().map(|round| what(&round[at][server])));
            let ratio = |what: fn(&Measured) -> f64| median(rounds.iter().map(|round| what(&round[at][server]) / what(&round[at][0])));
            println!(
                "| {connections} | {name} | {:.1} | {:.2} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
                of(|it| it.rate) / 1e3,
                ratio(|it| it.rate),
                of(|it| it.p50),
                of(|it| it.p99),
                ratio(|it| it.p99),
                of(|it| it.each),
                ratio(|it| it.each)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   551.11us   99.99us   3.20ms   90.00%
    Req/Sec   115.00k     2.00k  117.00k    60.00%
  Latency Distribution
     50%  540.00us
     75%  580.00us
     90%  610.00us
     99%    1.25ms
  230000 requests in 2.00s, 27.00MB read
Requests/sec: 115000.50
Transfer/sec:     13.50MB
";

    #[test]
    fn what_wrk_counts_is_read_and_what_went_wrong_is_no_measurement() {
        assert_eq!(read(GOOD), Some(Found { requests: 230_000.0, rate: 115_000.5, p50: 540.0, p99: 1250.0 }));
        assert_eq!(read(&format!("{GOOD}  Socket errors: connect 0, read 1, write 0, timeout 0\n")), None);
        assert_eq!(read(&format!("{GOOD}  Non-2xx or 3xx responses: 1\n")), None);
        assert_eq!(read(""), None);
        assert_eq!(["2.50s", "3", "ms"].map(micros), [Some(2_500_000.0), None, None]);
    }
}
