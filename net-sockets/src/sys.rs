//! The system calls about sockets that have no safe wrapper elsewhere, each behind a safe function.
//!
//! UNSAFETY: calls into libc with pointers to memory that the caller lends for the length of the
//! call. Descriptors are plain numbers here: a wrong one is an error of the system's.
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, RawFd};

use socket2::{SockAddr, Socket};

use crate::error::Errno;

/// Receives into `into` without blocking.
///
/// In a process of several threads glibc's recv turns the cancellation of threads on and off around
/// the call, which took 45 instructions of an echo; Rust's threads are never cancelled, so the call
/// is made as it is.
#[inline]
pub fn recv(fd: RawFd, into: &mut [u8]) -> Result<usize, Errno> {
    /// No sender's address is asked for.
    const NOBODY: *mut libc::c_void = std::ptr::null_mut();
    let (at, len) = (into.as_mut_ptr(), into.len());
    // SAFETY: `into` may be written for its whole length, and no address is.
    let n = unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, len, libc::MSG_DONTWAIT, NOBODY, NOBODY) };
    if n < 0 { Err(Errno::last()) } else { Ok(n as usize) }
}

/// Takes one waiting connection, which will not block, with its address.
pub fn accept(fd: RawFd) -> Result<(Socket, Option<SocketAddr>), Errno> {
    let take = |storage: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
        // SAFETY: `storage` and `len` are valid for the call, and `len` tells the size of
        // `storage`.
        let fd = unsafe { libc::accept4(fd, storage.cast(), len, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) };
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
    };
    // SAFETY: accept4 fills `storage` and sets `len` to what it wrote.
    let (fd, from) = unsafe { SockAddr::try_init(take) }.map_err(|error| Errno::of(&error))?;
    // SAFETY: a descriptor that accept4 has just made belongs to nobody else.
    Ok((unsafe { Socket::from_raw_fd(fd) }, from.as_socket()))
}

/// Bytes that wait to be received; none where the system does not tell.
#[cold]
pub fn unread(fd: RawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) };
    usize::try_from(bytes).unwrap_or_default()
}

/// What a receive would find, without a buffer for it: a byte, which stays where it is, or the end,
/// or an error.
#[cold]
pub fn peek(fd: RawFd) -> Result<usize, Errno> {
    let mut byte = 0_u8;
    loop {
        // SAFETY: `byte` has room for the one that is asked for.
        let n = unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
        match usize::try_from(n) {
            Ok(n) => return Ok(n),
            Err(_) if Errno::last().0 == libc::EINTR => {}
            Err(_) => return Err(Errno::last()),
        }
    }
}

/// Throws away what has arrived, without copying it. Tells how much that was.
pub fn discard(fd: RawFd) -> Result<usize, Errno> {
    // SAFETY: with MSG_TRUNC, TCP writes nothing to memory (tcp(7)), so a null pointer is not
    // followed.
    let n = unsafe { libc::recv(fd, std::ptr::null_mut(), i32::MAX as usize, libc::MSG_TRUNC | libc::MSG_DONTWAIT) };
    if n < 0 { Err(Errno::last()) } else { Ok(n as usize) }
}

/// Resets a connection and throws away what is to be sent on it; the descriptor stays. Anything but
/// a connection is left as it is.
pub fn disconnect(fd: RawFd) {
    let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    // SAFETY: the address is read during the call. Its only error is that there is nothing to
    // reset.
    unsafe { libc::connect(fd, &nowhere, size_of_val(&nowhere) as libc::socklen_t) };
}

/// An integer option of a socket.
pub fn get_int(fd: RawFd, level: i32, name: i32) -> Result<i32, Errno> {
    let mut value: i32 = 0;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` has room for `len` bytes.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

/// Sets an integer option of a socket.
pub fn set_int(fd: RawFd, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: `value` is read during the call only.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<i32>() as libc::socklen_t) })
}

/// How many connections a listener lets wait, as the system has it.
pub fn backlog(fd: RawFd) -> Result<u32, Errno> {
    // SAFETY: all-zero is a valid tcp_info: it is numbers only.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` has room for `len` bytes.
    check(unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &mut len) })?;
    // Of a listener the field tells sk_max_ack_backlog (tcp_get_info in the kernel).
    Ok(info.tcpi_sacked)
}

/// Whether the system has room for more to send, or the connection is gone, which reading tells. If
/// it has not, a request that polls, and epoll, tell when it has.
#[cold]
pub fn has_room(fd: RawFd) -> bool {
    let mut asked = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which is written during the call.
    unsafe { libc::poll(&mut asked, 1, 0) != 0 }
}

/// What a call says that answers -1 where it fails.
pub fn check(result: i32) -> Result<(), Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}
