//! `cargo xtask bench kv`: hello-kv beside redis-server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::child::{Child, Line};
use crate::nvmf::{cpu_time, free_port, median};
use crate::packages::{self, Needed};
use crate::{program, run};

/// What the clients are in.
pub(crate) const CLIENTS: [Needed; 2] =
    [packages::program("redis-tools", "redis-benchmark"), packages::program("redis-tools", "redis-cli")];
const SERVER: [Needed; 2] = [packages::program("redis-server", "redis-server"), packages::program("util-linux", "taskset")];

/// Starting and stopping take this long at most, each.
const PATIENCE: Duration = Duration::from_secs(60);
/// Keys that the requests are for.
const KEYS: &str = "100000";
/// Four times as many are as redis-benchmark can count.
const MOST_REQUESTS: i64 = 500_000_000;
/// Connections of the client.
const CONNECTIONS: &str = "50";

/// hello-kv beside redis-server: processor time of a request.
///
/// Builds hello-kv in release. In each round all servers are started anew and filled. Then
/// redis-benchmark loads one after the other, from a core of its own where there is one: 50
/// connections, random keys among 100,000, of which on two cores half are on the other core. The
/// time is the server's, user's and system's, of all of its threads. An idle core of hello-kv polls
/// for 20 us before it sleeps, which is processor time too; redis-server sleeps at once, and so
/// does the hello-kv of the lines with --idle-spin 0. The table has medians; a ratio is the median
/// of the rounds' ratios.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Be done in a minute: one short round.
    #[arg(long)]
    quick: bool,
    /// Rounds. Default: 3; with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..100))]
    rounds: Option<u32>,
    /// Requests of one measurement, and four times as many with 16 in a pipeline. Default: 300000;
    /// with --quick 30000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1000..=MOST_REQUESTS))]
    requests: Option<u32>,
    /// hello-kv's backend. Default: the one that it chooses.
    #[arg(long)]
    backend: Option<String>,
}

/// Who serves.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Redis,
    /// hello-kv on so many cores. When they are idle they sleep at once, or as they do by default.
    Ours {
        cores: usize,
        at_once: bool,
    },
}

/// The order of the table; the last two need two cores.
const KINDS: [Kind; 5] = [
    Kind::Redis,
    Kind::Ours { cores: 1, at_once: true },
    Kind::Ours { cores: 1, at_once: false },
    Kind::Ours { cores: 2, at_once: true },
    Kind::Ours { cores: 2, at_once: false },
];

/// What is asked: a line of the table for each server.
#[derive(Clone, Copy)]
struct Point {
    test: &'static str,
    pipeline: u32,
}

const POINTS: [Point; 4] = [
    Point { test: "get", pipeline: 1 },
    Point { test: "set", pipeline: 1 },
    Point { test: "get", pipeline: 16 },
    Point { test: "set", pipeline: 16 },
];

/// What one server did at one point of one round.
#[derive(Clone, Copy)]
struct Measured {
    /// Requests in a second.
    rate: f64,
    /// Microseconds of the processor for each.
    each: f64,
}

struct Bench {
    hello_kv: PathBuf,
    backend: Option<String>,
    cores: Vec<u16>,
    requests: u32,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    packages::need("a measurement beside redis-server", &CLIENTS)?;
    packages::need("a measurement beside redis-server", &SERVER)?;
    println!("building hello-kv in release");
    let cores = run::all_cores(&std::fs::read_to_string("/proc/self/status").context("could not read the cores of this process")?)?;
    let requests = args.requests.unwrap_or(if args.quick { 30_000 } else { 300_000 });
    let bench = Bench { hello_kv: program::build("hello-kv")?, backend: args.backend.clone(), cores, requests };
    let kinds = &KINDS[..if bench.cores.len() > 1 { 5 } else { 3 }];
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    let rounds = (0..rounds).map(|_| bench.round(kinds)).collect::<Result<Vec<_>>>()?;
    println!(
        "client on core {}, which {} of a server",
        bench.client_core(),
        if bench.cores.len() > 2 { "is not one" } else { "may be one" }
    );
    show(kinds, &rounds);
    Ok(())
}

/// The table: each server beside Redis, and who has two cores beside the same on one.
fn show(kinds: &[Kind], rounds: &[Round]) {
    println!("| requests | server | k requests/s | CPU us each | to redis-server's | to its own on one core |");
    println!("|---|---|--:|--:|--:|--:|");
    for (at, Point { test, pipeline }) in POINTS.iter().enumerate() {
        let of = |server: usize, what: fn(&Measured) -> f64| median(rounds.iter().map(move |round| what(&round[at][server])));
        let ratio = |server: usize, to: usize| median(rounds.iter().map(|round| round[at][server].each / round[at][to].each));
        for (server, kind) in kinds.iter().enumerate() {
            let (rate, each) = (of(server, |it| it.rate) / 1e3, of(server, |it| it.each));
            let to_one = kind.on_one_core().map_or(String::new(), |one| format!("{:.2}", ratio(server, one)));
            println!("| {test}, -P {pipeline} | {} | {rate:.1} | {each:.2} | {:.2} | {to_one} |", kind.name(), ratio(server, 0));
        }
    }
}

impl Kind {
    fn name(self) -> String {
        let Self::Ours { cores, at_once } = self else { return "redis-server".into() };
        let (cores, spin) = (["one core", "two cores"][cores - 1], if at_once { ", --idle-spin 0" } else { "" });
        format!("hello-kv, {cores}{spin}")
    }

    /// Where in the table the same is on one core, if this one has two.
    fn on_one_core(self) -> Option<usize> {
        let Self::Ours { cores: 2, at_once } = self else { return None };
        KINDS.iter().position(|other| *other == Self::Ours { cores: 1, at_once })
    }
}

/// At each point what each server did.
type Round = Vec<Vec<Measured>>;

impl Bench {
    /// A core of its own where there are three.
    fn client_core(&self) -> u16 {
        self.cores.get(2).or(self.cores.last()).copied().unwrap_or(0)
    }

    fn round(&self, kinds: &[Kind]) -> Result<Round> {
        let folder = tempfile::tempdir().context("a folder for the server")?;
        let mut servers = kinds.iter().map(|kind| self.start(*kind, folder.path())).collect::<Result<Vec<_>>>()?;
        // So that the keys are there.
        servers.iter().try_for_each(|(_, port)| self.load(*port, "set", 16, 500_000).map(drop))?;
        let mut round = Vec::new();
        for point in POINTS {
            let named = |kind: &Kind| format!("{}, {} -P {}", kind.name(), point.test, point.pipeline);
            let of = |(kind, (server, port)): (&Kind, &(Child, u16))| self.measure(server, *port, point).with_context(|| named(kind));
            round.push(kinds.iter().zip(&servers).map(of).collect::<Result<Vec<_>>>()?);
        }
        for (server, _) in &mut servers {
            server.interrupt()?;
            let status = run::ended(server, Instant::now() + PATIENCE)?;
            ensure!(status.success(), "after SIGINT it ended with {status}{}", server.said());
        }
        Ok(round)
    }

    fn measure(&self, server: &Child, port: u16, Point { test, pipeline }: Point) -> Result<Measured> {
        let requests = if pipeline == 1 { self.requests } else { self.requests * 4 };
        let before = cpu_time(server.id())?;
        let rate = self.load(port, test, pipeline, requests)?;
        let each = (cpu_time(server.id())? - before).as_secs_f64() * 1e6 / f64::from(requests);
        Ok(Measured { rate, each })
    }

    /// A server and its port.
    fn start(&self, kind: Kind, folder: &Path) -> Result<(Child, u16)> {
        let first = self.cores.first().copied().unwrap_or(0).to_string();
        match kind {
            Kind::Redis => {
                let listen = free_port()?;
                let mut command = Command::new("taskset");
                command.args(["-c", &first, "redis-server", "--port", &listen.to_string(), "--bind", "127.0.0.1", "--save", ""]);
                command.args(["--appendonly", "no", "--dir"]).arg(folder);
                let mut server = Child::start("redis-server", command)?;
                redis_listens(&mut server)?;
                Ok((server, listen))
            }
            Kind::Ours { cores, at_once } => {
                let cores: Vec<_> = self.cores.iter().take(cores).map(u16::to_string).collect();
                let mut command = Command::new(&self.hello_kv);
                command.args(["127.0.0.1:0", "--no-cpumask-locks", "-m", &format!("[{}]", cores.join(","))]);
                command.args(self.backend.iter().flat_map(|backend| ["-N", backend]));
                command.args(if at_once { &["--idle-spin", "0"][..] } else { &[] });
                let mut server = Child::start("hello-kv", command)?;
                let port = port(&mut server)?;
                Ok((server, port))
            }
        }
    }

    /// Requests in a second.
    fn load(&self, port: u16, test: &str, pipeline: u32, requests: u32) -> Result<f64> {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.client_core().to_string(), "redis-benchmark", "--csv", "-t", test, "-c", CONNECTIONS, "-r", KEYS]);
        command.args(["-p", &port.to_string(), "-P", &pipeline.to_string(), "-n", &requests.to_string()]);
        // Any server here answers far more than a thousand in a second.
        rate(command, test, Instant::now() + PATIENCE + Duration::from_millis(requests.into()))
    }
}

/// What a load by redis-benchmark prints, which ends by then.
fn rate(command: Command, test: &str, deadline: Instant) -> Result<f64> {
    let mut client = Child::start("redis-benchmark", command)?;
    let (head, mut rate) = (format!("\"{}\",\"", test.to_uppercase()), None);
    while let Some(Line(_, line)) = client.next(deadline)? {
        rate = rate.or_else(|| line.strip_prefix(&head)?.split('"').next()?.parse().ok());
    }
    let status = client.wait(deadline)?;
    ensure!(status.success(), "redis-benchmark ended with {status}{}", client.said());
    rate.with_context(|| format!("redis-benchmark printed no rate{}", client.said()))
}

/// hello-kv's only line on standard output.
pub(crate) fn port(server: &mut Child) -> Result<u16> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(Line(_, line)) = server.next(deadline)? {
        if let Some(at) = line.strip_prefix("serves at ") {
            return Ok(at.parse::<SocketAddr>().with_context(|| format!("the server did not say its address but {line:?}"))?.port());
        }
    }
    bail!("the server ended before it listened{}", server.said())
}

/// Waits until it says so.
fn redis_listens(server: &mut Child) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(Line(_, line)) = server.next(deadline)? {
        if line.contains("Ready to accept connections") {
            return Ok(());
        }
    }
    bail!("redis-server ended before it listened{}", server.said())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn requests(text: &str) -> Option<u32> {
        <Cli as clap::Parser>::try_parse_from(["kv", "--requests", text]).ok()?.args.requests
    }

    #[test]
    fn requests_are_a_number_that_is_measured_and_counted() {
        assert_eq!([requests("999"), requests("1000")], [None, Some(1000)]);
        assert_eq!([requests("500000000"), requests("500000001")], [Some(500_000_000), None]);
    }

    fn prints(script: &str, deadline: Instant) -> Result<f64, String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        rate(shell, "get", deadline).map_err(|why| format!("{why:#}"))
    }

    #[test]
    fn a_client_has_a_rate_or_a_sentence_and_does_not_last() {
        let later = Instant::now() + PATIENCE;
        let head = r#"echo '"test","rps"'; echo '"GET","1500.50","0.1"'"#;
        assert_eq!(prints(head, later), Ok(1500.5));
        let no_rate = "redis-benchmark printed no rate\nredis-benchmark | \"SET\",\"9\"";
        assert_eq!(prints(r#"echo '"SET","9"'"#, later), Err(no_rate.into()));
        let refused = "redis-benchmark ended with exit status: 1\nredis-benchmark | refused";
        assert_eq!(prints("echo refused >&2; exit 1", later), Err(refused.into()));
        // Its output never ends.
        let lasts = prints("exec tail -f /dev/null", Instant::now());
        assert_eq!(lasts, Err("the redis-benchmark took too long and is ended".into()));
    }
}
