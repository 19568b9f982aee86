//! One server among its peers: what all threads share, and the order of things.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fastrand::Rng;
use hdrhistogram::Histogram;

use crate::clock::Clock;
use crate::phases::Phase;
use crate::server::Server;
use crate::{healthy, peer};

/// By when descriptors and buffers are back after a phase.
const SETTLED: Duration = Duration::from_secs(10);
/// Connections that come and go before memory is measured: what the server keeps for its peers is
/// there from then on.
const WARM_UP: usize = 1000;
/// What the server's memory may have grown by from then to the end: pages of its pool and of its
/// tables that the warm-up did not touch.
const GROWTH: usize = 48 << 20;

/// What is to be done with each backend.
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) cores: String,
    pub(crate) phases: Vec<&'static Phase>,
    pub(crate) healthy: usize,
    pub(crate) within: Duration,
    pub(crate) time: Duration,
    pub(crate) interrupted: Arc<AtomicBool>,
}

/// What all threads share.
pub(crate) struct Field {
    pub(crate) at: SocketAddr,
    pub(crate) program: PathBuf,
    pub(crate) clock: Clock,
    /// The longest that a peer that does nothing wrong waits.
    pub(crate) within: Duration,
    interrupted: Arc<AtomicBool>,
    over: AtomicBool,
    /// The first thing that went wrong for a healthy peer.
    wrong: OnceLock<String>,
    connecting: RwLock<()>,
    connections: AtomicU64,
    waits: Mutex<Waits>,
}

/// How long healthy peers waited, in microseconds.
struct Waits {
    phase: Histogram<u64>,
    all: Histogram<u64>,
}

/// Plays the plan against one backend.
pub(crate) fn play(plan: &Plan, backend: &str, seed: u64) -> Result<()> {
    let mut server = Server::start(&plan.program, backend, &plan.cores)?;
    let (field, mut rng) = (Field::new(plan, server.at)?, Rng::with_seed(seed));
    println!("{backend}: the server listens on {}, {} healthy peers, {:.0} s of faults", server.at, plan.healthy, plan.time.as_secs_f64());
    let base = warm_up(&field, &server, &mut rng)?;
    thread::scope(|scope| {
        for _ in 0..plan.healthy {
            let (field, rng) = (&field, rng.fork());
            scope.spawn(move || field.note(healthy::run(field, rng)));
        }
        let played = rounds(plan, &field, &mut server, base.descriptors + plan.healthy, &mut rng);
        field.over.store(true, Ordering::Relaxed);
        played
    })
    .and_then(|()| field.all_well())
    .and_then(|()| base.is_back(&field, &server))
    .map_err(|why| anyhow!("{why:#}{}{}", server.said(), machine()))?;
    end(&field, server)
}

/// What else may have kept peers waiting: a machine that is busy, or out of memory for sockets.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let sockets = read("/proc/net/sockstat");
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let (load, pressure) = (read("/proc/loadavg"), read("/proc/sys/net/ipv4/tcp_mem"));
    format!("\nmachine | load {}; {tcp}, pages, of {}", load.trim(), pressure.trim())
}

/// Phase after phase, each round of them in another order, until the time is up.
fn rounds(plan: &Plan, field: &Field, server: &mut Server, descriptors: usize, rng: &mut Rng) -> Result<()> {
    let (began, mut round) = (Instant::now(), 0);
    let mut phases = plan.phases.clone();
    while began.elapsed() < plan.time {
        round += 1;
        rng.shuffle(&mut phases);
        for phase in &phases {
            if began.elapsed() >= plan.time {
                break;
            }
            let about = || format!("phase {} of round {round}", phase.name);
            one(field, server, phase, descriptors, &mut rng.fork()).with_context(about)?;
        }
    }
    Ok(())
}

fn one(field: &Field, server: &mut Server, phase: &Phase, descriptors: usize, rng: &mut Rng) -> Result<()> {
    let (began, before) = (Instant::now(), field.connections.load(Ordering::Relaxed));
    let outcome = (phase.run)(field, server, rng);
    // That the server is gone says more than that a peer was not served.
    server.lives()?;
    let did = outcome?;
    field.all_well()?;
    let settled = settle(field, server, descriptors)?;
    server.lives()?;
    let connections = field.connections.load(Ordering::Relaxed) - before;
    let (time, waits) = (began.elapsed().as_secs_f64(), field.waits().end_phase());
    println!(
        "  {:<12} {time:5.1} s  {connections:>6} connections  {waits}  settled in {:.1} s  ({did})",
        phase.name,
        settled.as_secs_f64()
    );
    Ok(())
}

/// Waits until the server has no more than so many descriptors; how long that took.
fn settle(field: &Field, server: &Server, descriptors: usize) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let now = server.descriptors()?;
        if now <= descriptors {
            return Ok(began.elapsed());
        }
        ensure!(
            began.elapsed() < SETTLED,
            "{SETTLED:?} after its peers had gone the server had {now} descriptors, where at most {descriptors} belong"
        );
        field.pause(Duration::from_millis(10))?;
    }
}

/// What the server had before the first fault.
struct Base {
    descriptors: usize,
    resident: usize,
}

/// Serves a crowd twice: what the first one makes the server keep is there from then on.
fn warm_up(field: &Field, server: &Server, rng: &mut Rng) -> Result<Base> {
    crowd(field, rng)?;
    let descriptors = at_rest(field, server)?;
    crowd(field, rng)?;
    settle(field, server, descriptors).context("before the first fault")?;
    Ok(Base { descriptors, resident: server.resident()? })
}

/// Many connections at once.
fn crowd(field: &Field, rng: &mut Rng) -> Result<()> {
    let peers: Vec<_> = (0..WARM_UP).map(|_| peer::connect(field, rng, None)).collect::<Result<_>>()?;
    peers.iter().try_for_each(|stream| peer::echo(field, stream, 1, 0, 16 << 10))
}

/// The server's descriptors, when their number has not changed for a while.
fn at_rest(field: &Field, server: &Server) -> Result<usize> {
    let (mut count, mut looks) = (0, 0);
    while looks < 20 {
        field.pause(Duration::from_millis(10))?;
        let now = server.descriptors()?;
        (count, looks) = (now, if now == count { looks + 1 } else { 0 });
    }
    Ok(count)
}

impl Base {
    fn is_back(&self, field: &Field, server: &Server) -> Result<()> {
        settle(field, server, self.descriptors).context("at the end")?;
        let (now, most) = (server.resident()?, self.resident + GROWTH);
        println!("  memory {} KiB before the first fault, {} KiB after the last", self.resident >> 10, now >> 10);
        ensure!(now <= most, "the server's memory grew from {} to {now} bytes, more than the {GROWTH} that are granted", self.resident);
        Ok(())
    }
}

/// The server's end, and what it reports.
fn end(field: &Field, server: Server) -> Result<()> {
    let (report, took) = server.stop()?;
    let held = report["pool"]["held"].as_u64().context("the report has no pool.held")?;
    ensure!(held == 0, "at its end the server held {held} buffers");
    let total = |what: &str| report["groups"].as_array().map(|all| all.iter().filter_map(|group| group[what].as_u64()).sum::<u64>());
    let served = total("connections").context("the report has no groups")?;
    println!(
        "  all well: {} connections made, {served} served, {} of them ended by an error; {}; SIGTERM took {:.2} s",
        field.connections.load(Ordering::Relaxed),
        total("failed").unwrap_or(0),
        field.waits().end(),
        took.as_secs_f64()
    );
    Ok(())
}

impl Field {
    fn new(plan: &Plan, at: SocketAddr) -> Result<Self> {
        // 1 us to 10 minutes, to two digits.
        let histogram = Histogram::new_with_bounds(1, 600_000_000, 2)?;
        Ok(Self {
            at,
            program: plan.program.clone(),
            clock: Clock::new(),
            within: plan.within,
            interrupted: plan.interrupted.clone(),
            over: AtomicBool::new(false),
            wrong: OnceLock::new(),
            connecting: RwLock::new(()),
            connections: AtomicU64::new(0),
            waits: Mutex::new(Waits { phase: histogram.clone(), all: histogram }),
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Held by a healthy peer while it connects.
    pub(crate) fn may_connect(&self) -> RwLockReadGuard<'_, ()> {
        self.connecting.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while the server cannot take connections.
    pub(crate) fn nobody_connects(&self) -> RwLockWriteGuard<'_, ()> {
        self.connecting.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer that did nothing wrong was served; an error if it had to wait too long.
    pub(crate) fn served(&self, since: Duration) -> Result<()> {
        let waited = self.clock.now().saturating_sub(since);
        self.waits().phase.saturating_record(waited.as_micros() as u64);
        ensure!(waited <= self.within, "a healthy peer had to wait {:.1} s for its echo", waited.as_secs_f64());
        Ok(())
    }

    /// An error if a wait since then has no end, or is not worth it any more.
    pub(crate) fn still_worth_it(&self, since: Duration, what: &str) -> Result<()> {
        self.all_well()?;
        let waited = self.clock.now().saturating_sub(since);
        ensure!(waited <= self.within, "a peer that did nothing wrong waited {:.1} s in vain for {what}", waited.as_secs_f64());
        Ok(())
    }

    /// Sleeps for so long, unless something goes wrong.
    pub(crate) fn pause(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            self.all_well()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    fn note(&self, outcome: Result<()>) {
        if let Err(why) = outcome {
            self.wrong.get_or_init(|| format!("{why:#}"));
        }
    }

    /// An error if something went wrong for a healthy peer, or somebody interrupted us.
    pub(crate) fn all_well(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        self.wrong.get().map_or(Ok(()), |why| Err(anyhow!("{why}")))
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits {
    fn end_phase(&mut self) -> String {
        let text = words(&self.phase);
        // They have the same bounds, so that every value fits.
        let _ = self.all.add(&self.phase);
        self.phase.reset();
        text
    }

    fn end(&mut self) -> String {
        self.end_phase();
        words(&self.all)
    }
}

fn words(waits: &Histogram<u64>) -> String {
    let ms = |micros: u64| micros as f64 / 1e3;
    let at = |q: f64| ms(waits.value_at_quantile(q));
    format!("{:>6} echoes p50 {:.1} p99 {:.1} worst {:.1} ms", waits.len(), at(0.5), at(0.99), ms(waits.max()))
}
