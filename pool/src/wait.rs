//! Who waits for data buffers: one queue for each class, over all groups and cores.
//!
//! A request waits until *all* its buffers can be had, and holds none until then, so that two
//! half-served requests cannot block each other. Whoever returns a buffer, on whichever core,
//! serves the queue:
//!
//! - the first request takes from the shared pool, and while it waits nobody else does;
//! - each group's first request takes from its group's own reserve, which no other group could use,
//!   before the shared pool.
//!
//! No wake-up is lost: a waiter raises `waiting`, and a returner puts its buffer down, each
//! *before* a `SeqCst` fence; after it the waiter looks for buffers and the returner at `waiting`.
//! One of them sees the other, and serves.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering::{AcqRel, Relaxed, Release, SeqCst};
use core::task::Waker;

use crossbeam_utils::CachePadded;

use crate::account::Account;
use crate::memory::many;
use crate::slab::Meta;
use crate::stack::{Chain, FreeStack};
use crate::sync::{AtomicBool, AtomicU32, Mutex, fence};
use crate::{Class, PoolError, PoolStats};

/// One class of a pool: what is free in it, and who waits for it.
pub(crate) struct ClassPool {
    count: u32,
    pub(crate) free: CachePadded<FreeStack>,
    /// Requests in the queue. Written under the lock.
    pub(crate) waiting: CachePadded<AtomicU32>,
    /// The most that were out of `free` at a time.
    high_water: AtomicU32,
    /// For each slot, whether its request has been served. Raised under the lock.
    pub(crate) served: Box<[AtomicBool]>,
    pub(crate) queue: Mutex<Queue>,
}

/// What the lock of a class guards.
pub(crate) struct Queue {
    /// The slots of the requests that wait, the oldest first.
    order: VecDeque<u32>,
    slots: Box<[Slot]>,
    empty: Vec<u32>,
    members: Vec<Arc<Account>>,
    /// Buffers that the members have reserved.
    reserved: u32,
    /// What groups that are gone have counted.
    ended: PoolStats,
}

/// Somebody who waits.
pub(crate) struct Waiter {
    pub(crate) group: Arc<Account>,
    pub(crate) need: u32,
    pub(crate) waker: Waker,
}

/// A place in the queue.
pub(crate) enum Slot {
    Empty,
    Waiting(Waiter),
    Served { chain: Chain, from_shared: u32 },
}

impl ClassPool {
    pub(crate) fn new(count: u32, waiters: usize) -> Result<Self, PoolError> {
        let mut left = waiters as u32;
        let next = || {
            left -= 1;
            left
        };
        let mut queue = Queue {
            order: VecDeque::from(many(waiters, || 0)?.into_vec()),
            slots: many(waiters, || Slot::Empty)?,
            empty: many(waiters, next)?.into_vec(),
            members: Vec::new(),
            reserved: 0,
            ended: PoolStats::default(),
        };
        queue.order.clear();
        Ok(Self {
            count,
            free: CachePadded::default(),
            waiting: CachePadded::default(),
            high_water: AtomicU32::new(0),
            served: many(waiters, || AtomicBool::new(false))?,
            queue: Mutex::new(queue),
        })
    }

    /// Takes `count` buffers or none, as a newcomer: not past somebody who waits.
    pub(crate) fn take(&self, metas: &[Meta], count: u32) -> Option<Chain> {
        if self.waiting.load(Relaxed) != 0 { None } else { self.take_first(metas, count) }
    }

    /// Takes `count` buffers or none, as the first in the queue.
    fn take_first(&self, metas: &[Meta], count: u32) -> Option<Chain> {
        let chain = self.free.pop(metas, count, count, |_, _| ())?;
        self.high_water.fetch_max(self.count.saturating_sub(self.free.len()), Relaxed);
        Some(chain)
    }

    /// Buffers that no group has reserved.
    pub(crate) fn unreserved(&self) -> u32 {
        self.count - self.queue.lock().reserved
    }

    /// What a newcomer could take.
    pub(crate) fn available(&self) -> u32 {
        if self.waiting.load(Relaxed) != 0 { 0 } else { self.free.len() }
    }

    /// Takes a reserve of `count` out of the pool for good, if there is that much and nobody waits.
    pub(crate) fn reserve(&self, metas: &[Meta], class: Class, count: u32) -> Option<Option<Chain>> {
        if count == 0 {
            return Some(None);
        }
        let queue = &mut *self.queue.lock();
        let chain = self.take(metas, count).or_else(|| queue.sweep(metas, &self.free, class).then(|| self.take(metas, count))?)?;
        queue.reserved += count;
        Some(Some(chain))
    }

    /// Undoes a reserve. The caller serves the queue.
    pub(crate) fn unreserve(&self, metas: &[Meta], chain: Chain) {
        self.queue.lock().reserved -= chain.len;
        self.free.push(metas, chain);
        fence(SeqCst);
    }

    /// Makes a group, whose reserve is taken, known to the others.
    pub(crate) fn enter(&self, group: Arc<Account>) {
        self.queue.lock().members.push(group);
    }

    /// Forgets a group; its reserve may come back.
    pub(crate) fn leave(&self, class: Class, group: &Account) {
        let mut queue = self.queue.lock();
        queue.members.retain(|member| !core::ptr::eq(&**member, group));
        queue.reserved -= group.class(class).reserve;
        queue.ended.add(&group.class(class).stats());
    }

    /// Puts a request of `group` into the queue. When it has an owner, who withdraws it, that one
    /// serves the queue.
    ///
    /// `rest` takes what is free on the group's core, which goes where other cores see it.
    pub(crate) fn enqueue(
        &self,
        metas: &[Meta],
        class: Class,
        waiter: Waiter,
        rest: impl FnOnce() -> Option<Chain>,
    ) -> Result<u32, PoolError> {
        let (own, need) = (waiter.group.class(class), waiter.need);
        let queue = &mut *self.queue.lock();
        let most = own.reserve + self.count - queue.reserved;
        if need > most {
            return Err(PoolError::RequestTooLarge { class, wanted: need as usize, most: most as usize });
        }
        let slot = queue.empty.pop().ok_or(PoolError::QueueFull { waiters: self.served.len() })?;
        own.queued.fetch_add(1, Relaxed);
        if let Some(free) = rest() {
            own.came_home.push(metas, free);
        }
        queue.slots[slot as usize] = Slot::Waiting(waiter);
        queue.order.push_back(slot);
        self.waiting.store(queue.order.len() as u32, Relaxed);
        Ok(slot)
    }

    /// Serves the first request that can be, and returns its waker to be woken without the lock.
    /// Looks at each group and each request that waits once.
    pub(crate) fn serve_one(&self, metas: &[Meta], class: Class) -> Option<Waker> {
        let queue = &mut *self.queue.lock();
        queue.members.iter().for_each(|member| member.class(class).passed_over.store(false, Relaxed));
        let mut first = true;
        for at in 0..queue.order.len() {
            let slot = queue.order[at] as usize;
            let Slot::Waiting(Waiter { group, need, .. }) = &queue.slots[slot] else { continue };
            if group.class(class).passed_over.load(Relaxed) {
                continue;
            }
            let mut given = self.give(metas, group, class, *need, first);
            if given.is_none() && first && queue.sweep(metas, &self.free, class) {
                given = self.give(metas, group, class, *need, first);
            }
            if let Some((chain, from_shared)) = given {
                // Last: the group's core trusts `borrowed` once it sees this.
                group.class(class).queued.fetch_sub(1, Release);
                queue.order.remove(at);
                self.waiting.store(queue.order.len() as u32, Relaxed);
                let served = core::mem::replace(&mut queue.slots[slot], Slot::Served { chain, from_shared });
                self.served[slot].store(true, Release);
                let Slot::Waiting(Waiter { waker, .. }) = served else { continue };
                return Some(waker);
            }
            group.class(class).passed_over.store(true, Relaxed);
            first = false;
        }
        None
    }

    /// `need` buffers or none for `group`: of its own reserve and, for the `first` in the queue, of
    /// the shared pool. Tells how many of that.
    fn give(&self, metas: &[Meta], group: &Account, class: Class, need: u32, first: bool) -> Option<(Chain, u32)> {
        let group = group.class(class);
        let own = group.came_home.pop(metas, 1, need, |_, _| ());
        let rest = need - own.as_ref().map_or(0, |chain| chain.len);
        if rest == 0 {
            return own.map(|chain| (chain, 0));
        }
        let Some(shared) = first.then(|| self.take_first(metas, rest)).flatten() else {
            if let Some(own) = own {
                group.came_home.push(metas, own);
            }
            return None;
        };
        group.borrowed.fetch_add(rest, AcqRel);
        Some((shared.join(metas, own), rest))
    }

    /// Takes a request out, in the queue or served. What it was comes back, to be dropped without
    /// the lock: a waker's drop is somebody else's code.
    pub(crate) fn vacate(&self, class: Class, slot: u32) -> Slot {
        let queue = &mut *self.queue.lock();
        let left = core::mem::replace(&mut queue.slots[slot as usize], Slot::Empty);
        if let Slot::Waiting(Waiter { group, .. }) = &left {
            group.class(class).queued.fetch_sub(1, Release);
            queue.order.retain(|&other| other != slot);
            self.waiting.store(queue.order.len() as u32, Relaxed);
        }
        self.served[slot as usize].store(false, Relaxed);
        queue.empty.push(slot);
        left
    }

    pub(crate) fn stats(&self, class: Class) -> PoolStats {
        let queue = &*self.queue.lock();
        let mut stats = PoolStats {
            count: self.count as usize,
            reserved: queue.reserved as usize,
            free: self.free.len() as usize,
            high_water: self.high_water.load(Relaxed) as usize,
            waiting: queue.order.len(),
            ..queue.ended
        };
        let mut home = stats.free;
        for member in &queue.members {
            stats.add(&member.class(class).stats());
            home += member.class(class).home() as usize;
        }
        stats.in_use = stats.count.saturating_sub(home);
        stats
    }
}

impl Queue {
    /// Moves what groups hold beyond their reserves, and has come home, to the shared pool. Tells
    /// whether it was anything.
    fn sweep(&self, metas: &[Meta], free: &FreeStack, class: Class) -> bool {
        self.members.iter().fold(false, |any, member| member.class(class).forward(metas, free) | any)
    }
}
