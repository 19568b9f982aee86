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
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::time::Duration;

use crate::balance::ThreadLoad;
use crate::bells::{Bells, Rung};
use crate::channels::Channels;
use crate::handle::Shared;
use crate::pollers::Pollers;
use crate::ring::Receiver;
use crate::time::nanos;
use crate::{
    Bell, CoreId, CpuSet, Instant, Msg, Name, Platform, PlatformError, Polled, Poller, PollerId, Schedule, StalePoller, ThreadHandle,
    ThreadLib, ThreadStats, Turn, WaitSource, name,
};

/// A thread, for the one who turns it.
pub struct Thread {
    inner: Inner,
}

/// What a thread is made of. [`Cx`] is a reference to it that cannot be kept.
pub(crate) struct Inner {
    /// The time of the current or last turn.
    now: Instant,
    shared: Arc<Shared>,
    inbox: Receiver<Msg>,
    pollers: Pollers,
    /// One for each hold given out; a hold that was dropped leaves its entry with no other owner,
    /// until the list would have to grow.
    holds: Vec<Rc<Name>>,
    bells: Bells,
    channels: Channels,
    cpus: CpuSet,
    core: CoreId,
    /// Another core that it asked to be on.
    wanted: Option<CoreId>,
    /// When to stop waiting for the rest, once asked to exit.
    exit_by: Option<Instant>,
    exited: bool,
    turns: u64,
    messages: u64,
    busy: u64,
    idle: u64,
    longest: u64,
}

impl Thread {
    pub(crate) fn new(shared: Arc<Shared>, inbox: Receiver<Msg>, cpus: CpuSet, core: CoreId) -> Self {
        let inner = Inner {
            now: shared.lib.platform.now(),
            shared,
            inbox,
            pollers: Pollers::default(),
            holds: Vec::new(),
            bells: Bells::default(),
            channels: Channels::default(),
            cpus,
            core,
            wanted: None,
            exit_by: None,
            exited: false,
            turns: 0,
            messages: 0,
            busy: 0,
            idle: 0,
            longest: 0,
        };
        Self { inner }
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
        let inner = &mut self.inner;
        if inner.exited {
            return Turn::default();
        }
        // Two cores' turns overlap, and a thread that moves may come into one that began before its
        // last: deadlines are in order only if its time is.
        inner.now = now.max(inner.now);
        inner.turns += 1;
        inner.shared.begin_turn();
        let mut turn = Turn::default();
        let places = inner.pollers.active_places();
        inner.run_messages(&mut turn, mark);
        inner.run_active(places, &mut turn, mark);
        inner.run_timers(&mut turn, mark);
        let exiting = inner.shared.exit_requested();
        if exiting {
            inner.run_at_exit(&mut turn, mark);
        }
        inner.pollers.end_turn();
        inner.busy += turn.busy;
        inner.longest = inner.longest.max(turn.busy);
        if exiting {
            inner.exit_step();
        }
        turn
    }

    /// Runs `f` on the thread, outside of a turn: to set it up before its first.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        self.inner.now = self.inner.shared.lib.platform.now().max(self.inner.now);
        let result = f(&mut Cx { thread: &mut self.inner });
        self.inner.pollers.end_turn();
        result
    }

    /// Whether the thread has ended: it runs nothing any more and can be dropped.
    pub fn is_exited(&self) -> bool {
        self.inner.exited
    }

    /// Whether messages, claimed ones included, or a request to exit wait for the next turn. See
    /// [`Receiver::is_empty`](crate::ring::Receiver::is_empty) for its use before a sleep.
    pub fn has_work(&self) -> bool {
        let inner = &self.inner;
        !inner.exited
            && (!inner.inbox.is_empty()
                || inner.shared.is_woken()
                || inner.shared.has_critical()
                || (inner.shared.exit_requested() && inner.exit_by.is_none()))
    }

    /// Whether its core may sleep as far as its pollers go (none is [`Schedule::Always`]).
    pub fn may_park(&self) -> bool {
        self.inner.exited || self.inner.pollers.may_park()
    }

    /// Prepares for a sleep of its core, after everything else has been looked at; false if one of
    /// its bells has something to tell. Whoever turns the thread calls
    /// [`after_sleep`](Self::after_sleep) in either case.
    pub fn before_sleep(&self) -> bool {
        self.inner.bells.arm()
    }

    /// Its core is awake, or did not sleep.
    pub fn after_sleep(&self) {
        self.inner.bells.disarm();
    }

    /// When its next turn is due at the latest: the first timer, what a bell says, or the limit on
    /// its exit.
    pub fn next_deadline(&self) -> Option<Instant> {
        let inner = &self.inner;
        if inner.exited {
            return None;
        }
        [inner.pollers.next_deadline(), inner.bells.due(), inner.exit_by].into_iter().flatten().min()
    }

    /// The handle by which others reach it.
    pub fn handle(&self) -> ThreadHandle {
        ThreadHandle(self.inner.shared.clone())
    }

    /// Charges the thread with `nanos` of time in which it had nothing to do. Whoever turns it
    /// knows that, and shares it among its threads.
    pub fn charge_idle(&mut self, nanos: u64) {
        self.inner.idle += nanos;
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

    pub(crate) fn set_core(&mut self, core: CoreId) {
        self.inner.core = core;
        self.inner.wanted = None;
    }

    /// Its figures, for the balancer.
    pub(crate) fn load(&self) -> ThreadLoad {
        let (busy, cpus, movable) = (self.inner.busy, self.inner.cpus, !self.inner.is_pinned());
        ThreadLoad { thread: self.handle(), busy, cpus, movable }
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.inner.is_pinned()
    }

    /// The thread as something that may change cores, if nothing holds it here.
    #[allow(clippy::result_large_err, reason = "it moves a thread from one vector to another, not up a stack of callers")]
    pub(crate) fn into_movable(mut self) -> Result<Movable, Self> {
        self.inner.drop_stale_holds();
        if self.inner.is_pinned() { Err(self) } else { Ok(Movable(Box::new(self))) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.inner.shared.end_critical();
        self.inner.shared.lib.forget(&self.inner.shared);
    }
}

pub(crate) use movable::Movable;

mod movable {
    //! The one place where a thread may change cores.
    // UNSAFETY: a `Thread` is not `Send`, since it may hold pollers that are not; this wrapper is
    // made only of threads that hold none.

    use alloc::boxed::Box;

    use super::Thread;

    pub(crate) struct Movable(pub(super) Box<Thread>);

    // SAFETY: `Thread::into_movable` makes it only when no poller is local, no hold is out and no
    // channel is open. What is left is `Send`: pollers that were `Send` when registered, messages,
    // figures, and empty lists of `Rc`s.
    unsafe impl Send for Movable {}

    impl Movable {
        /// Where messages to the thread wake a core from now on.
        pub(crate) fn set_lane(&self, lane: usize) {
            self.0.inner.shared.set_lane(lane);
        }

        pub(crate) fn into_thread(self) -> Thread {
            *self.0
        }
    }
}

impl Inner {
    #[inline(always)]
    fn run_messages(&mut self, turn: &mut Turn, mark: &mut Instant) {
        let batch = self.shared.lib.batch;
        // Counted before the first one runs, the critical one included, so that a message to the
        // own thread waits for the next turn.
        let ready = self.inbox.ready(batch);
        if let Some(f) = self.shared.take_critical() {
            f(&mut Cx { thread: self });
            turn.messages += 1;
        }
        for _ in 0..ready {
            if let Some(msg) = self.inbox.pop_in_place() {
                // SAFETY: it was received just now, and stays in its slot until `publish` below.
                unsafe { Msg::run_at(msg, &mut Cx { thread: self }) };
            }
        }
        self.inbox.publish(ready, batch);
        turn.messages += ready as u32;
        if turn.messages > 0 {
            self.messages += u64::from(turn.messages);
            self.charge(turn, mark);
        }
    }

    #[inline(always)]
    fn run_active(&mut self, places: usize, turn: &mut Turn, mark: &mut Instant) {
        for place in 0..places {
            let Some(id) = self.pollers.active_at(place) else { continue };
            turn.pollers += u32::from(self.run(id, turn, mark));
        }
    }

    #[inline(always)]
    fn run_timers(&mut self, turn: &mut Turn, mark: &mut Instant) {
        while let Some(id) = self.pollers.due(self.now) {
            self.run(id, turn, mark);
            turn.timers += 1;
        }
    }

    /// Runs what waits for the exit, the last registered first: as many as there are now, so that
    /// the turn ends.
    #[cold]
    fn run_at_exit(&mut self, turn: &mut Turn, mark: &mut Instant) {
        for _ in 0..self.pollers.at_exit() {
            let Some(id) = self.pollers.pop_at_exit() else { return };
            turn.pollers += u32::from(self.run(id, turn, mark));
        }
    }

    /// Runs a poller, taken out for so long. Tells whether it was busy.
    #[inline(always)]
    fn run(&mut self, id: PollerId, turn: &mut Turn, mark: &mut Instant) -> bool {
        let Some(mut poller) = self.pollers.take(id) else { return false };
        let mut guard = RemoveOnPanic { thread: self, id, running: true };
        let polled = poller.poll(&mut Cx { thread: guard.thread });
        guard.running = false;
        drop(guard);
        self.pollers.put_back(id, poller);
        if polled == Polled::Idle {
            return false;
        }
        let took = self.charge(turn, mark);
        self.pollers.charge(id, took);
        if polled == Polled::Done {
            drop(self.pollers.remove(id));
        }
        true
    }

    /// Reads the clock (after work only: it costs as much as an idle poller) and counts what passed
    /// since the last reading as busy.
    #[inline(always)]
    fn charge(&mut self, turn: &mut Turn, mark: &mut Instant) -> u64 {
        let now = self.shared.lib.platform.now();
        let took = now.nanos_since(*mark);
        *mark = now;
        turn.busy += took;
        took
    }

    /// On the way out: ends when everything is drained, or by force when the time is up.
    fn exit_step(&mut self) {
        let exit_by = *self.exit_by.get_or_insert(self.now.plus_nanos(nanos(self.shared.lib.exit_limit)));
        self.drop_stale_holds();
        let drained = self.pollers.may_end() && self.holds.is_empty() && self.channels.is_empty();
        if drained && self.close_if_empty() {
            self.exited = true;
        } else if self.now >= exit_by {
            self.stop_by_force();
        }
    }

    /// Refuses all messages from now on, if none waits.
    fn close_if_empty(&mut self) -> bool {
        if !self.inbox.is_empty() || !self.shared.close_critical() {
            return false;
        }
        let closed = self.inbox.close_if_empty();
        if !closed {
            self.shared.open_critical();
        }
        closed
    }

    fn stop_by_force(&mut self) {
        self.inbox.close();
        self.shared.end_critical();
        logging::warn!(
            "thread {} was stopped by force after {} ms with {} messages waiting",
            self.shared.name.as_str(),
            self.shared.lib.exit_limit.as_millis() as u64,
            self.inbox.ring().depth()
        );
        for name in self.pollers.names() {
            logging::warn!("thread {}: poller {} was left", self.shared.name.as_str(), name.as_str());
        }
        for name in &self.holds {
            logging::warn!("thread {}: {} was left", self.shared.name.as_str(), name.as_str());
        }
        for name in self.channels.names() {
            logging::warn!("thread {}: channel {} was left", self.shared.name.as_str(), name);
        }
        self.exited = true;
    }

    fn drop_stale_holds(&mut self) {
        self.holds.retain(|hold| Rc::strong_count(hold) > 1);
        // A watch is a hold, so where nothing is held no bell is left either.
        self.bells.drop_stale();
    }

    fn is_pinned(&self) -> bool {
        let held = self.holds.iter().any(|hold| Rc::strong_count(hold) > 1);
        held || self.pollers.locals() > 0 || !self.channels.is_empty()
    }

    fn stats(&self) -> ThreadStats {
        ThreadStats {
            name: self.shared.name.clone(),
            turns: self.turns,
            messages: self.messages,
            busy: self.busy,
            idle: self.idle,
            longest: self.longest,
            mailbox_depth: self.inbox.ring().depth(),
            mailbox_high_water: self.inbox.ring().high_water(),
            mailbox_capacity: self.inbox.ring().capacity(),
            pollers: self.pollers.stats(self.idle),
        }
    }
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

/// The thread that the caller runs on. Lent to messages and pollers for one run.
pub struct Cx<'a> {
    thread: &'a mut Inner,
}

/// Why a thread's cores could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// No reactor runs on any of them.
    #[error("no reactor runs on any core of {wanted}; there are reactors on {reactors}")]
    NoReactor {
        /// The cores asked for.
        wanted: CpuSet,
        /// The cores that have one.
        reactors: CpuSet,
    },
    /// Something keeps the thread on its core: a group, a watch, a poller that is not `Send`.
    #[error("the thread cannot leave core {core}: it holds pollers, groups or watches that belong there")]
    Pinned {
        /// The core it is on.
        core: CoreId,
    },
}

impl Cx<'_> {
    /// The time at which this turn began. Costs nothing; the clock is read once per turn.
    pub fn now(&self) -> Instant {
        self.thread.now
    }

    /// The time, read from the clock now.
    pub fn clock(&self) -> Instant {
        self.thread.shared.lib.platform.now()
    }

    /// The core it runs on.
    pub fn core(&self) -> CoreId {
        self.thread.core
    }

    /// The handle by which others reach this thread.
    pub fn handle(&self) -> ThreadHandle {
        ThreadHandle(self.thread.shared.clone())
    }

    /// The set of threads that this one belongs to.
    pub fn lib(&self) -> ThreadLib {
        ThreadLib(self.thread.shared.lib.clone())
    }

    /// The platform that the threads run on.
    pub fn platform(&self) -> Arc<dyn Platform> {
        self.thread.shared.lib.platform.clone()
    }

    /// Registers a poller. It first runs in the next turn (`spdk_poller_register`).
    ///
    /// It must be `Send`, since the thread may move with it. One that is not goes to
    /// [`local_poller`](Self::local_poller), which pins the thread:
    ///
    /// ```
    /// # use core_reactor::{Cx, Polled, Schedule};
    /// fn register(cx: &mut Cx<'_>, here: std::rc::Rc<()>) {
    ///     cx.local_poller("here", Schedule::Always, move |_: &mut Cx<'_>| if here.as_ref() == &() { Polled::Idle } else { Polled::Busy });
    /// }
    /// ```
    ///
    /// ```compile_fail,E0277
    /// # use core_reactor::{Cx, Polled, Schedule};
    /// fn register(cx: &mut Cx<'_>, here: std::rc::Rc<()>) {
    ///     cx.poller("here", Schedule::Always, move |_: &mut Cx<'_>| if here.as_ref() == &() { Polled::Idle } else { Polled::Busy });
    /// }
    /// ```
    pub fn poller(&mut self, name: &str, schedule: Schedule, poller: impl Poller + Send + 'static) -> PollerId {
        self.thread.pollers.add(crate::name(name), schedule, false, Box::new(poller), self.thread.now)
    }

    /// Registers a poller that holds what must stay on this core. The thread cannot move while it
    /// is registered.
    pub fn local_poller(&mut self, name: &str, schedule: Schedule, poller: impl Poller + 'static) -> PollerId {
        self.thread.pollers.add(crate::name(name), schedule, true, Box::new(poller), self.thread.now)
    }

    /// Runs `f` once, in the first turn after `delay`; in the next one if that is zero.
    /// [`remove`](Self::remove) cancels it. It is a timed poller in all else: it goes with the
    /// thread, and an exit does not wait for it unless [`hold_exit`](Self::hold_exit) asks for
    /// that.
    pub fn after(&mut self, delay: Duration, f: impl FnOnce(&mut Cx<'_>) + Send + 'static) -> PollerId {
        self.poller("after", Schedule::Every(delay), once(f))
    }

    /// As [`after`](Self::after), for what must stay on this core. The thread cannot move before it
    /// has run.
    pub fn local_after(&mut self, delay: Duration, f: impl FnOnce(&mut Cx<'_>) + 'static) -> PollerId {
        self.local_poller("after", Schedule::Every(delay), once(f))
    }

    /// Runs `f` once, at the end of the turn in which the thread is seen to be asked to exit, and
    /// so before it ends: to say good-bye, to stop what would hold the exit up. The last registered
    /// comes first, also when it was registered on the way. [`remove`](Self::remove) cancels it.
    pub fn on_exit(&mut self, f: impl FnOnce(&mut Cx<'_>) + Send + 'static) -> PollerId {
        self.thread.pollers.add_at_exit(name("on_exit"), Box::new(once(f)))
    }

    /// Removes a poller: it does not run again, this turn included (`spdk_poller_unregister`). A
    /// poller may remove itself.
    ///
    /// # Errors
    /// It is gone already.
    pub fn remove(&mut self, id: PollerId) -> Result<(), StalePoller> {
        let poller = self.thread.pollers.remove(id)?;
        drop(poller);
        Ok(())
    }

    /// Has this thread's exit wait for a timed poller: until it is done or removed, or until the
    /// limit on exits. Without it a thread that is asked to exit ends when everything else has
    /// drained, and its timed pollers end with it, between two runs: an hourly report must not hold
    /// up a stop.
    ///
    /// For one that drains something. Pollers that run in every turn are waited for anyway.
    ///
    /// # Errors
    /// It is gone.
    pub fn hold_exit(&mut self, id: PollerId) -> Result<(), StalePoller> {
        self.thread.pollers.hold_exit(id)
    }

    /// Stops running a poller until it is resumed (`spdk_poller_pause`).
    ///
    /// # Errors
    /// It is gone.
    pub fn pause(&mut self, id: PollerId) -> Result<(), StalePoller> {
        self.thread.pollers.pause(id)
    }

    /// Runs a paused poller again. A timed one keeps its deadline if that is still ahead, otherwise
    /// it starts a full period (and counts as registered last among equal deadlines).
    ///
    /// # Errors
    /// It is gone.
    pub fn resume(&mut self, id: PollerId) -> Result<(), StalePoller> {
        self.thread.pollers.resume(id, self.thread.now)
    }

    /// Changes a poller's period; a full new one starts now, and among equal deadlines it then
    /// counts as registered last. Zero makes it active.
    ///
    /// # Errors
    /// It is gone.
    pub fn set_period(&mut self, id: PollerId, period: Duration) -> Result<(), StalePoller> {
        self.thread.pollers.set_period(id, period, self.thread.now)
    }

    /// Changes the cores that this thread may run on. If it is on none of them it moves after this
    /// turn; the last change wins.
    ///
    /// # Errors
    /// No reactor runs there, or something pins the thread to its core.
    pub fn set_cpus(&mut self, cpus: CpuSet) -> Result<(), MoveError> {
        let reactors = self.thread.shared.lib.reactors();
        if cpus.and(&reactors).is_empty() {
            return Err(MoveError::NoReactor { wanted: cpus, reactors });
        }
        if !cpus.contains(self.thread.core) && self.thread.is_pinned() {
            return Err(MoveError::Pinned { core: self.thread.core });
        }
        self.thread.cpus = cpus;
        self.thread.wanted = self.thread.wanted.filter(|core| cpus.contains(*core));
        Ok(())
    }

    /// Moves this thread to another of the cores that it may run on, after this turn. The last of
    /// several wishes wins.
    ///
    /// # Errors
    /// The thread may not run there, or no reactor does, or something pins the thread to its core.
    pub fn move_to(&mut self, core: CoreId) -> Result<(), MoveError> {
        let reactors = self.thread.shared.lib.reactors();
        if !reactors.and(&self.thread.cpus).contains(core) {
            return Err(MoveError::NoReactor { wanted: CpuSet::of(core), reactors: reactors.and(&self.thread.cpus) });
        }
        if core != self.thread.core && self.thread.is_pinned() {
            return Err(MoveError::Pinned { core: self.thread.core });
        }
        self.thread.wanted = Some(core).filter(|core| *core != self.thread.core);
        Ok(())
    }

    /// Keeps the thread on its core, and from ending, until the hold is dropped. Groups and
    /// channels take one; `what` names it in the log if the thread has to be stopped by force.
    pub fn hold(&mut self, what: &str) -> Hold {
        let entry = Rc::new(name(what));
        let holds = &self.thread.holds;
        if holds.len() == holds.capacity() {
            self.thread.drop_stale_holds();
            // As much again as is left, so that the next look through all comes after as many
            // holds.
            self.thread.holds.reserve(self.thread.holds.len().max(4));
        }
        self.thread.holds.push(entry.clone());
        Hold { _entry: entry, _here: PhantomData }
    }

    /// Wakes this core when `source` is ready, until the watch is dropped. A watch is a hold too.
    ///
    /// # Errors
    /// The platform refuses the source.
    pub fn watch(&mut self, source: WaitSource) -> Result<Watch, PlatformError> {
        self.platform().watch(self.thread.core, source)?;
        Ok(self.watch_as(Some(source), None))
    }

    /// As [`watch`](Self::watch), for a source that must be armed before each sleep.
    ///
    /// # Errors
    /// The platform refuses the source.
    pub fn watch_bell(&mut self, source: WaitSource, bell: Rc<dyn Bell>) -> Result<Watch, PlatformError> {
        self.platform().watch(self.thread.core, source)?;
        Ok(self.watch_as(Some(source), Some(bell)))
    }

    /// A bell without a source: it keeps its core awake, or says when to wake it.
    pub fn bell(&mut self, bell: Rc<dyn Bell>) -> Watch {
        self.watch_as(None, Some(bell))
    }

    fn watch_as(&mut self, source: Option<WaitSource>, bell: Option<Rc<dyn Bell>>) -> Watch {
        let bell = bell.map(|bell| self.thread.bells.add(bell));
        Watch { platform: self.platform(), core: self.thread.core, source, _bell: bell, _hold: self.hold("watch") }
    }

    /// Keeps a value with the thread, where its messages and pollers find it by its type. It pins
    /// the thread to its core, and keeps it from ending until it is closed. The value of this type
    /// that was there before comes back.
    pub fn open_channel<C: 'static>(&mut self, value: C) -> Option<C> {
        self.thread.channels.open(value)
    }

    /// The thread's value of this type.
    #[inline]
    pub fn channel<C: 'static>(&mut self) -> Option<&mut C> {
        self.thread.channels.get()
    }

    /// Takes the thread's value of this type away.
    pub fn close_channel<C: 'static>(&mut self) -> Option<C> {
        self.thread.channels.close()
    }

    /// Asks this thread to end when its work has drained (`spdk_thread_exit`).
    pub fn exit(&mut self) {
        self.thread.shared.request_exit();
    }

    /// Whether the thread has been asked to end.
    pub fn is_exiting(&self) -> bool {
        self.thread.shared.exit_requested()
    }

    /// What this thread has done up to the last turn.
    pub fn stats(&self) -> ThreadStats {
        self.thread.stats()
    }
}

/// A poller that is done after one run.
fn once(f: impl FnOnce(&mut Cx<'_>)) -> impl Poller {
    let mut f = Some(f);
    move |cx: &mut Cx<'_>| {
        if let Some(f) = f.take() {
            f(cx);
        }
        Polled::Done
    }
}

#[cfg(test)]
impl Cx<'_> {
    /// Has the thread's next pollers be the last ones of a slot.
    pub(crate) fn near_the_last_generation(&mut self, left: u32) {
        self.thread.pollers.near_the_last_generation(left);
    }
}

/// Keeps a thread on its core, and from ending.
pub struct Hold {
    _entry: Rc<Name>,
    _here: PhantomData<*const ()>,
}

/// A source that wakes a core.
pub struct Watch {
    platform: Arc<dyn Platform>,
    core: CoreId,
    source: Option<WaitSource>,
    _bell: Option<Rc<Rung>>,
    _hold: Hold,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(source) = self.source {
            self.platform.unwatch(self.core, source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimPlatform;
    use crate::{ThreadConfig, ThreadLibOptions};

    #[test]
    fn holds_that_were_dropped_are_looked_for_only_when_the_list_would_have_to_grow() {
        let sim = SimPlatform::new(1);
        let lib = ThreadLib::new(sim.clone(), sim.cores(), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
        let listed = |thread: &Thread| thread.inner.holds.len();
        thread.with(|cx| drop([(); 3].map(|()| cx.hold("for a moment"))));
        let kept = thread.with(|cx| cx.hold("kept"));
        assert_eq!(listed(&thread), 4, "there was room, so nothing was looked at");
        for _ in 0..1_000 {
            thread.with(|cx| drop(cx.hold("for a moment")));
            assert!(listed(&thread) <= 8, "one is kept");
        }
        assert!(thread.is_pinned());
        drop(kept);
        assert!(!thread.is_pinned(), "whatever is listed");
    }
}
