//! Reactors: the loop of one core.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::time::Duration;

use crate::observe::ReactorObserver;
use crate::ring::{PushError, Receiver, Ring};
use crate::set::Set;
use crate::sync::{Mutex, model_yield};
use crate::thread::{Movable, ThreadLoad};
use crate::time::nanos;
use crate::{CoreId, Instant, ReactorStats, Refused, Thread, Turn, sync};

/// Events that a reactor handles in one turn.
const EVENT_BATCH: usize = 8;

/// What a reactor does when nothing happens.
///
/// ```
/// use core::time::Duration;
/// use core_reactor::Idle;
///
/// assert_eq!(Idle::default(), Idle::ParkAfter(Duration::from_micros(20)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls on: the lowest latency, the whole core.
    Poll,
    /// Polls on for so long, then parks until something happens.
    ParkAfter(Duration),
}

impl Default for Idle {
    /// Parks after 20 µs.
    fn default() -> Self {
        Self::ParkAfter(Duration::from_micros(20))
    }
}

/// One core's loop. [`Reactor::run`] turns it until the set stops; tests call [`Reactor::turn`].
pub struct Reactor {
    set: Arc<Set>,
    /// The index of its core.
    index: usize,
    events: Receiver<Event>,
    threads: Vec<Thread>,
    /// Events for other reactors whose rings were full, with their indices; tried again each turn.
    deferred: VecDeque<(usize, Event)>,
    idle: Idle,
    /// When the last turn began, and how much of it was busy.
    last: Option<(Instant, u64)>,
    /// Since when nothing has happened.
    idle_since: Option<Instant>,
    /// Idle time that the threads have not been charged with yet.
    unshared_idle_ns: u64,
    /// The same of the time that it slept.
    unshared_parked_ns: u64,
    stats: ReactorStats,
    pub(crate) observer: ReactorObserver,
}

impl Reactor {
    /// The reactor of `core`; `None` if it is taken or the core is not in the set.
    pub(crate) fn claim(set: &Arc<Set>, core: CoreId, idle: Idle) -> Option<Self> {
        let index = set.doorbells.index_of(core)?;
        let events = set.claim_events(index)?;
        let events_capacity = events.ring().capacity();
        let stats = ReactorStats {
            core,
            turns: 0,
            messages: 0,
            busy_ns: 0,
            idle_ns: 0,
            parked_ns: 0,
            parks: 0,
            longest_ns: 0,
            stalls: 0,
            threads: 0,
            events_depth: 0,
            events_high_water: 0,
            events_capacity,
        };
        Some(Self {
            set: set.clone(),
            index,
            events,
            threads: Vec::new(),
            deferred: VecDeque::new(),
            idle,
            last: None,
            idle_since: None,
            unshared_idle_ns: 0,
            unshared_parked_ns: 0,
            stats,
            observer: ReactorObserver::new(set, core),
        })
    }

    /// One turn: events, then one turn of each thread. Bounded; tells what it did.
    ///
    /// ```
    /// # use core_reactor::{ThreadConfig, sim::Sim};
    /// let mut sim = Sim::new(1);
    /// sim.lib().spawn(ThreadConfig::new("t"), |_| {})?;
    /// let turn = sim.reactors[0].turn();
    /// assert_eq!((turn.events, turn.messages), (1, 1), "a thread has come, and begins");
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn turn(&mut self) -> Turn {
        let now = self.set.platform().now();
        self.charge_idle(now);
        self.observer.begin_turn(now);
        let mut turn = Turn::default();
        let mut mark = now;
        self.handle_events(&mut turn, &mut mark);
        let mut changed = false;
        for thread in &mut self.threads {
            turn.add(thread.turn_after(now, &mut mark));
            changed |= thread.is_exited() || !thread.belongs_on(self.stats.core);
        }
        if changed {
            self.let_threads_go();
        }
        self.observer.end_turn(&turn, now, mark);
        self.stats.turns += 1;
        self.stats.messages += u64::from(turn.messages);
        self.stats.busy_ns += turn.busy_ns;
        self.stats.longest_ns = self.stats.longest_ns.max(turn.busy_ns);
        self.last = Some((now, turn.busy_ns));
        self.idle_since = if turn.is_idle() { self.idle_since.or(Some(now)) } else { None };
        turn
    }

    /// Turns until the set stops and every thread here has ended.
    ///
    /// If something panics in it, the rest of the set is stopped while the panic goes on.
    pub fn run(mut self) -> ReactorStats {
        self.observer.run();
        let mut guard = StopOnPanic { set: self.set.clone(), finished: false };
        loop {
            let turn = self.turn();
            if turn.is_idle() {
                if self.is_finished() {
                    break;
                }
                self.park_if_long_idle();
            }
        }
        guard.finished = true;
        self.stats()
    }

    /// When the next timer here is due.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{Instant, ThreadConfig, sim::Sim};
    /// let mut sim = Sim::new(1);
    /// sim.lib().spawn(ThreadConfig::new("t"), |cx| {
    ///     cx.after(Duration::from_secs(2), |_| {});
    /// })?;
    /// sim.settle();
    /// assert_eq!(sim.reactors[0].next_deadline(), Some(Instant::ZERO + Duration::from_secs(2)));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn next_deadline(&self) -> Option<Instant> {
        self.threads.iter().filter_map(|t| t.next_deadline()).min()
    }

    /// What it has done.
    ///
    /// ```
    /// # use core_reactor::{ThreadConfig, sim::Sim};
    /// let mut sim = Sim::new(1);
    /// sim.lib().spawn(ThreadConfig::new("t"), |_| {})?;
    /// sim.settle();
    /// let stats = sim.reactors[0].stats();
    /// assert_eq!((stats.threads, stats.messages, stats.stalls), (1, 1, 0));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn stats(&self) -> ReactorStats {
        let events = self.events.ring();
        ReactorStats {
            stalls: self.observer.stalls(),
            threads: self.threads.len(),
            events_depth: events.depth(),
            events_high_water: events.high_water(),
            ..self.stats
        }
    }

    /// Its core.
    pub fn core(&self) -> CoreId {
        self.stats.core
    }

    /// The names of the threads on it.
    ///
    /// ```
    /// # use core_reactor::{ThreadConfig, sim::Sim};
    /// let mut sim = Sim::new(1);
    /// sim.lib().spawn(ThreadConfig::new("acceptor"), |_| {})?;
    /// sim.settle();
    /// assert_eq!(sim.reactors[0].thread_names(), ["acceptor"]);
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn thread_names(&self) -> Vec<crate::Name> {
        self.threads.iter().map(|t| crate::Name::from(t.handle().name())).collect()
    }

    /// Its figures and its threads', for the balancer.
    pub(crate) fn load(&self) -> Load {
        let stats = self.stats;
        let threads = self.threads.iter().map(Thread::load).collect();
        Load { core: stats.core, busy_ns: stats.busy_ns, total_ns: stats.busy_ns + stats.idle_ns + stats.parked_ns, threads }
    }

    /// Hands an event to another reactor, now or as soon as there is room.
    pub(crate) fn send_event(&mut self, index: usize, event: Event) {
        self.deferred.push_back((index, event));
        if self.deferred.len() == 1 {
            self.send_deferred();
        }
    }

    /// Sends the events that wait, in their order: behind one that finds no room the others wait
    /// too. One at a time, so that none is lost with one that panics.
    fn send_deferred(&mut self) {
        for _ in 0..self.deferred.len() {
            let Some((index, event)) = self.deferred.pop_front() else { return };
            if let Err(event) = self.hand_over(index, event) {
                self.deferred.push_front((index, event));
                return;
            }
        }
    }

    /// Gives another reactor an event, which comes back if there is no room.
    fn hand_over(&mut self, index: usize, event: Event) -> Result<(), Event> {
        let Err(refused) = self.set.push_event(index, event) else { return Ok(()) };
        match (refused.why, refused.item) {
            (PushError::Full, event) => return Err(event),
            // That reactor has ended, since the set stops. The thread ends here, then.
            (PushError::Closed, Event::Adopt(movable)) => {
                movable.set_core_index(self.index);
                self.threads.push(movable.into_thread());
            }
            // A visit goes on without that reactor when it is dropped.
            (PushError::Closed, Event::Call(call)) => drop(call),
        }
        Ok(())
    }

    /// Counts the time since the last turn began, less what was busy in it, as idle.
    #[inline]
    fn charge_idle(&mut self, now: Instant) {
        let Some((then, busy)) = self.last else { return };
        let idle = now.nanos_since(then).saturating_sub(busy);
        self.observer.was_idle(&self.set, idle, now);
        self.stats.idle_ns += idle;
        self.unshared_idle_ns += idle;
        // Sharing costs a division; a turn costs less than that.
        if self.stats.turns.is_multiple_of(256) {
            self.share_idle();
        }
    }

    /// Charges the threads with idle time and with sleep, in equal parts.
    pub(crate) fn share_idle(&mut self) {
        let threads = self.threads.len().max(1) as u64;
        let idle = core::mem::take(&mut self.unshared_idle_ns) / threads;
        let parked = core::mem::take(&mut self.unshared_parked_ns) / threads;
        for thread in &mut self.threads {
            thread.charge_idle(idle);
            thread.charge_parked(parked);
        }
    }

    fn handle_events(&mut self, turn: &mut Turn, mark: &mut Instant) {
        let now = *mark;
        if !self.deferred.is_empty() {
            self.send_deferred();
        }
        let ready = self.events.ready(EVENT_BATCH);
        if ready > 0 {
            self.observer.begin_events();
        }
        for _ in 0..ready {
            match self.events.pop() {
                Some(Event::Adopt(movable)) => {
                    self.share_idle();
                    let mut thread = movable.into_thread();
                    thread.set_core(self.stats.core, now);
                    self.threads.push(thread);
                }
                Some(Event::Call(f)) => f(self),
                None => {}
            }
        }
        self.events.publish(ready, EVENT_BATCH);
        turn.events += ready as u32;
        if ready > 0 {
            *mark = self.set.platform().now();
            let took = mark.nanos_since(now);
            turn.busy_ns += took;
            self.observer.ran_events(&self.set, ready, took, *mark);
        }
    }

    /// Drops threads that have exited and sends off those that may not run here any more: all in
    /// one go, since a stop ends thousands in one turn.
    fn let_threads_go(&mut self) {
        self.share_idle();
        // What is dropped here is other people's code. Where it panics the rest stay, and have
        // their turn again.
        self.threads.retain_mut(|thread| !thread.is_exited());
        let core = self.stats.core;
        // One that was pinned after it had changed its cores goes when what pins it is gone.
        let leaving: Vec<_> = self.threads.extract_if(.., |thread| !thread.belongs_on(core) && !thread.is_pinned()).collect();
        for thread in leaving {
            self.send_off(thread);
        }
        self.send_deferred();
    }

    /// Has a thread go, with the events that wait, to a core that it may run on. It stays if there
    /// is none, or if it cannot leave.
    fn send_off(&mut self, thread: Thread) {
        let wanted = thread.wanted_core().and_then(|core| self.set.doorbells.index_of(core));
        // `set_cpus` made sure that there is another core.
        let Some(index) = wanted.or_else(|| self.set.place(thread.cpus()).ok()) else { return self.threads.push(thread) };
        match thread.into_movable() {
            Ok(movable) => {
                movable.set_core_index(index);
                self.deferred.push_back((index, Event::Adopt(movable)));
            }
            Err(pinned) => self.threads.push(pinned),
        }
    }

    fn is_finished(&mut self) -> bool {
        self.set.is_stopping() && self.threads.is_empty() && self.deferred.is_empty() && self.events.close_if_empty()
    }

    fn park_if_long_idle(&mut self) {
        let Idle::ParkAfter(spin) = self.idle else { return };
        let (Some(since), Some((now, _))) = (self.idle_since, self.last) else { return };
        if now.nanos_since(since) < nanos(spin) || !self.deferred.is_empty() || !self.threads.iter().all(|t| t.may_park()) {
            return;
        }
        let set = self.set.clone();
        let asleep = set.doorbells.fall_asleep(self.index);
        // Whatever was sent before the sleep was announced is seen here; whatever is sent after
        // sees the announcement and wakes the core.
        let stop_unseen = self.threads.is_empty() && set.is_stopping();
        let nothing = self.events.is_empty() && !stop_unseen && !self.threads.iter().any(|t| t.has_work());
        if nothing && self.threads.iter().all(|t| t.before_sleep()) {
            let before = set.platform().now();
            self.charge_idle(before);
            let until = self.next_deadline();
            self.observer.sleeps();
            set.platform().park(self.stats.core, until);
            let after = set.platform().now();
            let since = self.observer.woke(before, after, until, set.doorbells.rung(self.index));
            self.threads.iter_mut().for_each(|t| t.slept(since));
            let parked_ns = after.nanos_since(before);
            self.stats.parked_ns += parked_ns;
            self.unshared_parked_ns += parked_ns;
            self.stats.parks += 1;
            self.last = Some((after, 0));
        } else {
            model_yield();
        }
        self.threads.iter().for_each(|t| t.after_sleep());
        drop(asleep);
    }
}

/// Stops the set if it is dropped by a panic.
struct StopOnPanic {
    set: Arc<Set>,
    finished: bool,
}

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if !self.finished {
            self.set.stop();
        }
    }
}

/// Something for a reactor itself.
pub(crate) enum Event {
    /// A thread to turn from now on.
    Adopt(Movable),
    /// Something to do between turns.
    Call(Box<dyn FnOnce(&mut Reactor) + Send>),
}

/// Events that a reactor's ring holds. Few under the model checker, which keeps an account of each
/// slot.
const EVENTS: usize = if cfg!(loom) { 2 } else { 256 };

/// The ring of events for one core's reactor.
struct Inbox {
    events: sync::Arc<Ring<Event>>,
    /// The ring's other end until a reactor takes it.
    unclaimed: Mutex<Option<Receiver<Event>>>,
}

impl Inbox {
    fn new() -> Self {
        let (events, receiver) = Ring::new(EVENTS);
        Self { events, unclaimed: Mutex::new(Some(receiver)) }
    }
}

/// One for each core, in the order of their indices.
type Inboxes = Box<[Inbox]>;

/// The queues to the reactors of so many cores, for a [`Set`] to keep.
pub(crate) fn inboxes(cores: usize) -> Box<dyn Any + Send + Sync> {
    let inboxes: Inboxes = (0..cores).map(|_| Inbox::new()).collect();
    Box::new(inboxes)
}

impl Set {
    fn inbox(&self, core_index: usize) -> &Inbox {
        let Some(inboxes) = self.inboxes.downcast_ref::<Inboxes>() else { unreachable!("a set is made with them") };
        &inboxes[core_index]
    }

    /// Gives the events' receiving end to the one reactor of this core; `None` the second time.
    pub(crate) fn claim_events(&self, core_index: usize) -> Option<Receiver<Event>> {
        self.inbox(core_index).unclaimed.lock().take()
    }

    /// Hands the reactor of the core of this index something.
    pub(crate) fn push_event(&self, core_index: usize, event: Event) -> Result<(), Refused<Event, PushError>> {
        self.inbox(core_index).events.push(event)?;
        self.doorbells.ring(core_index);
        Ok(())
    }
}

/// A reactor's figures since its start, for the balancer.
pub(crate) struct Load {
    pub(crate) core: CoreId,
    pub(crate) busy_ns: u64,
    pub(crate) total_ns: u64,
    pub(crate) threads: Vec<ThreadLoad>,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("core", &self.core()).field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::Platform;
    use crate::sim::Sim;

    #[test]
    fn events_that_wait_for_room_are_neither_lost_nor_reordered_by_one_that_panics() {
        /// Panics where it is dropped, as the event of a reactor that has ended is.
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let mut sim = Sim::new(3);
        let seen = Arc::new(spin::Mutex::new(Vec::new()));
        drop(sim.reactors.remove(1));
        let panics = Panics;
        let reactor = &mut sim.reactors[0];
        let note = |n: u8| {
            let seen = seen.clone();
            (2, Event::Call(Box::new(move |_| seen.lock().push(n))))
        };
        let bad = (1, Event::Call(Box::new(move |_| drop(panics))));
        reactor.deferred.extend([note(1), bad, note(2), note(3)]);
        assert!(catch_unwind(AssertUnwindSafe(|| reactor.turn())).is_err());
        sim.settle();
        assert_eq!(*seen.lock(), [1, 2, 3]);
        assert!(sim.reactors[0].deferred.is_empty());
    }

    #[test]
    fn s13_a_core_whose_events_wait_for_room_elsewhere_does_not_sleep() {
        let mut sim = Sim::with(2, |options| options.idle = Idle::ParkAfter(Duration::ZERO));
        while sim.reactors[0].deferred.is_empty() {
            sim.reactors[0].send_event(1, Event::Call(Box::new(|_| {})));
        }
        let parks = |sim: &mut Sim| {
            assert!(sim.reactors[0].turn().is_idle());
            sim.reactors[0].park_if_long_idle();
            sim.platform.parks(CoreId(0)).len()
        };
        assert_eq!((parks(&mut sim), parks(&mut sim)), (0, 0), "nobody would wake it when there is room");
        let _ = sim.reactors[1].turn();
        assert_eq!(parks(&mut sim), 1);
    }

    #[test]
    fn s13_a_core_does_not_sleep_over_what_came_before_the_sleep() {
        type Come = fn(&mut Sim);
        let news: [(&str, Come, usize); 3] = [
            ("nothing", |_| {}, 1),
            ("an event", |sim| drop(sim.lib().spawn(crate::ThreadConfig::new("t"), |_| {}).unwrap()), 0),
            ("a stop", |sim| sim.lib().stop(), 0),
        ];
        for (what, come, parks) in news {
            let mut sim = Sim::with(1, |options| options.idle = Idle::ParkAfter(Duration::ZERO));
            assert!(sim.turn().is_idle());
            come(&mut sim);
            sim.reactors[0].park_if_long_idle();
            assert_eq!(sim.platform.parks(CoreId(0)).len(), parks, "{what}");
        }
    }

    /// The balancer's shares are of all that passes.
    #[test]
    fn s06_a_reactors_load_is_a_part_of_all_its_time() {
        let mut sim = Sim::with(1, |options| options.idle = Idle::ParkAfter(Duration::ZERO));
        let (mut reactor, platform) = (sim.reactors.remove(0), sim.platform.clone());
        let start = platform.now();
        platform.tick(Duration::from_millis(1));
        for _ in 0..3 {
            let _ = reactor.turn();
            reactor.park_if_long_idle();
        }
        let load = reactor.load();
        assert_eq!(platform.parks(CoreId(0)).len(), 3);
        assert_eq!((load.total_ns, load.busy_ns), (reactor.stats.idle_ns + reactor.stats.parked_ns, 0));
        assert!(reactor.stats.idle_ns > 0 && reactor.stats.parked_ns > 0);
        // The reading of the clock that follows is not the reactor's.
        assert_eq!(load.total_ns + 1_000_000, platform.now().nanos_since(start));
    }

    /// A watcher divides a thread's busy time by all that its core had, asleep or awake.
    #[test]
    fn s171_a_thread_is_charged_with_its_share_of_its_cores_sleep() {
        let mut sim = Sim::with(1, |options| options.idle = Idle::ParkAfter(Duration::ZERO));
        for name in ["a", "b"] {
            sim.lib().spawn(crate::ThreadConfig::new(name), |_| {}).unwrap();
        }
        sim.settle();
        sim.platform.tick(Duration::from_millis(1));
        let reactor = &mut sim.reactors[0];
        for _ in 0..3 {
            let _ = reactor.turn();
            reactor.park_if_long_idle();
        }
        reactor.share_idle();
        assert!(reactor.stats.parked_ns > 0);
        for thread in &reactor.threads {
            let stats = thread.stats();
            assert_eq!((stats.parked_ns, stats.idle_ns), (reactor.stats.parked_ns / 2, reactor.stats.idle_ns / 2));
        }
    }

    #[test]
    fn events_wait_behind_one_that_finds_no_room_and_go_in_their_order() {
        let mut sim = Sim::new(2);
        let seen = Arc::new(spin::Mutex::new(Vec::new()));
        for n in 0..600_u32 {
            let seen = seen.clone();
            sim.reactors[0].send_event(1, Event::Call(Box::new(move |_| seen.lock().push(n))));
        }
        assert!(!sim.reactors[0].deferred.is_empty(), "more than the ring holds");
        for _ in 0..100 {
            sim.turn();
        }
        assert!(seen.lock().iter().copied().eq(0..600));
    }
}
