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
/// Connections of the client.
const CONNECTIONS: &str = "50";

/// hello-kv beside redis-server: processor time of a request.
///
/// Builds hello-kv in release. In each round each server in turn is started anew, filled, and
/// loaded by redis-benchmark, from a core of the client's own where there is one: 50 connections,
/// random keys among 100,000, of which on two cores half are on the other core. The time is the
/// server's, user's and system's, of all of its threads. The table has medians; a ratio is the
/// median of the rounds' ratios.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Be done in a minute: one short round.
    #[arg(long)]
    quick: bool,
    /// Rounds. Default: 3; with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..100))]
    rounds: Option<u32>,
    /// Requests of one measurement for each one in a pipeline. Default: 300000; with --quick 30000.
    #[arg(long)]
    requests: Option<u32>,
    /// hello-kv's backend. Default: the one that it chooses.
    #[arg(long)]
    backend: Option<String>,
}

/// Who serves.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Redis,
    /// On so many cores.
    Ours(usize),
}

/// A line of the table for each server.
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
    let mut kinds = vec![Kind::Redis, Kind::Ours(1)];
    if bench.cores.len() > 1 {
        kinds.push(Kind::Ours(2));
    }
    let mut rounds = Vec::new();
    for _ in 0..args.rounds.unwrap_or(if args.quick { 1 } else { 3 }) {
        rounds.push(kinds.iter().map(|kind| bench.measure(*kind)).collect::<Result<Vec<_>>>()?);
    }
    println!(
        "client on core {}, which {} of a server",
        bench.client_core(),
        if bench.cores.len() > 2 { "is not one" } else { "may be one" }
    );
    show(&kinds, &rounds);
    Ok(())
}

/// The table: who has one core is beside Redis, who has two beside who has one.
fn show(kinds: &[Kind], rounds: &[Vec<[Measured; POINTS.len()]>]) {
    println!("| requests | server | k requests/s | CPU us each | CPU time, to redis-server's | to its own on one core |");
    println!("|---|---|--:|--:|--:|--:|");
    for (at, Point { test, pipeline }) in POINTS.iter().enumerate() {
        let of = |server: usize, what: fn(&Measured) -> f64| median(rounds.iter().map(move |round| what(&round[server][at])));
        let ratio = |server: usize, to: usize| median(rounds.iter().map(|round| round[server][at].each / round[to][at].each));
        for (server, kind) in kinds.iter().enumerate() {
            let (rate, each) = (of(server, |it| it.rate) / 1e3, of(server, |it| it.each));
            let to_one = if *kind == Kind::Ours(2) { format!("{:.2}", ratio(server, 1)) } else { String::new() };
            println!("| {test}, -P {pipeline} | {} | {rate:.1} | {each:.2} | {:.2} | {to_one} |", kind.name(), ratio(server, 0));
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Ours(1) => "hello-kv, one core",
            Self::Ours(_) => "hello-kv, two cores",
        }
    }
}

impl Bench {
    /// A core of its own where there are three.
    fn client_core(&self) -> u16 {
        self.cores.get(2).or(self.cores.last()).copied().unwrap_or(0)
    }

    fn measure(&self, kind: Kind) -> Result<[Measured; POINTS.len()]> {
        let folder = tempfile::tempdir().context("a folder for the server")?;
        let (mut server, port) = self.start(kind, folder.path())?;
        // So that the keys are there.
        self.load(port, "set", 16, 500_000)?;
        let mut points = [Measured { rate: 0.0, each: 0.0 }; POINTS.len()];
        for (measured, Point { test, pipeline }) in points.iter_mut().zip(POINTS) {
            let requests = self.requests * pipeline.min(4);
            let before = cpu_time(server.id())?;
            measured.rate = self.load(port, test, pipeline, requests).with_context(|| format!("{} {test} -P {pipeline}", kind.name()))?;
            measured.each = (cpu_time(server.id())? - before).as_secs_f64() * 1e6 / f64::from(requests);
        }
        server.interrupt()?;
        let status = run::ended(&mut server, Instant::now() + PATIENCE)?;
        ensure!(status.success(), "after SIGINT {} ended with {status}{}", kind.name(), server.said());
        Ok(points)
    }

    fn start(&self, kind: Kind, folder: &Path) -> Result<(Child, u16)> {
        let (core, listen) = (self.cores.first().copied().unwrap_or(0).to_string(), free_port()?);
        let command = match kind {
            Kind::Redis => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core, "redis-server", "--port", &listen.to_string(), "--bind", "127.0.0.1", "--save", ""]);
                command.args(["--appendonly", "no", "--dir"]).arg(folder);
                command
            }
            Kind::Ours(count) => {
                let cores: Vec<_> = self.cores.iter().take(count).map(u16::to_string).collect();
                let mut command = Command::new(&self.hello_kv);
                command.args(["127.0.0.1:0", "--no-cpumask-locks", "-m", &format!("[{}]", cores.join(","))]);
                command.args(self.backend.iter().flat_map(|backend| ["-N", backend]));
                command
            }
        };
        let mut server = Child::start("server", command)?;
        let port = if kind == Kind::Redis { redis_port(&mut server, listen)? } else { port(&mut server)? };
        Ok((server, port))
    }

    /// Requests in a second.
    fn load(&self, port: u16, test: &str, pipeline: u32, requests: u32) -> Result<f64> {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.client_core().to_string(), "redis-benchmark", "--csv", "-t", test, "-c", CONNECTIONS, "-r", KEYS]);
        command.args(["-p", &port.to_string(), "-P", &pipeline.to_string(), "-n", &requests.to_string()]);
        let output = command.output().context("could not start redis-benchmark")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let rate =
            said.lines().find_map(|line| line.strip_prefix(&format!("\"{}\",\"", test.to_uppercase()))?.split('"').next()?.parse().ok());
        ensure!(output.status.success(), "redis-benchmark ended with {}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
        rate.with_context(|| format!("redis-benchmark printed no rate:\n{said}"))
    }
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

/// The port that it was given, once it says that it listens.
fn redis_port(server: &mut Child, port: u16) -> Result<u16> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(Line(_, line)) = server.next(deadline)? {
        if line.contains("Ready to accept connections") {
            return Ok(port);
        }
    }
    bail!("redis-server ended before it listened{}", server.said())
}
