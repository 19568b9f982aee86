//! The system calls that the crate io-uring has not, each behind a safe function.
//!
//! UNSAFETY: calls into libc with pointers to memory that is lent for the length of the call.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `IORING_ENTER_GETEVENTS`.
pub(crate) const GET_EVENTS: u32 = 1;

/// An eventfd.
pub(crate) struct Eventfd(OwnedFd);

impl Eventfd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Another descriptor of the same eventfd.
    pub(crate) fn again(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Takes what it told, so that it is not ready any more.
    pub(crate) fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: the kernel writes eight bytes. That nothing was told is its only error.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }
}

/// Bytes of memory that this user may lock, if that is limited.
pub(crate) fn may_lock() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel writes one such structure. If it does not, nothing is known of a limit.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Enters a ring: submits, and with [`GET_EVENTS`] runs what completions have left to do. Never
/// waits. Tells how many requests were taken.
///
/// Memory that the requests name is the business of who queued them.
#[inline]
pub(crate) fn enter(ring: RawFd, submit: u32, flags: u32) -> io::Result<u32> {
    // SAFETY: no argument points to memory.
    let n = unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, submit, 0u32, flags, std::ptr::null::<libc::c_void>(), 0usize) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as u32) }
}
