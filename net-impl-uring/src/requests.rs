//! The requests of sockets.
//!
//! UNSAFETY: those that send name memory of the caller's, for which it answers; the others name
//! none, or that of the buffers that lie ready.
#![allow(unsafe_code)]

use std::os::fd::RawFd;

use core_uring::io_uring::{opcode, squeue::Flags, types};
use core_uring::{BufRing, Io, Key};

/// `IORING_RECVSEND_POLL_FIRST`: wait before the first attempt.
const POLL_FIRST: u16 = 1;
/// `IORING_RECV_MULTISHOT`.
const MULTISHOT: u16 = 1 << 1;
/// `IORING_SEND_ZC_REPORT_USAGE`.
const REPORT_USAGE: u16 = 1 << 3;

/// Asks for bytes into buffers of this ring's, again and again. If nothing is there yet, `wait`
/// saves the first attempt.
pub(crate) fn receive(io: &mut Io, key: Key, fd: RawFd, buffers: &BufRing, wait: bool) {
    let ioprio = MULTISHOT | if wait { POLL_FIRST } else { 0 };
    let entry = opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), 0).ioprio(ioprio).buf_group(buffers.group()).build();
    // SAFETY: the memory is the buffer ring's, which keeps it until it was unregistered.
    unsafe { io.push(key, entry.flags(Flags::BUFFER_SELECT)) }
}

/// Asks to be told when something of `events` (`POLLERR` and its kin) is so: once, or again and
/// again.
pub(crate) fn watch(io: &mut Io, key: Key, fd: RawFd, events: i16, again: bool) {
    let entry = opcode::PollAdd::new(types::Fd(fd), u32::from(events as u16)).multi(again).build();
    // SAFETY: names no memory.
    unsafe { io.push(key, entry) }
}

/// Sends bytes; with a second completion when `zero_copy`.
///
/// # Safety
/// `bytes` stay where and as they are until the last completion of `key`.
#[inline(always)]
pub(crate) unsafe fn send(io: &mut Io, key: Key, fd: RawFd, bytes: &[u8], zero_copy: bool) {
    let (fd, len) = (types::Fd(fd), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    let entry = if zero_copy {
        opcode::SendZc::new(fd, bytes.as_ptr(), len).flags(libc::MSG_NOSIGNAL).zc_flags(REPORT_USAGE).build()
    } else {
        opcode::Send::new(fd, bytes.as_ptr(), len).flags(libc::MSG_NOSIGNAL).build()
    };
    // SAFETY: the caller's promise.
    unsafe { io.push(key, entry) }
}

/// As [`send`], of what `message` names.
///
/// # Safety
/// `message`, and all that it names, stay where and as they are until the last completion of `key`.
pub(crate) unsafe fn send_message(io: &mut Io, key: Key, fd: RawFd, message: *const libc::msghdr, zero_copy: bool) {
    let (fd, flags) = (types::Fd(fd), libc::MSG_NOSIGNAL as u32);
    let entry = if zero_copy {
        opcode::SendMsgZc::new(fd, message).flags(flags).ioprio(REPORT_USAGE).build()
    } else {
        opcode::SendMsg::new(fd, message).flags(flags).build()
    };
    // SAFETY: the caller's promise.
    unsafe { io.push(key, entry) }
}
