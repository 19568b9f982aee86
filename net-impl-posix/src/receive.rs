//! Reading: bytes, the peer's end, the connection's end.

use core_reactor::net::{Events, NetError, NetEvent};
use pool::Buf;

use crate::error;
use crate::group::{Group, emit};
use crate::slab::flag;
use crate::sys::{self, Errno};

/// Buffers that one socket may fill in a poll before the others have their turn.
const BUFS_A_TURN: usize = 4;

impl Group {
    /// Reads from a connection, into `first` if there is one. The caller has left room for an event.
    #[inline]
    pub(crate) fn receive(&mut self, place: usize, mut first: Option<Buf>, out: &mut Events) {
        let hot = self.slab.hot(place);
        let (id, token, fd) = (hot.id, hot.token, hot.fd);
        if hot.is(flag::PAUSED) {
            return;
        }
        if hot.is(flag::READ_EOF) {
            return self.after_eof(place);
        }
        if self.is_full(place) {
            self.slab.hot(place).flags |= flag::HELD;
            return;
        }
        if first.is_none() && !self.starved.is_empty() {
            return self.starve(place);
        }
        for _ in 0..BUFS_A_TURN {
            if out.room() == 0 {
                break;
            }
            let Some(mut buf) = first.take().or_else(|| self.bufs.get()) else { return self.starve(place) };
            let room = buf.spare_capacity();
            match sys::recv(fd, buf.spare_mut()) {
                Ok(0) => return self.peer_closed(place, out),
                Ok(n) => {
                    self.stats.bytes_in += n as u64;
                    buf.grow(n);
                    emit(out, NetEvent::Received { id, token, buf });
                    if self.slab.hot(place).is(flag::QUICK_ACK) {
                        self.acknowledge(place);
                    }
                    let hot = self.slab.hot(place);
                    if n < room && !hot.is(flag::DRAIN) {
                        hot.flags &= !flag::READABLE;
                        return;
                    }
                }
                Err(errno) if errno.would_block() => {
                    self.slab.hot(place).flags &= !(flag::READABLE | flag::DRAIN);
                    return;
                }
                Err(Errno(libc::EINTR)) => {}
                Err(errno) => {
                    let why = self.failure(place).unwrap_or_else(|| error::plain("recv", errno));
                    return self.finish(place, Some(why));
                }
            }
        }
        self.enqueue(place);
    }

    /// Serves those that wait for a buffer, first come first served, while there are buffers and room.
    #[cold]
    pub(crate) fn feed(&mut self, out: &mut Events) {
        for _ in 0..self.starved.len() {
            if out.room() == 0 {
                break;
            }
            let Some(buf) = self.bufs.get() else { break };
            let Some(place) = self.starved.pop_front() else { break };
            let hot = self.slab.hot(place as usize);
            hot.flags &= !flag::IN_STARVED;
            if hot.flags & (flag::STREAM | flag::READABLE) == flag::STREAM | flag::READABLE {
                self.receive(place as usize, Some(buf), out);
            }
        }
        if !self.starved.is_empty() {
            self.wake_later();
        }
    }

    #[cold]
    fn starve(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_STARVED) {
            self.starved.push_back(place as u32);
            self.stats.buffer_waits += 1;
        }
        self.wake_later();
    }

    /// The peer's FIN, behind all that it sent.
    fn peer_closed(&mut self, place: usize, out: &mut Events) {
        let hot = self.slab.hot(place);
        hot.flags |= flag::READ_EOF;
        let (id, token) = (hot.id, hot.token);
        if !hot.is(flag::FAILED | flag::FIN_SENT) {
            emit(out, NetEvent::PeerClosed { id, token });
        }
        self.after_eof(place);
    }

    /// Something happened to a connection whose peer has ended its side, so it is no data.
    fn after_eof(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        hot.flags &= !flag::READABLE;
        let (ended, fin_sent) = (hot.is(flag::ENDED), hot.is(flag::FIN_SENT));
        hot.flags &= !flag::ENDED;
        let mut why = self.failure(place);
        if why.is_none() && ended {
            why = self.slab.socket(place).and_then(|s| s.socket.take_error().ok()?).map(|e| error::plain("recv", Errno::of(&e)));
        }
        if why.is_some() || fin_sent {
            self.finish(place, why);
        }
    }

    /// What a send failed of.
    fn failure(&mut self, place: usize) -> Option<NetError> {
        self.slab.socket_mut(place)?.failed.take()
    }

    /// The system goes back to delaying acknowledgements by itself (tcp(7)), so the wish is renewed.
    #[cold]
    fn acknowledge(&mut self, place: usize) {
        if let Some(socket) = self.slab.socket(place) {
            // The connection may be gone; the next read tells.
            let _ = socket.socket.set_tcp_quickack(true);
        }
    }
}
