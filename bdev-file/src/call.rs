//! A system call as a channel asks for it.

// UNSAFETY: a call names memory; see `Engine::start`.
#![allow(unsafe_code)]

use std::time::Duration;

use bdev::Frame;

/// Pieces of memory of a call, at most. Far fewer than the kernel takes (`IOV_MAX`).
pub(crate) const PIECES: usize = Frame::PARTS;
static_assertions::const_assert!(PIECES <= libc::UIO_MAXIOV as usize);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `preadv`.
    Read,
    /// `pwritev2`, with `RWF_DSYNC` where it is to last.
    Write {
        /// It is to last when it comes back.
        lasts: bool,
    },
    /// `fdatasync`.
    Sync,
    /// `fallocate`, of this mode.
    Allocate(i32),
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is done.
    pub op: Op,
    /// From this byte of the file on.
    pub at: u64,
    /// So many bytes.
    pub len: u64,
    /// The memory of a read or write: one piece at least.
    pub pieces: &'a [libc::iovec],
}

/// What makes calls, on one core.
pub trait Engine {
    /// Starts a call, which is known by `slot` until it has come back. There is one of each slot at
    /// a time.
    ///
    /// # Safety
    /// The pieces and the memory that they name stay where they are, and nobody else uses that
    /// memory, until [`poll`](Self::poll) has told of this slot.
    unsafe fn start(&mut self, slot: usize, call: Call<'_>);

    /// Asks for a call to be given up. It comes back in any case, with `-ECANCELED` where that was
    /// in time.
    fn cancel(&mut self, slot: usize);

    /// Appends what has come back: slots, and what the call has answered or minus its errno. Never
    /// waits.
    fn poll(&mut self, back: &mut Vec<(usize, i32)>);

    /// Waits until there may be something for [`poll`](Self::poll), or for so long. For the end.
    fn wait(&mut self, most: Duration);
}
