//! The pollers of one thread: a slab, the order in which the active ones run, and the deadlines of
//! the timed ones. What a poller is, and how it is run, is not known here.
//!
//! A poller is taken out of its slot while it runs, so that it may add, remove and change any
//! poller, itself included.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::observe::Label;
use crate::time::nanos;
use crate::timers::Timers;
use crate::{Instant, Name, PollerCounts, PollerInfo, PollerStats};

/// A poller's key on its thread. Once the poller is gone the key is stale and refused, for as long
/// as the thread lives: a slot whose generations are used up is not used again. On another thread
/// it means nothing, and may name any poller there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PollerId {
    slot: u32,
    generation: u32,
}

impl PollerId {
    /// It as a number, which no other poller of the thread has or will have. Not 0.
    pub const fn number(self) -> u64 {
        (self.generation as u64) << 32 | (self.slot as u64 + 1)
    }
}

/// When a poller runs, and whether its core may sleep.
///
/// ```
/// # use core_reactor::{Cx, Polled, Schedule, ThreadConfig, sim::Sim};
/// # use core::time::Duration;
/// # let mut sim = Sim::new(1);
/// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
/// let poll = |_: &mut Cx<'_>| Polled::Idle;
/// cx.poller("a device without interrupts", Schedule::Always, poll);
/// cx.poller("a socket group, which wakes the core", Schedule::WhenAwake, poll);
/// cx.poller("a time-out", Schedule::Every(Duration::from_millis(100)), poll);
/// cx.poller("once a second, to be counted", Schedule::FixedRate(Duration::from_secs(1)), poll);
/// # })?;
/// # sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// In every turn. Its core never parks: nobody else knows when it has work.
    Always,
    /// In every turn while its core is awake; the core may park, since what gives this poller work
    /// also wakes the core (a [`Cx::watch`](crate::Cx::watch), a message).
    WhenAwake,
    /// When a period has passed since the turn of its last run, or since it was registered; late,
    /// and once, where no turn came in time: each late turn moves all that follow, so that two runs
    /// are a period apart at least (it drifts). A period of zero is [`Schedule::Always`].
    ///
    /// Unless [`Cx::hold_exit`](crate::Cx::hold_exit) asks for it, a thread that is asked to exit
    /// does not wait for it.
    Every(Duration),
    /// At every whole period since it was registered, however late a run was: for what is counted
    /// per second. Where no turn came in time it runs late, once for all the periods that were
    /// missed, and then at the next whole one. Otherwise as [`Schedule::Every`].
    FixedRate(Duration),
}

/// A key whose poller is gone.
///
/// ```
/// use core_reactor::{Cx, Polled, Schedule, StalePoller, ThreadConfig, sim::Sim};
///
/// let mut sim = Sim::new(1);
/// sim.lib().spawn(ThreadConfig::new("t"), |cx| {
///     let id = cx.poller("once", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Done);
///     assert_eq!(cx.remove(id), Ok(()));
///     assert_eq!(cx.remove(id), Err(StalePoller));
/// })?;
/// sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stale key: the poller is no longer on this thread")]
pub struct StalePoller;

/// A slot of the slab; the part that every run touches comes first.
#[repr(C)]
pub(crate) struct Slot<P: ?Sized> {
    poller: Option<Box<P>>,
    generation: u32,
    state: State,
    /// Pins the thread to its core.
    local: bool,
    /// The thread does not end before it is done, though it is timed.
    holds_exit: bool,
    runs: u64,
    busy_runs: u64,
    busy_ns: u64,
    longest_ns: u64,
    stalls: u64,
    /// 0 for active pollers.
    period_ns: u64,
    /// Where in the order of active pollers it stands.
    position: u32,
    /// Its deadlines are whole periods apart.
    fixed_rate: bool,
    label: Label,
    name: Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Active {
        parks: bool,
    },
    Timed,
    PausedActive {
        parks: bool,
    },
    /// Still in the timers' order while its deadline is ahead.
    PausedTimed {
        queued: bool,
    },
    /// Runs once, when the thread is asked to exit.
    AtExit,
}

pub(crate) struct Pollers<P: ?Sized> {
    slots: Vec<Slot<P>>,
    free: Vec<u32>,
    /// Slots of active pollers (paused ones too) in order of registration; `GONE` until the end of
    /// the turn in which one is removed.
    active: Vec<u32>,
    gone: usize,
    /// Active pollers whose schedule keeps the core awake.
    sleepless: usize,
    /// Pollers that may not change cores.
    locals: usize,
    /// Pollers that are there.
    live: usize,
    /// Those of them that a thread's end does not wait for.
    waived: usize,
    timers: Timers,
    /// What runs when the thread is asked to exit, in order of registration.
    at_exit: Vec<PollerId>,
}

const GONE: u32 = u32::MAX;

/// The generation of a slot whose generations are used up. One more would give its first keys a new
/// meaning, and with them a poller that is not `Send`, and has removed itself in its run, the slot
/// of one that is.
const LAST: u32 = u32::MAX;

impl<P: ?Sized> Default for Pollers<P> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            active: Vec::new(),
            gone: 0,
            sleepless: 0,
            locals: 0,
            live: 0,
            waived: 0,
            timers: Timers::default(),
            at_exit: Vec::new(),
        }
    }
}

impl<P: ?Sized> Pollers<P> {
    pub(crate) fn add(&mut self, (name, label): (Name, Label), schedule: Schedule, local: bool, poller: Box<P>, now: Instant) -> PollerId {
        let (period_ns, state) = match schedule {
            Schedule::Always => (0, State::Active { parks: false }),
            Schedule::WhenAwake => (0, State::Active { parks: true }),
            Schedule::Every(period) | Schedule::FixedRate(period) if period.is_zero() => (0, State::Active { parks: false }),
            Schedule::Every(period) | Schedule::FixedRate(period) => (nanos(period), State::Timed),
        };
        let fixed_rate = matches!(schedule, Schedule::FixedRate(_));
        let id = self.enter(Slot { poller: Some(poller), state, local, period_ns, name, label, fixed_rate, ..Slot::free(0) });
        match state {
            State::Timed => self.start_timer(id.slot, now),
            _ => self.activate(id.slot),
        }
        id
    }

    /// Adds what runs once, when the thread is asked to exit.
    pub(crate) fn add_at_exit(&mut self, (name, label): (Name, Label), poller: Box<P>) -> PollerId {
        let id = self.enter(Slot { poller: Some(poller), state: State::AtExit, name, label, ..Slot::free(0) });
        self.at_exit.push(id);
        id
    }

    /// How many are to run at the exit.
    pub(crate) fn at_exit(&self) -> usize {
        self.at_exit.len()
    }

    /// The one of them that is to run next: the last registered.
    pub(crate) fn pop_at_exit(&mut self) -> Option<PollerId> {
        self.at_exit.pop()
    }

    fn enter(&mut self, poller: Slot<P>) -> PollerId {
        let id = self.allocate();
        self.locals += usize::from(poller.local);
        self.live += 1;
        self.waived += usize::from(poller.is_waived());
        self.slots[id.slot as usize] = Slot { generation: id.generation, ..poller };
        id
    }

    /// Gives a timed poller its first deadline, a full period from `now`.
    fn start_timer(&mut self, slot: u32, now: Instant) {
        let Slot { period_ns, fixed_rate, .. } = self.slots[slot as usize];
        self.timers.insert(slot, now.plus_nanos(period_ns), period_ns, !fixed_rate);
    }

    fn allocate(&mut self) -> PollerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::free(0));
            (self.slots.len() - 1) as u32
        });
        PollerId { slot, generation: self.slots[slot as usize].generation }
    }

    fn activate(&mut self, slot: u32) {
        self.slots[slot as usize].position = self.active.len() as u32;
        self.active.push(slot);
        if self.slots[slot as usize].state == (State::Active { parks: false }) {
            self.sleepless += 1;
        }
    }

    fn slot(&mut self, id: PollerId) -> Result<&mut Slot<P>, StalePoller> {
        match self.slots.get_mut(id.slot as usize) {
            Some(slot) if slot.generation == id.generation && slot.state != State::Free => Ok(slot),
            _ => Err(StalePoller),
        }
    }

    /// Takes a poller out for good. What comes back is to be dropped by the caller (it may be
    /// running, then nothing comes back).
    pub(crate) fn remove(&mut self, id: PollerId) -> Result<Option<Box<P>>, StalePoller> {
        let slot = self.slot(id)?;
        let poller = slot.poller.take();
        let (state, local, position, waived) = (slot.state, slot.local, slot.position, slot.is_waived());
        *slot = Slot::free(id.generation + 1);
        self.locals -= usize::from(local);
        self.live -= 1;
        self.waived -= usize::from(waived);
        self.unschedule(id.slot, state, position);
        if id.generation + 1 != LAST {
            self.free.push(id.slot);
        }
        Ok(poller)
    }

    /// Takes a poller out of the order that it runs in.
    fn unschedule(&mut self, slot: u32, state: State, position: u32) {
        match state {
            State::Timed | State::PausedTimed { queued: true } => self.timers.remove(slot),
            State::PausedTimed { queued: false } | State::Free => {}
            State::AtExit => self.at_exit.retain(|id| id.slot != slot),
            State::Active { .. } | State::PausedActive { .. } => {
                self.sleepless -= usize::from(state == State::Active { parks: false });
                // The gap stays until the turn ends: someone may be walking the list.
                self.active[position as usize] = GONE;
                self.gone += 1;
            }
        }
    }

    /// Has the thread's end wait for a poller also while it is timed.
    pub(crate) fn hold_exit(&mut self, id: PollerId) -> Result<(), StalePoller> {
        let slot = self.slot(id)?;
        let waived = slot.is_waived();
        slot.holds_exit = true;
        self.waived -= usize::from(waived);
        Ok(())
    }

    pub(crate) fn pause(&mut self, id: PollerId) -> Result<(), StalePoller> {
        let slot = self.slot(id)?;
        match slot.state {
            State::Active { parks } => {
                slot.state = State::PausedActive { parks };
                self.sleepless -= usize::from(!parks);
            }
            State::Timed => slot.state = State::PausedTimed { queued: true },
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn resume(&mut self, id: PollerId, now: Instant) -> Result<(), StalePoller> {
        let slot = self.slot(id)?;
        match slot.state {
            State::PausedActive { parks } => {
                slot.state = State::Active { parks };
                self.sleepless += usize::from(!parks);
            }
            State::PausedTimed { queued } => {
                slot.state = State::Timed;
                let late = self.timers.deadline(id.slot).is_none_or(|d| d <= now);
                if !queued || late {
                    if queued {
                        self.timers.remove(id.slot);
                    }
                    self.start_timer(id.slot, now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn set_period(&mut self, id: PollerId, period: Duration, now: Instant) -> Result<(), StalePoller> {
        let slot = self.slot(id)?;
        match slot.state {
            // What is active and stays so keeps its position.
            State::Active { parks } if period.is_zero() => {
                slot.state = State::Active { parks: false };
                self.sleepless += usize::from(parks);
                return Ok(());
            }
            State::PausedActive { .. } if period.is_zero() => {
                slot.state = State::PausedActive { parks: false };
                return Ok(());
            }
            State::AtExit => return Ok(()),
            _ => {}
        }
        let (was, position, was_waived) = (slot.state, slot.position, slot.is_waived());
        let paused = matches!(was, State::PausedActive { .. } | State::PausedTimed { .. });
        slot.period_ns = nanos(period);
        slot.state = match (period.is_zero(), paused) {
            (true, false) => State::Active { parks: false },
            (true, true) => State::PausedActive { parks: false },
            (false, false) => State::Timed,
            (false, true) => State::PausedTimed { queued: false },
        };
        let (is, is_waived) = (slot.state, slot.is_waived());
        self.waived = self.waived + usize::from(is_waived) - usize::from(was_waived);
        self.unschedule(id.slot, was, position);
        match is {
            State::Timed => self.start_timer(id.slot, now),
            State::Active { .. } | State::PausedActive { .. } => self.activate(id.slot),
            State::PausedTimed { .. } | State::AtExit | State::Free => {}
        }
        Ok(())
    }

    /// Active pollers from position 0 up to this run in this turn.
    pub(crate) fn active_len(&self) -> usize {
        self.active.len()
    }

    /// The active poller at `position`, unless it is gone or paused.
    #[inline(always)]
    pub(crate) fn active_at(&self, position: usize) -> Option<PollerId> {
        let slot = *self.active.get(position)?;
        let s = self.slots.get(slot as usize)?;
        matches!(s.state, State::Active { .. }).then_some(PollerId { slot, generation: s.generation })
    }

    /// Takes a poller out, to run it.
    #[inline(always)]
    pub(crate) fn take(&mut self, id: PollerId) -> Option<Box<P>> {
        self.slots.get_mut(id.slot as usize)?.poller.take()
    }

    /// What the poller of a slot is called, in short.
    #[inline(always)]
    pub(crate) fn label(&self, id: PollerId) -> Label {
        self.slots.get(id.slot as usize).map_or_else(Label::default, |slot| slot.label)
    }

    /// The timed poller that is due next, with its deadline; its next deadline is a period from
    /// `now`, or where its rate is fixed the first one that is after `now`.
    #[inline]
    pub(crate) fn due(&mut self, now: Instant) -> Option<(PollerId, Instant)> {
        loop {
            let (slot, deadline) = self.timers.due(now)?;
            let s = &mut self.slots[slot as usize];
            if s.state == (State::PausedTimed { queued: true }) {
                s.state = State::PausedTimed { queued: false };
                self.timers.remove(slot);
                continue;
            }
            let id = PollerId { slot, generation: s.generation };
            let next = if s.fixed_rate { self.timers.next_whole_period(slot, s.period_ns, now) } else { now.plus_nanos(s.period_ns) };
            self.timers.postpone(slot, next);
            return Some((id, deadline));
        }
    }

    /// Puts a poller back that ran, unless it was removed meanwhile.
    #[inline(always)]
    pub(crate) fn put_back(&mut self, id: PollerId, poller: Box<P>) {
        let removed = match self.slots.get_mut(id.slot as usize) {
            Some(slot) if slot.generation == id.generation => {
                slot.runs += 1;
                slot.poller.replace(poller)
            }
            _ => Some(poller),
        };
        if let Some(poller) = removed {
            discard(poller);
        }
    }

    /// Charges a busy run of `took` nanoseconds.
    pub(crate) fn charge(&mut self, id: PollerId, took: u64) {
        if let Ok(slot) = self.slot(id) {
            slot.busy_runs += 1;
            slot.busy_ns += took;
            slot.longest_ns = slot.longest_ns.max(took);
        }
    }

    /// Counts a run that took too long.
    pub(crate) fn count_stall(&mut self, id: PollerId) {
        if let Ok(slot) = self.slot(id) {
            slot.stalls += 1;
        }
    }

    /// Closes the gaps that removals left in the order of active pollers.
    #[inline]
    pub(crate) fn end_turn(&mut self) {
        if self.gone > 0 {
            self.active.retain(|s| *s != GONE);
            self.gone = 0;
            for (position, slot) in self.active.iter().enumerate() {
                self.slots[*slot as usize].position = position as u32;
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether the core may sleep as far as these pollers go.
    pub(crate) fn may_park(&self) -> bool {
        self.sleepless == 0
    }

    /// Whether a thread that is to end may, as far as these pollers go.
    pub(crate) fn may_end(&self) -> bool {
        self.live == self.waived
    }

    pub(crate) fn locals(&self) -> usize {
        self.locals
    }

    /// Every poller's figures; `idle_ns` are shared out by idle runs.
    pub(crate) fn stats(&self, idle_ns: u64) -> impl Iterator<Item = PollerStats> {
        let live = || self.slots.iter().filter(|s| s.state != State::Free);
        let idle_runs: u64 = live().map(|s| s.runs - s.busy_runs).sum();
        let share = move |runs: u64| (u128::from(idle_ns) * u128::from(runs) / u128::from(idle_runs.max(1))) as u64;
        live().map(move |s| PollerStats {
            name: s.name.clone(),
            runs: s.runs,
            busy_runs: s.busy_runs,
            busy_ns: s.busy_ns,
            idle_ns: share(s.runs - s.busy_runs),
            longest_ns: s.longest_ns,
            stalls: s.stalls,
        })
    }

    /// What can be told of every poller. What waits for the exit is none.
    pub(crate) fn info(&self) -> impl Iterator<Item = PollerInfo> {
        let slots = self.slots.iter().enumerate();
        let there = slots.filter(|(_, slot)| !matches!(slot.state, State::Free | State::AtExit));
        there.map(|(at, slot)| PollerInfo {
            id: PollerId { slot: at as u32, generation: slot.generation }.number(),
            name: slot.name.clone(),
            period: Duration::from_nanos(slot.period_ns),
            is_paused: matches!(slot.state, State::PausedActive { .. } | State::PausedTimed { .. }),
            runs: slot.runs,
            busy_runs: slot.busy_runs,
            busy_ns: slot.busy_ns,
            longest_ns: slot.longest_ns,
            stalls: slot.stalls,
        })
    }

    /// How many there are of each kind.
    pub(crate) fn counts(&self) -> PollerCounts {
        let mut counts = PollerCounts::default();
        for slot in &self.slots {
            match slot.state {
                State::Active { .. } => counts.active += 1,
                State::Timed => counts.timed += 1,
                State::PausedActive { .. } | State::PausedTimed { .. } => counts.paused += 1,
                State::Free | State::AtExit => {}
            }
        }
        counts
    }

    /// The names of the pollers that an end waits for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.slots.iter().filter(|s| s.state != State::Free && !s.is_waived()).map(|s| &s.name)
    }
}

/// Drops a poller, away from the code that nearly always keeps it.
#[cold]
fn discard<P: ?Sized>(_: Box<P>) {}

impl<P: ?Sized> Slot<P> {
    /// Whether a thread's end does not wait for the poller here.
    fn is_waived(&self) -> bool {
        matches!(self.state, State::Timed | State::PausedTimed { .. }) && !self.holds_exit
    }

    fn free(generation: u32) -> Self {
        Self {
            poller: None,
            generation,
            state: State::Free,
            local: false,
            holds_exit: false,
            fixed_rate: false,
            runs: 0,
            busy_runs: 0,
            busy_ns: 0,
            longest_ns: 0,
            stalls: 0,
            period_ns: 0,
            position: 0,
            label: Label::default(),
            name: Name::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimPlatform;
    use crate::{CoreId, Cx, Platform, Polled, Poller, ThreadConfig, ThreadLib, ThreadLibOptions};
    use alloc::rc::Rc;
    use core::cell::Cell;

    impl<P: ?Sized> Pollers<P> {
        /// Adds a free slot that has so many generations left.
        pub(crate) fn near_the_last_generation(&mut self, left: u32) {
            self.free.push(self.slots.len() as u32);
            self.slots.push(Slot::free(LAST - left));
        }
    }

    fn idle(_: &mut Cx<'_>) -> Polled {
        Polled::Idle
    }

    #[test]
    fn a_key_is_stale_for_ever_also_when_the_generations_of_its_slot_are_used_up() {
        let sim = SimPlatform::new(1);
        let lib = ThreadLib::new(sim.clone(), sim.cores(), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
        thread.with(|cx| {
            cx.near_the_last_generation(3);
            let keys: Vec<_> = (0..9)
                .map(|_| {
                    let id = cx.poller("p", Schedule::Every(Duration::from_secs(1)), idle);
                    cx.remove(id).unwrap();
                    id
                })
                .collect();
            assert!(keys[..3].iter().all(|key| key.slot == 0) && keys[3..].iter().all(|key| key.slot == 1), "{keys:?}");
            let there = cx.poller("there", Schedule::Always, idle);
            assert!(keys.iter().all(|key| *key != there && cx.remove(*key) == Err(StalePoller)));
            cx.remove(there).unwrap();
            cx.exit();
        });
        let _ = thread.turn(sim.now());
        assert!(thread.is_exited(), "a slot that is used up is nobody's poller");
    }

    #[test]
    fn the_gaps_of_removed_pollers_are_closed_at_the_end_of_the_turn() {
        let mut pollers: Pollers<dyn Poller> = Pollers::default();
        let add = |pollers: &mut Pollers<dyn Poller>| {
            pollers.add((crate::Name::from("p"), Label::default()), Schedule::Always, false, Box::new(idle), Instant::ZERO)
        };
        let ids: Vec<_> = (0..5).map(|_| add(&mut pollers)).collect();
        for gone in [ids[1], ids[3]] {
            assert!(pollers.remove(gone).is_ok_and(|poller| poller.is_some()));
        }
        assert_eq!(pollers.active_len(), 5, "someone may be walking them");
        pollers.end_turn();
        let order =
            |pollers: &Pollers<dyn Poller>| (0..pollers.active_len()).map(|position| pollers.active_at(position)).collect::<Vec<_>>();
        assert_eq!(order(&pollers), [ids[0], ids[2], ids[4]].map(Some));
        // Each knows the position that it has now.
        assert!(pollers.remove(ids[2]).is_ok());
        assert_eq!(order(&pollers), [Some(ids[0]), None, Some(ids[4])]);
        pollers.end_turn();
        assert_eq!(order(&pollers), [ids[0], ids[4]].map(Some));
    }

    /// A poller that is not `Send` removes itself in its run and uses up the generations of its
    /// slot: what comes there then is another's, and the thread that it pinned does not take it
    /// along.
    #[test]
    fn a_poller_that_removed_itself_does_not_come_back_in_anothers_slot() {
        let sim = SimPlatform::new(2);
        let lib = ThreadLib::new(sim.clone(), sim.cores(), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
        let held = Rc::new(Cell::new(0));
        let own: Rc<Cell<Option<PollerId>>> = Rc::default();
        let (runs, key) = (held.clone(), own.clone());
        thread.with(|cx| {
            cx.near_the_last_generation(2);
            own.set(Some(cx.local_poller("holds an Rc", Schedule::Always, move |cx: &mut Cx<'_>| {
                runs.set(runs.get() + 1);
                cx.remove(key.get().unwrap()).unwrap();
                for _ in 0..4 {
                    let id = cx.poller("p", Schedule::Always, idle);
                    cx.remove(id).unwrap();
                }
                let last = cx.poller("sends", Schedule::Always, idle);
                assert_ne!(Some(last), key.get());
                Polled::Idle
            })));
        });
        for _ in 0..3 {
            let _ = thread.turn(sim.now());
        }
        assert_eq!((held.get(), Rc::strong_count(&held), Rc::strong_count(&own)), (1, 1, 1), "it ran once and is gone");
    }
}
