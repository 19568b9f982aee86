//! The io_uring of a core, which its groups share.
//!
//! All that a flow of control does with io_uring goes through one [`Ring`], of which each group of
//! sockets (or of disks) is a [`Member`]. A ring belongs to the flow of control that made it
//! (`SINGLE_ISSUER`), and what completions have left to do runs only when that enters the kernel
//! (`DEFER_TASKRUN`): until then a flag tells that there is something (`TASKRUN_FLAG`), which costs
//! no system call to look at.
//!
//! A member joins, and in each of its polls
//!
//! 1. queues what it asks for: [`Io::push`], which takes any request of [`io_uring::opcode`]; a
//!    [`Key`] names it, which each of its completions brings back;
//! 2. enters the kernel once, if there is reason to: [`Io::wants_entry`], [`Io::enter`];
//! 3. handles its completions, which an [`Inbox`] takes off the ring. Those of other members are
//!    put by for them.
//!
//! A poll that finds nothing makes no system call. Before its core sleeps the ring is armed, as the
//! core's [`Bell`](core_reactor::Bell): a ring of this kind does not wake an epoll set, but its
//! eventfd does, and costs nothing while it is switched off.
//!
//! A [`BufRing`] is a member's buffers that lie ready for the kernel to receive into, as they come
//! out of the pool and as they are handed on.
//!
//! By file, each of which knows those behind it only: `inbox`, `bufring`, `ring` ─► `io` ─► `key`,
//! `sys`.
#![deny(unsafe_code)]

mod bufring;
mod inbox;
mod io;
mod key;
mod ring;
mod sys;

pub use bufring::BufRing;
pub use inbox::Inbox;
pub use io::{Completion, Io};
/// The requests, in the version that [`Io::push`] takes.
pub use io_uring;
pub use key::{Key, Member};
pub use ring::{Ring, Sizes};

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
    fn os(doing: &'static str, why: &std::io::Error) -> Self {
        Self::Os { doing, code: why.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// Why there is no ring of so many bytes. The kernel says no more than that there is no memory.
    fn no_ring(doing: &'static str, why: &std::io::Error, bytes: u64) -> Self {
        match sys::may_lock() {
            Some(limit) if why.raw_os_error() == Some(libc::ENOMEM) => {
                Self::LockedMemory { doing, needs: bytes.div_ceil(1024), limit: limit / 1024 }
            }
            _ => Self::os(doing, why),
        }
    }
}
