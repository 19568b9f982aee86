//! The data-buffer pool that all cores share.
//!
//! Its memory is one piece, cut into small, large and control buffers. Poll groups take a reserve out of it when they are made and borrow
//! what they need beyond; who finds nothing waits in one queue. The counterpart of SPDK's `iobuf`. The life of a buffer:
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
use core::sync::atomic::Ordering::Relaxed;

use crate::config::{Class, DataPoolConfig, PoolStats, ReserveConfig};
use crate::memory::{DATA_ALIGN, HeapMemory, Memory};
use crate::share::GroupShared;
use crate::slab::{Meta, Slab};
use crate::stack::{Chain, Links, NIL};
use crate::wait::ClassPool;
use crate::{BufGroup, PoolError};

/// A pool of data buffers in one piece of memory, for all cores. Cloning the handle shares it.
///
/// The memory stays until every handle, group and buffer is gone.
#[derive(Clone)]
pub struct DataPool {
    shared: Arc<PoolShared>,
}

impl DataPool {
    /// A pool of the buffers that `config` asks for, in `memory`.
    ///
    /// # Errors
    /// [`PoolError::NoBuffers`], [`PoolError::TooMany`], [`PoolError::MemoryUnfit`] if `memory` is too small or badly aligned, [`PoolError::NoMemory`] for what is
    /// known about the buffers.
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

    /// Another handle.
    pub(crate) fn of(shared: Arc<PoolShared>) -> Self {
        Self { shared }
    }

    /// A pool in memory from the allocator.
    ///
    /// # Errors
    /// [`PoolError::NoBuffers`], [`PoolError::NoMemory`], [`PoolError::TooMany`].
    pub fn on_heap(config: DataPoolConfig) -> Result<Self, PoolError> {
        config.check()?;
        Self::new(config, Box::new(HeapMemory::new(config.footprint())?))
    }

    /// A poll group's share, for the calling core: `reserve` is the group's own from now on.
    ///
    /// # Errors
    /// [`PoolError::ReserveUnfilled`] if the shared pool has less than that, or if requests wait for what it has; nothing is taken then.
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
            self.shared.class(class).enter(shared.clone());
        }
        Ok(BufGroup::with_reserve(shared, taken))
    }

    /// The memory that all buffers lie in, to be registered once: its first byte, aligned to [`DATA_ALIGN`], and its length.
    pub fn region(&self) -> (NonNull<u8>, usize) {
        (self.shared.memory.base(), self.shared.memory.len())
    }

    /// Bytes that each buffer of `class` holds.
    pub fn buf_size(&self, class: Class) -> usize {
        self.shared.config.class(class).size
    }

    /// What happened so far to the buffers of `class`.
    pub fn stats(&self, class: Class) -> PoolStats {
        self.shared.class(class).stats(class)
    }
}

/// What the handles, the groups and, through them, the buffers hold on to.
pub(crate) struct PoolShared {
    pub(crate) slab: Slab,
    classes: [ClassPool; Class::COUNT],
    pub(crate) config: DataPoolConfig,
    memory: Box<dyn Memory>,
}

impl PoolShared {
    #[inline]
    pub(crate) fn class(&self, class: Class) -> &ClassPool {
        &self.classes[class as usize]
    }

    /// Serves who waits. The caller has put something where a waiter looks, and then a `SeqCst` fence.
    ///
    /// Wakers are somebody else's code and may panic, so this comes last wherever it is called: what is in the caller's hands by then has an owner that gives it back.
    #[inline]
    pub(crate) fn serve_if_waiting(&self, class: Class) {
        if self.class(class).waiting.load(Relaxed) != 0 {
            self.serve(class);
        }
    }

    /// Serves everybody who can be, and wakes them, also when a waker panics. Takes the lock, but never wakes under it.
    #[cold]
    pub(crate) fn serve(&self, class: Class) {
        let mut round = Round { pool: self, class, over: false };
        round.go_on();
    }

    /// Serves who waits for buffers of any of these classes, also when a waker of one panics.
    pub(crate) fn serve_each(&self, classes: &[Class]) {
        struct Others<'a>(&'a PoolShared, &'a [Class]);
        impl Drop for Others<'_> {
            fn drop(&mut self) {
                self.0.serve_each(self.1);
            }
        }
        if let [first, others @ ..] = classes {
            let _others = Others(self, others);
            self.serve_if_waiting(*first);
        }
    }

    fn unreserve(&self, taken: [Option<Chain>; Class::COUNT]) {
        for (class, chain) in Class::ALL.into_iter().zip(taken) {
            if let Some(chain) = chain {
                self.class(class).unreserve(&self.slab.0, chain);
            }
        }
        self.serve_each(&Class::ALL);
    }
}

/// Serves one after the other. Where a waker panics the others, whom nobody else would wake, have their turn on the way out; a second panic then ends the process, as
/// any panic during another does.
struct Round<'a> {
    pool: &'a PoolShared,
    class: Class,
    over: bool,
}

impl Round<'_> {
    fn go_on(&mut self) {
        while let Some(waker) = self.pool.class(self.class).serve_one(&self.pool.slab.0, self.class) {
            waker.wake();
        }
        self.over = true;
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.go_on();
        }
    }
}

impl fmt::Debug for DataPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Class::ALL.map(|class| (class, self.stats(class)))).finish()
    }
}

/// The metas of the buffers that `config` asks for. The caller has checked it, and that they fit behind `base`.
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
