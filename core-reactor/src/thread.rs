//! Lightweight threads: a mailbox, pollers and timers that some core turns. The counterpart of
//! `spdk_thread`.
//!
//! Whoever owns a [`Thread`] turns it: a [`Reactor`](crate::Reactor), or an embedder's own loop
//! (see `poller-test`). Code that runs in a turn gets a [`Cx`]; it cannot be kept, and the thread
//! cannot be reached from it as a `Thread`, so turns cannot nest.
//!
//! ```text
//!           exit() seen              drained, or the limit is over
//! Running ───────────────► Exiting ───────────────────────────────► Exited: its owner drops it
//! ```

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use crate::cx::Inner;
use crate::handle::Shared;
use crate::observe::Label;
use crate::ring::Receiver;
use crate::set::Set;
use crate::time::nanos;
use crate::{CoreId, CpuSet, Cx, Instant, Msg, Polled, PollerId, ThreadHandle, ThreadStats, Turn};

/// A lightweight thread; its owner calls [`turn`](Self::turn).
pub struct Thread {
    inner: Inner,
    inbox: Receiver<Msg>,
    /// When to stop waiting for the rest, once asked to exit.
    exit_by: Option<Instant>,
    exited: bool,
}

/// A thread's figures since its start, for the balancer.
pub(crate) struct ThreadLoad {
    pub(crate) thread: ThreadHandle,
    pub(crate) busy_ns: u64,
    pub(crate) cpus: CpuSet,
    pub(crate) movable: bool,
}

impl Thread {
    pub(crate) fn new(set: Arc<Set>, shared: Arc<Shared>, inbox: Receiver<Msg>, cpus: CpuSet, core: CoreId) -> Self {
        Self { inner: Inner::new(set, shared, cpus, core), inbox, exit_by: None, exited: false }
    }

    /// One turn at `now`: a critical message, a batch of messages, every active poller, every timed
    /// poller that is due. Bounded: what is sent or registered meanwhile has its turn next time. An
    /// exited thread does nothing. A time before that of an earlier turn counts as that one's.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let mut mark = now;
        self.turn_after(now, &mut mark)
    }

    /// As [`turn`](Self::turn), as one of several threads in one turn of a reactor, which all have
    /// its time: `mark` is the last reading of the clock, so that none is charged with what those
    /// before it did.
    #[inline]
    pub(crate) fn turn_after(&mut self, now: Instant, mark: &mut Instant) -> Turn {
        if self.exited {
            return Turn::default();
        }
        let inner = &mut self.inner;
        // Two cores' turns overlap, and a thread that moves may come into one that began before its
        // last: deadlines are in order only if its time is.
        inner.now = now.max(inner.now);
        inner.figures.turns += 1;
        inner.shared.begin_turn();
        let mut turn = Turn::default();
        inner.observer.begin_turn();
        let closely = inner.observer.looks_closely(now);
        let active = inner.pollers.active_len();
        self.run_messages(&mut turn, mark, closely);
        if closely {
            self.run_closely(active, &mut turn, mark);
        } else {
            self.run_active::<false>(active, &mut turn, mark);
            self.run_timers::<false>(&mut turn, mark);
        }
        let exiting = self.inner.shared.exit_requested();
        if exiting {
            self.run_at_exit(&mut turn, mark);
        }
        let inner = &mut self.inner;
        inner.pollers.end_turn();
        inner.figures.busy_ns += turn.busy_ns;
        inner.figures.longest_ns = inner.figures.longest_ns.max(turn.busy_ns);
        if exiting {
            self.exit_step();
        }
        turn
    }

    /// Runs `f` on the thread, outside of a turn: to set it up before its first.
    ///
    /// ```
    /// # use core_reactor::sim::SimPlatform;
    /// # use core_reactor::{CoreId, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
    /// # let platform = SimPlatform::new(1);
    /// # let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default());
    /// # let mut thread = lib.create(ThreadConfig::new("mine"), CoreId(0)).ok_or("no such core")?;
    /// let core = thread.with(|cx| cx.core());
    /// assert_eq!(core, CoreId(0));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn with<R>(&mut self, f: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        self.inner.now = self.inner.set.platform().now().max(self.inner.now);
        let result = f(&mut Cx { thread: &mut self.inner });
        self.inner.pollers.end_turn();
        result
    }

    /// Whether the thread has ended: it runs nothing any more and can be dropped.
    pub fn is_exited(&self) -> bool {
        self.exited
    }

    /// Whether messages, claimed ones included, or a request to exit wait for the next turn. See
    /// [`Receiver::is_empty`](crate::ring::Receiver::is_empty) for its use before a sleep.
    pub fn has_work(&self) -> bool {
        let shared = &self.inner.shared;
        let asked_to_exit = || shared.exit_requested() && self.exit_by.is_none();
        !self.exited && (!self.inbox.is_empty() || shared.is_woken() || shared.has_critical() || asked_to_exit())
    }

    /// Whether its core may sleep as far as its pollers go (none is
    /// [`Schedule::Always`](crate::Schedule::Always)).
    pub fn may_park(&self) -> bool {
        self.exited || self.inner.pollers.may_park()
    }

    /// Prepares for a sleep of its core, after everything else has been looked at; false if one of
    /// its bells has something to tell. Whoever turns the thread calls
    /// [`after_sleep`](Self::after_sleep) in either case.
    pub fn before_sleep(&self) -> bool {
        self.inner.bells.arm()
    }

    /// Its core has slept; no message came before `since`.
    pub(crate) fn slept(&mut self, since: Instant) {
        self.inner.observer.slept(since);
    }

    /// Its core is awake, or did not sleep.
    pub fn after_sleep(&self) {
        self.inner.bells.disarm();
    }

    /// When its next turn is due at the latest: the first timer, what a bell says, or the limit on
    /// its exit.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.exited {
            return None;
        }
        [self.inner.pollers.next_deadline(), self.inner.bells.due(), self.exit_by].into_iter().flatten().min()
    }

    /// The handle by which others reach it.
    pub fn handle(&self) -> ThreadHandle {
        ThreadHandle(self.inner.shared.clone())
    }

    /// Charges the thread with `ns` nanoseconds in which it had nothing to do. Whoever turns it
    /// knows that, and shares it among its threads.
    pub fn charge_idle(&mut self, ns: u64) {
        self.inner.figures.idle_ns += ns;
    }

    /// Charges it with its share of the time that its core slept, nanoseconds.
    pub(crate) fn charge_parked(&mut self, nanos: u64) {
        self.inner.figures.parked_ns += nanos;
    }

    /// What it has done.
    pub fn stats(&self) -> ThreadStats {
        self.inner.stats()
    }

    /// The cores that it may run on.
    pub(crate) fn cpus(&self) -> &CpuSet {
        &self.inner.cpus
    }

    /// The core that it asked to be on, as long as it is not.
    pub(crate) fn wanted_core(&self) -> Option<CoreId> {
        self.inner.wanted
    }

    /// Whether it may run on `core` and does not want to be elsewhere.
    #[inline]
    pub(crate) fn belongs_on(&self, core: CoreId) -> bool {
        self.inner.wanted.is_none() && self.inner.cpus.contains(core)
    }

    pub(crate) fn set_core(&mut self, core: CoreId, now: Instant) {
        if self.inner.core != core {
            self.inner.observer.set_core(&self.inner.set, core);
        }
        self.inner.core = core;
        self.inner.since = now;
        self.inner.wanted = None;
    }

    /// Its figures, for the balancer.
    pub(crate) fn load(&self) -> ThreadLoad {
        let (busy_ns, cpus, movable) = (self.inner.figures.busy_ns, self.inner.cpus, !self.inner.is_pinned());
        ThreadLoad { thread: self.handle(), busy_ns, cpus, movable }
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.inner.is_pinned()
    }

    /// The thread as something that may change cores, if nothing holds it here.
    #[allow(clippy::result_large_err, reason = "it moves a thread from one vector to another, not up a stack of callers")]
    pub(crate) fn into_movable(mut self) -> Result<Movable, Self> {
        self.inner.drop_stale();
        if self.inner.is_pinned() { Err(self) } else { Ok(Movable(Box::new(self))) }
    }
}

impl Thread {
    #[inline(always)]
    fn run_messages(&mut self, turn: &mut Turn, mark: &mut Instant, closely: bool) {
        let inner = &mut self.inner;
        let batch = inner.set.batch;
        // Counted before the first one runs, the critical one included, so that a message to the
        // own thread waits for the next turn.
        let ready = self.inbox.ready(batch);
        if ready > 0 {
            inner.observer.begin_messages(ready, batch, || self.inbox.ring().depth(), *mark);
        } else {
            inner.observer.found_none(*mark);
        }
        if let Some(f) = inner.shared.take_critical() {
            f(&mut Cx { thread: inner });
            turn.messages += 1;
        }
        for _ in 0..ready {
            if let Some(msg) = self.inbox.pop_in_place() {
                // SAFETY: it was received just now, and stays in its slot until `publish` below.
                unsafe { Msg::run_at(msg, &mut Cx { thread: inner }) };
            }
        }
        self.inbox.publish(ready, batch);
        turn.messages += ready as u32;
        if turn.messages > 0 {
            inner.figures.messages += u64::from(turn.messages);
            let took = charge(inner, turn, mark);
            if inner.observer.ran_messages(turn.messages, took, *mark, closely) {
                stalled(inner, None, Label::MESSAGES, took, *mark, closely);
            }
        }
    }

    /// Runs the pollers, and reads the clock after each.
    #[cold]
    fn run_closely(&mut self, active: usize, turn: &mut Turn, mark: &mut Instant) {
        self.run_active::<true>(active, turn, mark);
        self.run_timers::<true>(turn, mark);
    }

    #[inline(always)]
    fn run_active<const CLOSELY: bool>(&mut self, active: usize, turn: &mut Turn, mark: &mut Instant) {
        for position in 0..active {
            let Some(id) = self.inner.pollers.active_at(position) else { continue };
            turn.pollers += u32::from(run::<CLOSELY>(&mut self.inner, id, turn, mark));
        }
    }

    #[inline(always)]
    fn run_timers<const CLOSELY: bool>(&mut self, turn: &mut Turn, mark: &mut Instant) {
        while let Some((id, deadline)) = self.inner.pollers.due(self.inner.now) {
            self.inner.observer.timer_came(deadline, *mark);
            run::<CLOSELY>(&mut self.inner, id, turn, mark);
            turn.timers += 1;
        }
    }

    /// Runs what waits for the exit, the last registered first: as many as there are now, so that
    /// the turn ends.
    #[cold]
    fn run_at_exit(&mut self, turn: &mut Turn, mark: &mut Instant) {
        for _ in 0..self.inner.pollers.at_exit() {
            let Some(id) = self.inner.pollers.pop_at_exit() else { return };
            turn.pollers += u32::from(run::<false>(&mut self.inner, id, turn, mark));
        }
    }

    /// On the way out: ends when everything is drained, or by force when the time is up.
    fn exit_step(&mut self) {
        let inner = &mut self.inner;
        let exit_by = *self.exit_by.get_or_insert(inner.now.plus_nanos(nanos(inner.set.exit_limit)));
        inner.drop_stale();
        let drained = inner.pollers.may_end() && inner.holds.is_empty() && inner.channels.is_empty();
        if drained && self.close_if_empty() {
            self.exited = true;
        } else if self.inner.now >= exit_by {
            self.stop_by_force();
        }
    }

    /// Refuses all messages from now on, if none waits.
    fn close_if_empty(&mut self) -> bool {
        let shared = &self.inner.shared;
        if !self.inbox.is_empty() || shared.has_late() || !shared.close_critical() {
            return false;
        }
        let closed = self.inbox.close_if_empty();
        if !closed {
            shared.open_critical();
        }
        closed
    }

    fn stop_by_force(&mut self) {
        let inner = &self.inner;
        let thread = inner.shared.name.as_str();
        self.inbox.close();
        inner.shared.end_critical();
        logging::warn!(
            "thread {} was stopped by force after {} ms with {} messages waiting",
            thread,
            inner.set.exit_limit.as_millis() as u64,
            self.inbox.ring().depth()
        );
        for name in inner.pollers.names() {
            logging::warn!("thread {}: poller {} was left", thread, name.as_str());
        }
        for name in &inner.holds {
            logging::warn!("thread {}: {} was left", thread, name.as_str());
        }
        for channel in inner.channels.info() {
            logging::warn!("thread {}: channel {} was left", thread, &*channel.name);
        }
        self.exited = true;
    }
}

/// Runs a poller, taken out for so long. Tells whether it was busy.
#[inline(always)]
fn run<const CLOSELY: bool>(thread: &mut Inner, id: PollerId, turn: &mut Turn, mark: &mut Instant) -> bool {
    let Some(mut poller) = thread.pollers.take(id) else { return false };
    let label = thread.pollers.label(id);
    thread.observer.begin_poller(label);
    let mut guard = RemoveOnPanic { thread, id, running: true };
    let polled = poller.poll(&mut Cx { thread: guard.thread });
    guard.running = false;
    drop(guard);
    thread.pollers.put_back(id, poller);
    if polled == Polled::Idle {
        if CLOSELY {
            let took = read_clock(thread, mark);
            if thread.observer.ran_idle(took) {
                stalled(thread, Some(id), label, took, *mark, true);
            }
        }
        return false;
    }
    let took = charge(thread, turn, mark);
    thread.pollers.charge(id, took);
    if thread.observer.ran_poller(label, took, *mark, CLOSELY) {
        stalled(thread, Some(id), label, took, *mark, CLOSELY);
    }
    if polled == Polled::Done {
        drop(thread.pollers.remove(id));
    }
    true
}

/// Reads the clock (after work only: it costs as much as an idle poller) and counts what passed
/// since the last reading as busy.
#[inline(always)]
fn charge(thread: &Inner, turn: &mut Turn, mark: &mut Instant) -> u64 {
    let took = read_clock(thread, mark);
    turn.busy_ns += took;
    took
}

/// What passed since the last reading.
#[inline(always)]
fn read_clock(thread: &Inner, mark: &mut Instant) -> u64 {
    let now = thread.set.platform().now();
    let took = now.nanos_since(*mark);
    *mark = now;
    took
}

/// Counts something that took too long, up to `now`, and tells of it.
#[cold]
fn stalled(thread: &mut Inner, poller: Option<PollerId>, label: Label, took: u64, now: Instant, is_exact: bool) {
    // Its first turn is its start, which makes pools and rings.
    if thread.figures.turns == 1 {
        return;
    }
    thread.figures.stalls += 1;
    if let Some(id) = poller {
        thread.pollers.count_stall(id);
    }
    thread.observer.stalled(&thread.set, &thread.shared.name, label, took, now, is_exact);
}

/// Removes a poller whose run ended by a panic: it was taken out for the run, so nothing of it is
/// left to run again.
struct RemoveOnPanic<'a> {
    thread: &'a mut Inner,
    id: PollerId,
    running: bool,
}

impl Drop for RemoveOnPanic<'_> {
    fn drop(&mut self) {
        if self.running {
            let _ = self.thread.pollers.remove(self.id);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.inner.shared.end_critical();
        self.inner.set.forget(self.inner.shared.id);
        self.inbox.close();
        self.inner.shared.end_late();
    }
}

pub(crate) use movable::Movable;

mod movable {
    //! What alone takes a thread to another core.
    // UNSAFETY: a `Thread` is not `Send`, since it may hold pollers that are not; this wrapper is
    // made only of threads that hold none.

    use alloc::boxed::Box;

    use super::Thread;

    pub(crate) struct Movable(pub(super) Box<Thread>);

    // SAFETY: `Thread::into_movable` makes it only when no poller is local, no hold is out and no
    // channel is open, and drops what is left of those that were. What is left is `Send`: pollers
    // that were `Send` when registered, messages, figures, and empty lists of `Rc`s.
    unsafe impl Send for Movable {}

    impl Movable {
        /// Has messages to the thread wake the core of this index from now on.
        pub(crate) fn set_core_index(&self, core_index: usize) {
            self.0.inner.shared.set_core_index(core_index);
        }

        pub(crate) fn into_thread(self) -> Thread {
            *self.0
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.handle()).finish()
    }
}

#[cfg(test)]
impl Thread {
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}
