//! The system calls about sockets that have no safe wrapper elsewhere, each behind a safe function.
//!
//! UNSAFETY: calls into libc with pointers to memory that the caller lends for the length of the call. Descriptors are plain numbers here: a wrong
//! one is an error of the system's.
#![allow(unsafe_code)]

use std::os::fd::RawFd;

use crate::error::Errno;

/// Throws away what has arrived, without copying it. Tells how much that was.
pub fn discard(fd: RawFd) -> Result<usize, Errno> {
    // SAFETY: with MSG_TRUNC, TCP writes nothing to memory (tcp(7)), so a null pointer is not followed.
    let n = unsafe { libc::recv(fd, std::ptr::null_mut(), i32::MAX as usize, libc::MSG_TRUNC | libc::MSG_DONTWAIT) };
    if n < 0 { Err(Errno::last()) } else { Ok(n as usize) }
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

/// Whether the system has room for more to send, or the connection is gone, which reading tells. If it
/// has not, a request that polls, and epoll, tell when it has.
#[cold]
pub fn has_room(fd: RawFd) -> bool {
    let mut asked = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which is written during the call.
    unsafe { libc::poll(&mut asked, 1, 0) != 0 }
}

fn check(result: i32) -> Result<(), Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}
