//! What code on a thread can reach: the thread itself, as a [`Cx`] that cannot be kept.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use crate::bells::{Bells, Rung};
use crate::channels::Channels;
use crate::handle::Shared;
use crate::observe::ThreadObserver;
use crate::pollers::Pollers;
use crate::set::Set;
use crate::{
    Bell, CoreId, CpuSet, Instant, Name, Platform, PlatformError, PollerId, PollerStats, Schedule, StalePoller, ThreadHandle, ThreadStats,
    WaitSource,
};

/// The thread that the caller runs on. Lent to messages and pollers for one run.
///
/// ```
/// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
/// # use core::time::Duration;
/// # let mut sim = Sim::new(1);
/// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
/// let began = cx.now();
/// cx.after(Duration::from_secs(1), move |cx: &mut Cx<'_>| {
///     assert_eq!(cx.now(), began + Duration::from_secs(1));
///     cx.exit();
/// });
/// # })?;
/// # sim.settle();
/// sim.run_for(Duration::from_secs(1));
/// assert!(sim.lib().threads().is_empty());
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
pub struct Cx<'a> {
    pub(crate) thread: &'a mut Inner,
}

/// What a poller says of one run.
///
/// ```
/// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
/// # let mut sim = Sim::new(1);
/// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
/// let mut left = 3;
/// cx.poller("three times", Schedule::Always, move |_: &mut Cx<'_>| {
///     left -= 1;
///     if left == 0 { Polled::Done } else { Polled::Busy }
/// });
/// # })?;
/// # sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Polled {
    /// There was nothing to do.
    Idle,
    /// Something was done.
    Busy,
    /// Something was done, and this poller is not needed any more: it is removed.
    Done,
}

/// Something that a thread runs again and again. Closures `FnMut(&mut Cx<'_>) -> Polled` are
/// pollers.
///
/// ```
/// # use core_reactor::Poller;
/// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
/// # use core::time::Duration;
/// # let mut sim = Sim::new(1);
/// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
/// /// Counts its runs.
/// struct Counter(u64);
///
/// impl Poller for Counter {
///     fn poll(&mut self, _: &mut Cx<'_>) -> Polled {
///         self.0 += 1;
///         Polled::Idle
///     }
/// }
///
/// cx.poller("counter", Schedule::Every(Duration::from_millis(10)), Counter(0));
/// # })?;
/// # sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
pub trait Poller {
    /// One run: bounded, never blocking.
    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled;
}

impl<F: FnMut(&mut Cx<'_>) -> Polled> Poller for F {
    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        self(cx)
    }
}

/// The part of a thread that its own code may touch.
pub(crate) struct Inner {
    /// The time of the current or last turn.
    pub(crate) now: Instant,
    pub(crate) shared: Arc<Shared>,
    pub(crate) set: Arc<Set>,
    pub(crate) pollers: Pollers<dyn Poller>,
    /// One for each hold given out; a hold that was dropped leaves its entry with no other owner,
    /// until the list would have to grow.
    pub(crate) holds: Vec<Rc<Name>>,
    pub(crate) bells: Bells,
    pub(crate) channels: Channels,
    /// What is shown of what its pollers have.
    pub(crate) listed: Vec<Weak<dyn Any + Send + Sync>>,
    pub(crate) cpus: CpuSet,
    pub(crate) core: CoreId,
    /// When it came there.
    pub(crate) since: Instant,
    /// Another core that it asked to be on.
    pub(crate) wanted: Option<CoreId>,
    pub(crate) figures: Figures,
    pub(crate) observer: ThreadObserver,
}

/// What a thread has done.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) turns: u64,
    pub(crate) messages: u64,
    pub(crate) busy_ns: u64,
    pub(crate) idle_ns: u64,
    pub(crate) parked_ns: u64,
    pub(crate) longest_ns: u64,
    pub(crate) stalls: u64,
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

impl Inner {
    pub(crate) fn new(set: Arc<Set>, shared: Arc<Shared>, cpus: CpuSet, core: CoreId) -> Self {
        let now = set.platform().now();
        let observer = ThreadObserver::new(&set, shared.id, core);
        Self {
            now,
            since: now,
            shared,
            set,
            pollers: Pollers::default(),
            holds: Vec::new(),
            bells: Bells::default(),
            channels: Channels::default(),
            listed: Vec::new(),
            cpus,
            core,
            wanted: None,
            figures: Figures::default(),
            observer,
        }
    }

    pub(crate) fn drop_stale(&mut self) {
        self.channels.drop_stale();
        self.holds.retain(|hold| Rc::strong_count(hold) > 1);
        // A watch is a hold, so where nothing is held no bell is left either.
        self.bells.drop_stale();
    }

    pub(crate) fn is_pinned(&self) -> bool {
        let held = self.holds.iter().any(|hold| Rc::strong_count(hold) > 1);
        held || self.pollers.locals() > 0 || !self.channels.is_empty()
    }

    pub(crate) fn stats(&self) -> ThreadStats {
        ThreadStats { pollers: self.pollers.stats(self.figures.idle_ns).collect(), ..self.own_stats() }
    }

    pub(crate) fn own_stats(&self) -> ThreadStats {
        let Figures { turns, messages, busy_ns, idle_ns, parked_ns, longest_ns, stalls } = self.figures;
        ThreadStats {
            name: self.shared.name.clone(),
            turns,
            messages,
            busy_ns,
            idle_ns,
            parked_ns,
            longest_ns,
            stalls,
            mailbox_depth: self.shared.mailbox().depth(),
            mailbox_high_water: self.shared.mailbox().high_water(),
            mailbox_capacity: self.shared.mailbox().capacity(),
            pollers: Vec::new(),
        }
    }
}

impl Cx<'_> {
    /// The time at which this turn began. Costs nothing; the clock is read once per turn.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// assert_eq!(cx.now().as_nanos(), 0, "a simulated clock begins there");
    /// assert!(cx.clock() >= cx.now());
    /// # })?;
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn now(&self) -> Instant {
        self.thread.now
    }

    /// The time, read from the clock now.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{CoreId, Cx, Instant, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// assert!(cx.clock() >= cx.now(), "that was when the turn began");
    /// # })?;
    /// # sim.run_for(Duration::from_secs(10));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn clock(&self) -> Instant {
        self.thread.set.platform().now()
    }

    /// The core it runs on.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{CoreId, Cx, Instant, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// assert_eq!(cx.core(), CoreId(0));
    /// # })?;
    /// # sim.run_for(Duration::from_secs(10));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn core(&self) -> CoreId {
        self.thread.core
    }

    /// The handle by which others reach this thread.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let me = cx.handle();
    /// std::thread::spawn(move || me.send(|cx| cx.exit()).is_ok());
    /// # })?;
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn handle(&self) -> ThreadHandle {
        ThreadHandle(self.thread.shared.clone())
    }

    /// The platform that the threads run on.
    pub fn platform(&self) -> Arc<dyn Platform> {
        self.thread.set.platform().clone()
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
        self.add(name, schedule, false, Box::new(poller))
    }

    /// Registers a poller that holds what must stay on this core. The thread cannot move while it
    /// is registered.
    ///
    /// ```
    /// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # use core::time::Duration;
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let seen = std::rc::Rc::new(std::cell::Cell::new(0)); // stays on its core
    /// let counts = seen.clone();
    /// cx.local_poller("counts", Schedule::Always, move |_: &mut Cx<'_>| {
    ///     counts.set(counts.get() + 1);
    ///     if counts.get() < 5 { Polled::Busy } else { Polled::Done }
    /// });
    /// cx.local_after(Duration::from_secs(1), move |_| assert_eq!(seen.get(), 5));
    /// # })?;
    /// # sim.settle();
    /// sim.run_for(Duration::from_secs(1));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn local_poller(&mut self, name: &str, schedule: Schedule, poller: impl Poller + 'static) -> PollerId {
        self.add(name, schedule, true, Box::new(poller))
    }

    fn add(&mut self, name: &str, schedule: Schedule, local: bool, poller: Box<dyn Poller>) -> PollerId {
        let name = crate::Name::from(name);
        let label = self.thread.set.observer.label(&name);
        self.thread.pollers.add((name, label), schedule, local, poller, self.thread.now)
    }

    /// Runs `f` once, in the first turn after `delay`; in the next one if that is zero.
    /// [`remove`](Self::remove) cancels it. It is a timed poller in all else: it goes with the
    /// thread, and an exit does not wait for it unless [`hold_exit`](Self::hold_exit) asks for
    /// that.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # use core::time::Duration;
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let late = cx.after(Duration::from_secs(5), |_| panic!("nothing came in time"));
    /// cx.after(Duration::from_secs(1), move |cx| assert_eq!(cx.remove(late), Ok(())));
    /// # })?;
    /// # sim.settle();
    /// sim.run_for(Duration::from_secs(9));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn after(&mut self, delay: Duration, f: impl FnOnce(&mut Cx<'_>) + Send + 'static) -> PollerId {
        self.poller("after", Schedule::Every(delay), once(f))
    }

    /// As [`after`](Self::after), for what must stay on this core. The thread cannot move before it
    /// has run.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{CoreId, Cx, Instant, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let kept = std::rc::Rc::new(5); // it cannot go to another core
    /// cx.local_after(Duration::from_secs(1), move |_| assert_eq!(*kept, 5));
    /// # })?;
    /// # sim.run_for(Duration::from_secs(10));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn local_after(&mut self, delay: Duration, f: impl FnOnce(&mut Cx<'_>) + 'static) -> PollerId {
        self.local_poller("after", Schedule::Every(delay), once(f))
    }

    /// Runs `f` once, at the end of the turn in which the thread is seen to be asked to exit, and
    /// so before it ends: to say good-bye, to stop what would hold the exit up. The last registered
    /// comes first, also when it was registered on the way. [`remove`](Self::remove) cancels it.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # use std::sync::{Arc, atomic::{AtomicBool, Ordering::Relaxed}};
    /// # let said = Arc::new(AtomicBool::new(false));
    /// # let farewell = said.clone();
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), move |cx: &mut Cx<'_>| {
    /// let farewell = farewell.clone();
    /// cx.on_exit(move |_| farewell.store(true, Relaxed));
    /// cx.exit();
    /// # })?;
    /// # sim.settle();
    /// assert!(said.load(Relaxed) && sim.lib().threads().is_empty());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn on_exit(&mut self, f: impl FnOnce(&mut Cx<'_>) + Send + 'static) -> PollerId {
        let name = Name::from("on_exit");
        let label = self.thread.set.observer.label(&name);
        self.thread.pollers.add_at_exit((name, label), Box::new(once(f)))
    }

    /// Removes a poller: it does not run again, this turn included (`spdk_poller_unregister`). A
    /// poller may remove itself.
    ///
    /// ```
    /// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let poller = cx.poller("never", Schedule::Always, |_: &mut Cx<'_>| Polled::Idle);
    /// assert_eq!(cx.remove(poller), Ok(()));
    /// assert!(cx.remove(poller).is_err(), "it is gone");
    /// # })?;
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
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
    /// ```
    /// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # use core::time::Duration;
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let mut left = 3;
    /// let flush = cx.poller("flush", Schedule::Every(Duration::from_millis(1)), move |_: &mut Cx<'_>| {
    ///     left -= 1;
    ///     if left == 0 { Polled::Done } else { Polled::Busy }
    /// });
    /// assert_eq!(cx.hold_exit(flush), Ok(()));
    /// cx.exit();
    /// # })?;
    /// # sim.settle();
    /// assert_eq!(sim.lib().threads().len(), 1, "it waits for the flush");
    /// sim.run_for(Duration::from_millis(3));
    /// assert!(sim.lib().threads().is_empty());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// It is gone.
    pub fn hold_exit(&mut self, id: PollerId) -> Result<(), StalePoller> {
        self.thread.pollers.hold_exit(id)
    }

    /// Stops running a poller until it is resumed (`spdk_poller_pause`).
    ///
    /// ```
    /// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # use core::time::Duration;
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let poller = cx.poller("looks", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle);
    /// assert_eq!(cx.pause(poller), Ok(()));
    /// cx.after(Duration::from_secs(1), move |cx| assert_eq!(cx.resume(poller), Ok(())));
    /// # })?;
    /// # sim.settle();
    /// sim.run_for(Duration::from_secs(1));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// It is gone.
    pub fn pause(&mut self, id: PollerId) -> Result<(), StalePoller> {
        self.thread.pollers.pause(id)
    }

    /// Runs a paused poller again. A timed one keeps its deadline if that is still ahead, otherwise
    /// it starts a full period (and counts as registered last among equal deadlines).
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{CoreId, Cx, Instant, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let id = cx.poller("now and then", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle);
    /// assert!(cx.pause(id).is_ok() && cx.resume(id).is_ok());
    /// assert!(cx.remove(id).is_ok() && cx.resume(id).is_err(), "it is gone");
    /// # })?;
    /// # sim.run_for(Duration::from_secs(10));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// It is gone.
    pub fn resume(&mut self, id: PollerId) -> Result<(), StalePoller> {
        self.thread.pollers.resume(id, self.thread.now)
    }

    /// Changes a poller's period; a full new one starts now, and among equal deadlines it then
    /// counts as registered last. Zero makes it active.
    ///
    /// ```
    /// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # use core::time::Duration;
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let poll = |_: &mut Cx<'_>| Polled::Idle;
    /// let poller = cx.poller("slower", Schedule::Every(Duration::from_millis(1)), poll);
    /// assert_eq!(cx.set_period(poller, Duration::from_secs(1)), Ok(()));
    /// # })?;
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// It is gone.
    pub fn set_period(&mut self, id: PollerId, period: Duration) -> Result<(), StalePoller> {
        self.thread.pollers.set_period(id, period, self.thread.now)
    }

    /// Changes the cores that this thread may run on. If it is on none of them it moves after this
    /// turn; the last change wins.
    ///
    /// ```
    /// # use core_reactor::{CoreId, CpuSet, MoveError};
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let missing = CpuSet::of(CoreId(7));
    /// assert!(matches!(cx.set_cpus(missing), Err(MoveError::NoReactor { .. })));
    /// assert_eq!(cx.set_cpus(CpuSet::of(CoreId(0))), Ok(()));
    /// # })?;
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// No reactor runs there, or something pins the thread to its core.
    pub fn set_cpus(&mut self, cpus: CpuSet) -> Result<(), MoveError> {
        let reactors = self.thread.set.reactors();
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
    /// ```
    /// # use core_reactor::{CoreId, Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(2);
    /// let thread = sim.lib().spawn(ThreadConfig::new("wanderer"), |cx: &mut Cx<'_>| {
    ///     assert_eq!((cx.core(), cx.move_to(CoreId(1))), (CoreId(0), Ok(())));
    /// })?;
    /// sim.settle();
    /// # let sent =
    /// thread.send(|cx| assert_eq!(cx.core(), CoreId(1)));
    /// # sim.settle();
    /// # assert!(sent.is_ok());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// The thread may not run there, or no reactor does, or something pins the thread to its core.
    pub fn move_to(&mut self, core: CoreId) -> Result<(), MoveError> {
        let reactors = self.thread.set.reactors();
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
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # use core::time::Duration;
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let hold = cx.hold("a connection");
    /// cx.exit();
    /// cx.local_after(Duration::from_secs(1), move |_| drop(hold));
    /// # })?;
    /// # sim.settle();
    /// assert_eq!(sim.lib().threads().len(), 1, "held");
    /// sim.run_for(Duration::from_secs(1));
    /// assert!(sim.lib().threads().is_empty());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn hold(&mut self, what: &str) -> Hold {
        let entry = Rc::new(Name::from(what));
        let holds = &self.thread.holds;
        if holds.len() == holds.capacity() {
            self.thread.drop_stale();
            // As much again as is left, so that the next look through all comes after as many
            // holds.
            self.thread.holds.reserve(self.thread.holds.len().max(4));
        }
        self.thread.holds.push(entry.clone());
        Hold { entry, _here: PhantomData }
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
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// struct Requests(u64);
    /// assert!(cx.open_channel(Requests(0)).is_none());
    /// if let Some(requests) = cx.channel::<Requests>() {
    ///     requests.0 += 1;
    /// }
    /// assert_eq!(cx.close_channel::<Requests>().map(|requests| requests.0), Some(1));
    /// # })?;
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
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
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{CoreId, Cx, Instant, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// cx.after(Duration::from_secs(1), |cx| cx.exit());
    /// assert!(!cx.is_exiting());
    /// # })?;
    /// # sim.run_for(Duration::from_secs(10));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn exit(&mut self) {
        self.thread.shared.request_exit();
    }

    /// Whether the thread has been asked to end.
    ///
    /// ```
    /// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// cx.poller("until the end", Schedule::WhenAwake, |cx: &mut Cx<'_>| {
    ///     if cx.is_exiting() { Polled::Done } else { Polled::Idle }
    /// });
    /// # })?;
    /// # sim.settle();
    /// sim.lib().stop();
    /// sim.settle();
    /// assert!(sim.lib().threads().is_empty());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn is_exiting(&self) -> bool {
        self.thread.shared.exit_requested()
    }

    /// What this thread has done up to the last turn.
    pub fn stats(&self) -> ThreadStats {
        self.thread.stats()
    }

    /// The same without its pollers, of which there may be thousands.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let stats = cx.own_stats();
    /// assert_eq!((stats.name.as_str(), stats.pollers.len()), ("t", 0));
    /// # })?;
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn own_stats(&self) -> ThreadStats {
        self.thread.own_stats()
    }

    /// What each of its pollers has done.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{CoreId, Cx, Instant, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// cx.poller("look", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle);
    /// cx.after(Duration::from_secs(1), |cx| {
    ///     let look = cx.poller_stats().find(|stats| stats.name == "look").expect("it is there");
    ///     assert!(look.runs > 0);
    /// });
    /// # })?;
    /// # sim.run_for(Duration::from_secs(10));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn poller_stats(&self) -> impl Iterator<Item = PollerStats> {
        self.thread.pollers.stats(self.thread.figures.idle_ns)
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

impl fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cx").field(&self.handle()).finish()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.entry.as_str()).finish()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("core", &self.core).field("source", &self.source).finish_non_exhaustive()
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
    entry: Rc<Name>,
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
    use crate::{Thread, ThreadConfig, ThreadLib, ThreadLibOptions};

    #[test]
    fn holds_that_were_dropped_are_looked_for_only_when_the_list_would_have_to_grow() {
        let sim = SimPlatform::new(1);
        let lib = ThreadLib::new(sim.clone(), sim.cores(), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
        let listed = |thread: &Thread| thread.inner().holds.len();
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
