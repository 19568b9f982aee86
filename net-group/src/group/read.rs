//! Reading: bytes, connections, what came of a connect; the peer's end, the connection's end.

use core_reactor::net::{Events, NetEvent, SockId};
use pool::Buf;

use super::Group;
use crate::backend::{Accept, Backend, Bufs, Connecting, Recv, Release};
use crate::phase::{self, Phase};
use crate::waiting::Asked;

/// Buffers that one socket may fill in a poll, if its limits allow them, before the others have
/// their turn.
const BUFS_A_TURN: u8 = 4;
/// Connections that one listener may take in a poll before the others have their turn.
const ACCEPTS_A_TURN: u8 = 16;

impl<B: Backend> Group<B> {
    /// One turn for each slot in the rotation, as long as there is room.
    pub(super) fn serve_ready(&mut self, out: &mut Events) {
        for _ in 0..self.ready.len() {
            if out.room() == 0 {
                return;
            }
            let Some(i) = self.ready.pop_front().map(|i| i as usize) else { return };
            self.slots.state_mut(i).flags &= !phase::IN_READY;
            // Each of many may take one in the same poll, so that the last buffers would go before
            // the next.
            if self.supply.may_be_low(self.backend.lying()) {
                self.mind_supply();
            }
            self.serve(i, out);
        }
    }

    /// Reads, accepts or goes on connecting; the caller has left room for an event.
    pub(super) fn serve(&mut self, i: usize, out: &mut Events) {
        let state = self.slots.state_mut(i);
        if !state.is(phase::READABLE) {
        } else if state.is(phase::RECEIVES) {
            self.receive(i, None, out);
        } else if state.is_in(Phase::Listening) {
            self.accept(i, out);
        } else if state.is_in(Phase::Connecting) {
            self.connect(i, out);
        } else if state.is(phase::PEER_IS_DONE) && state.wants_reading() {
            self.after_peers_end(i);
        }
    }

    // ---- Bytes

    /// Reads once from a connection on which nothing is special. The caller has left room for an
    /// event.
    #[inline]
    pub(super) fn receive_plain(&mut self, i: usize, out: &mut Events) {
        let state = self.slots.state_mut(i);
        let (id, token, slot) = (state.id, state.token, state.slot());
        match self.backend.recv(slot, &mut Bufs::new(Some(&self.bufs), None, usize::MAX)) {
            Recv::Bytes(buf, more) => {
                self.stats.bytes_in += buf.len() as u64;
                out.append_with(|| NetEvent::Received { id, token, buf });
                if more {
                    self.receive_more(i, out);
                }
            }
            // Each by itself, so that the answer need not lie in memory.
            Recv::Empty => self.received_nothing(i),
            Recv::NoBuffer => self.starve(i),
            Recv::Eof => self.peer_closed(i, out),
            Recv::Failed(why) => self.end(i, Release::Over, Some(why)),
        }
    }

    /// There may be more than the buffer that was just filled.
    #[cold]
    fn receive_more(&mut self, i: usize, out: &mut Events) {
        // The buffer that was filled counts as well; nobody has asked before.
        self.turns.take(i, 1);
        self.slots.state_mut(i).flags |= phase::READABLE;
        if out.room() > 0 {
            self.receive(i, None, out);
        } else {
            self.enqueue(i);
        }
    }

    /// Reads from a connection, into `first` if there is one. The caller has left room for an
    /// event.
    fn receive(&mut self, i: usize, mut first: Option<Buf>, out: &mut Events) {
        if !self.may_receive(i) {
            return;
        }
        let state = self.slots.state_mut(i);
        let (id, token, slot) = (state.id, state.token, state.slot());
        let most = self.limits.turn().min(BUFS_A_TURN);
        while out.room() > 0 && self.turns.take(i, most) {
            // Not past those that wait for a buffer; what needs none is handed out all the same.
            let group = self.starving.is_empty().then_some(&self.bufs);
            let mut bufs = Bufs::new(group, first.take(), self.limits.at_once(usize::MAX));
            match self.backend.recv(slot, &mut bufs) {
                Recv::Bytes(buf, more) => {
                    first = bufs.into_first();
                    self.stats.bytes_in += buf.len() as u64;
                    out.append_with(|| NetEvent::Received { id, token, buf });
                    let state = self.slots.state_mut(i);
                    if state.is(phase::ACKNOWLEDGE) {
                        self.backend.acknowledge(slot);
                    }
                    if !more && !state.is(phase::DRAIN) {
                        state.flags &= !phase::READABLE;
                        return;
                    }
                }
                Recv::Empty => return self.received_nothing(i),
                Recv::NoBuffer => return self.starve(i),
                Recv::Eof => return self.peer_closed(i, out),
                Recv::Failed(why) => return self.end(i, Release::Over, Some(why)),
            }
        }
        self.enqueue(i);
    }

    /// Whether nothing holds up reading from a connection that has something to read. What does is
    /// noted.
    fn may_receive(&mut self, i: usize) -> bool {
        let state = self.slots.state_mut(i);
        let slot = state.slot();
        if self.limits.hold_reads(state) {
            self.hold(i, phase::FULL);
        } else if state.is(phase::FULL) {
            self.end_hold(i, phase::FULL);
        }
        if !self.slots.state_mut(i).wants_reading() {
            return false;
        }
        if self.limits.answers_first() && !self.backend.has_room(slot) {
            // The system was asked, so it tells when there is room.
            self.slots.state_mut(i).flags |= phase::BLOCKED;
            self.hold(i, phase::FULL);
            return false;
        }
        true
    }

    /// Bytes that have come by themselves. The backend has looked for room for an event.
    #[inline]
    pub(super) fn on_bytes(&mut self, id: SockId, buf: Buf, at_once: bool, out: &mut Events) {
        let Some(state) = self.slots.find_state_mut(id) else { return };
        if at_once
            && state.flags & !(phase::STUCK | phase::IN_DIRTY) == Phase::Open as u32
            && (state.frames == 0 || !self.limits.hold_reads(state))
            && self.turns.take(id.index(), self.limits.plain_turn())
            && out.room() > 0
        {
            self.stats.bytes_in += buf.len() as u64;
            let token = state.token;
            out.append_with(|| NetEvent::Received { id, token, buf });
        } else {
            self.on_special_bytes(id.index(), buf, at_once, out);
        }
    }

    /// Bytes come behind what was kept before, and behind those who wait for their turn, so they
    /// are kept too, and handed out if they may be.
    #[inline(never)]
    fn on_special_bytes(&mut self, i: usize, buf: Buf, at_once: bool, out: &mut Events) {
        let state = self.slots.state_mut(i);
        let slot = state.slot();
        self.backend.keep(slot, buf);
        let state = self.slots.state_mut(i);
        if !state.is(phase::RECEIVES) {
            return;
        }
        let waits_in_turn = state.is(phase::READABLE);
        state.flags |= phase::READABLE;
        if !at_once || waits_in_turn || out.room() == 0 {
            self.enqueue(i);
        } else {
            self.serve(i, out);
        }
    }

    /// There are no bytes now, nor an end.
    #[cold]
    fn received_nothing(&mut self, i: usize) {
        let state = self.slots.state_mut(i);
        // Who has nothing more to say, and no end either, is not over.
        state.flags &= !(phase::READABLE | phase::DRAIN | phase::OVER);
        if state.is_in(Phase::Broken) {
            self.end_of_error(i);
        }
    }

    // ---- Ends

    /// The peer's end, behind all that it sent.
    #[cold]
    fn peer_closed(&mut self, i: usize, out: &mut Events) {
        let state = self.slots.state_mut(i);
        let (id, token) = (state.id, state.token);
        if state.is_in(Phase::Broken) {
            return self.end_of_error(i);
        }
        out.append(NetEvent::PeerClosed { id, token });
        if state.is_in(Phase::Open) {
            state.enter(Phase::PeerDone);
            self.after_peers_end(i);
        } else if !state.is(phase::FIN_SENT) {
            state.enter(Phase::Ending);
            self.after_peers_end(i);
        } else if state.is(phase::OVER) {
            self.end_of_error(i);
        } else {
            self.end(i, Release::Over, None);
        }
    }

    /// Something happened to a connection whose peer has ended its side, so it is no data.
    fn after_peers_end(&mut self, i: usize) {
        let state = self.slots.state_mut(i);
        let is_over = state.is(phase::OVER);
        state.flags &= !(phase::READABLE | phase::DRAIN | phase::OVER);
        // A connection that is over stays so, also where its error was taken before.
        if is_over {
            self.end_of_error(i);
        }
    }

    /// The end of a connection that is over, with the error if it has one.
    fn end_of_error(&mut self, i: usize) {
        let slot = self.slot(i);
        let why = self.backend.error(slot);
        self.end(i, Release::Over, why);
    }

    // ---- Want of buffers

    /// Serves those that wait for a buffer, in the order of their line (decision 0035), while there
    /// are buffers and room.
    #[cold]
    pub(super) fn feed(&mut self, out: &mut Events) {
        for _ in 0..self.starving.len() {
            if out.room() == 0 {
                return;
            }
            let buf = self.starving.buffer(&self.bufs, &*self.platform).or_else(|| self.backend.retract());
            let Some(buf) = buf else { return self.ask_for_a_buffer() };
            let Some(i) = self.starving.pop() else { return };
            let state = self.slots.state_mut(i);
            state.flags &= !phase::IN_STARVING;
            if state.is(phase::READABLE) && state.is(phase::RECEIVES) {
                self.receive(i, Some(buf), out);
            }
        }
    }

    /// Puts a slot at the end of those that wait for a buffer.
    #[cold]
    fn starve(&mut self, i: usize) {
        let state = self.slots.state_mut(i);
        state.flags |= phase::READABLE;
        if state.enlist(phase::IN_STARVING) {
            let slot = state.slot();
            self.starving.push(i, self.backend.has_much(slot));
            self.stats.buffer_waits += 1;
        }
        self.ask_for_a_buffer();
    }

    pub(super) fn ask_for_a_buffer(&mut self) {
        if self.starving.ask(&self.bufs, &*self.platform, &self.waker) == Asked::Refused {
            self.wake_later();
        }
    }

    // ---- Listeners

    /// Takes waiting connections. The caller has left room for an event.
    fn accept(&mut self, i: usize, out: &mut Events) {
        let state = self.slots.state_mut(i);
        let (id, token, slot) = (state.id, state.token, state.slot());
        if !state.wants_reading() {
            return;
        }
        while out.room() > 0 && self.turns.take(i, ACCEPTS_A_TURN) {
            match self.backend.accept(slot) {
                Accept::Taken(socket) => {
                    self.stats.accepted += 1;
                    out.append(NetEvent::Accepted { id, token, socket });
                }
                Accept::Empty => {
                    self.no_descriptor.is_over();
                    self.slots.state_mut(i).flags &= !(phase::READABLE | phase::DRAIN);
                    return;
                }
                Accept::Gone => {}
                Accept::NoDescriptor => return self.out_of_descriptors(i),
                Accept::Failed(why) => return self.end(i, Release::Over, Some(why)),
            }
        }
        self.enqueue(i);
    }

    /// A descriptor may be free: listeners that wait for one try again.
    pub(super) fn retry_accepts(&mut self) {
        while let Some(i) = self.no_descriptor.pop() {
            self.slots.state_mut(i).flags &= !phase::IN_NO_DESCRIPTOR;
            self.enqueue(i);
        }
    }

    /// Has a listener wait until a descriptor may be free; its connections wait in the system. Said
    /// once, until all that wait have been taken.
    #[cold]
    fn out_of_descriptors(&mut self, i: usize) {
        let slot = self.slot(i);
        if self.slots.state_mut(i).enlist(phase::IN_NO_DESCRIPTOR) {
            self.no_descriptor.push(i);
        }
        self.wake_later();
        if self.no_descriptor.say() {
            self.stats.accept_pauses += 1;
            self.backend.out_of_descriptors(slot);
        }
    }

    // ---- Connects

    /// Something happened to a connect. The caller has left room for an event.
    fn connect(&mut self, i: usize, out: &mut Events) {
        let slot = self.slot(i);
        match self.backend.connect(slot) {
            Connecting::UnderWay(number) => {
                let state = self.slots.state_mut(i);
                state.fd = number;
                state.flags &= !(phase::READABLE | phase::DRAIN | phase::OVER);
            }
            Connecting::Failed(why) => self.end(i, Release::Over, Some(why)),
            Connecting::Connected => self.connected(i, out),
        }
    }

    fn connected(&mut self, i: usize, out: &mut Events) {
        let state = self.slots.state_mut(i);
        state.enter(Phase::Open);
        out.append(NetEvent::Connected { id: state.id, token: state.token });
        if !state.wants_reading() {
            // It was paused meanwhile, which a connect takes no notice of.
            self.backend.want(state.slot(), false);
        }
        if self.slots.state_mut(i).is(phase::FIN_WANTED) {
            self.end_sending(i);
        }
        // What has arrived meanwhile is read in the rotation.
        self.enqueue(i);
    }
}
