//! The request of a socket that sends: one at a time.
//!
//! UNSAFETY: a request names the bytes of frames. They are the engine's, which leaves them where
//! and as they are from [`Sending::Pending`] until it is told of `Sent` or `Released`; that is told
//! at the request's last completion. What is still out when a group ends is leaked by the engine,
//! and here the lists.
//!
//! [`Sending::Pending`]: net_group::Sending::Pending
#![allow(unsafe_code)]

use core_uring::{Completion, Io, Key};
use net_group::Outgoing;
use net_sockets::Errno;

use crate::gather::{Gathers, PARTS};
use crate::requests;

/// See the module's documentation.
pub(crate) struct Writer {
    request: Request,
    /// From how many bytes on it is to be sent without a copy.
    lends_from: usize,
    /// A send without a copy is done, but for its memory, which the kernel has yet.
    lent: bool,
    /// What it has taken.
    taken: i32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    None,
    /// Of one piece.
    One,
    /// Of the pieces in this list.
    List(u32),
}

/// What became of a send.
pub(crate) enum Sent {
    /// The kernel has the memory yet.
    NotYet,
    /// So many bytes are the kernel's.
    Taken(usize),
    /// It could not be sent without a copy, and goes out with one from now on.
    NeedsCopy(Errno),
    Failed(Errno),
}

impl Writer {
    /// Of a socket that sends without a copy from so many bytes on.
    pub(crate) fn new(lends_from: Option<usize>) -> Self {
        Self { request: Request::None, lends_from: lends_from.unwrap_or(usize::MAX), lent: false, taken: 0 }
    }

    /// Has the kernel send.
    #[inline(always)]
    pub(crate) fn send(&mut self, io: &mut Io, lists: &mut Gathers, key: Key, fd: i32, out: Outgoing<'_>) {
        match out {
            Outgoing::One(bytes) => self.send_one(io, key, fd, bytes),
            Outgoing::Many(_) => self.send_many(io, lists, key, fd, out),
        }
    }

    #[inline(always)]
    fn send_one(&mut self, io: &mut Io, key: Key, fd: i32, bytes: &[u8]) {
        self.request = Request::One;
        // SAFETY: the engine keeps the bytes until it is told of the last completion: see the
        // module's documentation.
        unsafe { requests::send(io, key, fd, bytes, bytes.len() >= self.lends_from) };
    }

    #[inline(never)]
    fn send_many(&mut self, io: &mut Io, lists: &mut Gathers, key: Key, fd: i32, out: Outgoing<'_>) {
        let mut parts = out.iter();
        let first = parts.next().unwrap_or_default();
        let Some(second) = parts.next() else { return self.send_one(io, key, fd, first) };
        let number = lists.claim();
        let list = lists.list(number);
        let bytes = list.fill([first, second].into_iter().chain(parts).take(PARTS));
        self.request = Request::List(number);
        // SAFETY: the engine keeps the slices as above; the list is claimed as long, and does not
        // move.
        unsafe { requests::send_message(io, key, fd, list.message(), bytes >= self.lends_from) };
    }

    /// Whether a completion is that of one piece of which nothing special is to be said; then it
    /// has been handled.
    #[inline]
    pub(crate) fn sent_plainly(&mut self, completion: Completion) -> bool {
        let plain = self.request == Request::One && completion.result() > 0 && completion.is_plain();
        if plain {
            self.request = Request::None;
        }
        plain
    }

    /// A completion of the request.
    pub(crate) fn answered(&mut self, lists: &mut Gathers, completion: Completion) -> Sent {
        if completion.more() {
            // Without a copy: the memory is the kernel's until the second completion.
            (self.lent, self.taken) = (true, completion.result());
            return Sent::NotYet;
        }
        self.lent = false;
        let n = if completion.notif() { std::mem::take(&mut self.taken) } else { completion.result() };
        if let Request::List(number) = std::mem::replace(&mut self.request, Request::None) {
            lists.release(number);
        }
        let why = Errno(-n);
        let needs_copy = n < 0 && self.lends_from != usize::MAX && may_do_with_a_copy(why);
        if completion.was_copied() || needs_copy {
            // It copies on this way, or is short of what it needs to do without, and will be again.
            // Each try costs two completions.
            self.lends_from = usize::MAX;
        }
        match usize::try_from(n) {
            Ok(n) => Sent::Taken(n),
            Err(_) if needs_copy => Sent::NeedsCopy(why),
            Err(_) => Sent::Failed(why),
        }
    }

    /// Whether something is with the kernel.
    pub(crate) fn is_busy(&self) -> bool {
        self.request != Request::None
    }

    /// Whether all that the kernel has is memory that it reads yet.
    pub(crate) fn has_only_lent(&self) -> bool {
        self.lent
    }
}

/// Whether a send that failed without a copy may do with one: ENOMEM and ENOBUFS are the memory
/// that this user may lock (`ulimit -l`), the others a protocol or a device that cannot.
fn may_do_with_a_copy(errno: Errno) -> bool {
    matches!(errno.0, libc::ENOMEM | libc::ENOBUFS | libc::EOPNOTSUPP | libc::EINVAL)
}

#[cfg(test)]
impl Writer {
    /// Whether long frames go without a copy.
    pub(crate) fn lends(&self) -> bool {
        self.lends_from != usize::MAX
    }

    /// Has them do so, also over loopback.
    pub(crate) fn lend_from(&mut self, bytes: usize) {
        self.lends_from = bytes;
    }
}

#[cfg(test)]
mod tests;
