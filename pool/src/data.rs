//! The data-buffer pool that all cores share.
//!
//! Its memory is one piece, cut into small, large and control buffers. Poll groups take a reserve
//! out of it when they are made and borrow what they need beyond; who finds nothing waits in one
//! queue. The counterpart of SPDK's `iobuf`. The life of a buffer:
//!
//! ```text
//!                  ┌──────── get, while the reserve lasts ───────┐
//!                  │                                             ▼     into_send
//!    group (new) ──┴─► reserve ◄── dropped while nothing is ─── Buf ◄────────────► SendBuf
//!         │              ▲         borrowed                      │ │  into_local       │
//!         │              └── next get ── came home ◄─────────────┼─┼───────────────────┤  dropped
//!         │                              from elsewhere          │ │                   │  on any core
//!         └─ takes ─► shared ◄── dropped while something is ─────┘ │                   │
//!                     pool       borrowed ◄────────────────────────┼───────────────────┘
//!                       └──── get beyond the reserve, unless ──────┘
//!                             somebody waits
//! ```

// UNSAFETY: cuts the memory into buffers.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;
use core::ptr::NonNull;

use crate::config::{Class, ClassConfig, DATA_ALIGN, DataPoolConfig, PoolStats, ReserveConfig};
use crate::memory::{HeapMemory, Memory};
use crate::pool::PoolShared;
use crate::share::GroupShared;
use crate::slab::{Meta, Slab};
use crate::stack::{Links, NIL};
use crate::wait::ClassPool;
use crate::{BufGroup, PoolError};

/// A pool of data buffers in one piece of memory, for all cores. Cloning the handle shares it.
///
/// The memory stays until every handle, group and buffer is gone.
///
/// ```
/// use pool::{ClassConfig, DataPool, DataPoolConfig, ReserveConfig};
///
/// let small = ClassConfig { count: 8, size: 4096 };
/// let large = ClassConfig { count: 2, size: 65_536 };
/// let pool = DataPool::on_heap(DataPoolConfig::DEFAULT.small(small).large(large))?;
/// // Each core has a share: two buffers of its own, and what is left.
/// let group = pool.group(ReserveConfig { small: 2, large: 0, control: 0 })?;
/// let (small, large) = (group.get(), group.get_large());
/// assert_eq!(large.map(|buf| buf.spare_capacity()), Some(65_536));
/// # drop(small);
/// # Ok::<(), pool::PoolError>(())
/// ```
#[derive(Clone)]
pub struct DataPool {
    shared: Arc<PoolShared>,
}

impl DataPoolConfig {
    /// Whether a pool like this can work. [`DataPool::new`] looks, too; this
    /// is for who gets the memory before.
    ///
    /// # Errors
    /// [`PoolError::NoBuffers`] for one that could serve nobody; [`PoolError::TooMany`] for more of
    /// something than can be counted.
    pub fn check(&self) -> Result<(), PoolError> {
        let useless = |class: &Class| self.class(*class).count > 0 && self.class(*class).size == 0;
        let none = Class::ALL.iter().all(|class| self.class(*class).count == 0);
        if let Some(class) = Class::ALL.into_iter().find(useless).or(none.then_some(Class::Small)) {
            let ClassConfig { count, size } = self.class(class);
            return Err(PoolError::NoBuffers { class, count, size });
        }
        let most = NIL as usize - 1;
        let buffers = Class::ALL.iter().fold(0, |sum: usize, class| sum.saturating_add(self.class(*class).count));
        let bytes = Class::ALL.iter().map(|class| self.class(*class).size).fold(0, usize::max);
        for (what, wanted) in [("buffers", buffers), ("bytes of a buffer", bytes), ("requests that wait", self.waiters)] {
            if wanted > most {
                return Err(PoolError::TooMany { what, wanted, most });
            }
        }
        Ok(())
    }
}

impl DataPool {
    /// A pool of the buffers that `config` asks for, in `memory`.
    ///
    /// # Errors
    /// [`PoolError::NoBuffers`], [`PoolError::TooMany`], [`PoolError::MemoryUnfit`] if `memory` is
    /// too small or badly aligned, [`PoolError::NoMemory`] for what is known about the buffers.
    pub fn new(config: DataPoolConfig, memory: Box<dyn Memory>) -> Result<Self, PoolError> {
        config.check()?;
        let (wanted, given) = (config.footprint(), memory.len());
        if wanted > given || !memory.base().addr().get().is_multiple_of(DATA_ALIGN) {
            return Err(PoolError::MemoryUnfit { wanted, given, align: DATA_ALIGN });
        }
        let slab = cut(&config, memory.base())?;
        let mut first = 0;
        let class = |class| ClassPool::new(config.class(class).count as u32, config.waiters);
        let mut classes = [class(Class::Small)?, class(Class::Large)?, class(Class::Control)?];
        for (class, pool) in Class::ALL.into_iter().zip(&mut classes) {
            let count = config.class(class).count as u32;
            if let Some(all) = slab.0.chain(first..first + count) {
                pool.free.push(&*slab.0, all);
            }
            first += count;
        }
        Ok(Self { shared: Arc::new(PoolShared { slab, classes, config, memory }) })
    }

    /// A pool in memory from the allocator.
    ///
    /// ```
    /// use pool::{Class, DataPool, DataPoolConfig};
    ///
    /// let pool = DataPool::on_heap(DataPoolConfig::default())?;
    /// assert_eq!(pool.buf_size(Class::Control), 4096);
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    ///
    /// # Errors
    /// [`PoolError::NoBuffers`], [`PoolError::NoMemory`], [`PoolError::TooMany`].
    pub fn on_heap(config: DataPoolConfig) -> Result<Self, PoolError> {
        config.check()?;
        Self::new(config, Box::new(HeapMemory::new(config.footprint())?))
    }

    /// A poll group's share, for the calling core: `reserve` is the group's own from now on.
    ///
    /// ```
    /// use pool::{DataPool, DataPoolConfig, PoolError, ReserveConfig};
    ///
    /// let pool = DataPool::on_heap(DataPoolConfig::default())?;
    /// let half = ReserveConfig { small: 1024, large: 0, control: 0 };
    /// let (first, second) = (pool.group(half)?, pool.group(half)?);
    /// assert!(matches!(pool.group(half), Err(PoolError::ReserveUnfilled { .. })));
    /// drop(first);
    /// assert!(pool.group(half).is_ok(), "a share comes back");
    /// # drop(second);
    /// # Ok::<(), PoolError>(())
    /// ```
    ///
    /// # Errors
    /// [`PoolError::ReserveUnfilled`] if the shared pool has less than that, or if requests wait
    /// for what it has; nothing is taken then.
    pub fn group(&self, reserve: ReserveConfig) -> Result<BufGroup, PoolError> {
        // More than fits 32 bits is more than any pool has.
        let wanted = Class::ALL.map(|class| u32::try_from(reserve.class(class)).unwrap_or(NIL));
        let mut taken = [const { None }; Class::COUNT];
        for class in Class::ALL {
            match self.shared.class(class).reserve(&self.shared.slab.0, class, wanted[class as usize]) {
                Some(chain) => taken[class as usize] = chain,
                None => {
                    self.shared.unreserve(taken);
                    let free = |class| self.shared.class(class).available() as usize;
                    let available = ReserveConfig { small: free(Class::Small), large: free(Class::Large), control: free(Class::Control) };
                    return Err(PoolError::ReserveUnfilled { wanted: reserve, available });
                }
            }
        }
        let shared = Arc::new(GroupShared::new(self.shared.clone(), wanted));
        for class in Class::ALL {
            self.shared.class(class).enter(shared.account.clone());
        }
        Ok(BufGroup::with_reserve(shared, taken))
    }

    /// The memory that all buffers lie in, to be registered once: its first byte, aligned to
    /// [`DATA_ALIGN`], and its length.
    pub fn region(&self) -> (NonNull<u8>, usize) {
        (self.shared.memory.base(), self.shared.memory.len())
    }

    /// Bytes that each buffer of `class` holds.
    ///
    /// ```
    /// use pool::{Class, DataPool, DataPoolConfig};
    ///
    /// let pool = DataPool::on_heap(DataPoolConfig::default())?;
    /// assert_eq!((pool.buf_size(Class::Small), pool.buf_size(Class::Large)), (8 << 10, 128 << 10));
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    pub fn buf_size(&self, class: Class) -> usize {
        self.shared.config.class(class).size
    }

    /// What happened so far to the buffers of `class`.
    ///
    /// ```
    /// # use pool::{Class, DataPool, DataPoolConfig};
    /// let pool = DataPool::on_heap(DataPoolConfig::default())?;
    /// let stats = pool.stats(Class::Small);
    /// assert_eq!((stats.count, stats.free, stats.in_use), (2048, 2048, 0));
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    pub fn stats(&self, class: Class) -> PoolStats {
        self.shared.class(class).stats(class)
    }
}

impl fmt::Debug for DataPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Class::ALL.map(|class| (class, self.stats(class)))).finish()
    }
}

impl BufGroup {
    /// A group with a pool of its own, of `count` small buffers of `size` bytes from the heap: for
    /// tests and tools.
    ///
    /// # Panics
    /// If there is no memory for it, or if it would have no buffers or none that hold a byte.
    pub fn new(count: usize, size: usize) -> Self {
        let none = ClassConfig { count: 0, size: 0 };
        let config = DataPoolConfig { small: ClassConfig { count, size }, large: none, control: none, ..DataPoolConfig::default() };
        let group = DataPool::on_heap(config).and_then(|pool| pool.group(ReserveConfig { small: count, large: 0, control: 0 }));
        group.expect("a private pool")
    }

    /// The pool that it is a share of.
    pub fn pool(&self) -> DataPool {
        DataPool { shared: self.local.shared.pool.clone() }
    }
}

/// The metas of the buffers that `config` asks for. The caller has checked it, and that they fit
/// behind `base`.
fn cut(config: &DataPoolConfig, base: NonNull<u8>) -> Result<Slab, PoolError> {
    let wanted = Class::ALL.iter().map(|class| config.class(*class).count).sum();
    let mut metas = Vec::new();
    metas.try_reserve_exact(wanted).map_err(|_| PoolError::NoMemory { bytes: wanted * size_of::<Meta>() })?;
    let mut offset = 0;
    for class in Class::ALL {
        let buffers = config.class(class);
        let cap = buffers.size as u32;
        for _ in 0..buffers.count {
            // SAFETY: the strides of all buffers add up to the footprint, which the memory has.
            metas.push(unsafe { Meta::new(class, metas.len() as u32, base, offset, cap) });
            offset += buffers.stride();
        }
    }
    Ok(Slab(metas.into_boxed_slice()))
}
