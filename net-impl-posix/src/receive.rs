//! Reading: bytes, the peer's end, the connection's end.

use core_reactor::Platform;
use core_reactor::net::{Events, NetError, NetEvent};
use net_sockets::{Errno, error};
use pool::{Buf, Class};

use crate::group::Group;
use crate::{flag, sys};

/// Buffers that one socket may fill in a poll, if its limits allow them, before the others have their turn.
const BUFS_A_TURN: u32 = 4;

impl Group {
    /// Reads once from a connection on which nothing is special. A read that does not fill its buffer has emptied the socket; anything else is for
    /// [`receive`](Self::receive). The caller has left room for an event.
    #[inline]
    pub(crate) fn read_plain(&mut self, place: usize, out: &mut Events) {
        let hot = self.slab.hot(place);
        let (id, token, fd) = (hot.id, hot.token, hot.fd);
        let Some(mut buf) = self.bufs.get() else { return self.starve(place) };
        let into = buf.spare_mut();
        let room = into.len();
        match sys::recv(fd, into) {
            Ok(n) if n > 0 => {
                self.stats.bytes_in += n as u64;
                buf.grow(n);
                out.append(NetEvent::Received { id, token, buf });
                if n == room {
                    self.read_more(place, out);
                }
            }
            other => self.read_ended(place, other, out),
        }
    }

    /// Reads from a connection, into `first` if there is one. The caller has left room for an event.
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
        if self.limits.answers_first() && !net_sockets::sys::has_room(fd) {
            // The system was asked, so it tells when there is room.
            self.slab.hot(place).flags |= flag::HELD | flag::BLOCKED;
            return;
        }
        if first.is_none() && !self.starved.is_empty() {
            return self.starve(place);
        }
        let most = self.limits.turn().min(BUFS_A_TURN);
        while out.room() > 0 && self.turns.take(place, most) {
            let Some(mut buf) = first.take().or_else(|| self.bufs.get()) else { return self.starve(place) };
            let room = self.limits.at_once(buf.spare_capacity());
            match sys::recv(fd, &mut buf.spare_mut()[..room]) {
                Ok(n) if n > 0 => {
                    self.stats.bytes_in += n as u64;
                    buf.grow(n);
                    out.append(NetEvent::Received { id, token, buf });
                    if self.slab.hot(place).is(flag::QUICK_ACK) {
                        self.acknowledge(place);
                    }
                    let hot = self.slab.hot(place);
                    if n < room && !hot.is(flag::DRAIN) {
                        hot.flags &= !flag::READABLE;
                        return;
                    }
                }
                Err(Errno(libc::EINTR)) => {}
                other => return self.read_ended(place, other, out),
            }
        }
        self.enqueue(place);
    }

    /// There may be more than the buffer that was just filled.
    #[cold]
    fn read_more(&mut self, place: usize, out: &mut Events) {
        // The buffer that was filled counts as well; nobody has asked before.
        self.turns.take(place, 1);
        self.slab.hot(place).flags |= flag::READABLE;
        if out.room() > 0 {
            self.receive(place, None, out);
        } else {
            self.enqueue(place);
        }
    }

    /// A read that found no bytes: there are none now, or none will come.
    #[cold]
    fn read_ended(&mut self, place: usize, how: Result<usize, Errno>, out: &mut Events) {
        match how {
            Ok(_) => self.peer_closed(place, out),
            Err(errno) if errno.would_block() => self.slab.hot(place).flags &= !(flag::READABLE | flag::DRAIN),
            Err(Errno(libc::EINTR)) => self.read_more(place, out),
            Err(errno) => {
                let why = self.failure(place).unwrap_or_else(|| error::plain("recv", errno));
                self.finish(place, Some(why));
            }
        }
    }

    /// Serves those that wait for a buffer, first come first served, while there are buffers and room.
    #[cold]
    pub(crate) fn feed(&mut self, out: &mut Events) {
        for _ in 0..self.starved.len() {
            if out.room() == 0 {
                return;
            }
            let Some(buf) = self.waited_for() else { return };
            let Some(place) = self.starved.pop_front() else { break };
            let hot = self.slab.hot(place as usize);
            hot.flags &= !flag::IN_STARVED;
            if hot.flags & (flag::STREAM | flag::READABLE) == flag::STREAM | flag::READABLE {
                self.receive(place as usize, Some(buf), out);
            }
        }
        if self.starved.is_empty() {
            self.wait = None;
        }
    }

    /// Puts a socket at the end of those that wait for a buffer.
    #[cold]
    fn starve(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        hot.flags |= flag::READABLE;
        if hot.enlist(flag::IN_STARVED) {
            self.starved.push_back(place as u32);
            self.stats.buffer_waits += 1;
        }
        if self.wait.is_none() {
            self.queue_for_a_buffer();
        }
    }

    /// A buffer for those that wait: the one asked for, or while none is asked for any that is free.
    fn waited_for(&mut self) -> Option<Buf> {
        if let Some(request) = &mut self.wait {
            let granted = request.poll(now(&*self.platform));
            return granted.and_then(|mut granted| {
                self.wait = None;
                granted.next()
            });
        }
        let buf = self.bufs.get();
        if buf.is_none() {
            self.queue_for_a_buffer();
        }
        buf
    }

    /// Joins those of all groups that wait for a buffer (statement 28). The core is woken when it is there.
    fn queue_for_a_buffer(&mut self) {
        let now = now(&*self.platform);
        let Ok(mut request) = self.bufs.request(Class::Small, 1, now, &self.waker) else {
            // The queue is full of other groups' requests.
            return self.wake_later();
        };
        match request.poll(now) {
            None => self.wait = Some(request),
            // It came home just now: back, for the next poll.
            Some(_) => self.waker.wake_by_ref(),
        }
    }

    /// The peer's FIN, behind all that it sent.
    fn peer_closed(&mut self, place: usize, out: &mut Events) {
        let hot = self.slab.hot(place);
        hot.flags |= flag::READ_EOF;
        let (id, token) = (hot.id, hot.token);
        if !hot.is(flag::FAILED) {
            out.append(NetEvent::PeerClosed { id, token });
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
        // A connection that is over stays so, also where its error was taken before.
        if why.is_some() || fin_sent || ended {
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

/// The time, for the pool's own counts. Read only while someone waits.
fn now(platform: &dyn Platform) -> u64 {
    platform.now().as_nanos()
}
