//! What can go wrong when a pool is set up.

/// Why a pool, or a share of one, could not be had.
///
/// Being out of objects or buffers is no error but an answer: `None`.
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
    #[error("a pool of {wanted} was asked for and the most is {most}: make several pools")]
    TooMany {
        /// Objects, buffers or bytes wanted.
        wanted: usize,
        /// The largest number possible.
        most: usize,
    },
    /// Every cache that the pool was made for is in use, counting those whose objects are still out.
    #[error("all {caches} caches of the mempool are in use: raise `caches` to the number of cores that use it")]
    CachesTaken {
        /// Caches that the pool was made for.
        caches: u32,
    },
}
