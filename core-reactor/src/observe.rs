//! What is seen of reactors while they run: how long things take, and what takes too long.
//!
//! A thread records what it runs in histograms of its own; nobody else reaches them while it does.
//! What others may look at meanwhile (who runs, and since when) are words of the core, stored
//! without order: whoever reads them may see a moment that never was, and no worse.
//!
//! The clock is read where a reactor reads it anyway: after what was busy. So a busy run counts the
//! idle runs directly before it, and messages of one turn are timed together. After a stall the
//! clock is read after each run for a while ([`CLOSELY`]), and then it is known who it is.
//!
//! With the feature `observe` off, `unobserved.rs` stands in the place of this module.

mod labels;
mod stalls;
mod trace;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use core::time::Duration;

use crossbeam_utils::CachePadded;
use spin::{Mutex, Once};
use statistics::stats;

use crate::handle::ThreadId;
use crate::set::Set;
use crate::time::nanos;
use crate::{CoreId, Cx, Histogram, Instant, Name, Platform, Reactor, ThreadLib, Turn};

pub(crate) use labels::Label;
use labels::Labels;
use stalls::Stalls;
pub use stalls::{GoingOn, Stall};
pub use trace::{CoreTrace, SocketTrace, TRACE_GROUPS, TraceEvent, TraceGroup, Tracepoint};
use trace::{Point, Raw, Ring};

/// How long a core is looked at closely after a stall.
const CLOSELY: Duration = Duration::from_secs(10);

const NEVER: u64 = u64::MAX;

stats! {
    /// How long things took on a thread.
    #[derive(Clone, Debug, Default)]
    #[non_exhaustive]
    pub struct ThreadHistograms {
        /// Busy runs of pollers. The idle runs directly before one count in.
        pub pollers: Histogram => histogram_ns("lcore_thread_poller_run_seconds"),
        /// Messages. Those of one turn are timed together, and each counts as their mean.
        pub messages: Histogram => histogram_ns("lcore_thread_message_run_seconds"),
        /// How long messages waited at most: since their mailbox was looked at last, or a sleeping
        /// core's doorbell was rung.
        pub message_waits: Histogram => histogram_ns("lcore_thread_message_wait_seconds"),
        /// How long after its deadline a timed poller began.
        pub timers_late: Histogram => histogram_ns("lcore_thread_timer_late_seconds"),
    }
}

/// What is seen of a set.
pub(crate) struct SetObserver {
    cores: Box<[Arc<CachePadded<CoreObserver>>]>,
    labels: Mutex<Labels>,
    /// The tracepoints that are on, eight bits for each group.
    traced: Mutex<u64>,
    /// What takes as long is a stall.
    limit_ns: u64,
}

/// What is seen of a core. The reactor stores, anybody reads.
struct CoreObserver {
    core: CoreId,
    /// When the turn began, nanoseconds; [`NEVER`] while there is none.
    turn: AtomicU64,
    /// The number of the thread that runs; 0 for the reactor itself.
    thread: AtomicU64,
    /// What of it runs.
    label: AtomicU16,
    /// Until when the clock is read after each run, nanoseconds.
    closely_until: AtomicU64,
    /// Idle time since the last busy run that has been told as a stall, nanoseconds.
    told_ns: AtomicU64,
    /// The tracepoints that are on.
    traced: AtomicU64,
    ring: Once<Ring>,
    stalls: Mutex<Stalls>,
}

/// What a thread notes of itself.
pub(crate) struct ThreadObserver {
    core: Arc<CachePadded<CoreObserver>>,
    id: ThreadId,
    limit_ns: u64,
    /// No message that waits now came before this.
    came_after: Instant,
    /// More than a turn's worth was there when it was looked last: so many of them have still to
    /// run, and what runs behind them came after that look.
    left: usize,
    left_at: Instant,
    histograms: Box<ThreadHistograms>,
}

/// What a reactor notes of itself.
pub(crate) struct ReactorObserver {
    core: Arc<CachePadded<CoreObserver>>,
    limit_ns: u64,
    /// Whether it turns itself: else nobody knows what its caller does between turns.
    runs: bool,
    wakes: Box<Histogram>,
}

/// When a sleeping core's doorbell was rung.
#[derive(Default)]
pub(crate) struct RungAt(AtomicU64);

impl SetObserver {
    /// For a reactor on each of `cores`. `limit` is how long a run may take; zero is for ever.
    pub(crate) fn new(cores: impl Iterator<Item = CoreId>, limit: Duration) -> Self {
        let limit_ns = if limit.is_zero() { u64::MAX } else { nanos(limit) };
        let cores = cores.map(|core| Arc::new(CachePadded::new(CoreObserver::new(core)))).collect();
        Self { cores, labels: Mutex::new(Labels::new()), traced: Mutex::new(0), limit_ns }
    }

    fn of(&self, core: CoreId) -> Arc<CachePadded<CoreObserver>> {
        let found = self.cores.iter().find(|observer| observer.core == core);
        // A thread that is turned by hand may be on a core that the set has not.
        found.cloned().unwrap_or_else(|| Arc::new(CachePadded::new(CoreObserver::new(core))))
    }

    /// The label of what is called so.
    pub(crate) fn label(&self, name: &Name) -> Label {
        self.labels.lock().of(name)
    }

    /// Something on `core` took too long. What is said of it goes to the log, but no more than once
    /// a second.
    fn stall(&self, on: &CoreObserver, thread: Name, label: Label, took_ns: u64, at: Instant, is_exact: bool) {
        let what = self.labels.lock().name(label);
        // No shorter than a trace wants it.
        on.closely_until.fetch_max(at.plus_nanos(nanos(CLOSELY)).as_nanos(), Ordering::Relaxed);
        let stall = Stall { at, core: on.core, thread, what, took: Duration::from_nanos(took_ns), is_exact };
        let said = on.stalls.lock().enter(stall.clone());
        // Not under the lock: what is logged may take its time.
        if let Some(left_out) = said {
            stall.say(self.limit_ns, left_out);
        }
    }
}

impl CoreObserver {
    fn new(core: CoreId) -> Self {
        Self {
            core,
            turn: AtomicU64::new(NEVER),
            thread: AtomicU64::new(0),
            label: AtomicU16::new(Label::BETWEEN.0),
            closely_until: AtomicU64::new(0),
            told_ns: AtomicU64::new(0),
            traced: AtomicU64::new(0),
            ring: Once::new(),
            stalls: Mutex::new(Stalls::default()),
        }
    }

    #[inline(always)]
    fn begin(&self, label: Label) {
        self.label.store(label.0, Ordering::Relaxed);
    }
}

impl ThreadObserver {
    pub(crate) fn new(set: &Set, id: ThreadId, core: CoreId) -> Self {
        // Nothing is known of what comes before the first look.
        let came_after = Instant::from_nanos(NEVER);
        let left_at = Instant::ZERO;
        Self { core: set.observer.of(core), id, limit_ns: set.observer.limit_ns, came_after, left: 0, left_at, histograms: Box::default() }
    }

    /// The thread has come to another core.
    pub(crate) fn set_core(&mut self, set: &Set, core: CoreId) {
        self.core = set.observer.of(core);
    }

    #[inline(always)]
    pub(crate) fn begin_turn(&self) {
        self.core.thread.store(self.id.0, Ordering::Relaxed);
    }

    /// Whether the clock is to be read after each run, idle ones too.
    #[inline(always)]
    pub(crate) fn looks_closely(&self, now: Instant) -> bool {
        now.as_nanos() < self.core.closely_until.load(Ordering::Relaxed)
    }

    /// The mailbox has been looked at.
    #[inline(always)]
    pub(crate) fn found_none(&mut self, now: Instant) {
        self.came_after = now;
    }

    /// The mailbox has been looked at, and `count` messages run now, which is all of them if it is
    /// less than `batch`; `depth` tells how many are there.
    #[inline(always)]
    pub(crate) fn begin_messages(&mut self, count: usize, batch: usize, depth: impl FnOnce() -> usize, now: Instant) {
        self.core.begin(Label::MESSAGES);
        if self.came_after.as_nanos() != NEVER {
            self.histograms.message_waits.record_many(now.nanos_since(self.came_after), count as u64);
        }
        if self.left == 0 && count < batch {
            self.came_after = now;
        } else {
            self.leave(count, depth(), now);
        }
    }

    #[cold]
    fn leave(&mut self, count: usize, depth: usize, now: Instant) {
        if self.left == 0 {
            (self.left, self.left_at) = (depth.saturating_sub(count), now);
        } else {
            self.left = self.left.saturating_sub(count);
        }
        if self.left == 0 {
            self.came_after = self.left_at;
        }
    }

    /// Its core has slept, and nothing came before `since`.
    pub(crate) fn slept(&mut self, since: Instant) {
        self.came_after = since;
    }

    #[inline(always)]
    pub(crate) fn begin_poller(&self, label: Label) {
        self.core.begin(label);
    }

    #[inline(always)]
    pub(crate) fn timer_came(&mut self, deadline: Instant, now: Instant) {
        self.histograms.timers_late.record(now.nanos_since(deadline));
    }

    /// `count` messages took so long, up to `now`. Tells whether that is too long.
    #[inline(always)]
    pub(crate) fn ran_messages(&mut self, count: u32, took_ns: u64, now: Instant, closely: bool) -> bool {
        let mean = if count == 1 { took_ns } else { took_ns / u64::from(count) };
        self.histograms.messages.record_many(mean, u64::from(count));
        // A core that traces what its threads do is looked at closely.
        if closely && self.core.traces(Point::MESSAGES) {
            self.trace(Point::MESSAGES, Label::MESSAGES, took_ns, now, u64::from(count));
        }
        took_ns >= self.limit_ns
    }

    /// A busy poller took so long, up to `now`. Tells whether that is too long.
    #[inline(always)]
    pub(crate) fn ran_poller(&mut self, label: Label, took_ns: u64, now: Instant, closely: bool) -> bool {
        self.histograms.pollers.record(took_ns);
        if closely && self.core.traces(Point::POLLER) {
            self.trace(Point::POLLER, label, took_ns, now, 0);
        }
        took_ns >= self.limit_ns
    }

    #[cold]
    fn trace(&self, point: Point, label: Label, took_ns: u64, end: Instant, value: u64) {
        let start = Instant::from_nanos(end.as_nanos().saturating_sub(took_ns));
        self.core.trace(Raw { point, label, thread: self.id, start, end, value });
    }

    /// An idle poller took so long, which nobody else charges. Tells whether that is too long.
    pub(crate) fn ran_idle(&mut self, took_ns: u64) -> bool {
        let is_stall = took_ns >= self.limit_ns;
        if is_stall {
            self.core.told_ns.fetch_add(took_ns, Ordering::Relaxed);
        }
        is_stall
    }

    /// Tells of what took too long, up to now.
    #[cold]
    pub(crate) fn stalled(&self, set: &Set, thread: &Name, label: Label, took_ns: u64, now: Instant, is_exact: bool) {
        set.observer.stall(&self.core, thread.clone(), label, took_ns, now, is_exact);
    }
}

impl ReactorObserver {
    pub(crate) fn new(set: &Set, core: CoreId) -> Self {
        Self { core: set.observer.of(core), limit_ns: set.observer.limit_ns, runs: false, wakes: Box::default() }
    }

    /// From now on it turns itself.
    pub(crate) fn run(&mut self) {
        self.runs = true;
    }

    #[inline(always)]
    pub(crate) fn begin_turn(&self, now: Instant) {
        self.core.turn.store(now.as_nanos(), Ordering::Relaxed);
        self.core.thread.store(0, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn begin_events(&self) {
        self.core.begin(Label::EVENTS);
    }

    /// A turn ended that began at `start`; the clock was last read at `end`.
    #[inline(always)]
    pub(crate) fn end_turn(&self, turn: &Turn, start: Instant, end: Instant) {
        self.core.begin(Label::BETWEEN);
        if self.core.traces(Point::TURN) && !turn.is_idle() {
            self.trace(Point::TURN, start, end, 0);
        }
    }

    #[cold]
    fn trace(&self, point: Point, start: Instant, end: Instant, value: u64) {
        self.core.trace(Raw { point, label: Label::OTHERS, thread: ThreadId(0), start, end, value });
    }

    /// `count` events took so long, up to `now`.
    #[inline(always)]
    pub(crate) fn ran_events(&self, set: &Set, count: usize, took_ns: u64, now: Instant) {
        if self.core.traces(Point::EVENTS) {
            let start = Instant::from_nanos(now.as_nanos().saturating_sub(took_ns));
            self.trace(Point::EVENTS, start, now, count as u64);
        }
        if took_ns >= self.limit_ns {
            self.stalled(set, Label::EVENTS, took_ns, now, true);
        }
    }

    /// So much of a turn, and of what came behind it, was not busy. Nobody knows yet who that was.
    #[inline(always)]
    pub(crate) fn was_idle(&self, set: &Set, idle_ns: u64, now: Instant) {
        if idle_ns >= self.limit_ns {
            self.idled(set, idle_ns, now);
        }
    }

    #[cold]
    fn idled(&self, set: &Set, idle_ns: u64, now: Instant) {
        let untold = idle_ns.saturating_sub(self.core.told_ns.swap(0, Ordering::Relaxed));
        if self.runs && untold >= self.limit_ns {
            self.stalled(set, Label::IDLE, untold, now, false);
        }
    }

    #[cold]
    fn stalled(&self, set: &Set, label: Label, took_ns: u64, now: Instant, is_exact: bool) {
        set.observer.stall(&self.core, Name::new(), label, took_ns, now, is_exact);
    }

    pub(crate) fn sleeps(&self) {
        self.core.turn.store(NEVER, Ordering::Relaxed);
    }

    /// It slept from `before` to `now`, `until` when at the latest. What else than a doorbell or a
    /// deadline has woken it does not say since when.
    /// Tells since when messages may have come: those that came in its sleep have rung.
    pub(crate) fn woke(&mut self, before: Instant, now: Instant, until: Option<Instant>, rung: &RungAt) -> Instant {
        let rung = Some(rung.take()).filter(|rung| *rung >= before);
        let due = until.filter(|until| *until <= now).map(|until| until.max(before));
        let late = [rung, due].into_iter().flatten().min().map(|since| now.nanos_since(since));
        if let Some(late) = late {
            self.wakes.record(late);
        }
        if self.core.traces(Point::SLEEP) {
            self.trace(Point::SLEEP, before, now, late.unwrap_or(0));
        }
        rung.unwrap_or(now)
    }

    /// How many stalls there were on its core.
    pub(crate) fn stalls(&self) -> u64 {
        self.core.stalls.lock().count()
    }
}

impl Drop for ReactorObserver {
    fn drop(&mut self) {
        self.sleeps();
    }
}

impl RungAt {
    /// Before the core is woken. The clock costs little beside the system call that comes next.
    pub(crate) fn note(&self, platform: &dyn Platform) {
        self.0.store(platform.now().as_nanos(), Ordering::Relaxed);
    }

    fn take(&self) -> Instant {
        Instant::from_nanos(self.0.swap(0, Ordering::Relaxed))
    }
}

impl Cx<'_> {
    /// How long things took on this thread since it began.
    pub fn histograms(&self) -> ThreadHistograms {
        (*self.thread.observer.histograms).clone()
    }
}

impl Reactor {
    /// How long it took to wake: from when its doorbell was rung, or its deadline came, to where it
    /// runs again.
    pub fn wakes(&self) -> &Histogram {
        &self.observer.wakes
    }
}

impl ThreadLib {
    /// The latest stalls, of each core no more than [`Stall::KEPT`], the oldest first.
    pub fn stalls(&self) -> Vec<Stall> {
        let mut all: Vec<_> = self.set.observer.cores.iter().flat_map(|core| core.stalls.lock().latest()).collect();
        all.sort_by_key(|stall| stall.at);
        all
    }

    /// What takes longer than it may and has not ended yet. For a watcher that is no reactor.
    pub fn going_on(&self) -> Vec<GoingOn> {
        let observer = &self.set.observer;
        let now = self.set.platform().now();
        let look = |core: &CoreObserver| {
            let since = Instant::from_nanos(core.turn.load(Ordering::Relaxed));
            if now.nanos_since(since) < observer.limit_ns {
                return None;
            }
            let (thread, label) = (core.thread.load(Ordering::Relaxed), Label(core.label.load(Ordering::Relaxed)));
            let thread = self.set.thread_name(ThreadId(thread)).unwrap_or_default();
            Some(GoingOn { core: core.core, thread, what: observer.labels.lock().name(label), since })
        };
        observer.cores.iter().filter_map(|core| look(core)).collect()
    }

    /// How long a run may take before it is a stall; zero if it may take for ever.
    pub fn stall_limit(&self) -> Duration {
        match self.set.observer.limit_ns {
            u64::MAX => Duration::ZERO,
            limit => Duration::from_nanos(limit),
        }
    }
}
