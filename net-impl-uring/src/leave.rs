//! How sockets leave: what is asked of the kernel and given up, and the order that loses nothing.
//!
//! A socket goes when the last completion of its last request has come. Closing it before would not even send its FIN, because a request holds on to it;
//! and its frames are the kernel's until then. What completes meanwhile is counted as sent, or kept for whoever attaches the socket next.

use core_reactor::net::{NetError, SockId};

use crate::group::State;
use crate::key::{Key, Op};
use crate::ring::{Completion, Io};
use crate::socket::{How, Leaving, Seat};
use crate::{flag, sys};

/// Entries in a row that bring nothing back, after which the kernel is not waited for any longer: it gives network requests up in one or two. Memory that is sent without
/// a copy takes what the peer takes. There is no pause between two, as this is a reactor, whose other sockets wait.
pub(crate) const SOON: usize = 16;
/// The same where what does not come back has to be reset or leaked.
const LATE: usize = 1000;

impl State {
    /// Asks for what is wanted of each socket in the list, and gives up what is not.
    pub(crate) fn look_after(&mut self, io: &mut Io) {
        let mut at = 0;
        // Looking after one may put others in the list.
        while let Some(place) = self.todo.get(at).map(|place| *place as usize) {
            at += 1;
            self.slab.hot(place).flags &= !flag::IN_TODO;
            self.look_after_one(io, place);
        }
        self.todo.clear();
    }

    fn look_after_one(&mut self, io: &mut Io, place: usize) {
        let flags = self.slab.hot(place).flags;
        if flags & flag::LEAVING != 0 {
            return self.give_up(io, place);
        }
        if flags & (flag::STREAM | flag::WATCHED) == flag::STREAM {
            self.watch(io, place);
        }
        let wanted = match flags & flag::KIND {
            flag::STREAM if flags & flag::READ_EOF != 0 => return self.look_after_end(place),
            flag::STREAM => flags & (flag::PAUSED | flag::HELD | flag::EARLY | flag::IN_STARVED | flag::IN_SHORT) == 0,
            flag::LISTENER => flags & (flag::PAUSED | flag::EARLY | flag::IN_NO_FD) == 0,
            flag::CONNECTING => true,
            _ => return,
        };
        match flags & (flag::READING | flag::STOPPING) {
            0 if wanted => self.start_reading(io, place),
            flag::READING if !wanted || flags & flag::HUNG_UP != 0 || self.takes_too_much(flags) => self.stop_reading(io, place),
            _ => {}
        }
    }

    /// Whether a connection is received from again and again while buffers are low.
    fn takes_too_much(&self, flags: u32) -> bool {
        self.limits.answers_first() && flags & (flag::STREAM | flag::ONCE) == flag::STREAM
    }

    /// Behind the end of the stream nothing is read, and what remains to be told is that the connection is over.
    fn look_after_end(&mut self, place: usize) {
        if self.slab.hot(place).flags & (flag::HUNG_UP | flag::PAUSED | flag::EARLY) == flag::HUNG_UP {
            self.gone(place);
        }
    }

    fn start_reading(&mut self, io: &mut Io, place: usize) {
        let flags = self.slab.hot(place).flags;
        match flags & flag::KIND {
            flag::LISTENER => self.accept(io, place),
            flag::CONNECTING => self.connect(io, place),
            _ if self.starved.is_empty() => self.receive(io, place),
            _ => self.receive_behind_others(io, place),
        }
    }

    pub(crate) fn stop_reading(&mut self, io: &mut Io, place: usize) {
        self.slab.hot(place).flags |= flag::STOPPING;
        let key = match self.slab.hot(place).flags & flag::KIND {
            flag::LISTENER => self.key(Op::Accept, place),
            flag::CONNECTING => self.connecting_key(place),
            _ => self.key(Op::Recv, place),
        };
        io.cancel(key);
    }

    pub(crate) fn key(&mut self, op: Op, place: usize) -> Key {
        Key::new(op, self.member, place, self.slab.hot(place).generation())
    }

    /// Asks the kernel to give back all that it holds of a socket.
    pub(crate) fn give_up(&mut self, io: &mut Io, place: usize) {
        let flags = self.slab.hot(place).flags;
        if flags & (flag::READING | flag::STOPPING) == flag::READING {
            self.stop_reading(io, place);
        }
        if flags & flag::WATCHED != 0 {
            let key = self.key(Op::Gone, place);
            io.cancel(key);
        }
        if flags & flag::SENDING != 0 {
            let gather = self.slab.socket(place).is_some_and(|seat| seat.gather.is_some());
            let key = self.key(if gather { Op::SendMsg } else { Op::Send }, place);
            io.cancel(key);
        }
    }

    /// The end of a socket: its frames come back as cancelled, then `Closed`.
    pub(crate) fn finish(&mut self, place: usize, why: Option<NetError>) {
        self.leave(place, How::Closed(why));
        self.depart_if_done(place);
    }

    /// Makes a socket's keys stale; it goes when the kernel has given back what it holds.
    pub(crate) fn leave(&mut self, place: usize, how: How) {
        let hot = self.slab.hot(place);
        if hot.is(flag::LEAVING) {
            return;
        }
        let id = hot.id;
        hot.flags |= flag::LEAVING;
        self.slab.retire(place);
        self.leaving += 1;
        if let Some(seat) = self.slab.socket_mut(place) {
            seat.leaving = Some(Leaving { id, how });
        }
        if self.slab.hot(place).is(flag::IN_FLIGHT) {
            self.look_at(place);
        }
    }

    /// The application does not wait for it any more.
    pub(crate) fn closes_after_all(&mut self, place: usize) {
        if let Some(leaving) = self.slab.socket_mut(place).and_then(|seat| seat.leaving.as_mut()) {
            leaving.how = How::Closed(None);
        }
    }

    /// Lets a closed socket go if nothing of it is with the kernel.
    pub(crate) fn depart_if_done(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        if hot.is(flag::IN_FLIGHT) {
            return;
        }
        let (token, orderly) = (hot.token, !hot.is(flag::READ_EOF));
        let Some(seat) = self.slab.socket_mut(place) else { return };
        let (id, why) = match &mut seat.leaving {
            Some(Leaving { id, how: How::Closed(why) }) => (*id, why.take()),
            Some(Leaving { how: How::GoneOn, .. }) => return drop(self.vacate(place)),
            _ => return,
        };
        let Some(seat) = self.vacate(place) else { return };
        if orderly && why.is_none() {
            seat.socket.hang_up();
        }
        drop(seat);
        self.frames.closed(id, token, why);
        self.retry_accepts();
    }

    /// Takes a socket that is leaving out of its place; its frames come back as cancelled.
    pub(crate) fn vacate(&mut self, place: usize) -> Option<Box<Seat>> {
        let id = self.id_of(place);
        let hot = self.slab.hot(place);
        let (token, written) = (hot.token, hot.written);
        let mut queue = std::mem::take(&mut hot.queue);
        self.frames.cancel(&mut queue, id, token, written);
        self.leaving -= 1;
        self.slab.take(place)
    }

    /// The key of a place's socket, also when it is stale.
    pub(crate) fn id_of(&mut self, place: usize) -> SockId {
        match self.slab.socket(place).and_then(|seat| seat.leaving.as_ref()) {
            Some(leaving) => leaving.id,
            None => self.slab.hot(place).id,
        }
    }

    /// A completion for a socket that is leaving.
    pub(crate) fn on_leaving(&mut self, completion: Completion) {
        let place = completion.key.place();
        match completion.key.op() {
            Op::Recv => {
                if let Some((place, Some(early))) = self.received(completion) {
                    self.keep(place, early);
                }
            }
            Op::Accept => {
                if let Some((place, early)) = self.accepted(completion) {
                    self.keep(place, early);
                }
            }
            Op::Connect => self.connect_left(completion),
            _ if completion.more() => {}
            Op::Gone => self.watch_ended(place),
            _ => self.reading_ended(place),
        }
        self.depart_if_done(place);
    }

    /// Enters the kernel until `done`; false if `patience` entries in a row bring nothing nearer.
    pub(crate) fn settle(&mut self, io: &mut Io, patience: usize, done: impl Fn(&mut Self) -> bool) -> bool {
        let mut in_vain = 0;
        while in_vain < patience {
            if done(self) {
                return true;
            }
            in_vain += 1;
            self.look_after(io);
            let waiting = io.waiting();
            io.enter_for_events();
            if io.waiting() < waiting {
                in_vain = 0;
            }
            io.sift(self.member, |completion| {
                let handled = self.on_out_of_turn(completion);
                if handled {
                    in_vain = 0;
                }
                handled
            });
        }
        done(self)
    }

    /// Closes everything and waits for the kernel. A connection whose peer does not take what is sent without a copy is reset in the end, which takes it back. False if
    /// the kernel keeps something all the same.
    pub(crate) fn wind_up(&mut self, io: &mut Io) -> bool {
        for place in 0..self.slab.places() {
            if self.slab.hot(place).is(flag::KIND) {
                self.finish(place, None);
            }
        }
        self.timers.cancel(io, self.member);
        self.settle(io, LATE, |state| state.in_flight == 0) || {
            self.reset_all();
            self.settle(io, LATE, |state| state.in_flight == 0)
        }
    }

    /// Resets every connection that something of is with the kernel.
    #[cold]
    fn reset_all(&mut self) {
        for place in 0..self.slab.places() {
            let hot = self.slab.hot(place);
            if hot.is(flag::IN_FLIGHT) {
                sys::disconnect(hot.fd);
            }
        }
    }
}

impl Seat {
    /// From how many bytes on it is to be sent without a copy.
    pub(crate) fn lends_from(&self) -> Option<usize> {
        self.socket.kept.zero_copy
    }
}
