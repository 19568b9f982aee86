//! A poll group on its core: the free buffers of its reserve.

// UNSAFETY: a group reads the slab through a pointer of its own, which saves the hot path two hops
// through reference counts.

use alloc::sync::Arc;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::Class;
use crate::account::{Account, GroupClass};
use crate::share::GroupShared;
use crate::slab::Meta;
use crate::stack::{Chain, Links, NIL};

/// Buffers that the home takes over at a time from those that other cores returned: no more, so
/// that a get stays bounded.
const TAKE_OVER: u32 = 32;

/// A group on its core: the free buffers of its reserve.
///
/// While anything is borrowed, or a request of the group waits, nothing is free here: then it lies
/// where others can see it.
pub(crate) struct GroupLocal {
    pub(crate) shared: Arc<GroupShared>,
    /// The account of `shared`, one hop nearer.
    account: Arc<Account>,
    /// The slab of the pool that `shared` holds on to.
    metas: NonNull<[Meta]>,
    lists: [FreeList; Class::COUNT],
}

/// Free buffers, linked through their metas, the one that came home last on top. The group's
/// counters tell how many.
struct FreeList {
    head: Cell<u32>,
    /// With this many free or more, no new high-water mark is possible.
    low: Cell<u32>,
}

impl GroupLocal {
    /// A group of `shared`, whose reserve is `free`.
    pub(crate) fn with_reserve(shared: Arc<GroupShared>, free: [Option<Chain>; Class::COUNT]) -> Self {
        let (account, metas) = (shared.account.clone(), NonNull::from(&*shared.pool.slab.0));
        let lists = [const { FreeList { head: Cell::new(NIL), low: Cell::new(0) } }; Class::COUNT];
        let local = Self { shared, account, metas, lists };
        for (class, free) in Class::ALL.into_iter().zip(free) {
            local.list(class).low.set(local.class(class).reserve);
            if let Some(free) = free {
                local.add(class, free);
            }
        }
        local
    }

    /// Takes a buffer home on its own core.
    #[inline]
    pub(crate) fn put(&self, meta: &Meta) {
        if !self.keep(meta) {
            self.shared.give_back(meta);
        }
    }

    /// Takes a buffer home on its own core. The caller serves who waits.
    pub(crate) fn put_down(&self, index: u32) {
        let meta = &self.metas()[index as usize];
        if !self.keep(meta) {
            self.shared.put_down(meta);
        }
    }

    /// Takes a buffer into the reserve, unless it is owed elsewhere.
    #[inline]
    fn keep(&self, meta: &Meta) -> bool {
        let group = self.class(meta.class);
        // In this order: who served this group's last request raised `borrowed` before it lowered
        // `queued`.
        if group.queued.load(Acquire) == 0 && group.borrowed.load(Relaxed) == 0 {
            let list = self.list(meta.class);
            meta.set_next(list.head.get());
            list.head.set(meta.index);
            group.counters.free.store(group.counters.free.load(Relaxed) + 1, Relaxed);
            return true;
        }
        false
    }

    /// A buffer of the reserve, if one is free on this core.
    #[inline]
    pub(crate) fn pop(&self, class: Class) -> Option<&Meta> {
        let list = self.list(class);
        // The end of the list is no index of the slab.
        let meta = self.metas().get(list.head.get() as usize)?;
        list.head.set(meta.next());
        let counters = &self.class(class).counters;
        let free = counters.free.load(Relaxed) - 1;
        counters.free.store(free, Relaxed);
        counters.from_reserve.store(counters.from_reserve.load(Relaxed).wrapping_add(1), Relaxed);
        if free < list.low.get() {
            self.note_high_water(class);
        }
        Some(meta)
    }

    /// Moves what other cores returned into the reserve, if nothing is borrowed.
    pub(crate) fn take_over(&self, class: Class, count: u32) {
        let group = self.class(class);
        if group.borrowed.load(Acquire) == 0
            && let Some(chain) = group.came_home.pop(self.metas(), 1, count.max(TAKE_OVER), |_, _| ())
        {
            self.add(class, chain);
        }
    }

    /// Puts `chain` on top of the free list.
    #[inline]
    fn add(&self, class: Class, chain: Chain) {
        let list = self.list(class);
        self.metas().set_after(chain.last, list.head.get());
        list.head.set(chain.first);
        let free = &self.class(class).counters.free;
        free.store(free.load(Relaxed) + chain.len, Relaxed);
    }

    /// Takes the top `count` off the free list, which has them.
    pub(crate) fn cut(&self, class: Class, count: u32) -> Option<Chain> {
        let list = self.list(class);
        let first = list.head.get();
        let chain = (count > 0).then_some(first).map(|first| {
            let last = (1..count).fold(first, |last, _| self.metas().after(last));
            Chain { first, last, len: count }
        })?;
        list.head.set(self.metas().after(chain.last));
        let free = &self.class(class).counters.free;
        free.store(free.load(Relaxed) - count, Relaxed);
        Some(chain)
    }

    /// Takes all that is free here, to put it where other cores see it.
    pub(crate) fn cut_all(&self, class: Class) -> Option<Chain> {
        self.cut(class, self.free(class))
    }

    /// Buffers free here.
    #[inline]
    pub(crate) fn free(&self, class: Class) -> u32 {
        self.class(class).counters.free.load(Relaxed)
    }

    #[cold]
    pub(crate) fn note_high_water(&self, class: Class) {
        let group = self.class(class);
        let high = group.counters.high_water.load(Relaxed).max(group.out());
        group.counters.high_water.store(high, Relaxed);
        self.list(class).low.set(group.reserve.saturating_sub(high));
    }

    #[inline]
    pub(crate) fn metas(&self) -> &[Meta] {
        // SAFETY: `shared` keeps the pool, whose slab this is, where it is.
        unsafe { self.metas.as_ref() }
    }

    #[inline]
    pub(crate) fn class(&self, class: Class) -> &GroupClass {
        self.account.class(class)
    }

    #[inline]
    fn list(&self, class: Class) -> &FreeList {
        &self.lists[class as usize]
    }
}

impl Drop for GroupLocal {
    fn drop(&mut self) {
        self.shared.close(Class::ALL.map(|class| self.cut_all(class)));
    }
}
