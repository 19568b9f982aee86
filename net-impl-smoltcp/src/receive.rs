//! Reading: bytes, the peer's end, the connection's end.

use core_reactor::net::{Events, NetError, NetEvent};
use pool::{Buf, Class};
use smoltcp::socket::tcp::{RecvError, State as Tcp};

use crate::flag;
use crate::group::State;
use crate::place::End;
use crate::stack::Stack;

/// Buffers that one socket may fill in a poll, if its limits allow them, before the others have their turn.
const BUFS_A_TURN: u32 = 4;

impl State {
    /// Reads from a connection, into `first` if there is one. The caller has left room for an event.
    pub(crate) fn receive(&mut self, stack: &mut Stack, place: usize, mut first: Option<Buf>, out: &mut Events) {
        let hot = self.slab.hot(place);
        let (id, token, number) = (hot.id, hot.token, hot.fd as u32);
        if hot.is(flag::PAUSED) {
            return;
        }
        if hot.is(flag::READ_EOF) {
            return self.after_eof(stack, place);
        }
        if self.is_full(place) {
            self.slab.hot(place).flags |= flag::HELD;
            return;
        }
        if self.limits.answers_first() && !stack.takes_answer(number) {
            self.slab.hot(place).flags |= flag::HELD | flag::BLOCKED;
            return;
        }
        let most = self.limits.turn().min(BUFS_A_TURN);
        while out.room() > 0 && self.turns.take(place, most) {
            if !stack.is_readable(number) {
                return self.read_ended(stack, place, out);
            }
            if first.is_none() && !self.starved.is_empty() {
                return self.starve(place);
            }
            let Some(mut buf) = first.take().or_else(|| self.bufs.get()) else { return self.starve(place) };
            // There are bytes, so it is not refused.
            let room = self.limits.at_once(buf.spare_capacity());
            let n = stack.tcp(number).recv_slice(&mut buf.spare_mut()[..room]).unwrap_or(0);
            // The window has grown, which the peer may have to be told.
            stack.unsent = true;
            if n == 0 {
                return self.read_ended(stack, place, out);
            }
            self.stats.bytes_in += n as u64;
            buf.grow(n);
            out.append(NetEvent::Received { id, token, buf });
        }
        self.enqueue(place);
    }

    /// There are no bytes now, or none will come.
    fn read_ended(&mut self, stack: &mut Stack, place: usize, out: &mut Events) {
        let number = self.slab.hot(place).fd as u32;
        match stack.tcp(number).recv(|_| (0, ())) {
            // Fewer than the low-water mark.
            Ok(()) => {}
            Err(RecvError::Finished) => self.peer_closed(stack, place, out),
            Err(RecvError::InvalidState) => {
                let end = stack.places[number as usize].end;
                if stack.tcp(number).state() == Tcp::Closed {
                    self.finish(stack, place, Some(error(end)));
                }
            }
        }
    }

    /// Serves those that wait for a buffer, first come first served, while there are buffers and room.
    #[cold]
    pub(crate) fn feed(&mut self, stack: &mut Stack, out: &mut Events) {
        for _ in 0..self.starved.len() {
            if out.room() == 0 {
                return;
            }
            let Some(buf) = self.waited_for(stack) else { return };
            let Some(place) = self.starved.pop_front() else { break };
            let hot = self.slab.hot(place as usize);
            hot.flags &= !flag::IN_STARVED;
            if hot.is(flag::STREAM) {
                self.receive(stack, place as usize, Some(buf), out);
            }
        }
        if self.starved.is_empty() {
            self.wait = None;
        }
    }

    /// Puts a socket at the end of those that wait for a buffer.
    #[cold]
    fn starve(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_STARVED) {
            self.starved.push_back(place as u32);
            self.stats.buffer_waits += 1;
        }
    }

    /// A buffer for those that wait: the one asked for, or while none is asked for any that is free.
    fn waited_for(&mut self, stack: &Stack) -> Option<Buf> {
        let now = stack.now.as_nanos();
        if let Some(request) = &mut self.wait {
            let mut granted = request.poll(now)?;
            self.wait = None;
            return granted.next();
        }
        let buf = self.bufs.get();
        if buf.is_none() {
            self.queue_for_a_buffer(now);
        }
        buf
    }

    /// Joins those of all groups that wait for a buffer (statement 28). The core is woken when it is there.
    pub(crate) fn queue_for_a_buffer(&mut self, now: u64) {
        match self.bufs.request(Class::Small, 1, now, &self.waker) {
            Ok(mut request) => match request.poll(now) {
                None => self.wait = Some(request),
                // It came home just now: back, for the next poll.
                Some(_) => self.waker.wake_by_ref(),
            },
            // The queue is full of other groups' requests. Their end is not announced, so the core stays awake.
            Err(_) => self.waker.wake_by_ref(),
        }
    }

    /// The peer's FIN, behind all that it sent.
    fn peer_closed(&mut self, stack: &mut Stack, place: usize, out: &mut Events) {
        let hot = self.slab.hot(place);
        hot.flags |= flag::READ_EOF;
        let (id, token, number) = (hot.id, hot.token, hot.fd as u32);
        if stack.places[number as usize].end.is_none() || self.said_all(stack, place) {
            out.append(NetEvent::PeerClosed { id, token });
        }
        self.after_eof(stack, place);
    }

    /// Something happened to a connection whose peer has ended its side, so it is no data.
    fn after_eof(&mut self, stack: &mut Stack, place: usize) {
        let hot = self.slab.hot(place);
        let (number, fin_sent) = (hot.fd as usize, hot.is(flag::FIN_SENT));
        let end = stack.places[number].end;
        match end {
            Some(_) if !self.said_all(stack, place) => self.finish(stack, place, Some(error(end))),
            _ if fin_sent => self.finish(stack, place, None),
            _ => {}
        }
    }

    /// With both FINs exchanged and everything acknowledged a reset says nothing new.
    fn said_all(&mut self, stack: &mut Stack, place: usize) -> bool {
        let hot = self.slab.hot(place);
        hot.is(flag::FIN_SENT) && stack.tcp(hot.fd as u32).send_queue() == 0
    }
}

impl Stack {
    /// Whether so many bytes are there that they are to be read. After the peer's end any number is.
    #[inline]
    fn is_readable(&mut self, at: u32) -> bool {
        let low_water = self.places[at as usize].wants.low_water;
        let socket = self.tcp(at);
        let there = socket.recv_queue();
        there >= low_water || there > 0 && !matches!(socket.state(), Tcp::Established | Tcp::FinWait1 | Tcp::FinWait2)
    }

    /// Whether a connection has anything to tell its group.
    #[inline]
    pub(crate) fn has_news(&mut self, at: u32) -> bool {
        let quiet = matches!(self.tcp(at).state(), Tcp::Established | Tcp::FinWait1 | Tcp::FinWait2);
        !quiet || self.is_readable(at)
    }

    /// Whether a third of the room to write is free, so that an answer is likely to be taken as a whole; or nothing is to be waited for any more.
    fn takes_answer(&mut self, at: u32) -> bool {
        let limit = self.places[at as usize].wants.send_buf;
        let socket = self.tcp(at);
        3 * socket.send_queue() <= 2 * limit || !socket.may_send()
    }

    /// Whether there is room to write, or nothing to wait for any more.
    #[inline]
    pub(crate) fn has_room(&mut self, at: u32) -> bool {
        let limit = self.places[at as usize].wants.send_buf;
        let socket = self.tcp(at);
        socket.send_queue() < limit || !socket.may_send()
    }
}

fn error(end: Option<End>) -> NetError {
    match end {
        Some(End::TimedOut) => NetError::TimedOut,
        _ => NetError::Reset,
    }
}
