//! What is said when there is no ring.

use crate::key::Member;
use crate::sys;

/// Why the kernel gives no ring, or no part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// A system call failed.
    #[error("{doing}: {}", std::io::Error::from_raw_os_error(*code))]
    Os {
        /// The call.
        doing: &'static str,
        /// The system's number.
        code: i32,
    },
    /// Rings are counted as locked memory, of which this user may have no more.
    #[error("{doing}: a ring of {needs} KiB is locked memory, of which {limit} KiB are allowed (ulimit -l)")]
    LockedMemory {
        /// The call.
        doing: &'static str,
        /// KiB that the ring takes, about.
        needs: u64,
        /// KiB that are allowed in all.
        limit: u64,
    },
    /// A ring tells no more members apart.
    #[error("the ring has {} members already, as many as it tells apart", Member::MOST)]
    Members,
}

impl RingError {
    pub(crate) fn os(doing: &'static str, why: &std::io::Error) -> Self {
        Self::Os { doing, code: why.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// Why there is no ring of so many bytes. The kernel says no more than that there is no memory.
    pub(crate) fn no_ring(doing: &'static str, why: &std::io::Error, bytes: u64) -> Self {
        match sys::may_lock() {
            Some(limit) if why.raw_os_error() == Some(libc::ENOMEM) => {
                Self::LockedMemory { doing, needs: bytes.div_ceil(1024), limit: limit / 1024 }
            }
            _ => Self::os(doing, why),
        }
    }
}
