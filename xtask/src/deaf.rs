//! `cargo xtask bench deaf`: what peers that send and do not read cost the others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use socket2::{Domain, Protocol, Socket, Type};

use crate::child::{Child, Line};
use crate::{memory, program, run};

/// Starting, echoing once and stopping take this long at most, each.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a deaf peer would send, if it were taken.
const SENDS: usize = 7 << 20;
/// A round in which nothing was taken of any of them, after this long without one, is the last.
const QUIET: Duration = Duration::from_millis(500);
/// Connections that echo in turn, and echoes on one server before it is the other's turn.
const HEALTHY: usize = 4;
const IN_A_ROW: usize = 16;
/// Descriptors that either process needs beside its deaf peers.
const SPARE_DESCRIPTORS: u64 = 128;

/// Latency of an echo beside peers that send megabytes and read nothing.
///
/// For each number of deaf peers there is a server with them and one of the same kind without, and
/// the same client echoes 64 bytes with the one and the other in turn. The deaf peers' systems take
/// 4 KiB, in segments of 1460 bytes as on Ethernet, so that the kernel's memory for sockets
/// (tcp_mem) is not what runs out. "Coming" is the longest that an echo took while the deaf peers
/// sent what they could, "low" whether the server's buffers were, "reset" how many of the deaf it
/// gave up.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Numbers of deaf peers.
    #[arg(long, value_delimiter = ',', default_value = "12,64,256,1000", value_parser = clap::value_parser!(u32).range(1..=16_000))]
    deaf: Vec<u32>,
    /// The servers: hello-sock (2,048 buffers), the README's echo (256 buffers, 1,024 sockets).
    #[arg(long, value_enum, value_delimiter = ',', default_value = "hello-sock,echo")]
    server: Vec<Kind>,
    /// Their backends.
    #[arg(long, value_delimiter = ',', default_value = "posix,uring")]
    backend: Vec<String>,
    /// Seconds of echoes for each number.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    HelloSock,
    Echo,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let most = args.deaf.iter().max().copied().unwrap_or(0);
    memory::allow_descriptors(u64::from(most) + SPARE_DESCRIPTORS)?;
    println!("building the servers in release");
    let folder = tempfile::tempdir().context("a folder for the servers")?;
    println!(
        "| server | backend | deaf | p50 us, without and with | ratio | p99 us, without and with | ratio | coming, ms, without and with | low | reset |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|---|--:|");
    for &kind in &args.server {
        for backend in &args.backend {
            let program = kind.build(backend, folder.path())?;
            for &deaf in &args.deaf {
                let (name, row) = (kind.name(), measure(kind, &program, backend, deaf as usize, args.seconds)?);
                println!("| {name} | {backend} | {deaf} | {row} |");
            }
        }
    }
    Ok(())
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::HelloSock => "hello-sock",
            Self::Echo => "echo",
        }
    }

    fn build(self, backend: &str, folder: &Path) -> Result<PathBuf> {
        match self {
            Self::HelloSock => program::build("hello-sock"),
            Self::Echo => {
                // It takes the best of its backends, so it gets the one; the next build would
                // overwrite it.
                let built = program::build_example("lcore", "echo", &["--no-default-features", "--features", backend])?;
                let to = folder.join(format!("echo-{backend}"));
                std::fs::copy(&built, &to).with_context(|| format!("copy {}", built.display()))?;
                Ok(to)
            }
        }
    }

    fn start(self, program: &Path, backend: &str) -> Result<(Child, u16)> {
        let mut command = Command::new(program);
        match self {
            Self::HelloSock => command.args(["-S", "-H", "127.0.0.1", "-P", "0", "-N", backend, "-m", "0x1", "--no-cpumask-locks"]),
            Self::Echo => command.arg("127.0.0.1:0"),
        };
        let mut child = Child::start("server", command)?;
        let port = match self {
            Self::HelloSock => run::port(&mut child)?,
            Self::Echo => echo_port(&mut child)?,
        };
        Ok((child, port))
    }
}

/// The echo's only line on standard output.
fn echo_port(server: &mut Child) -> Result<u16> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(Line(_, line)) = server.next(deadline)? {
        if let Some(at) = line.strip_prefix("echoes at ") {
            return Ok(at.parse::<SocketAddr>().with_context(|| format!("the server did not say its address but {line:?}"))?.port());
        }
    }
    bail!("the server ended before it listened{}", server.said())
}

/// The rest of a line of the table.
fn measure(kind: Kind, program: &Path, backend: &str, deaf: usize, seconds: u64) -> Result<String> {
    let ((calm, calm_port), (busy, busy_port)) = (kind.start(program, backend)?, kind.start(program, backend)?);
    let (mut without, mut with) = (Healthy::connect(calm_port)?, Healthy::connect(busy_port)?);
    let peers = (0..deaf).map(|_| connect_deaf(busy_port)).collect::<Result<Vec<_>>>()?;
    let beside = || format!("beside {deaf} peers that do not read");
    let coming = while_they_come(&peers, [&mut without, &mut with]).with_context(beside)?;
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        without.echo(IN_A_ROW)?;
        with.echo(IN_A_ROW).with_context(beside)?;
    }
    // One that came now is served as well.
    Healthy::connect(busy_port)?.echo(HEALTHY).with_context(beside)?;
    let reset = peers.iter().filter(|peer| !matches!(peer.take_error(), Ok(None))).count();
    let low = if end([calm, busy])? { "yes" } else { "no" };
    let mut text = String::new();
    for q in [0.5, 0.99] {
        let (calm, busy) = (without.quantile(q), with.quantile(q));
        text += &format!("{:.1} {:.1} | {:.2} | ", micros(calm), micros(busy), micros(busy) / micros(calm));
    }
    let [calm, busy] = coming.map(|time| micros(time) / 1e3);
    Ok(format!("{text}{calm:.1} {busy:.1} | {low} | {reset}"))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Both are told before either is waited for. Whether the second had said that its buffers were
/// low.
fn end(mut servers: [Child; 2]) -> Result<bool> {
    servers.iter().try_for_each(Child::interrupt)?;
    for server in &mut servers {
        let status = run::ended(server, Instant::now() + PATIENCE)?;
        ensure!(status.success(), "after SIGINT a server ended with {status}{}", server.said());
    }
    Ok(servers[1].said().contains("buffers are left"))
}

/// The deaf peers send while somebody echoes with either server, until nothing more is taken of
/// them; the longest echo of each.
fn while_they_come(peers: &[Socket], mut healthy: [&mut Healthy; 2]) -> Result<[Duration; 2]> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            fill(peers);
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            healthy.iter_mut().try_for_each(|healthy| healthy.echo(1))?;
        }
        Ok(healthy.map(|healthy| healthy.times.drain(..).max().unwrap_or_default()))
    })
}

fn fill(peers: &[Socket]) {
    let (bytes, mut sent, mut last) = (vec![1; 64 << 10], vec![0; peers.len()], Instant::now());
    while last.elapsed() < QUIET {
        for (mut peer, sent) in peers.iter().zip(&mut sent) {
            // An end is counted later.
            if *sent < SENDS
                && let Ok(n) = peer.write(&bytes)
            {
                *sent += n;
                last = Instant::now();
            }
        }
        // No end of these waits is announced to all at once.
        thread::sleep(Duration::from_millis(2));
    }
}

fn connect_deaf(port: u16) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("a socket")?;
    socket.set_recv_buffer_size(4 << 10)?;
    socket.set_send_buffer_size(64 << 10)?;
    socket.set_tcp_mss(1460)?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).context("connect a deaf peer")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Connections whose echoes are measured.
struct Healthy {
    streams: Vec<TcpStream>,
    times: Vec<Duration>,
}

impl Healthy {
    fn connect(port: u16) -> Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect to the server")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        Ok(Self { streams: (0..HEALTHY).map(connect).collect::<Result<_>>()?, times: Vec::new() })
    }

    /// So many echoes on each connection, one at a time.
    fn echo(&mut self, times: usize) -> Result<()> {
        for stream in (0..times).flat_map(|_| &self.streams) {
            let (mut back, began) = ([0; 64], Instant::now());
            (&mut &*stream).write_all(&[7; 64])?;
            (&mut &*stream).read_exact(&mut back).with_context(|| format!("no echo in {PATIENCE:?}"))?;
            self.times.push(began.elapsed());
            ensure!(back == [7; 64], "an echo differs from what was sent");
        }
        Ok(())
    }

    fn quantile(&mut self, q: f64) -> Duration {
        self.times.sort_unstable();
        self.times.get((self.times.len() as f64 * q) as usize).copied().unwrap_or_default()
    }
}
