//! A poll group's share of the data buffers, on its core.

// UNSAFETY: a group reads the slab through a pointer of its own, which saves the hot path two hops through reference counts.

use alloc::{rc::Rc, sync::Arc};
use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use core::task::Waker;

use crate::share::{GroupClass, GroupShared};
use crate::slab::{Home, Meta};
use crate::stack::{Chain, Links, NIL};
use crate::sync::fence;
use crate::{Buf, Class, ClassConfig, DataPool, DataPoolConfig, Granted, GroupStats, PoolError, Request, ReserveConfig};

/// Buffers that the home takes over at a time from those that other cores returned: no more, so that a get stays bounded.
const TAKE_OVER: u32 = 32;

/// One poll group's share of a [`DataPool`]: a reserve of its own, and what it borrows beyond. Cloning the handle shares it; it stays on
/// its core.
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(pool::BufGroup::new(1, 16));
/// ```
///
/// When the last handle and the last buffer on this core are gone, the reserve returns to the shared pool.
#[derive(Clone)]
pub struct BufGroup {
    pub(crate) local: Rc<GroupLocal>,
}

static_assertions::assert_not_impl_any!(BufGroup: Send, Sync);

impl BufGroup {
    /// A group with a pool of its own, of `count` small buffers of `size` bytes from the heap: for tests and tools.
    ///
    /// # Panics
    /// If there is no memory for it, or if it would have no buffers or none that hold a byte.
    pub fn new(count: usize, size: usize) -> Self {
        let none = ClassConfig { count: 0, size: 0 };
        let config = DataPoolConfig { small: ClassConfig { count, size }, large: none, control: none, ..DataPoolConfig::default() };
        let group = DataPool::on_heap(config).and_then(|pool| pool.group(ReserveConfig { small: count, large: 0, control: 0 }));
        group.expect("a private pool")
    }

    /// A group of `shared`, whose reserve is `free`.
    pub(crate) fn with_reserve(shared: Arc<GroupShared>, free: [Option<Chain>; Class::COUNT]) -> Self {
        let metas = NonNull::from(&*shared.pool.slab.0);
        let lists = [const { FreeList { head: Cell::new(NIL), low: Cell::new(0) } }; Class::COUNT];
        let local = GroupLocal { shared, metas, lists };
        for (class, free) in Class::ALL.into_iter().zip(free) {
            local.list(class).low.set(local.class(class).reserve);
            if let Some(free) = free {
                local.add(class, free);
            }
        }
        Self { local: Rc::new(local) }
    }

    /// An empty small buffer: of the reserve the one that came home last, else one of the shared pool. `None` when both are empty or
    /// somebody waits for the shared pool: then [`request`](Self::request) one.
    #[inline]
    pub fn get(&self) -> Option<Buf> {
        self.get_class(Class::Small)
    }

    /// An empty large buffer, as [`get`](Self::get).
    #[inline]
    pub fn get_large(&self) -> Option<Buf> {
        self.get_class(Class::Large)
    }

    /// An empty buffer of `class`, as [`get`](Self::get).
    #[inline]
    pub fn get_class(&self, class: Class) -> Option<Buf> {
        match self.local.pop(class) {
            Some(meta) => Some(Buf::lend(meta, Home::Here(self.local.clone()))),
            None => self.local.get_slow(class),
        }
    }

    /// Asks for `count` buffers of `class`, all or none. If they cannot be had at once the request waits its turn, and `waker` is woken,
    /// from any core, when they are there. `now_ns` is the time, in nanoseconds from any start.
    ///
    /// Requests are served in the order of their coming, over all groups and cores, and nobody takes from the shared pool past one that
    /// waits. What comes home to this group's own reserve serves this group's requests, also when others came first.
    ///
    /// Wakers run where a buffer is returned, or a request made or withdrawn, and may use the pool. One that panics does so there, when everything is done: the
    /// buffers are home, and the others that are served with it are woken.
    ///
    /// # Errors
    /// [`PoolError::RequestTooLarge`] if reserve and shared pool together never have that many, [`PoolError::QueueFull`].
    pub fn request(&self, class: Class, count: usize, now_ns: u64, waker: &Waker) -> Result<Request, PoolError> {
        Request::new(&self.local, class, count, now_ns, waker)
    }

    /// The pool that it is a share of.
    pub fn pool(&self) -> DataPool {
        DataPool::of(self.local.shared.pool.clone())
    }

    /// Bytes that each small buffer holds.
    pub fn buf_size(&self) -> usize {
        self.size_of(Class::Small)
    }

    /// Bytes that each buffer of `class` holds.
    pub fn size_of(&self, class: Class) -> usize {
        self.local.shared.pool.config.class(class).size
    }

    /// What happened so far to this group's buffers of `class`.
    pub fn stats(&self, class: Class) -> GroupStats {
        self.local.shared.stats(class)
    }

    /// Buffers of the reserve that are free on this core: one load, for whoever asks each turn whether there are plenty.
    #[inline]
    pub fn at_hand(&self, class: Class) -> usize {
        self.local.free(class) as usize
    }

    /// Buffers of `class` that this group could have now: what is home of its reserve, and what the shared pool has while nobody
    /// waits for it. Others may be faster.
    pub fn available(&self, class: Class) -> usize {
        let home = self.local.class(class).home();
        (home + self.local.shared.pool.class(class).available()) as usize
    }

    /// Buffers of `class` that this group could have at the most: its reserve, and all that no group has reserved.
    pub fn capacity(&self, class: Class) -> usize {
        (self.local.class(class).reserve + self.local.shared.pool.class(class).unreserved()) as usize
    }

    /// Whether `shared` is this group.
    pub(crate) fn is(&self, shared: &Arc<GroupShared>) -> bool {
        Arc::ptr_eq(&self.local.shared, shared)
    }
}

/// A group on its core: the free buffers of its reserve.
///
/// While anything is borrowed, or a request of the group waits, nothing is free here: then it lies where others can see it.
pub(crate) struct GroupLocal {
    pub(crate) shared: Arc<GroupShared>,
    /// The slab of the pool that `shared` holds on to.
    metas: NonNull<[Meta]>,
    lists: [FreeList; Class::COUNT],
}

/// Free buffers, linked through their metas, the one that came home last on top. The group's counters tell how many.
struct FreeList {
    head: Cell<u32>,
    /// With this many free or more, no new high-water mark is possible.
    low: Cell<u32>,
}

impl GroupLocal {
    #[inline]
    pub(crate) fn lend(self: &Rc<Self>, index: u32) -> Buf {
        Buf::lend(&self.metas()[index as usize], Home::Here(self.clone()))
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
        // In this order: who served this group's last request raised `borrowed` before it lowered `queued`.
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
    fn pop(&self, class: Class) -> Option<&Meta> {
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

    /// A buffer when none is free on this core.
    #[cold]
    fn get_slow(self: &Rc<Self>, class: Class) -> Option<Buf> {
        self.gather(class, 1)?.next()
    }

    /// `count` buffers (1 or more) or none: of the reserve, of what came home from elsewhere, and of the shared pool unless somebody waits.
    #[cold]
    pub(crate) fn gather(self: &Rc<Self>, class: Class, count: u32) -> Option<Granted> {
        let (group, pool) = (self.class(class), self.shared.pool.class(class));
        if group.queued.load(Acquire) != 0 {
            return None;
        }
        if self.shared.forward(class) {
            self.shared.pool.serve_if_waiting(class);
        }
        self.take_over(class, count);
        if self.free(class) < count && pool.waiting.load(Relaxed) != 0 {
            // Who serves may have a buffer of this reserve in hand for a moment, but only under the lock.
            let _queue = pool.queue.lock();
            self.take_over(class, count);
            if self.free(class) < count {
                return None;
            }
        }
        let have = self.free(class).min(count);
        let borrowed = match count - have {
            0 => None,
            rest => Some(pool.take(self.metas(), rest)?),
        };
        let reserve = self.cut(class, have);
        group.counters.tally(have, count - have);
        let Some(borrowed) = borrowed else {
            self.note_high_water(class);
            return Some(Granted::new(self, reserve));
        };
        group.borrowed.fetch_add(borrowed.len, AcqRel);
        self.note_high_water(class);
        let granted = Granted::new(self, Some(borrowed.join(self.metas(), reserve)));
        // What came home meanwhile is no longer owed to the reserve: either its bringer sees the loan, or this sees the buffer. Last of
        // all, because a waker may come back into this group.
        fence(SeqCst);
        self.shared.forward(class);
        self.shared.pool.serve_if_waiting(class);
        Some(granted)
    }

    /// Moves what other cores returned into the reserve, if nothing is borrowed.
    fn take_over(&self, class: Class, count: u32) {
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
    fn cut(&self, class: Class, count: u32) -> Option<Chain> {
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
    fn free(&self, class: Class) -> u32 {
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
        self.shared.class(class)
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

impl fmt::Debug for BufGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Class::ALL.map(|class| (class, self.stats(class)))).finish()
    }
}
