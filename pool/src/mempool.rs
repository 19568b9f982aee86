//! A mempool: a fixed number of objects, made at the start and freed with the pool, each with one
//! owner at a time.
//!
//! Each core takes and returns through a [`MempoolCache`] of its own, without lock or atomic
//! instruction. What the caches cannot give or hold moves in batches between them and the pool's
//! lock-free stack, which any core may use. The counterpart of `spdk_mempool` (DPDK's
//! `rte_mempool`). The life of an object:
//!
//! ```text
//!            get              drop
//!   cache ─────────► Obj<T> ────────► the cache it came from (the one returned last is handed out first)
//!     ▲ │              │ ▲
//!     │ ▼ batches      │ │ into_local(cache)
//!    stack             ▼ │    drop on any core
//!                   SendObj<T> ────────► stack
//! ```

#[cfg(not(loom))]
use alloc::sync::Weak;
use alloc::{sync::Arc, vec::Vec};
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::Ordering::Relaxed;
use core::{any::type_name, fmt, mem::size_of};

use crossbeam_utils::CachePadded;
use statistics::stats;

use crate::PoolError;
use crate::cache::MempoolCache;
use crate::memory::many;
use crate::objects::{Account, Shared};
use crate::stack::{FreeStack, LinkArray, Links, NIL};

/// How large a [`Mempool`] and its caches are.
///
/// ```
/// use pool::{Mempool, MempoolConfig};
///
/// // 1024 requests for two cores, each of which keeps 64 at hand.
/// let config = MempoolConfig { objects: 1024, caches: 2, cache_size: 64 };
/// let pool = Mempool::new(config, |_| [0u8; 64])?;
/// assert_eq!(pool.stats().objects, 1024);
/// # Ok::<(), pool::PoolError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MempoolConfig {
    /// Objects in the whole pool, at least one. What lies in one core's cache is not to be had by
    /// another, so count the caches in.
    pub objects: usize,
    /// The most caches at a time, 1 to 65,536: the number of cores that use the pool.
    pub caches: u32,
    /// Objects that a cache holds at most; with 0 every object comes from what the cores share.
    /// Half of that is moved at a time.
    pub cache_size: usize,
}

/// Caches that a pool has at most.
const CACHES: u32 = 1 << 16;

impl MempoolConfig {
    /// The number of objects, if such a pool can work.
    fn check(&self) -> Result<u32, PoolError> {
        let Self { objects, caches, .. } = *self;
        if objects == 0 || caches == 0 {
            return Err(PoolError::NoObjects { objects, caches });
        }
        if caches > CACHES {
            return Err(PoolError::TooMany { what: "caches", wanted: caches as usize, most: CACHES as usize });
        }
        let most = NIL as usize - 1;
        u32::try_from(objects).ok().filter(|&count| count < NIL).ok_or(PoolError::TooMany { what: "objects", wanted: objects, most })
    }
}

/// The owner's handle of a pool of objects.
///
/// Objects still out when it is dropped keep their memory until the last has come home; how many
/// there are goes to the log.
///
/// ```
/// use pool::{Mempool, MempoolConfig};
///
/// let pool = Mempool::new(MempoolConfig { objects: 4, caches: 1, cache_size: 2 }, |number| vec![number])?;
/// let cache = pool.cache()?; // one for each core
/// let mut object = cache.get().ok_or("all are out")?;
/// object.push(7);
/// assert_eq!(pool.in_use(), 1);
/// drop(object);
/// assert_eq!(cache.get().ok_or("all are out")?.last(), Some(&7), "as it was left");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mempool<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Mempool<T> {
    /// A pool of `config.objects` objects, each made by `init` from its number. Objects are not
    /// made anew when they are returned: who gets one finds it as it was left.
    ///
    /// Neighbours in number are neighbours in memory. Objects that different cores write to should
    /// fill whole cache lines.
    ///
    /// ```
    /// # use pool::{Mempool, MempoolConfig};
    /// let config = MempoolConfig { objects: 3, caches: 1, cache_size: 3 };
    /// let pool = Mempool::new(config, |number| number * 10)?;
    /// let cache = pool.cache()?;
    /// let mut objects: Vec<_> = cache.get_bulk::<3>().iter().flat_map(|bulk| bulk.iter().copied().collect::<Vec<_>>()).collect();
    /// objects.sort();
    /// assert_eq!(objects, [0, 10, 20]);
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    ///
    /// # Errors
    /// [`PoolError::NoObjects`], [`PoolError::TooMany`], and [`PoolError::NoMemory`] when the
    /// objects do not fit.
    ///
    /// # Panics
    /// If `init` does; the objects made so far are dropped.
    pub fn new(config: MempoolConfig, mut init: impl FnMut(usize) -> T) -> Result<Self, PoolError> {
        let count = config.check()?;
        let mut objects = Vec::new();
        let bytes = config.objects.saturating_mul(size_of::<T>());
        objects.try_reserve_exact(config.objects).map_err(|_| PoolError::NoMemory { bytes })?;
        objects.extend((0..config.objects).map(|number| UnsafeCell::new(init(number))));

        let shared = Shared {
            objects: objects.into_boxed_slice(),
            links: LinkArray::new(count)?,
            account: Arc::new(Account {
                of: type_name::<T>(),
                objects: config.objects,
                free: CachePadded::new(FreeStack::new()),
                counters: (0..config.caches).map(|_| Arc::default()).collect(),
            }),
            cache_size: config.cache_size.min(config.objects),
            ids: FreeStack::new(),
            id_links: LinkArray::new(config.caches)?,
        };
        if let Some(all) = shared.links.chain(0..count) {
            shared.account.free.push(&shared.links, all);
        }
        if let Some(ids) = shared.id_links.chain(0..config.caches) {
            shared.ids.push(&shared.id_links, ids);
        }
        #[cfg(not(loom))]
        list(&shared.account);
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A cache for the calling core; it and its objects stay there.
    ///
    /// ```
    /// # use pool::{Mempool, MempoolConfig};
    /// let pool = Mempool::new(MempoolConfig { objects: 2, caches: 1, cache_size: 1 }, |_| 0u64)?;
    /// let cache = pool.cache()?;
    /// assert!(pool.cache().is_err(), "one for each core, and it has one core");
    /// drop(cache);
    /// assert!(pool.cache().is_ok());
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    ///
    /// # Errors
    /// [`PoolError::CachesTaken`]: a dropped cache counts until its last object is home.
    /// [`PoolError::NoMemory`].
    pub fn cache(&self) -> Result<MempoolCache<T>, PoolError> {
        let taken = PoolError::CachesTaken { caches: self.shared.account.counters.len() as u32 };
        let items = many(self.shared.cache_size, || Cell::new(0))?;
        let id = self.shared.ids.pop(&self.shared.id_links, 1, 1, |_, _| ()).ok_or(taken)?;
        Ok(MempoolCache::new(self.shared.clone(), id.first, items))
    }

    /// Objects that are out: neither in the pool nor in a cache. Exact when no core moves a batch
    /// at this moment.
    ///
    /// ```
    /// # use pool::{Mempool, MempoolConfig};
    /// # let pool = Mempool::new(MempoolConfig { objects: 8, caches: 1, cache_size: 4 }, |_| ())?;
    /// let cache = pool.cache()?;
    /// let object = cache.get();
    /// assert_eq!(pool.in_use(), 1);
    /// drop(object);
    /// assert_eq!((pool.in_use(), pool.stats().cached > 0), (0, true), "it lies in the cache");
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    pub fn in_use(&self) -> usize {
        self.stats().in_use
    }

    /// What happened so far, summed over the caches. Counts are modulo 2³² on 32-bit targets.
    pub fn stats(&self) -> MempoolStats {
        self.shared.account.stats()
    }
}

impl Account {
    fn stats(&self) -> MempoolStats {
        let mut stats = MempoolStats { objects: self.objects, shared: self.free.len() as usize, ..MempoolStats::default() };
        for cache in &self.counters {
            stats.cached += cache.len.load(Relaxed) as usize;
            stats.hits += cache.hits.load(Relaxed) as u64;
            stats.refills += cache.refills.load(Relaxed) as u64;
            stats.spills += cache.spills.load(Relaxed) as u64;
            stats.failures += cache.failures.load(Relaxed) as u64;
        }
        stats.in_use = stats.objects.saturating_sub(stats.shared + stats.cached);
        stats
    }
}

/// The pools of this process.
#[cfg(not(loom))]
static POOLS: spin::Mutex<Vec<Weak<Account>>> = spin::Mutex::new(Vec::new());

#[cfg(not(loom))]
fn list(account: &Arc<Account>) {
    let mut pools = POOLS.lock();
    pools.retain(|pool| pool.strong_count() > 0);
    pools.push(Arc::downgrade(account));
}

/// What happened so far to each [`Mempool`] of this process, with the name of its objects' type.
/// One that was dropped counts until its last object is home.
///
/// ```
/// # use pool::{Mempool, MempoolConfig};
/// let pool = Mempool::new(MempoolConfig { objects: 5, caches: 1, cache_size: 1 }, |_| 0u128)?;
/// let (_, stats) = pool::mempools().into_iter().find(|(of, _)| *of == "u128").expect("it is listed");
/// assert_eq!(stats.objects, 5);
/// # Ok::<(), pool::PoolError>(())
/// ```
#[cfg(not(loom))]
pub fn mempools() -> Vec<(&'static str, MempoolStats)> {
    // Not under the lock: the last to look at a pool frees what is left of it.
    let pools: Vec<_> = POOLS.lock().iter().filter_map(Weak::upgrade).collect();
    pools.iter().map(|pool| (pool.of, pool.stats())).collect()
}

stats! {
    /// The counters of a [`Mempool`].
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct MempoolStats {
        /// Objects in all.
        pub objects: usize => gauge("lcore_mempool_objects"),
        /// Objects that are out.
        pub in_use: usize => gauge("lcore_mempool_objects_in_use"),
        /// Objects in the stack that all cores share.
        pub shared: usize => gauge("lcore_mempool_objects_shared"),
        /// Objects in the caches.
        pub cached: usize => gauge("lcore_mempool_objects_cached"),
        /// Objects handed out of a cache.
        pub hits: u64 => counter("lcore_mempool_cache_hits_total"),
        /// Batches moved from the stack to a cache.
        pub refills: u64 => counter("lcore_mempool_refills_total"),
        /// Batches moved from a cache to the stack.
        pub spills: u64 => counter("lcore_mempool_spills_total"),
        /// Requests answered with `None`.
        pub failures: u64 => counter("lcore_mempool_failures_total"),
    }
}

impl<T> Drop for Mempool<T> {
    fn drop(&mut self) {
        let out = self.in_use();
        if out > 0 {
            logging::warn!(
                "a mempool of {} was dropped with {} of {} objects out: their memory stays until they come home",
                type_name::<T>(),
                out,
                self.shared.objects.len()
            );
        }
    }
}

impl<T> fmt::Debug for Mempool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mempool").field(&self.stats()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::rc::Rc;
    use static_assertions::{assert_impl_all, assert_not_impl_any};

    assert_impl_all!(Mempool<core::cell::Cell<u32>>: Send, Sync);
    assert_not_impl_any!(Mempool<Rc<u32>>: Send, Sync);

    #[test]
    fn more_objects_than_indices_are_refused() {
        let config = MempoolConfig { objects: NIL as usize, caches: 1, cache_size: 1 };
        let refused = Mempool::new(config, |_| ()).unwrap_err();
        assert_eq!(refused, PoolError::TooMany { what: "objects", wanted: NIL as usize, most: NIL as usize - 1 });
        assert_eq!(alloc::format!("{refused}"), "4294967295 objects were asked for and the most is 4294967294: make several pools");
        let config = MempoolConfig { objects: 1, caches: 65_537, cache_size: 1 };
        let refused = Mempool::new(config, |_| ()).unwrap_err();
        assert_eq!(refused, PoolError::TooMany { what: "caches", wanted: 65_537, most: 65_536 });
    }

    #[test]
    fn s232_every_pool_is_seen_until_its_last_object_is_home() {
        struct OfThisTest;
        let seen = || mempools().into_iter().filter(|(of, _)| *of == type_name::<OfThisTest>()).map(|(_, stats)| stats).collect::<Vec<_>>();
        let pools = [3, 5].map(|objects| Mempool::new(MempoolConfig { objects, caches: 1, cache_size: 2 }, |_| OfThisTest).unwrap());
        let out = pools[1].cache().unwrap().get().unwrap();
        assert_eq!(seen(), [pools[0].stats(), pools[1].stats()]);
        assert_eq!((seen()[1].objects, seen()[1].in_use, seen()[1].refills), (5, 1, 1));
        drop(pools);
        assert_eq!(seen().len(), 1, "an object is out");
        drop(out);
        assert_eq!(seen(), []);
    }

    #[test]
    fn a_pool_of_nothing_is_refused() {
        for (objects, caches) in [(0, 1), (1, 0), (0, 0)] {
            let refused = Mempool::new(MempoolConfig { objects, caches, cache_size: 1 }, |_| ()).unwrap_err();
            assert_eq!(refused, PoolError::NoObjects { objects, caches });
        }
    }

    #[test]
    fn without_a_cache_of_its_own_a_core_takes_from_what_all_share() {
        let pool = Mempool::new(MempoolConfig { objects: 2, caches: 1, cache_size: 0 }, |_| ()).unwrap();
        let cache = pool.cache().unwrap();
        let out = (cache.get(), cache.get(), cache.get());
        assert!(out.0.is_some() && out.1.is_some() && out.2.is_none());
        drop(out);
        assert_eq!((pool.stats().shared, pool.stats().cached, pool.in_use()), (2, 0, 0));
    }

    #[test]
    fn objects_that_do_not_fit_are_refused() {
        let config = MempoolConfig { objects: 1 << 31, caches: 1, cache_size: 1 };
        let made = Mempool::<[u8; 1 << 17]>::new(config, |_| unreachable!("made without memory"));
        assert!(matches!(made.unwrap_err(), PoolError::NoMemory { .. }));
    }

    #[test]
    fn an_init_that_panics_leaves_nothing_behind() {
        extern crate std;
        let alive = Rc::new(());
        let config = MempoolConfig { objects: 8, caches: 1, cache_size: 4 };
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Mempool::new(config, |number| {
                assert!(number < 5, "seeded");
                alive.clone()
            })
        }));
        assert!(made.is_err());
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn one_cache_too_many_is_refused_until_one_is_gone() {
        let pool = Mempool::new(MempoolConfig { objects: 4, caches: 1, cache_size: 2 }, |_| ()).unwrap();
        let cache = pool.cache().unwrap();
        assert_eq!(pool.cache().unwrap_err(), PoolError::CachesTaken { caches: 1 });
        let out = cache.get().unwrap();
        drop(cache);
        assert_eq!(pool.cache().unwrap_err(), PoolError::CachesTaken { caches: 1 });
        drop(out);
        assert!(pool.cache().is_ok());
    }
}
