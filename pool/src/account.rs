//! What a poll group holds of each class: the account, which the group, its pool's queue and other
//! cores look at.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use crossbeam_utils::CachePadded;

use crate::slab::Meta;
use crate::stack::FreeStack;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, fence};
use crate::{Class, GroupStats};

/// The classes of a group.
pub(crate) struct Account([CachePadded<GroupClass>; Class::COUNT]);

impl Account {
    pub(crate) fn new(reserves: [u32; Class::COUNT]) -> Self {
        Self(reserves.map(|reserve| CachePadded::new(GroupClass { reserve, ..GroupClass::default() })))
    }

    #[inline]
    pub(crate) fn class(&self, class: Class) -> &GroupClass {
        &self.0[class as usize]
    }
}

/// One class of a group.
#[derive(Default)]
pub(crate) struct GroupClass {
    pub(crate) reserve: u32,
    /// Buffers held beyond the reserve. Raised by the group's core, or for a request of the group
    /// under the class's lock.
    pub(crate) borrowed: AtomicU32,
    /// Requests of this group that wait. Raised by the group's core, lowered under the class's
    /// lock.
    pub(crate) queued: AtomicU32,
    /// Whether a request of this group was passed over while the queue was last served. Touched
    /// under the class's lock only, so it orders nothing.
    pub(crate) passed_over: core::sync::atomic::AtomicBool,
    /// Buffers dropped on other cores; while a request waits, all that are free.
    pub(crate) came_home: CachePadded<FreeStack>,
    pub(crate) counters: CachePadded<Counters>,
}

/// What the group's core writes and others may read.
#[derive(Default)]
pub(crate) struct Counters {
    /// Buffers free on the core.
    pub(crate) free: AtomicU32,
    pub(crate) high_water: AtomicU32,
    pub(crate) from_reserve: AtomicUsize,
    pub(crate) from_shared: AtomicUsize,
    pub(crate) waits: AtomicUsize,
    pub(crate) longest_wait_ns: AtomicU64,
}

impl Counters {
    /// Counts buffers handed out.
    pub(crate) fn tally(&self, from_reserve: u32, from_shared: u32) {
        add(&self.from_reserve, from_reserve);
        add(&self.from_shared, from_shared);
    }

    /// Counts a request that waited for `ns`.
    pub(crate) fn waited(&self, ns: u64) {
        add(&self.waits, 1);
        self.longest_wait_ns.store(self.longest_wait_ns.load(Relaxed).max(ns), Relaxed);
    }
}

impl GroupClass {
    /// Buffers that are out.
    pub(crate) fn out(&self) -> u32 {
        (self.reserve + self.borrowed.load(Relaxed)).saturating_sub(self.home())
    }

    /// Buffers that are not: those of the reserve that are free.
    pub(crate) fn home(&self) -> u32 {
        self.counters.free.load(Relaxed) + self.came_home.len()
    }

    /// Takes one off the loan, if there is one: the caller now has a buffer that belongs to the
    /// shared pool.
    pub(crate) fn repay(&self) -> bool {
        let mut borrowed = self.borrowed.load(Relaxed);
        while borrowed != 0 {
            match self.borrowed.compare_exchange_weak(borrowed, borrowed - 1, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(now) => borrowed = now,
            }
        }
        false
    }

    /// Passes what rests here on to `free`, the shared pool's, as far as it was borrowed from
    /// there. Tells whether it was anything.
    ///
    /// Taken out before it is paid back: who sees less borrowed must also see fewer buffers here.
    pub(crate) fn forward(&self, metas: &[Meta], free: &FreeStack) -> bool {
        let mut any = false;
        while self.borrowed.load(Acquire) != 0 {
            let Some(buffer) = self.came_home.pop(metas, 1, 1, |_, _| ()) else { break };
            if self.repay() {
                free.push(metas, buffer);
                any = true;
            } else {
                self.came_home.push(metas, buffer);
            }
        }
        if any {
            // Before the caller looks whether somebody waits.
            fence(SeqCst);
        }
        any
    }

    /// The counters.
    pub(crate) fn stats(&self) -> GroupStats {
        GroupStats {
            reserve: self.reserve as usize,
            in_use: self.out() as usize,
            from_reserve: self.counters.from_reserve.load(Relaxed) as u64,
            from_shared: self.counters.from_shared.load(Relaxed) as u64,
            waits: self.counters.waits.load(Relaxed) as u64,
            longest_wait_ns: self.counters.longest_wait_ns.load(Relaxed),
            high_water: self.counters.high_water.load(Relaxed) as usize,
        }
    }
}

/// Adds to a counter that only this core writes.
fn add(counter: &AtomicUsize, n: u32) {
    counter.store(counter.load(Relaxed).wrapping_add(n as usize), Relaxed);
}
