//! The faults. A phase lasts a few seconds, throws one kind of them in random sizes and orders, and
//! checks what its own peers may still expect.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::field::Field;
use crate::peer::{self, connect, reset, size};
use crate::server::{DESCRIPTORS, Server};

/// One kind of fault.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Throws them, and tells in a few words what it did.
    pub(crate) run: fn(&Field, &Server, &mut Rng) -> Result<String>,
}

pub(crate) const PHASES: [Phase; 10] = [
    Phase { name: "resets", about: "peers reset: after the connect, after bytes, during echoes, after half a close", run: resets },
    Phase { name: "early", about: "peers connect, send and reset while the server is stopped, so that it finds them gone", run: early },
    Phase { name: "halfopens", about: "peers connect and say nothing", run: half_opens },
    Phase { name: "deaf", about: "peers send megabytes and do not read; some read at last, and want every byte", run: deaf },
    Phase { name: "slow", about: "peers with tiny buffers send and read a few bytes at a time", run: slow },
    Phase { name: "halfcloses", about: "peers end their side at once or with echoes on the way, and want every byte", run: half_closes },
    Phase { name: "stops", about: "the server, and clients of its own kind, are stopped and continued; some are killed", run: stops },
    Phase {
        name: "descriptors",
        about: "the server runs out of descriptors, and those that wait are served as others go",
        run: descriptors,
    },
    Phase { name: "churn", about: "connections come, echo a few bytes and go, as fast as they can", run: churn },
    Phase { name: "log", about: "nobody reads the server's log while connections come and go", run: log },
];

fn some_seconds(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(1500..4000))
}

/// That many threads do `act` over and over until the time is up; how often in all.
fn crowd(field: &Field, rng: &mut Rng, threads: usize, time: Duration, act: impl Fn(&mut Rng) -> Result<()> + Sync) -> Result<u64> {
    let (until, done) = (Instant::now() + time, AtomicU64::new(0));
    let one = |mut rng: Rng| -> Result<()> {
        while Instant::now() < until {
            field.all_well()?;
            act(&mut rng)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let rngs: Vec<_> = (0..threads).map(|_| rng.fork()).collect();
        let all: Vec<_> = rngs.into_iter().map(|rng| scope.spawn(|| one(rng))).collect();
        all.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(done.into_inner())
}

fn resets(field: &Field, _: &Server, rng: &mut Rng) -> Result<String> {
    let time = some_seconds(rng);
    let done = crowd(field, rng, 8, time, |rng| one_reset(field, rng))?;
    Ok(format!("{done} resets"))
}

/// A connection that ends by a reset at a moment of any kind.
fn one_reset(field: &Field, rng: &mut Rng) -> Result<()> {
    let (stream, of, bytes) = (connect(field, rng, None)?, rng.u64(..), size(rng, 1 << 20));
    match rng.u8(0..7) {
        0 => {}
        1 => peer::send_what_goes(&stream, of, bytes as usize),
        2 => {
            // One echo is back, another on the way.
            peer::echo(field, &stream, of, 0, bytes.min(64 << 10))?;
            peer::send_what_goes(&stream, of, bytes as usize);
        }
        3 => {
            peer::send_what_goes(&stream, of, bytes as usize);
            stream.shutdown(Shutdown::Write)?;
        }
        4 => {
            // In the middle of the echo.
            let bytes = bytes.min(64 << 10);
            peer::send_all(field, &stream, of, bytes)?;
            peer::check(field, &stream, of, 0, rng.u64(0..=bytes))?;
        }
        5 => {
            // After both ends.
            let bytes = bytes.min(64 << 10);
            peer::send_all(field, &stream, of, bytes)?;
            peer::finish(field, &stream, of, 0, bytes)?;
        }
        // By FIN, with an echo unread: the kernel answers it by a reset.
        _ => {
            peer::send_what_goes(&stream, of, bytes as usize);
            stream.shutdown(Shutdown::Both)?;
            return Ok(());
        }
    }
    reset(stream);
    Ok(())
}

/// The server is stopped while this lives.
struct Stopped<'a>(&'a Field, &'a Server);

impl<'a> Stopped<'a> {
    fn new(field: &'a Field, server: &'a Server) -> Result<Self> {
        field.clock.stop();
        let stopped = Self(field, server);
        server.signal(Signal::STOP)?;
        Ok(stopped)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        // Fails if it is gone, which is noticed elsewhere.
        let _ = self.1.signal(Signal::CONT);
        self.0.clock.go_on();
    }
}

fn early(field: &Field, server: &Server, rng: &mut Rng) -> Result<String> {
    let (until, mut done) = (Instant::now() + some_seconds(rng), 0);
    while Instant::now() < until {
        let stopped = Stopped::new(field, server)?;
        let peers = rng.usize(1..=400);
        for _ in 0..peers {
            let stream = connect(field, rng, None)?;
            if rng.u8(..) < 200 {
                peer::send_what_goes(&stream, 1, size(rng, 64 << 10) as usize);
            }
            if rng.u8(..) < 64 {
                stream.shutdown(Shutdown::Write)?;
            }
            if rng.u8(..) < 230 { reset(stream) } else { drop(stream) }
        }
        done += peers;
        drop(stopped);
        field.pause(Duration::from_millis(rng.u64(1..300)))?;
    }
    Ok(format!("{done} peers were gone before they were met"))
}

fn half_opens(field: &Field, _: &Server, rng: &mut Rng) -> Result<String> {
    let (time, count) = (some_seconds(rng), rng.usize(100..=2000));
    let peers: Vec<_> = (0..count).map(|_| connect(field, rng, None)).collect::<Result<_>>()?;
    field.pause(time)?;
    for stream in peers {
        match rng.u8(0..8) {
            // It was only late.
            0 => peer::echo(field, &stream, 3, 0, size(rng, 1000)).context("a peer that was silent for a while")?,
            1..5 => reset(stream),
            _ => {}
        }
    }
    Ok(format!("{count} silent peers"))
}

/// A peer that sends and does not read.
struct Deaf {
    stream: TcpStream,
    of: u64,
    sent: u64,
    /// Its buffers are.
    tiny: bool,
}

fn deaf(field: &Field, _: &Server, rng: &mut Rng) -> Result<String> {
    let (time, count, each) = (some_seconds(rng), rng.usize(8..=400), rng.u64(4..=16) << 20);
    let (mut peers, mut memory) = (Vec::new(), memory_for_sockets()?);
    while peers.len() < count && memory > 0 {
        let peer = Deaf::connect(field, rng)?;
        memory = memory.saturating_sub(peer.takes());
        peers.push(peer);
    }
    let count = peers.len();
    let until = Instant::now() + time;
    while Instant::now() < until {
        for peer in &mut peers {
            peer.send(each)?;
        }
        field.pause(Duration::from_millis(5))?;
    }
    let sent = peers.iter().map(|peer| peer.sent >> 10).sum::<u64>();
    let (mut heard, mut given_up) = (0, 0);
    for peer in peers {
        peer.stream.set_nonblocking(false)?;
        match rng.u8(0..4) {
            // A few hear at last, all of it, while others are deaf still. Through tiny buffers that
            // would take minutes.
            0 if !peer.tiny && heard + given_up < 4 => *(if peer.hear(field)? { &mut heard } else { &mut given_up }) += 1,
            1 => reset(peer.stream),
            _ => {}
        }
    }
    Ok(format!("{count} peers sent {sent} KiB unread; at last {heard} of them heard, and {given_up} heard that it was too late"))
}

/// What the kernel has for the buffers of all sockets before it holds back, bytes, with a third
/// left for others: a shortage of that keeps everybody waiting, whatever the server does (`tcp_mem`
/// of tcp(7)).
fn memory_for_sockets() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").context("could not read the kernel's limit of memory for sockets")?;
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).context("tcp_mem is other than expected")?;
    Ok(pages * rustix::param::page_size() as u64 * 2 / 3)
}

impl Deaf {
    fn connect(field: &Field, rng: &mut Rng) -> Result<Self> {
        let buffers = rng.bool().then(|| size(rng, 64 << 10) as usize);
        let stream = connect(field, rng, buffers)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, of: rng.u64(..), sent: 0, tiny: buffers.is_some() })
    }

    /// About the kernel's memory that it takes when it and the server hold as much as they can.
    fn takes(&self) -> u64 {
        if self.tiny { 2 << 20 } else { 12 << 20 }
    }

    /// Sends until the server takes no more.
    fn send(&mut self, most: u64) -> Result<()> {
        use std::io::Write;
        let mut buf = [0; 64 << 10];
        while self.sent < most {
            peer::fill(self.of, self.sent, &mut buf);
            match (&self.stream).write(&buf) {
                Ok(n) => self.sent += n as u64,
                Err(why) if peer::is_wait(&why) || is_end(&why) => break,
                Err(why) => bail!("a deaf peer could not send: {why}"),
            }
        }
        Ok(())
    }

    /// Reads all that it has sent; false if the server has given it up, which it may when its
    /// buffers are short. It must say so by a reset.
    fn hear(&self, field: &Field) -> Result<bool> {
        match peer::finish(field, &self.stream, self.of, 0, self.sent) {
            Ok(()) => Ok(true),
            Err(why) if why.chain().any(|why| why.downcast_ref().is_some_and(is_end)) => Ok(false),
            Err(why) => Err(why.context("a peer that was deaf for a while")),
        }
    }
}

/// Whether the server has ended the connection by force.
fn is_end(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected)
}

fn slow(field: &Field, _: &Server, rng: &mut Rng) -> Result<String> {
    let time = some_seconds(rng);
    let until = Instant::now() + time;
    let done = crowd(field, rng, 16, time, |rng| one_slow(field, rng, until))?;
    Ok(format!("{done} slow peers"))
}

/// Sends in drips, ends its side, and reads in drips through buffers as small as the kernel makes
/// it.
fn one_slow(field: &Field, rng: &mut Rng, until: Instant) -> Result<()> {
    let buffers = size(rng, 4096) as usize;
    let (stream, of, bytes) = (connect(field, rng, Some(buffers))?, rng.u64(..), size(rng, 16 << 10));
    let (drip, mut at) = (size(rng, 64), 0);
    while at < bytes && Instant::now() < until {
        let n = drip.min(bytes - at);
        let mut buf = [0; 64];
        peer::fill(of, at, &mut buf[..n as usize]);
        peer::send(field, &stream, &buf[..n as usize])?;
        at += n;
        thread::sleep(Duration::from_micros(rng.u64(0..200)));
    }
    let (sent, mut at) = (at, 0);
    while at < sent && Instant::now() < until {
        let n = drip.min(sent - at);
        peer::check(field, &stream, of, at, at + n)?;
        at += n;
        thread::sleep(Duration::from_micros(rng.u64(0..200)));
    }
    peer::finish(field, &stream, of, at, sent)
}

fn half_closes(field: &Field, _: &Server, rng: &mut Rng) -> Result<String> {
    let time = some_seconds(rng);
    let done = crowd(field, rng, 8, time, |rng| {
        let (stream, of) = (connect(field, rng, None)?, rng.u64(..));
        if rng.bool() {
            // With the echo still on its way; not so much that it has to be read first.
            let bytes = if rng.u8(..) < 32 { 0 } else { size(rng, 64 << 10) };
            peer::send_all(field, &stream, of, bytes)?;
            return peer::finish(field, &stream, of, 0, bytes);
        }
        let bytes = size(rng, 1 << 20);
        peer::both_ways(field, &stream, of, bytes)?;
        peer::finish(field, &stream, of, bytes, bytes)
    })?;
    Ok(format!("{done} half-closes"))
}

fn stops(field: &Field, server: &Server, rng: &mut Rng) -> Result<String> {
    let until = Instant::now() + some_seconds(rng);
    let mut loads: Vec<_> = (0..3).map(|_| Load::start(field)).collect::<Result<_>>()?;
    let mut done = 0;
    while Instant::now() < until {
        field.pause(Duration::from_millis(rng.u64(1..300)))?;
        if rng.bool() {
            let stopped = Stopped::new(field, server)?;
            field.pause(Duration::from_millis(rng.u64(1..800)))?;
            drop(stopped);
        } else {
            let load = rng.choice(&loads).context("there are loads")?;
            load.signal(Signal::STOP)?;
            field.pause(Duration::from_millis(rng.u64(1..800)))?;
            load.signal(Signal::CONT)?;
        }
        done += 1;
    }
    // One goes without a word.
    drop(loads.swap_remove(rng.usize(0..loads.len())));
    for load in loads {
        load.finish()?;
    }
    Ok(format!("{done} stops"))
}

/// A load generator of the server's own kind, which verifies what it gets. Dropped, it is killed.
struct Load(Child);

impl Load {
    /// Longer than any phase.
    const LOAD: &str = "8,2,5000,3600";

    fn start(field: &Field) -> Result<Self> {
        let mut command = Command::new(&field.program);
        command.args(["-H", &field.at.ip().to_string(), "-P", &field.at.port().to_string(), "--no-cpumask-locks", "--load", Self::LOAD]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("could not start a load")?;
        Ok(Self(child))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.0), signal).context("could not signal a load")
    }

    /// Ends it in order: its verdict is its exit code.
    fn finish(mut self) -> Result<()> {
        self.signal(Signal::INT)?;
        let status = self.0.wait().context("could not wait for a load")?;
        ensure!(status.success(), "a load client that was stopped and continued ended with {status}");
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Fails if it has ended and been waited for, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn descriptors(field: &Field, server: &Server, rng: &mut Rng) -> Result<String> {
    let _nobody = field.nobody_connects();
    let (time, over) = (some_seconds(rng), rng.usize(1..=500));
    let count = DESCRIPTORS - server.descriptors()? + over;
    let mut peers = Vec::new();
    for _ in 0..count {
        let stream = connect(field, rng, None)?;
        peer::send_what_goes(&stream, 4, 100);
        peers.push(stream);
    }
    field.pause(time / 2)?;
    let leave = rng.usize(over..=count);
    for _ in 0..leave {
        // In any order, served or waiting.
        let stream = peers.swap_remove(rng.usize(0..peers.len()));
        if rng.bool() {
            reset(stream);
        }
    }
    for stream in &peers {
        peer::check(field, stream, 4, 0, 100).context("a peer that came when the server was out of descriptors, now that it has some")?;
    }
    field.pause(time / 2)?;
    Ok(format!("{over} peers more than there were descriptors, {leave} of all left again"))
}

fn churn(field: &Field, _: &Server, rng: &mut Rng) -> Result<String> {
    let time = some_seconds(rng);
    let done = crowd(field, rng, 8, time, |rng| one_short(field, rng))?;
    Ok(format!("{done} short connections"))
}

fn one_short(field: &Field, rng: &mut Rng) -> Result<()> {
    let (stream, of, bytes) = (connect(field, rng, None)?, rng.u64(..), rng.u64(1..=64));
    peer::echo(field, &stream, of, 0, bytes)?;
    match rng.u8(0..3) {
        0 => reset(stream),
        1 => peer::finish(field, &stream, of, bytes, bytes)?,
        _ => {}
    }
    Ok(())
}

fn log(field: &Field, server: &Server, rng: &mut Rng) -> Result<String> {
    let time = some_seconds(rng);
    server.leave_log(true);
    let done = crowd(field, rng, 4, time, |rng| one_short(field, rng));
    server.leave_log(false);
    Ok(format!("{} short connections", done?))
}
