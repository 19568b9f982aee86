//! Writing what is queued: one gather call for each socket, more only for more than it takes.

use std::net::Shutdown;

use net_sockets::{Errno, error, slab};

use crate::flag;
use crate::group::Group;
use crate::sys::{self, Gather};

impl Group {
    /// Writes for every socket that has got frames since the last time.
    #[inline]
    pub(crate) fn write_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for place in dirty.drain(..) {
            let place = place as usize;
            let hot = self.slab.hot(place);
            hot.flags &= !flag::IN_DIRTY;
            // One frame of one buffer without a tag is all that an echo sends.
            match hot.queue.single() {
                Some(bytes) if hot.written == 0 => {
                    let offered = bytes.len();
                    let done = sys::send(hot.fd, bytes);
                    if done == Ok(offered) && !hot.is(flag::HELD | flag::FIN_WANTED | slab::REFUSED | slab::STALLED) {
                        self.stats.bytes_out += offered as u64;
                        (hot.queued, hot.frames) = (0, hot.frames - 1);
                        hot.queue.drop_single();
                    } else {
                        self.wrote(place, offered, done);
                        self.write(place);
                    }
                }
                _ => self.write(place),
            }
        }
        self.dirty = dirty;
    }

    /// Writes in gather calls, until the queue is empty or the system takes no more.
    pub(crate) fn write(&mut self, place: usize) {
        loop {
            let hot = self.slab.hot(place);
            if hot.queue.is_empty() || hot.is(flag::BLOCKED) {
                break;
            }
            let mut gather = Gather::new();
            let mut skip = hot.written;
            for part in self.frames.parts(&hot.queue) {
                let gone = skip.min(part.len());
                skip -= gone;
                if gather.room() == 0 {
                    break;
                }
                if part.len() > gone {
                    gather.push(&part[gone..]);
                }
            }
            let offered = gather.bytes();
            // Frames without bytes are sent without a call.
            let done = if offered == 0 { Ok(0) } else { gather.send(hot.fd) };
            self.wrote(place, offered, done);
        }
        self.after_write(place);
    }

    /// Draws the conclusions from a call that offered the system so many bytes.
    fn wrote(&mut self, place: usize, offered: usize, done: Result<usize, Errno>) {
        match done {
            Ok(n) => {
                self.taken(place, n);
                if n < offered {
                    // The system promises an EPOLLOUT after a short write as after EAGAIN (epoll(7), question 9).
                    self.slab.hot(place).flags |= flag::BLOCKED;
                }
            }
            Err(errno) if errno.would_block() => self.slab.hot(place).flags |= flag::BLOCKED,
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => self.send_failed(place, errno),
        }
    }

    fn after_write(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        if hot.is(flag::HELD) {
            self.end_hold(place);
        }
        if self.slab.hot(place).is(flag::FIN_WANTED) {
            self.end_sending(place);
        }
    }

    /// Sends FIN if it is wanted and nothing is queued before it.
    pub(crate) fn end_sending(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        if !hot.is(flag::STREAM) || !hot.queue.is_empty() {
            return;
        }
        hot.flags = hot.flags & !flag::FIN_WANTED | flag::FIN_SENT;
        let peer_is_done = hot.is(flag::READ_EOF);
        if let Some(socket) = self.slab.socket_mut(place) {
            socket.fin_sent = true;
            // The only error is that the connection is gone, which reading tells.
            let _ = socket.socket.shutdown(Shutdown::Write);
        }
        if peer_is_done {
            self.finish(place, None);
        }
    }

    /// Counts `n` bytes as the system's.
    fn taken(&mut self, place: usize, n: usize) {
        self.stats.bytes_out += n as u64;
        let hot = self.slab.hot(place);
        self.frames.written(&self.limits, hot, hot.id, n);
    }

    /// The connection is gone. What had been received is still delivered, then `Closed`.
    #[cold]
    fn send_failed(&mut self, place: usize, errno: Errno) {
        let hot = self.slab.hot(place);
        let (id, token, written) = (hot.id, hot.token, hot.written);
        let mut queue = std::mem::take(&mut hot.queue);
        hot.queued = 0;
        hot.written = 0;
        hot.flags = hot.flags & !flag::FIN_WANTED | flag::FAILED | flag::READABLE | flag::DRAIN;
        self.frames.cancel(&mut queue, id, token, written);
        if let Some(socket) = self.slab.socket_mut(place) {
            socket.failed = Some(error::plain("send", errno));
        }
        self.enqueue(place);
    }
}
