//! Deadlines for many things (a group's connections) that are nearly always pushed forward before
//! they are over.
//!
//! A hashed wheel: a slot lies in the bucket of its deadline's tick, counted round the wheel.
//! Pushed forward, it stays there and only has its new deadline written down; when the wheel comes
//! to the bucket, it moves on to where it belongs by then. So a slot is moved once for each
//! time-out that passes, or turn of the wheel, and not once for each push.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::Instant;
use crate::time::nanos;

/// Buckets of the wheel: as many as a word has bits, which tell those that are in use.
const BUCKETS: u64 = 64;

/// The list of those whose tick is over, beside those of the buckets, and no list.
const DUE: u8 = BUCKETS as u8;
const NOWHERE: u8 = u8::MAX;

const NONE: u32 = u32::MAX;

/// Deadlines of slots, which are small numbers of the owner's choosing: told never early, and late
/// by less than a tick and the time until the owner looks.
///
/// ```
/// use core::time::Duration;
/// use core_reactor::{Deadlines, Instant};
///
/// let idle = Duration::from_secs(10);
/// let mut deadlines = Deadlines::new(2, Duration::from_millis(100));
/// let start = Instant::ZERO;
/// deadlines.set(0, start + idle);
/// deadlines.set(1, start + idle);
/// let later = start + Duration::from_secs(9);
/// deadlines.set(1, later + idle); // something came on this connection
/// let now = start + Duration::from_secs(11);
/// assert_eq!(deadlines.pop_expired(now), Some(0));
/// assert_eq!(deadlines.pop_expired(now), None);
/// ```
pub struct Deadlines {
    slots: Vec<Slot>,
    /// The first slot of each list; the lists are rings.
    lists: [u32; BUCKETS as usize + 1],
    /// A bit for each bucket that is not empty.
    used: u64,
    tick_ns: u64,
    /// The first tick that has not been looked at. The wheel reaches from here on over as many
    /// ticks as it has buckets.
    from: u64,
    /// How often a slot was put into a list, for the tests that count.
    #[cfg(test)]
    moves: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    /// [`Instant::MAX`]: none. Never before the tick in whose bucket it lies.
    deadline: Instant,
    before: u32,
    behind: u32,
    list: u8,
}

const UNUSED: Slot = Slot { deadline: Instant::MAX, before: NONE, behind: NONE, list: NOWHERE };

impl Deadlines {
    /// Room for slots `0..slots`, allocated here; a slot beyond makes more. Ticks of a 50th of the
    /// usual time-out are fine enough, and no slot is then looked at more than once in it.
    pub fn new(slots: usize, tick: Duration) -> Self {
        Self {
            slots: alloc::vec![UNUSED; slots],
            lists: [NONE; BUCKETS as usize + 1],
            used: 0,
            tick_ns: nanos(tick).max(1),
            from: 0,
            #[cfg(test)]
            moves: 0,
        }
    }

    /// Gives `slot` this deadline in place of the one that it had. A later one costs a comparison
    /// and a store. [`Instant::MAX`] is none, as by [`clear`](Self::clear).
    ///
    /// ```
    /// use core::time::Duration;
    /// use core_reactor::{Deadlines, Instant};
    ///
    /// let limit = Duration::from_secs(5);
    /// let mut idle = Deadlines::new(8, limit / 50);
    /// idle.set(3, Instant::ZERO + limit);
    /// // Something came of the connection in slot 3.
    /// let now = Instant::ZERO + Duration::from_secs(4);
    /// idle.set(3, now + limit);
    /// assert_eq!(idle.pop_expired(Instant::ZERO + limit), None);
    /// assert_eq!(idle.pop_expired(now + limit), Some(3));
    /// ```
    #[inline]
    pub fn set(&mut self, slot: usize, deadline: Instant) {
        match self.slots.get_mut(slot) {
            Some(there) if there.list != NOWHERE && there.deadline <= deadline => there.deadline = deadline,
            _ => self.place(slot, deadline),
        }
    }

    /// Takes a slot's deadline away.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{Deadlines, Instant};
    /// let mut deadlines = Deadlines::new(1, Duration::from_millis(1));
    /// deadlines.set(0, Instant::from_nanos(10));
    /// deadlines.clear(0);
    /// assert_eq!(deadlines.pop_expired(Instant::from_nanos(1_000_000_000)), None);
    /// ```
    pub fn clear(&mut self, slot: usize) {
        if let Some(there) = self.slots.get_mut(slot) {
            there.deadline = Instant::MAX;
            self.unlink(slot as u32);
        }
    }

    /// The deadline of a slot.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{Deadlines, Instant};
    /// let mut deadlines = Deadlines::new(2, Duration::from_millis(1));
    /// deadlines.set(1, Instant::from_nanos(500));
    /// assert_eq!((deadlines.get(0), deadlines.get(1)), (None, Some(Instant::from_nanos(500))));
    /// ```
    pub fn get(&self, slot: usize) -> Option<Instant> {
        self.slots.get(slot).map(|there| there.deadline).filter(|deadline| *deadline < Instant::MAX)
    }

    /// Takes out a slot whose deadline has passed; again and again, until there is none. Costs a
    /// comparison while no tick is over.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{Deadlines, Instant};
    /// let mut deadlines = Deadlines::new(4, Duration::from_millis(1));
    /// let second = Instant::ZERO + Duration::from_secs(1);
    /// (0..4).for_each(|slot| deadlines.set(slot, second));
    /// deadlines.clear(2);
    /// let mut over: Vec<usize> = std::iter::from_fn(|| deadlines.pop_expired(second)).collect();
    /// over.sort();
    /// assert_eq!(over, [0, 1, 3]);
    /// ```
    #[inline]
    pub fn pop_expired(&mut self, now: Instant) -> Option<usize> {
        let tick = now.as_nanos() / self.tick_ns;
        if tick > self.from {
            self.turn_to(tick);
        }
        if self.lists[DUE as usize] == NONE { None } else { self.pop_due(now) }
    }

    /// When [`pop_expired`](Self::pop_expired) may find something, at the earliest: for the owner's
    /// timer, or its [`Bell`](crate::Bell). `None` while there is no deadline.
    ///
    /// ```
    /// use core::time::Duration;
    /// use core_reactor::{Deadlines, Instant};
    ///
    /// let mut deadlines = Deadlines::new(1, Duration::from_millis(100));
    /// assert_eq!(deadlines.next_look(), None);
    /// deadlines.set(0, Instant::ZERO + Duration::from_secs(1));
    /// assert!(deadlines.next_look() >= Some(Instant::ZERO + Duration::from_secs(1)));
    /// ```
    pub fn next_look(&self) -> Option<Instant> {
        if self.lists[DUE as usize] != NONE {
            return Some(Instant::ZERO);
        }
        let ahead = self.used.rotate_right((self.from % BUCKETS) as u32).trailing_zeros();
        // The tick has to be over.
        (self.used != 0).then(|| Instant::from_nanos((self.from + u64::from(ahead) + 1).saturating_mul(self.tick_ns)))
    }

    /// Puts a slot where a deadline of its first, or of an earlier time, belongs.
    #[cold]
    fn place(&mut self, slot: usize, deadline: Instant) {
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, UNUSED);
        }
        self.unlink(slot as u32);
        self.slots[slot].deadline = deadline;
        self.file(slot as u32);
    }

    /// Puts a slot into the bucket of its deadline, if it has one.
    fn file(&mut self, slot: u32) {
        let deadline = self.slots[slot as usize].deadline;
        if deadline < Instant::MAX {
            let tick = (deadline.as_nanos() / self.tick_ns).max(self.from);
            self.link((tick % BUCKETS) as u8, slot);
        }
    }

    /// Has those whose tick is over by `tick` looked at.
    #[cold]
    fn turn_to(&mut self, tick: u64) {
        for over in self.from..tick.min(self.from + BUCKETS) {
            let bucket = (over % BUCKETS) as u8;
            while self.lists[bucket as usize] != NONE {
                let slot = self.lists[bucket as usize];
                self.unlink(slot);
                self.link(DUE, slot);
            }
        }
        self.from = tick;
    }

    /// Looks at those whose tick is over, up to the first whose deadline is so too.
    #[cold]
    fn pop_due(&mut self, now: Instant) -> Option<usize> {
        while self.lists[DUE as usize] != NONE {
            let slot = self.lists[DUE as usize];
            self.unlink(slot);
            if self.slots[slot as usize].deadline <= now {
                self.slots[slot as usize].deadline = Instant::MAX;
                return Some(slot as usize);
            }
            self.file(slot);
        }
        None
    }

    /// Puts a slot at the end of a list.
    fn link(&mut self, list: u8, slot: u32) {
        #[cfg(test)]
        (self.moves += 1);
        let first = self.lists[list as usize];
        let (before, behind) = if first == NONE { (slot, slot) } else { (self.slots[first as usize].before, first) };
        let deadline = self.slots[slot as usize].deadline;
        self.slots[slot as usize] = Slot { deadline, before, behind, list };
        self.slots[before as usize].behind = slot;
        self.slots[behind as usize].before = slot;
        if first == NONE {
            self.lists[list as usize] = slot;
            self.used |= 1_u64.checked_shl(list.into()).unwrap_or(0);
        }
    }

    /// Takes a slot out of its list, if it is in one.
    fn unlink(&mut self, slot: u32) {
        let Slot { before, behind, list, .. } = self.slots[slot as usize];
        if list == NOWHERE {
            return;
        }
        self.slots[slot as usize].list = NOWHERE;
        self.slots[before as usize].behind = behind;
        self.slots[behind as usize].before = before;
        if behind == slot {
            self.lists[list as usize] = NONE;
            self.used &= !1_u64.checked_shl(list.into()).unwrap_or(0);
        } else if self.lists[list as usize] == slot {
            self.lists[list as usize] = behind;
        }
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines").field("slots", &self.slots.len()).field("tick_ns", &self.tick_ns).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ns: u64) -> Instant {
        Instant::from_nanos(ns)
    }

    fn expired(deadlines: &mut Deadlines, now: u64) -> Vec<usize> {
        core::iter::from_fn(|| deadlines.pop_expired(at(now))).collect()
    }

    #[test]
    fn s117_pushing_a_deadline_forward_moves_nothing() {
        let mut deadlines = Deadlines::new(1000, Duration::from_nanos(10));
        (0..1000).for_each(|slot| deadlines.set(slot, at(500)));
        for push in 1..=400 {
            (0..1000).for_each(|slot| deadlines.set(slot, at(500 + push)));
        }
        assert_eq!(deadlines.moves, 1000, "each was entered once");
        assert_eq!(expired(&mut deadlines, 899), []);
        assert_eq!(deadlines.moves, 3000, "and moved on once, by way of those that are due");
        assert!(expired(&mut deadlines, 910).into_iter().eq(0..1000));
        assert_eq!(deadlines.next_look(), None);
    }

    #[test]
    fn s117_an_owner_that_did_not_look_for_long_pays_for_each_slot_once() {
        let mut deadlines = Deadlines::new(1000, Duration::from_nanos(1));
        (0..1000).for_each(|slot| deadlines.set(slot, at(10 + slot as u64 * 1_000_000_000)));
        deadlines.moves = 0;
        assert!(expired(&mut deadlines, 500_000_000_011).into_iter().eq(0..501));
        assert_eq!(deadlines.moves, 1000 + 499, "all were looked at, and those whose time has not come went back");
    }

    #[test]
    fn s117_a_deadline_that_is_set_to_an_earlier_time_is_told_then() {
        let mut deadlines = Deadlines::new(0, Duration::from_nanos(10));
        deadlines.set(3, at(5_000));
        deadlines.set(3, at(95));
        assert_eq!((deadlines.get(3), deadlines.next_look()), (Some(at(95)), Some(at(100))));
        assert_eq!(expired(&mut deadlines, 99), [], "its tick is not over");
        assert_eq!(expired(&mut deadlines, 100), [3]);
        assert_eq!((deadlines.get(3), expired(&mut deadlines, 10_000)), (None, alloc::vec![]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(usize, u64),
        Clear(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_usize..20, prop_oneof![0_u64..50, 0_u64..5_000, 0_u64..200_000]).prop_map(|(slot, ahead)| Step::Set(slot, ahead)),
            1 => (0_usize..20).prop_map(Step::Clear),
            2 => prop_oneof![0_u64..30, 0_u64..2_000, 0_u64..100_000].prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn s117_no_deadline_is_told_early_or_twice_and_none_is_forgotten(tick in 1_u64..40, steps in prop::collection::vec(step(), 1..200)) {
            let mut deadlines = Deadlines::new(7, Duration::from_nanos(tick));
            let (mut model, mut now) = ([None; 20], 0);
            for step in steps {
                match step {
                    Step::Set(slot, ahead) => {
                        deadlines.set(slot, at(now + ahead));
                        model[slot] = Some(now + ahead);
                    }
                    Step::Clear(slot) => {
                        deadlines.clear(slot);
                        model[slot] = None;
                    }
                    Step::Advance(by) => now += by,
                }
                let look = deadlines.next_look();
                prop_assert_eq!(look.is_some(), model.iter().any(Option::is_some));
                let popped = expired(&mut deadlines, now);
                prop_assert!(popped.is_empty() || look.is_some_and(|look| look <= at(now)), "it looked in vain");
                for slot in popped {
                    let deadline = model[slot].take();
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "{} at {}: {:?}", slot, now, deadline);
                }
                for (slot, deadline) in model.iter().enumerate() {
                    prop_assert_eq!(deadlines.get(slot), deadline.map(at));
                    prop_assert!(deadline.is_none_or(|deadline| deadline / tick >= now / tick), "{} was forgotten", slot);
                }
            }
        }
    }
}
