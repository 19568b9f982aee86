//! Reading: bytes, the peer's end, the connection's end.
//!
//! ```text
//!                    wanted                       F_MORE: bytes
//!     nothing ──────────────────► READING ───────────────┐ ◄─┐
//!      ▲  ▲ ▲                      │  │ └────────────────┘   │
//!      │  │ └── the end, an error ─┘  │ not wanted, or       │ bytes that were on their way: kept (EARLY)
//!      │  │                           ▼ HUNG_UP              │
//!      │  └── its last completion ── READING | STOPPING ─────┘
//!      └───── ENOBUFS: waits for a buffer (IN_STARVED), then receives once
//! ```
//!
//! While the group's buffers are low every connection receives once at a time (`ONCE`), and before that
//! waits until the system has room for an answer.
//!
//! # The end
//!
//! A multishot receive runs when something has happened since it ran last, once for all that did,
//! and takes bytes only: a reset that came with them, or lay behind them before it was armed, is
//! never told. So a second request watches for the end (`WATCHED`), from the first moment to the
//! last. It tells what is so, not what happens, and a connection that is over stays so, whoever has
//! taken the error. From then on (`HUNG_UP`) the socket is read buffer by buffer, without waiting,
//! down to the error or the end of the stream, which makes the end certain.

use core_reactor::Platform;
use core_reactor::net::{Events, NetError, NetEvent};
use net_sockets::whose::of_connection;
use net_sockets::{Errno, SPARING, Whose, error};
use pool::{Buf, Class};

use crate::accept::ACCEPTS_A_TURN;
use crate::group::State;
use crate::key::Op;
use crate::ring::{Completion, How, Io};
use crate::socket::Early;
use crate::whose::is_of_buffers;
use crate::{flag, sys};

impl State {
    /// Something was received, or nothing more will be. The caller has left room for an event.
    #[inline]
    pub(crate) fn on_receive(&mut self, completion: Completion, out: &mut Events) {
        let (key, n) = (completion.key, completion.result);
        // An open connection on which nothing is special, and bytes: all that an echo meets.
        if n > 0
            && completion.more()
            && let Some(number) = completion.buffer()
            && let Some(hot) = self.slab.hot_of(key.place(), key.generation())
            && hot.flags & !(flag::SENDING | flag::ZERO_COPY | flag::IN_DIRTY | flag::WATCHED) == flag::STREAM | flag::READING
            && !self.limits.hold_reads(hot)
            && self.turns.take(key.place(), self.limits.plain_turn())
            && let Some(buf) = self.buffers.take(number, n as usize)
        {
            let (id, token) = (hot.id, hot.token);
            self.stats.bytes_in += n as u64;
            out.append(NetEvent::Received { id, token, buf });
        } else {
            self.on_special_receive(completion, out);
        }
    }

    #[inline(never)]
    fn on_special_receive(&mut self, completion: Completion, out: &mut Events) {
        let (place, generation) = (completion.key.place(), completion.key.generation());
        if self.slab.hot_of(place, generation).is_some_and(|hot| hot.is(flag::LEAVING)) {
            self.on_leaving(completion);
        } else if let Some((place, Some(early))) = self.received(completion) {
            self.arrived(place, early, out);
        }
    }

    /// What a completion of a receive says of which place.
    pub(crate) fn received(&mut self, completion: Completion) -> Option<(usize, Option<Early>)> {
        let (key, n) = (completion.key, completion.result);
        let buf = completion.buffer().and_then(|number| self.buffers.take(number, n.max(0) as usize));
        let place = key.place();
        self.slab.hot_of(place, key.generation())?;
        if !completion.more() {
            self.reading_ended(place);
        }
        let early = match n {
            // Without a buffer it was room that was waited for.
            1.. => {
                let buf = buf?;
                self.stats.bytes_in += n as u64;
                if completion.more() && self.limits.answers_first() {
                    self.look_at(place);
                }
                Early::Bytes(buf)
            }
            0 => Early::Eof,
            _ => return Some((place, self.receive_failed(place, Errno(-n)))),
        };
        Some((place, Some(early)))
    }

    #[cold]
    fn receive_failed(&mut self, place: usize, errno: Errno) -> Option<Early> {
        if is_of_buffers(errno) {
            self.starve(place);
            return None;
        }
        match of_connection(errno) {
            // Only who does not wait is told so: the connection is over, and there is nothing more.
            Whose::Call if errno.would_block() => return self.nothing_left(place).map(Early::Broken),
            Whose::Call => {}
            Whose::Machine => self.fall_short(place),
            Whose::Socket => return Some(Early::Broken(error::plain("recv", errno))),
        }
        None
    }

    /// The last completion of the request that reads: another one may be wanted.
    pub(crate) fn reading_ended(&mut self, place: usize) {
        self.in_flight -= 1;
        self.slab.hot(place).flags &= !(flag::READING | flag::STOPPING | flag::ONCE);
        self.look_at(place);
    }

    /// Hands out what has arrived, or keeps it while the application does not want it. The caller has left room for an event.
    pub(crate) fn arrived(&mut self, place: usize, early: Early, out: &mut Events) {
        if self.slab.hot(place).is(flag::STREAM) && self.is_full(place) {
            self.slab.hot(place).flags |= flag::HELD;
        }
        if self.slab.hot(place).is(flag::PAUSED | flag::HELD | flag::EARLY) {
            self.keep(place, early);
            self.look_at(place);
        } else if matches!(early, Early::Bytes(_) | Early::Connection(_)) && !self.has_turn(place) {
            self.keep(place, early);
            self.hand_out_later(place);
        } else {
            self.deliver(place, early, out);
        }
    }

    /// Whether a socket may hand out one more in this poll, which is counted.
    fn has_turn(&mut self, place: usize) -> bool {
        let most = if self.slab.hot(place).is(flag::STREAM) { self.limits.turn() } else { ACCEPTS_A_TURN };
        self.turns.take(place, most)
    }

    pub(crate) fn keep(&mut self, place: usize, early: Early) {
        self.slab.hot(place).flags |= flag::EARLY;
        if let Some(seat) = self.slab.socket_mut(place) {
            seat.early.push_back(early);
        }
    }

    fn deliver(&mut self, place: usize, early: Early, out: &mut Events) {
        let hot = self.slab.hot(place);
        let (id, token) = (hot.id, hot.token);
        match early {
            Early::Bytes(buf) => {
                out.append(NetEvent::Received { id, token, buf });
                if hot.is(flag::QUICK_ACK) {
                    self.acknowledge(place);
                }
            }
            Early::Connection(socket) => {
                self.stats.accepted += 1;
                out.append(NetEvent::Accepted { id, token, socket });
            }
            Early::Eof => self.peer_closed(place, out),
            Early::Broken(why) => {
                let why = self.failure(place).unwrap_or(why);
                self.finish(place, Some(why));
            }
        }
    }

    /// Hands out what was kept, socket by socket, as far as there is room and it is wanted.
    #[cold]
    pub(crate) fn deliver_early(&mut self, out: &mut Events) {
        for _ in 0..self.ready.len() {
            if out.room() == 0 {
                return;
            }
            let Some(place) = self.ready.pop_front() else { return };
            self.slab.hot(place as usize).flags &= !flag::IN_READY;
            self.deliver_early_of(place as usize, out);
        }
    }

    fn deliver_early_of(&mut self, place: usize, out: &mut Events) {
        loop {
            let hot = self.slab.hot(place);
            if !hot.is(flag::EARLY) || hot.is(flag::PAUSED | flag::HELD | flag::LEAVING) {
                return;
            }
            if out.room() == 0 {
                if hot.enlist(flag::IN_READY) {
                    self.ready.push_front(place as u32);
                }
                return;
            }
            if hot.is(flag::STREAM) && self.is_full(place) {
                self.slab.hot(place).flags |= flag::HELD;
                return;
            }
            if !self.has_turn(place) {
                return self.hand_out_later(place);
            }
            match self.slab.socket_mut(place).and_then(|seat| seat.early.pop_front()) {
                Some(early) => self.deliver(place, early, out),
                None => {
                    self.slab.hot(place).flags &= !flag::EARLY;
                    self.look_at(place);
                }
            }
        }
    }

    /// Asks to be told of the end of the connection, whatever else is asked for: at once where that
    /// has come before.
    pub(crate) fn watch(&mut self, io: &mut Io, place: usize) {
        let key = self.key(Op::Gone, place);
        let hot = self.slab.hot(place);
        hot.flags |= flag::WATCHED;
        self.in_flight += 1;
        io.watch(key, hot.fd, libc::POLLERR | libc::POLLHUP, true);
    }

    /// Asks for bytes: again and again, or once where the connection is over or buffers are low.
    pub(crate) fn receive(&mut self, io: &mut Io, place: usize) {
        if self.limits.answers_first() && !self.slab.hot(place).is(flag::HUNG_UP) {
            self.receive_sparingly(io, place);
        } else {
            self.receive_as(io, place, How::Again);
        }
    }

    /// Asks for one buffer, if it is likely to come back at once: nothing is to be sent, and the system has room for an answer. Otherwise asks for room.
    #[cold]
    fn receive_sparingly(&mut self, io: &mut Io, place: usize) {
        let key = self.key(Op::Recv, place);
        if self.is_full(place) {
            self.slab.hot(place).flags |= flag::HELD;
            return;
        }
        let hot = self.slab.hot(place);
        let (has_bytes, has_room) = sys::is_ready(hot.fd);
        hot.flags |= flag::ONCE;
        if has_room {
            if !has_bytes {
                // It waits for some, and for no buffer before.
                hot.flags |= flag::FRESH;
            }
            return self.receive_as(io, place, How::Sparingly);
        }
        hot.flags |= flag::READING;
        self.in_flight += 1;
        io.watch(key, hot.fd, libc::POLLOUT, false);
    }

    fn receive_as(&mut self, io: &mut Io, place: usize, how: How) {
        let key = self.key(Op::Recv, place);
        let hot = self.slab.hot(place);
        let wait = hot.is(flag::FRESH | flag::LOW_WATER);
        let how = if hot.is(flag::HUNG_UP) { How::WhatIsThere } else { how };
        hot.flags = hot.flags & !flag::FRESH | flag::READING;
        self.in_flight += 1;
        io.receive(key, hot.fd, &self.buffers, how, wait);
    }

    /// Asks for bytes while others wait for a buffer: not past those, but whoever has no bytes is
    /// only in the way of those that have. It is asked for when some come, and takes its place then.
    #[cold]
    pub(crate) fn receive_behind_others(&mut self, io: &mut Io, place: usize) {
        let (has_bytes, _) = sys::is_ready(self.slab.hot(place).fd);
        if has_bytes {
            return self.starve(place);
        }
        self.slab.hot(place).flags |= flag::FRESH;
        self.receive_in_turn(io, place);
    }

    /// Asks for one buffer.
    fn receive_in_turn(&mut self, io: &mut Io, place: usize) {
        if self.limits.answers_first() {
            self.receive(io, place);
        } else {
            self.receive_as(io, place, How::Once);
        }
    }

    /// Lets those that wait for a buffer receive once each, in their order, while there are buffers. They take them as they are asked, so nobody
    /// else can be before them.
    #[cold]
    pub(crate) fn feed(&mut self, io: &mut Io) {
        let mut promised = 0;
        while let Some(place) = self.starved.front() {
            let hot = self.slab.hot(place);
            let waits =
                hot.flags & (flag::STREAM | flag::PAUSED | flag::HELD | flag::EARLY | flag::LEAVING | flag::READING) == flag::STREAM;
            if waits {
                if promised == self.buffers.len() && !self.another_buffer() {
                    break;
                }
                promised += 1;
                self.receive_in_turn(io, place);
            }
            self.slab.hot(place).flags &= !flag::IN_STARVED;
            self.starved.pop();
        }
        if self.starved.is_empty() {
            self.wait = None;
        } else if promised > 0 {
            // Those that were asked may have no bytes, and then take no buffer and tell nothing. So the next ones are asked in the next poll, before which
            // the core must not fall asleep: a buffer that lies ready wakes nobody.
            self.waker.wake_by_ref();
        }
    }

    /// Lays out one more buffer, if there is one. What lies there may all be received into before any
    /// of it is seen, so it is bounded however many wait.
    fn another_buffer(&mut self) -> bool {
        if self.buffers.len() >= self.depth.most() || self.buffers.is_full() {
            return false;
        }
        let buf = self.waited_for();
        buf.is_some_and(|buf| self.buffers.provide(buf).is_ok())
    }

    /// Puts a socket at the end of those that wait for a buffer; [`feed`](Self::feed) asks for one when all completions are handled.
    /// The system is asked how much waits on it, which is less than what the failed receive cost.
    #[cold]
    pub(crate) fn starve(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_STARVED) {
            if self.starved.is_empty() && !self.limits.answers_first() {
                self.depth.grow();
            }
            let fd = self.slab.hot(place).fd;
            self.starved.push(place, sys::arrived(fd) > SPARING);
            self.stats.buffer_waits += 1;
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
        let fin_sent = hot.is(flag::FIN_SENT);
        let why = self.failure(place);
        if why.is_some() || fin_sent {
            self.finish(place, why);
        } else {
            // The connection may be over already.
            self.look_at(place);
        }
    }

    /// Something became of a connection, apart from data.
    pub(crate) fn on_gone(&mut self, completion: Completion) {
        let (place, generation) = (completion.key.place(), completion.key.generation());
        let Some(hot) = self.slab.hot_of(place, generation) else { return };
        if hot.is(flag::LEAVING) {
            return self.on_leaving(completion);
        }
        // The kernel always tells of the peer's end as well (POLLRDHUP), which reading tells.
        if completion.result > 0 && completion.result & i32::from(libc::POLLERR | libc::POLLHUP) != 0 {
            self.hung_up(place);
        }
        if !completion.more() {
            self.watch_ended(place);
        }
    }

    /// The last completion of the request that watches. There is to be another, but for sockets that are
    /// leaving.
    pub(crate) fn watch_ended(&mut self, place: usize) {
        self.in_flight -= 1;
        self.slab.hot(place).flags &= !flag::WATCHED;
        self.look_at(place);
    }

    /// The connection is over: it is read to its end.
    pub(crate) fn hung_up(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        hot.flags = hot.flags & !flag::FRESH | flag::HUNG_UP;
        self.look_at(place);
    }

    /// A socket that is read without waiting has nothing more. That is its end if a send has failed; otherwise
    /// it was taken for over, and is not.
    #[cold]
    fn nothing_left(&mut self, place: usize) -> Option<NetError> {
        let why = self.failure(place);
        if why.is_none() {
            self.slab.hot(place).flags &= !flag::HUNG_UP;
        }
        why
    }

    /// The end of a connection that is over, behind the end of its stream.
    pub(crate) fn gone(&mut self, place: usize) {
        let error = self.slab.socket(place).and_then(|seat| seat.socket.socket.take_error().ok()?);
        let why = self.failure(place).or_else(|| error.map(|e| error::plain("recv", Errno::of(&e))));
        self.finish(place, why);
    }

    /// What a send failed of.
    fn failure(&mut self, place: usize) -> Option<NetError> {
        self.slab.socket_mut(place)?.socket.failed.take()
    }

    /// The system goes back to delaying acknowledgements by itself (tcp(7)), so the wish is renewed.
    #[cold]
    fn acknowledge(&mut self, place: usize) {
        if let Some(seat) = self.slab.socket(place) {
            // The connection may be gone; the next receive tells.
            let _ = seat.socket.socket.set_tcp_quickack(true);
        }
    }
}

/// The time, for the pool's own counts. Read only while someone waits.
fn now(platform: &dyn Platform) -> u64 {
    platform.now().as_nanos()
}
