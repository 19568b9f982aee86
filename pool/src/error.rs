//! What can go wrong when a pool is set up.

use crate::{Class, ReserveConfig};

/// Why a pool, or a share of one, could not be had.
///
/// Being out of objects or buffers is no error but an answer: `None`.
///
/// ```
/// use pool::{Mempool, MempoolConfig, PoolError};
///
/// let none = Mempool::new(MempoolConfig { objects: 0, caches: 1, cache_size: 1 }, |_| ());
/// assert!(matches!(none, Err(PoolError::NoObjects { .. })));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// There is no memory for it: ask for less, or give the machine more.
    #[error("no memory for a pool of {bytes} bytes: make the pool smaller")]
    NoMemory {
        /// Bytes wanted.
        bytes: usize,
    },
    /// An index has 32 bits, one value of which means "none".
    #[error("{wanted} {what} were asked for and the most is {most}: make several pools")]
    TooMany {
        /// What of: objects, caches, buffers, bytes of a buffer, requests that wait.
        what: &'static str,
        /// How many of them.
        wanted: usize,
        /// The largest number possible.
        most: usize,
    },
    /// A pool of nothing would be made, and everybody who wants of it would wait for ever.
    #[error("{count} {class:?} buffers of {size} bytes serve nobody: at least one buffer of at least one byte is needed")]
    NoBuffers {
        /// The class; the first one where no class has any.
        class: Class,
        /// Buffers asked for.
        count: usize,
        /// Bytes of each.
        size: usize,
    },
    /// A mempool of nothing, or one that nobody can reach.
    #[error("{objects} objects behind {caches} caches serve nobody: at least one of each is needed")]
    NoObjects {
        /// Objects asked for.
        objects: usize,
        /// Caches asked for.
        caches: u32,
    },
    /// Every cache that the pool was made for is in use, counting those whose objects are still
    /// out.
    #[error("all {caches} caches of the mempool are in use: raise `caches` to the number of cores that use it")]
    CachesTaken {
        /// Caches that the pool was made for.
        caches: u32,
    },
    /// The memory given does not hold the buffers asked for.
    #[error(
        "{wanted} bytes of buffers do not fit {given} bytes of memory, or it is not aligned to {align}: give other memory or ask for less"
    )]
    MemoryUnfit {
        /// Bytes that the buffers take.
        wanted: usize,
        /// Bytes given.
        given: usize,
        /// Bytes that the memory must be aligned to.
        align: usize,
    },
    /// A group's reserve cannot be filled from what the shared pool has now; what requests wait for
    /// is not to be had.
    #[error(
        "a reserve of {} small, {} large and {} control buffers cannot be filled from {}, {} and {}: enlarge the pool, or make fewer groups or smaller reserves",
        wanted.small, wanted.large, wanted.control, available.small, available.large, available.control
    )]
    ReserveUnfilled {
        /// The reserve asked for.
        wanted: ReserveConfig,
        /// What the shared pool has.
        available: ReserveConfig,
    },
    /// A request for more buffers than its group could ever have at a time: ask for fewer.
    #[error("{wanted} {class:?} buffers were asked for at a time, and reserve and shared pool together have {most}: ask for fewer")]
    RequestTooLarge {
        /// The class.
        class: Class,
        /// Buffers asked for.
        wanted: usize,
        /// Buffers that the group's reserve and the shared pool have when all are home.
        most: usize,
    },
    /// As many requests wait as the pool was made for: wait with this one.
    #[error("{waiters} requests wait for buffers already: raise `waiters`, or ask later")]
    QueueFull {
        /// Requests that can wait.
        waiters: usize,
    },
}
