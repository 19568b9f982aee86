//! What the cores share of a poll group: the buffers that came home from elsewhere, and the account of what it holds.

use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use crossbeam_utils::CachePadded;

use crate::data::PoolShared;
use crate::slab::Meta;
use crate::stack::{Chain, FreeStack};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};
use crate::{Class, GroupStats};

/// A group as other cores see it.
///
/// Of each class the group holds `reserve + borrowed` buffers: free on its core, free in `came_home`, or out. What comes home while
/// something is borrowed goes on to the shared pool, whichever buffer it is; so what is free here is never more than the reserve is owed.
pub(crate) struct GroupShared {
    pub(crate) pool: Arc<PoolShared>,
    pub(crate) classes: [CachePadded<GroupClass>; Class::COUNT],
    /// The group's handle and its core's buffers are gone: nothing may rest in `came_home`.
    closed: AtomicBool,
}

/// One class of a group.
#[derive(Default)]
pub(crate) struct GroupClass {
    pub(crate) reserve: u32,
    /// Buffers held beyond the reserve. Raised by the group's core, or for a request of the group under the class's lock.
    pub(crate) borrowed: AtomicU32,
    /// Requests of this group that wait. Raised by the group's core, lowered under the class's lock.
    pub(crate) queued: AtomicU32,
    /// Whether a request of this group was passed over while the queue was last served. Touched under the class's lock only, so it orders nothing.
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

impl GroupShared {
    pub(crate) fn new(pool: Arc<PoolShared>, reserves: [u32; Class::COUNT]) -> Self {
        let classes = reserves.map(|reserve| CachePadded::new(GroupClass { reserve, ..GroupClass::default() }));
        Self { pool, classes, closed: AtomicBool::new(false) }
    }

    #[inline]
    pub(crate) fn class(&self, class: Class) -> &GroupClass {
        &self.classes[class as usize]
    }

    /// Takes a buffer back, on any core and without a lock unless somebody waits.
    ///
    /// Not inlined: a buffer that is dropped at home would pay for the registers that this needs.
    #[inline(never)]
    pub(crate) fn give_back(&self, meta: &Meta) {
        self.put_down(meta);
        self.pool.serve_if_waiting(meta.class);
    }

    /// Takes a buffer back. The caller serves who waits.
    pub(crate) fn put_down(&self, meta: &Meta) {
        let (slab, class) = (&*self.pool.slab.0, meta.class);
        let buffer = Chain { first: meta.index, last: meta.index, len: 1 };
        if self.class(class).repay() {
            self.pool.class(class).free.push(slab, buffer);
        } else {
            self.class(class).came_home.push(slab, buffer);
        }
        // The buffer was put where a waiter looks before the flags are read here, and a waiter raises its flag before it looks; a closing
        // group likewise. Of the two, one sees the other.
        fence(SeqCst);
        if self.closed.load(Relaxed) {
            self.forward(class);
        }
    }

    /// Ends the group, all of whose `Buf`s are home: its reserve becomes a loan, which is paid back with `free` and whatever comes.
    pub(crate) fn close(&self, free: [Option<Chain>; Class::COUNT]) {
        for (class, free) in Class::ALL.into_iter().zip(free) {
            self.pool.class(class).leave(class, self);
            if let Some(free) = free {
                self.class(class).came_home.push(&*self.pool.slab.0, free);
            }
            self.class(class).borrowed.fetch_add(self.class(class).reserve, AcqRel);
        }
        self.closed.store(true, Relaxed);
        fence(SeqCst);
        for class in Class::ALL {
            self.forward(class);
        }
        fence(SeqCst);
        self.pool.serve_each(&Class::ALL);
    }

    /// Passes what rests here on to the shared pool, as far as it was borrowed from there. Tells whether it was anything.
    ///
    /// Taken out before it is paid back: who sees less borrowed must also see fewer buffers here.
    pub(crate) fn forward(&self, class: Class) -> bool {
        let (slab, group, mut any) = (&*self.pool.slab.0, self.class(class), false);
        while group.borrowed.load(Acquire) != 0 {
            let Some(buffer) = group.came_home.pop(slab, 1, 1, |_, _| ()) else { break };
            if group.repay() {
                self.pool.class(class).free.push(slab, buffer);
                any = true;
            } else {
                group.came_home.push(slab, buffer);
            }
        }
        if any {
            // Before the caller looks whether somebody waits.
            fence(SeqCst);
        }
        any
    }

    /// The group's counters.
    pub(crate) fn stats(&self, class: Class) -> GroupStats {
        let group = self.class(class);
        GroupStats {
            reserve: group.reserve as usize,
            in_use: group.out() as usize,
            from_reserve: group.counters.from_reserve.load(Relaxed) as u64,
            from_shared: group.counters.from_shared.load(Relaxed) as u64,
            waits: group.counters.waits.load(Relaxed) as u64,
            longest_wait_ns: group.counters.longest_wait_ns.load(Relaxed),
            high_water: group.counters.high_water.load(Relaxed) as usize,
        }
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

    /// Takes one off the loan, if there is one: the caller now has a buffer that belongs to the shared pool.
    fn repay(&self) -> bool {
        let mut borrowed = self.borrowed.load(Relaxed);
        while borrowed != 0 {
            match self.borrowed.compare_exchange_weak(borrowed, borrowed - 1, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(now) => borrowed = now,
            }
        }
        false
    }
}

/// Adds to a counter that only this core writes.
fn add(counter: &AtomicUsize, n: u32) {
    counter.store(counter.load(Relaxed).wrapping_add(n as usize), Relaxed);
}
