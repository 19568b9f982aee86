//! The pollers of one thread: a slab, the order in which the active ones run, and the deadlines of the timed ones.
//!
//! A poller is taken out of its slot while it runs, so that it may add, remove and change any poller, itself included.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::time::nanos;
use crate::timers::Timers;
use crate::{Cx, Instant, Name};

/// What a poller says of one run.
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

/// Something that a thread runs again and again. Closures `FnMut(&mut Cx<'_>) -> Polled` are pollers.
pub trait Poller {
    /// One run: bounded, never blocking.
    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled;
}

impl<F: FnMut(&mut Cx<'_>) -> Polled> Poller for F {
    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        self(cx)
    }
}

/// A poller's key on its thread. Once the poller is gone the key is stale and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PollerId {
    slot: u32,
    generation: u32,
}

/// When a poller runs, and whether its core may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// In every turn. Its core never parks: nobody else knows when it has work.
    Always,
    /// In every turn while its core is awake; the core may park, since what gives this poller work also wakes the core (a [`Cx::watch`], a message).
    WhenAwake,
    /// Once per period. A period of zero is [`Schedule::Always`].
    Every(Duration),
}

/// A key whose poller is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stale key: the poller is no longer on this thread")]
pub struct StalePoller;

/// What a poller has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollerStats {
    /// Its name.
    pub name: Name,
    /// Runs.
    pub runs: u64,
    /// Runs that answered [`Polled::Busy`] or [`Polled::Done`].
    pub busy_runs: u64,
    /// Time in busy runs, nanoseconds. The clock is read after busy runs only, so idle runs directly before one count in.
    pub busy: u64,
    /// Time in idle runs, nanoseconds: its share, by runs, of the thread's idle time.
    pub idle: u64,
    /// The longest busy run, nanoseconds.
    pub longest: u64,
}

/// A slot of the slab; the part that every run touches comes first.
#[repr(C)]
pub(crate) struct Slot {
    poller: Option<Box<dyn Poller>>,
    generation: u32,
    state: State,
    /// May leave its core with the thread.
    local: bool,
    runs: u64,
    busy_runs: u64,
    busy: u64,
    longest: u64,
    /// Nanoseconds; 0 for active pollers.
    period: u64,
    /// Where in the order of active pollers it stands.
    place: u32,
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
}

#[derive(Default)]
pub(crate) struct Pollers {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots of active pollers (paused ones too) in order of registration; `GONE` until the end of the turn in which one is removed.
    active: Vec<u32>,
    gone: usize,
    /// Active pollers whose schedule keeps the core awake.
    sleepless: usize,
    /// Pollers that may not change cores.
    locals: usize,
    timers: Timers,
}

const GONE: u32 = u32::MAX;

impl Pollers {
    pub(crate) fn add(&mut self, name: Name, schedule: Schedule, local: bool, poller: Box<dyn Poller>, now: Instant) -> PollerId {
        let (period, state) = match schedule {
            Schedule::Always => (0, State::Active { parks: false }),
            Schedule::WhenAwake => (0, State::Active { parks: true }),
            Schedule::Every(period) if period.is_zero() => (0, State::Active { parks: false }),
            Schedule::Every(period) => (nanos(period), State::Timed),
        };
        let id = self.allocate();
        let slot = &mut self.slots[id.slot as usize];
        *slot = Slot { poller: Some(poller), state, local, period, name, ..Slot::free(id.generation) };
        self.locals += usize::from(local);
        match state {
            State::Timed => self.timers.insert(id.slot, now.plus_nanos(period), period),
            _ => self.activate(id.slot),
        }
        id
    }

    fn allocate(&mut self) -> PollerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::free(0));
            (self.slots.len() - 1) as u32
        });
        PollerId { slot, generation: self.slots[slot as usize].generation }
    }

    fn activate(&mut self, slot: u32) {
        self.slots[slot as usize].place = self.active.len() as u32;
        self.active.push(slot);
        if self.slots[slot as usize].state == (State::Active { parks: false }) {
            self.sleepless += 1;
        }
    }

    fn slot(&mut self, id: PollerId) -> Result<&mut Slot, StalePoller> {
        match self.slots.get_mut(id.slot as usize) {
            Some(slot) if slot.generation == id.generation && slot.state != State::Free => Ok(slot),
            _ => Err(StalePoller),
        }
    }

    /// Takes a poller out for good. What comes back is to be dropped by the caller (it may be running, then nothing comes back).
    pub(crate) fn remove(&mut self, id: PollerId) -> Result<Option<Box<dyn Poller>>, StalePoller> {
        let slot = self.slot(id)?;
        let poller = slot.poller.take();
        let (state, local, place) = (slot.state, slot.local, slot.place);
        *slot = Slot::free(id.generation.wrapping_add(1));
        self.locals -= usize::from(local);
        self.unschedule(id.slot, state, place);
        self.free.push(id.slot);
        Ok(poller)
    }

    /// Takes a poller out of the order that it runs in.
    fn unschedule(&mut self, slot: u32, state: State, place: u32) {
        match state {
            State::Timed | State::PausedTimed { queued: true } => self.timers.remove(slot),
            State::PausedTimed { queued: false } | State::Free => {}
            State::Active { .. } | State::PausedActive { .. } => {
                self.sleepless -= usize::from(state == State::Active { parks: false });
                // The gap stays until the turn ends: someone may be walking the list.
                self.active[place as usize] = GONE;
                self.gone += 1;
            }
        }
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
                let (period, late) = (slot.period, self.timers.deadline(id.slot).is_none_or(|d| d <= now));
                if !queued || late {
                    if queued {
                        self.timers.remove(id.slot);
                    }
                    self.timers.insert(id.slot, now.plus_nanos(period), period);
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn set_period(&mut self, id: PollerId, period: Duration, now: Instant) -> Result<(), StalePoller> {
        let slot = self.slot(id)?;
        match slot.state {
            // What is active and stays so keeps its place in the order.
            State::Active { parks } if period.is_zero() => {
                slot.state = State::Active { parks: false };
                self.sleepless += usize::from(parks);
                return Ok(());
            }
            State::PausedActive { .. } if period.is_zero() => {
                slot.state = State::PausedActive { parks: false };
                return Ok(());
            }
            _ => {}
        }
        let (was, place) = (slot.state, slot.place);
        let paused = matches!(was, State::PausedActive { .. } | State::PausedTimed { .. });
        slot.period = nanos(period);
        slot.state = match (period.is_zero(), paused) {
            (true, false) => State::Active { parks: false },
            (true, true) => State::PausedActive { parks: false },
            (false, false) => State::Timed,
            (false, true) => State::PausedTimed { queued: false },
        };
        let (is, period) = (slot.state, slot.period);
        self.unschedule(id.slot, was, place);
        match is {
            State::Timed => self.timers.insert(id.slot, now.plus_nanos(period), period),
            State::Active { .. } | State::PausedActive { .. } => self.activate(id.slot),
            State::PausedTimed { .. } | State::Free => {}
        }
        Ok(())
    }

    /// Active pollers from place 0 up to this run in this turn.
    pub(crate) fn active_places(&self) -> usize {
        self.active.len()
    }

    /// The active poller at `place`, unless it is gone or paused.
    #[inline(always)]
    pub(crate) fn active_at(&self, place: usize) -> Option<PollerId> {
        let slot = *self.active.get(place)?;
        let s = self.slots.get(slot as usize)?;
        matches!(s.state, State::Active { .. }).then_some(PollerId { slot, generation: s.generation })
    }

    /// Takes a poller out, to run it.
    #[inline(always)]
    pub(crate) fn take(&mut self, id: PollerId) -> Option<Box<dyn Poller>> {
        self.slots.get_mut(id.slot as usize)?.poller.take()
    }

    /// The timed poller that is due next; its next deadline is a period from `now`.
    #[inline]
    pub(crate) fn due(&mut self, now: Instant) -> Option<PollerId> {
        loop {
            let slot = self.timers.due(now)?;
            let s = &mut self.slots[slot as usize];
            if s.state == (State::PausedTimed { queued: true }) {
                s.state = State::PausedTimed { queued: false };
                self.timers.remove(slot);
                continue;
            }
            let id = PollerId { slot, generation: s.generation };
            self.timers.postpone(slot, now.plus_nanos(s.period));
            return Some(id);
        }
    }

    /// Puts a poller back that ran, unless it was removed meanwhile.
    #[inline(always)]
    pub(crate) fn put_back(&mut self, id: PollerId, poller: Box<dyn Poller>) {
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
            slot.busy += took;
            slot.longest = slot.longest.max(took);
        }
    }

    /// Closes the gaps that removals left in the order of active pollers.
    #[inline]
    pub(crate) fn end_turn(&mut self) {
        if self.gone > 0 {
            self.active.retain(|s| *s != GONE);
            self.gone = 0;
            for (place, slot) in self.active.iter().enumerate() {
                self.slots[*slot as usize].place = place as u32;
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

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    pub(crate) fn locals(&self) -> usize {
        self.locals
    }

    /// Every poller's figures; `idle` nanoseconds are shared out by idle runs.
    pub(crate) fn stats(&self, idle: u64) -> Vec<PollerStats> {
        let live = || self.slots.iter().filter(|s| s.state != State::Free);
        let idle_runs: u64 = live().map(|s| s.runs - s.busy_runs).sum();
        let share = |runs: u64| (u128::from(idle) * u128::from(runs) / u128::from(idle_runs.max(1))) as u64;
        live()
            .map(|s| PollerStats {
                name: s.name.clone(),
                runs: s.runs,
                busy_runs: s.busy_runs,
                busy: s.busy,
                idle: share(s.runs - s.busy_runs),
                longest: s.longest,
            })
            .collect()
    }

    /// The names of the pollers that are left.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.slots.iter().filter(|s| s.state != State::Free).map(|s| &s.name)
    }
}

/// Drops a poller, away from the code that nearly always keeps it.
#[cold]
fn discard(_: Box<dyn Poller>) {}

impl Slot {
    fn free(generation: u32) -> Self {
        Self {
            poller: None,
            generation,
            state: State::Free,
            local: false,
            runs: 0,
            busy_runs: 0,
            busy: 0,
            longest: 0,
            period: 0,
            place: 0,
            name: Name::new(),
        }
    }
}
