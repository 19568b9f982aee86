//! A poll group's share of the data buffers: the handle.

use alloc::{rc::Rc, sync::Arc};
use core::fmt;
use core::task::Waker;

use crate::buf::Home;
use crate::local::GroupLocal;
use crate::share::GroupShared;
use crate::stack::Chain;
use crate::{Buf, Class, Granted, GroupStats, PoolError, Request, SendBuf};

/// One poll group's share of a [`DataPool`](crate::DataPool): a reserve of its own, and what it
/// borrows beyond. Cloning the handle shares it; it stays on its core.
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(pool::BufGroup::new(1, 16));
/// ```
///
/// When the last handle and the last buffer on this core are gone, the reserve returns to the
/// shared pool.
#[derive(Clone)]
pub struct BufGroup {
    pub(crate) local: Rc<GroupLocal>,
}

static_assertions::assert_not_impl_any!(BufGroup: Send, Sync);

impl BufGroup {
    /// A group of `shared`, whose reserve is `free`.
    pub(crate) fn with_reserve(shared: Arc<GroupShared>, free: [Option<Chain>; Class::COUNT]) -> Self {
        Self { local: Rc::new(GroupLocal::with_reserve(shared, free)) }
    }

    /// An empty small buffer: of the reserve the one that came home last, else one of the shared
    /// pool. `None` when both are empty or somebody waits for the shared pool: then
    /// [`request`](Self::request) one.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(2, 16);
    /// let (first, second) = (bufs.get(), bufs.get());
    /// assert!(first.is_some() && second.is_some() && bufs.get().is_none());
    /// drop(first);
    /// assert_eq!(bufs.get().map(|buf| buf.spare_capacity()), Some(16));
    /// ```
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
    ///
    /// ```
    /// use pool::{Class, ClassConfig, DataPool, DataPoolConfig, ReserveConfig};
    ///
    /// let pool = DataPool::on_heap(DataPoolConfig::default())?;
    /// let group = pool.group(ReserveConfig { small: 1, large: 1, control: 1 })?;
    /// let buf = group.get_class(Class::Large).expect("it has a reserve");
    /// assert_eq!(buf.class(), Class::Large);
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    #[inline]
    pub fn get_class(&self, class: Class) -> Option<Buf> {
        match self.local.pop(class) {
            Some(meta) => Some(Buf::lend(meta, Home::Here(self.local.clone()))),
            None => self.get_slow(class),
        }
    }

    /// A buffer when none is free on this core.
    #[cold]
    fn get_slow(&self, class: Class) -> Option<Buf> {
        Granted::gather(&self.local, class, 1)?.next()
    }

    /// Asks for `count` buffers of `class`, all or none. If they cannot be had at once the request
    /// waits its turn, and `waker` is woken, from any core, when they are there. `now_ns` is the
    /// time, in nanoseconds from any start.
    ///
    /// Requests are served in the order of their coming, over all groups and cores, and nobody
    /// takes from the shared pool past one that waits. What comes home to this group's own reserve
    /// serves this group's requests, also when others came first.
    ///
    /// Wakers run where a buffer is returned, or a request made or withdrawn, and may use the pool.
    /// One that panics does so there, when everything is done: the buffers are home, and the others
    /// that are served with it are woken.
    ///
    /// ```
    /// use pool::{BufGroup, Class};
    /// use std::task::Waker;
    ///
    /// let bufs = BufGroup::new(2, 16);
    /// let held = bufs.get();
    /// // A thread of lcore has a waker: `cx.handle().waker()`.
    /// let mut request = bufs.request(Class::Small, 2, 0, Waker::noop())?;
    /// assert!(request.poll(1).is_none());
    /// drop(held);
    /// assert_eq!(request.poll(2).map(|granted| granted.count()), Some(2));
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    ///
    /// # Errors
    /// [`PoolError::RequestTooLarge`] if reserve and shared pool together never have that many,
    /// [`PoolError::QueueFull`].
    pub fn request(&self, class: Class, count: usize, now_ns: u64, waker: &Waker) -> Result<Request, PoolError> {
        Request::new(&self.local, class, count, now_ns, waker)
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
    ///
    /// ```
    /// # use pool::{BufGroup, Class};
    /// let bufs = BufGroup::new(8, 16);
    /// let held = [bufs.get(), bufs.get()];
    /// drop(held);
    /// let stats = bufs.stats(Class::Small);
    /// assert_eq!((stats.reserve, stats.in_use, stats.high_water, stats.from_reserve), (8, 0, 2, 2));
    /// ```
    pub fn stats(&self, class: Class) -> GroupStats {
        self.local.class(class).stats()
    }

    /// Buffers of the reserve that are free on this core: one load, for whoever asks each turn
    /// whether there are plenty.
    ///
    /// ```
    /// # use pool::{BufGroup, Class};
    /// let bufs = BufGroup::new(8, 16);
    /// let held = bufs.get();
    /// assert_eq!((bufs.at_hand(Class::Small), bufs.capacity(Class::Small)), (7, 8));
    /// # drop(held);
    /// ```
    #[inline]
    pub fn at_hand(&self, class: Class) -> usize {
        self.local.free(class) as usize
    }

    /// Buffers of `class` that this group could have now: what is home of its reserve, and what the
    /// shared pool has while nobody waits for it. Others may be faster.
    pub fn available(&self, class: Class) -> usize {
        let home = self.local.class(class).home();
        (home + self.local.shared.pool.class(class).available()) as usize
    }

    /// Buffers of `class` that this group could have at the most: its reserve, and all that no
    /// group has reserved.
    pub fn capacity(&self, class: Class) -> usize {
        (self.local.class(class).reserve + self.local.shared.pool.class(class).unreserved()) as usize
    }
}

impl fmt::Debug for BufGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Class::ALL.map(|class| (class, self.stats(class)))).finish()
    }
}

impl SendBuf {
    /// The same buffer, to be used on the core of `here`; its home stays what it was.
    pub fn into_local(self, here: &BufGroup) -> Buf {
        let local = &here.local;
        self.into_buf(|home| match home {
            Home::Away(away) if Arc::ptr_eq(away, &local.shared) => Some(Home::Here(local.clone())),
            _ => None,
        })
    }
}
