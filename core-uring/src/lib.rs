//! The io_uring of a core, which its groups share.
//!
#![doc = include_str!("../README.md")]
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
//! By file, each of which knows those behind it only: `inbox`, `bufring`, `ring` ─► `io` ─►
//! `error`, `key`, `sys`.
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

mod bufring;
mod error;
mod inbox;
mod io;
mod key;
mod ring;
mod sys;

pub use bufring::BufRing;
pub use error::RingError;
pub use inbox::Inbox;
pub use io::{Completion, Io};
/// The requests, in the version that [`Io::push`] takes.
pub use io_uring;
pub use key::{Key, Member};
pub use ring::{Ring, Sizes};
