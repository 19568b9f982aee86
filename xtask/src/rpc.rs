//! `cargo xtask bench rpc`: what the control plane costs, idle, asked, and among clients that do
//! their worst.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::child::Child;
use crate::{memory, program, run};

/// Starting, answering and stopping take this long at most, each.
const PATIENCE: Duration = Duration::from_secs(60);
/// A poll that found nothing to do takes less, in nanoseconds.
const IDLE_POLL_NS: u64 = 1_000;
/// SPDK looks at its socket every 4 ms.
const SPDK_MS: f64 = 4.0;
/// How often hostile clients do something, as many things at once as are due. On a machine whose
/// cores all belong to the server and its load each time takes one of them away for a moment, and
/// all echoes that are on the way wait for that. This seldom that is far fewer than the one in a
/// hundred that a p99 looks at, so what it shows is the server and not who runs beside it.
const TICK: Duration = Duration::from_millis(50);
/// How often the kernel counts, in a second.
const USER_HZ: f64 = 100.0;
/// Calls with long answers.
const LONG: [&str; 4] = ["rpc_get_methods", "lcore_get_histograms", "thread_get_pollers", "framework_get_reactors"];

/// What RPC costs a server: idle, asked one call at a time, asked for much, and by hostile clients
/// while others echo.
///
/// "Idle" is the processor time of a server with one client that says nothing. "Round trip" is of
/// one call at a time. "Polls" are the runs of more than 1 us of the pollers of the thread that
/// serves, as its histogram has them, and "messages" those of its messages, while eight clients ask
/// for long answers. Then pairs of runs of the load generator: without, and with clients that are
/// half-open, send byte by byte, send random bytes, send 256 KiB of nested arrays, or ask and never
/// read; 64 are served at once, and more wait until those go. "Without" is the mean of the runs
/// before and after. Each pair tells, too, which share of the core went into the server's polls and
/// into messages meanwhile, how long its polls took, and how long a client waited for its answer
/// that had its place before the others came; "they" is the hostile clients' own time, which on a
/// machine of two cores is the server's or the load's.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Backends of the server.
    #[arg(long, value_delimiter = ',', default_value = "posix,uring")]
    backend: Vec<String>,
    /// Hostile clients.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// What they do in a second, together.
    #[arg(long, default_value_t = 1000)]
    acts: usize,
    /// Pairs of runs without and with them.
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// The load: connections and messages on the way on each, of 64 bytes.
    #[arg(long, default_value = "16,1")]
    load: String,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// A hello-sock that is built already, for comparing it with another.
    #[arg(long)]
    program: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    memory::allow_descriptors(args.clients as u64 + 128)?;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => {
            println!("building hello-sock in release");
            program::build("hello-sock")?
        }
    };
    for backend in &args.backend {
        println!("{backend}:");
        let server = Server::start(&program, backend)?;
        println!("  idle: {:.2} % of a core in {} s", server.idle(args.seconds * 5)?, args.seconds * 5);
        let mut times = round_trips(&server.path(), Duration::from_secs(args.seconds))?;
        let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        println!("  round trip: p50 {:.0} us, p99 {:.0} us; SPDK's is {SPDK_MS} ms, a quarter of it {:.0} us", p50, p99, SPDK_MS * 250.0);
        for (what, buckets) in server.busy_polls(Duration::from_secs(args.seconds))? {
            println!("  {what}: {buckets}");
        }
        server.stop()?;
        beside(&program, backend, args)?;
    }
    Ok(())
}

/// Pairs of runs of the load generator.
fn beside(program: &Path, backend: &str, args: &Args) -> Result<()> {
    let server = Server::start(program, backend)?;
    let (mut p50s, mut p99s) = (Vec::new(), Vec::new());
    println!(
        "  | p50 us, without and with | ratio | p99 us, without and with | ratio | polls: % of the core, p50 p99 us | messages | a call: p50 max us | acts | they |"
    );
    println!("  |--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut before = load(program, server.port, args)?;
    for _ in 0..args.pairs {
        let mut asks = Asks::begin(&server.path())?;
        let hostile = Hostile { path: &server.path(), clients: args.clients, acts: args.acts, ..Hostile::default() };
        let (with, they) = thread::scope(|scope| {
            let acts = scope.spawn(|| hostile.act());
            let asking = scope.spawn(|| asks.ask(&hostile.is_over));
            let with = load(program, server.port, args);
            hostile.is_over.store(true, Ordering::Relaxed);
            let they = acts.join().map_err(|_| anyhow!("the clients panicked"))?;
            asking.join().map_err(|_| anyhow!("the client panicked"))??;
            Ok::<_, anyhow::Error>((with?, they))
        })?;
        let told = asks.end()?;
        // Between two without them, since a machine may become slower or faster for a while.
        let after = load(program, server.port, args)?;
        let without = [0, 1].map(|at| f64::midpoint(before[at], after[at]));
        before = after;
        let ratio = |at: usize| with[at] / without[at];
        p50s.push(ratio(0));
        p99s.push(ratio(1));
        let acts = hostile.done.load(Ordering::Relaxed);
        let [p50, p99] = [0, 1].map(|at| format!("{:.1} {:.1} | {:.2}", without[at], with[at], ratio(at)));
        println!("  | {p50} | {p99} | {told} | {acts} | {they:.1} % |");
    }
    println!("  median of the ratios: p50 {:.2}, p99 {:.2}; every byte was verified", quantile(&mut p50s, 0.5), quantile(&mut p99s, 0.5));
    // Whoever has something to ask is served as before.
    round_trips(&server.path(), Duration::from_millis(100))?;
    server.stop()
}

/// The load generator's p50 and p99 in microseconds. It verifies all that comes back, and fails
/// where something does not.
fn load(program: &Path, port: u16, args: &Args) -> Result<[f64; 2]> {
    let mut command = Command::new(program);
    let load = format!("{},64,{}", args.load, args.seconds);
    command.args(["-P", &port.to_string(), "--load", &load, "--json", "--no-cpumask-locks", "-m", last_core()]);
    let mut child = Child::start("load", command)?;
    let status = run::ended(&mut child, Instant::now() + PATIENCE)?;
    ensure!(status.success(), "the load generator ended with {status}{}", child.said());
    let told: Value = child.json("load")?;
    Ok(["p50", "p99"].map(|q| told["latency_ns"][q].as_f64().unwrap_or(f64::NAN) / 1e3))
}

/// The server is on the first.
fn last_core() -> &'static str {
    if thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) { "0x2" } else { "0x1" }
}

/// Calls one at a time, for so long; how long each took, in microseconds.
fn round_trips(path: &Path, time: Duration) -> Result<Vec<f64>> {
    let (mut client, began) = (Client::connect(path)?, Instant::now());
    let mut times = Vec::new();
    while began.elapsed() < time {
        let asked = Instant::now();
        client.call("thread_get_stats")?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
        // A core that has nothing to do sleeps in between.
        thread::sleep(Duration::from_millis(1));
    }
    Ok(times)
}

fn quantile(of: &mut [f64], q: f64) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    let at = (of.len() as f64 * q) as usize;
    of.get(at).or(of.last()).copied().unwrap_or(f64::NAN)
}

struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(program: &Path, backend: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the socket")?;
        let mut command = Command::new(program);
        command.args(["-S", "-H", "127.0.0.1", "-P", "0", "-N", backend, "-m", "0x1", "--no-cpumask-locks", "-r"]);
        command.arg(folder.path().join("s"));
        let mut child = Child::start("server", command)?;
        let port = run::port(&mut child)?;
        Ok(Self { child, port, folder })
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("s")
    }

    fn stop(mut self) -> Result<()> {
        self.child.interrupt()?;
        let status = run::ended(&mut self.child, Instant::now() + PATIENCE)?;
        ensure!(status.success(), "after SIGINT the server ended with {status}{}", self.child.said());
        Ok(())
    }

    /// Its share of a core with a client that says nothing, in percent.
    fn idle(&self, seconds: u64) -> Result<f64> {
        let mut client = Client::connect(&self.path())?;
        client.call("spdk_get_version")?;
        let before = self.jiffies()?;
        thread::sleep(Duration::from_secs(seconds));
        Ok((self.jiffies()? - before) / USER_HZ / seconds as f64 * 100.0)
    }

    /// User's and system's time, in the kernel's ticks (proc_pid_stat(5)).
    fn jiffies(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
        Ok(rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum())
    }

    /// How long its polls and messages took while eight clients asked for long answers.
    fn busy_polls(&self, time: Duration) -> Result<[(&'static str, String); 2]> {
        let path = self.path();
        let mut client = Client::connect(&path)?;
        let before = client.call("lcore_get_histograms")?;
        let until = Instant::now() + time;
        thread::scope(|scope| {
            let ask = |at: usize| {
                let path = &path;
                move || {
                    let mut client = Client::connect(path)?;
                    while Instant::now() < until {
                        client.batch(LONG[at % LONG.len()], 64)?;
                    }
                    Ok::<_, anyhow::Error>(())
                }
            };
            let clients: Vec<_> = (0..8).map(|at| scope.spawn(ask(at))).collect();
            clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
        })?;
        let after = client.call("lcore_get_histograms")?;
        let of = |what| summary(&runs(&before, what), &runs(&after, what));
        Ok([("polls", of("pollers")), ("messages", of("messages"))])
    }
}

/// A client that asks now and then while others do their worst.
struct Asks {
    client: Client,
    before: Value,
    began: Instant,
    times: Vec<f64>,
}

impl Asks {
    fn begin(path: &Path) -> Result<Self> {
        let mut client = Client::connect(path)?;
        let before = client.call("lcore_get_histograms")?;
        Ok(Self { client, before, began: Instant::now(), times: Vec::new() })
    }

    fn ask(&mut self, is_over: &AtomicBool) -> Result<()> {
        while !is_over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            self.client.call("thread_get_stats")?;
            self.times.push(asked.elapsed().as_secs_f64() * 1e6);
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Columns of a row: polls, messages, calls.
    fn end(mut self) -> Result<String> {
        let (after, time) = (self.client.call("lcore_get_histograms")?, self.began.elapsed());
        let percent = |of: &dyn Fn(&Value) -> u64| of(&after).saturating_sub(of(&self.before)) as f64 / time.as_nanos() as f64 * 100.0;
        let sum = |threads: &Value, what: &str, name: Option<&str>| -> u64 {
            let all = threads["threads"].as_array().into_iter().flatten();
            all.filter(|it| name.is_none_or(|name| it["name"] == name)).filter_map(|it| it[what]["sum"].as_u64()).sum()
        };
        let polls = percent(&|told| sum(told, "pollers", Some("app_thread")));
        let messages = percent(&|told| sum(told, "messages", None));
        let [p50, p99] = quantiles(&between(&runs(&self.before, "pollers"), &runs(&after, "pollers")), [0.5, 0.99]);
        let (call, longest) = (quantile(&mut self.times, 0.5), quantile(&mut self.times, 1.0));
        Ok(format!("{polls:.1} %, {p50:.1} {p99:.1} | {messages:.1} % | {call:.0} {longest:.0}"))
    }
}

/// The buckets of the thread that serves, by their ends.
fn runs(histograms: &Value, what: &str) -> Vec<(u64, u64)> {
    let buckets = histograms["threads"].as_array().and_then(|all| all.iter().find(|it| it["name"] == "app_thread"));
    let buckets = buckets.and_then(|thread| thread[what]["buckets"].as_array().cloned()).unwrap_or_default();
    buckets.iter().filter_map(|it| Some((it[0].as_u64().unwrap_or(u64::MAX), it[1].as_u64()?))).collect()
}

/// What came in between, but for polls that found nothing.
fn between(before: &[(u64, u64)], after: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let was = |end| before.iter().find(|(at, _)| *at == end).map_or(0, |(_, count)| *count);
    after.iter().map(|(end, count)| (*end, count - was(*end))).filter(|(end, count)| *end > IDLE_POLL_NS && *count > 0).collect()
}

/// Of runs by buckets, in microseconds.
fn quantiles<const N: usize>(runs: &[(u64, u64)], wanted: [f64; N]) -> [f64; N] {
    let all: u64 = runs.iter().map(|(_, count)| count).sum();
    wanted.map(|q| {
        let mut left = (all as f64 * q) as u64;
        let found = runs.iter().find(|(_, count)| {
            left.checked_sub(*count).is_none_or(|rest| {
                left = rest;
                false
            })
        });
        found.or(runs.last()).map_or(0.0, |(end, _)| *end as f64 / 1e3)
    })
}

fn summary(before: &[(u64, u64)], after: &[(u64, u64)]) -> String {
    let runs = between(before, after);
    let all: u64 = runs.iter().map(|(_, count)| count).sum();
    let over: u64 = runs.iter().filter(|(end, _)| *end > 100_000).map(|(_, count)| count).sum();
    let [p50, p99, max] = quantiles(&runs, [0.5, 0.99, 1.0]);
    format!("{all}, p50 {p50:.1} us, p99 {p99:.1} us, max {max:.1} us, {over} of more than 100 us")
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).context("connect to the RPC socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn call(&mut self, method: &str) -> Result<Value> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method});
        self.0.get_mut().write_all(format!("{call}\n").as_bytes())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("no answer: {line:?}"))?;
        Ok(answer["result"].take())
    }

    fn batch(&mut self, method: &str, calls: usize) -> Result<()> {
        let call = format!("{{\"id\":1,\"method\":{method:?}}}");
        self.0.get_mut().write_all(format!("[{}]", vec![call; calls].join(",")).as_bytes())?;
        ensure!(self.0.skip_until(b'\n')? > 0, "the connection was closed");
        Ok(())
    }
}

/// Clients that do their worst, and what came of it.
struct Hostile<'a> {
    path: &'a Path,
    clients: usize,
    acts: usize,
    is_over: AtomicBool,
    done: AtomicUsize,
}

impl Default for Hostile<'_> {
    fn default() -> Self {
        Self { path: Path::new(""), clients: 0, acts: 0, is_over: AtomicBool::new(false), done: AtomicUsize::new(0) }
    }
}

impl Hostile<'_> {
    /// Acts until it is over, on each client in turn; which share of a core that took, in percent.
    fn act(&self) -> f64 {
        let began = Instant::now();
        let mut clients: Vec<Option<Socket>> = (0..self.clients).map(|_| None).collect();
        let nested = ["[".repeat(60), "]".repeat(60)].concat().repeat(2_184);
        let per_tick = (self.acts * TICK.as_millis() as usize).div_ceil(1_000).max(1);
        let mut at = 0_usize;
        let mut random = 1_u32;
        while !self.is_over.load(Ordering::Relaxed) && !clients.is_empty() {
            for _ in 0..per_tick {
                at += 1;
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (kind, count) = (at % 5, clients.len());
                let client = &mut clients[at % count];
                if client.as_ref().is_none_or(|client| !self.one(client, kind, random, nested.as_bytes())) {
                    *client = self.connect();
                }
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(TICK);
        }
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        (own.tv_sec as f64 + own.tv_nsec as f64 / 1e9) / began.elapsed().as_secs_f64() * 100.0
    }

    /// Nothing where as many wait as may.
    fn connect(&self) -> Option<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(&SockAddr::unix(self.path).ok()?).ok()?;
        Some(socket)
    }

    /// Whether the client goes on.
    fn one(&self, mut client: &Socket, kind: usize, random: u32, nested: &[u8]) -> bool {
        match kind {
            // Half a call, and nothing more.
            0 => drop(client.write(b"{\"id\":1,\"meth")),
            // A byte at a time of one that is good.
            1 => drop(client.write(&b"{ }"[random as usize % 2..][..1])),
            2 => drop(client.write(&random.to_le_bytes())),
            3 => drop(client.write(nested)),
            // Never reads.
            _ => {
                let calls = br#"{"id":1,"method":"framework_get_reactors"}{"id":2,"method":"rpc_get_methods"}"#;
                return client.write(calls).map_or_else(|why| why.kind() == ErrorKind::WouldBlock, |sent| sent == calls.len());
            }
        }
        let mut some = [0; 4096];
        match client.read(&mut some) {
            Ok(0) => false,
            Ok(_) => true,
            Err(why) => why.kind() == ErrorKind::WouldBlock && !random.is_multiple_of(16),
        }
    }
}
