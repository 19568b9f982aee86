//! The system calls that have no safe wrapper elsewhere, each behind a safe function.
//!
//! UNSAFETY: calls into libc with pointers to memory that the caller lends for the length of the
//! call. Descriptors are plain numbers here: a wrong one is an error of the system's, and the slab
//! keeps the socket that owns each number that it hands in.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use net_sockets::Errno;
use net_sockets::sys::check;

/// An epoll set.
pub(crate) struct Epoll(OwnedFd);

/// What epoll tells of one descriptor.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct EpollEvent(libc::epoll_event);

impl EpollEvent {
    /// The number that the descriptor was added with.
    pub(crate) fn added_as(&self) -> u64 {
        self.0.u64
    }

    /// `EPOLLIN` and its kin.
    pub(crate) fn flags(&self) -> u32 {
        self.0.events
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Epoll {
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: no memory is passed.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    pub(crate) fn add(&self, fd: RawFd, flags: u32, key: u64) -> Result<(), Errno> {
        let mut event = libc::epoll_event { events: flags, u64: key };
        // SAFETY: `event` is read during the call only.
        check(unsafe { libc::epoll_ctl(self.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) })
    }

    pub(crate) fn remove(&self, fd: RawFd) -> Result<(), Errno> {
        // SAFETY: EPOLL_CTL_DEL ignores the event (Linux 2.6.9 and newer).
        check(unsafe { libc::epoll_ctl(self.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) })
    }

    /// What is ready now, in place of what is in `into`, as much as that has room for. Never
    /// blocks; an interrupted call found nothing.
    #[inline]
    pub(crate) fn wait(&self, into: &mut Vec<EpollEvent>) {
        into.clear();
        let room = into.spare_capacity_mut();
        // SAFETY: `EpollEvent` is a transparent `epoll_event`, and there is room for as many as are
        // asked for.
        let n = unsafe { libc::epoll_wait(self.as_raw_fd(), room.as_mut_ptr().cast(), room.len() as i32, 0) };
        // SAFETY: so many were written.
        unsafe { into.set_len(n.max(0) as usize) };
    }
}

/// A timer that makes its descriptor readable once.
pub(crate) struct Timer(OwnedFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Timer {
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: no memory is passed.
        owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) }).map(Self)
    }

    /// Readable once, `millis` from now, which are at least 1; what it had not told before is
    /// forgotten.
    pub(crate) fn set(&self, millis: u32) {
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let at = libc::timespec { tv_sec: (millis / 1000).into(), tv_nsec: i64::from(millis % 1000) * 1_000_000 };
        let spec = libc::itimerspec { it_interval: zero, it_value: at };
        // SAFETY: `spec` is read during the call; no old value is asked for.
        let done = unsafe { libc::timerfd_settime(self.as_raw_fd(), 0, &spec, std::ptr::null_mut()) };
        debug_assert_eq!(done, 0, "a timerfd of our own takes a valid time");
    }
}

/// No address, in a call that could give or take one.
const NOBODY: *mut libc::c_void = std::ptr::null_mut();

// In a process of several threads glibc's send turns the cancellation of threads on and off around
// the call: see `net_sockets::sys::recv`.

/// Sends what fits without blocking, and without a signal when the peer is gone.
#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let (at, len) = (bytes.as_ptr(), bytes.len());
    // SAFETY: `bytes` is only read, during the call, and no address is given.
    let n = unsafe { libc::syscall(libc::SYS_sendto, fd, at, len, libc::MSG_NOSIGNAL, NOBODY, 0usize) };
    count(n as isize)
}

fn owned(fd: RawFd) -> Result<OwnedFd, Errno> {
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the callers hand in a descriptor that the system has just made for them.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[inline]
fn count(result: isize) -> Result<usize, Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(result as usize) }
}
