//! Writing what is queued, and the end of the sending side behind it.

use alloc::vec::Vec;
use core::mem;

use core_reactor::Refused;
use core_reactor::net::{Frame, NetError, SockId};

use super::Group;
use crate::backend::{Backend, Outgoing, Parts, Release, Sending};
use crate::phase::{self, Phase};
use crate::slab;

/// Something waits until enough is sent.
const MINDS_SENDS: u32 = phase::FULL | phase::FIN_WANTED | slab::REFUSED | slab::STALLED;

/// What is queued cannot just be sent and forgotten.
const NOT_PLAIN: u32 = phase::STUCK | Phase::Leaving as u32 | MINDS_SENDS;

impl<B: Backend> Group<B> {
    /// Writes for every slot that has got frames since the last time.
    #[inline]
    pub(super) fn write_dirty(&mut self) {
        let list = mem::take(&mut self.dirty);
        let mut visit = Visit { group: self, list };
        let Visit { group, list } = &mut visit;
        for i in list.iter().map(|i| *i as usize) {
            let state = group.slots.state_mut(i);
            let flags = state.flags & !phase::IN_DIRTY;
            state.flags = flags;
            // One frame of one buffer without a tag is all that an echo sends.
            match state.queue.single() {
                Some(bytes) if flags & NOT_PLAIN == 0 && state.written == 0 => {
                    let offered = bytes.len();
                    match group.backend.send(state.slot(), Outgoing::One(bytes)) {
                        Sending::Taken(n) if n == offered => {
                            group.stats.bytes_out += offered as u64;
                            (state.queued, state.frames) = (0, state.frames - 1);
                            state.queue.drop_single();
                        }
                        Sending::Pending => state.flags |= phase::PENDING,
                        sending => {
                            group.wrote(i, sending);
                            group.write(i);
                        }
                    }
                }
                _ => group.write(i),
            }
        }
        list.clear();
    }

    /// Writes until the queue is empty or the system takes no more.
    pub(super) fn write(&mut self, i: usize) {
        loop {
            let state = self.slots.state_mut(i);
            if state.queue.is_empty() || state.is(phase::STUCK) || !state.is(phase::WRITES) {
                break;
            }
            let out = match state.queue.single() {
                Some(bytes) => Outgoing::One(&bytes[state.written..]),
                None => Outgoing::Many(Parts::new(&self.frames, &state.queue, state.written)),
            };
            // Frames without bytes are sent without a call.
            let sending = if out.is_empty() { Sending::Taken(0) } else { self.backend.send(state.slot(), out) };
            self.wrote(i, sending);
        }
        self.after_write(i);
    }

    /// Draws the conclusions from what became of a send.
    fn wrote(&mut self, i: usize, sending: Sending) {
        match sending {
            Sending::Taken(n) => self.taken(i, n),
            Sending::Blocked(n) => {
                self.slots.state_mut(i).flags |= phase::BLOCKED;
                if n > 0 {
                    self.taken(i, n);
                }
            }
            Sending::Pending => self.slots.state_mut(i).flags |= phase::PENDING,
            Sending::Failed => self.send_failed(i),
        }
    }

    /// Counts `n` bytes as the system's.
    fn taken(&mut self, i: usize, n: usize) {
        self.stats.bytes_out += n as u64;
        let state = self.slots.state_mut(i);
        self.frames.written(&self.limits, state, state.id, n);
    }

    /// What became of a send that was pending.
    #[inline]
    pub(super) fn sent(&mut self, id: SockId, n: usize) {
        let Some(state) = self.slots.find_state_mut(id) else { return };
        // One frame of one buffer, sent as a whole.
        if let Some(bytes) = state.queue.single()
            && bytes.len() == n
            && !state.is(MINDS_SENDS)
        {
            state.flags &= !phase::PENDING;
            self.stats.bytes_out += n as u64;
            (state.queued, state.frames) = (0, state.frames - 1);
            state.queue.drop_single();
        } else {
            self.sent_special(id.index(), n);
        }
    }

    #[inline(never)]
    fn sent_special(&mut self, i: usize, n: usize) {
        self.slots.state_mut(i).flags &= !phase::PENDING;
        self.taken(i, n);
        let state = self.slots.state_mut(i);
        if state.is(phase::WRITES) && !state.queue.is_empty() && state.enlist(phase::IN_DIRTY) {
            self.dirty.push(i as u32);
        }
        self.after_write(i);
    }

    /// The connection is gone on which a send was pending.
    #[cold]
    pub(super) fn sent_nothing(&mut self, id: SockId) {
        let Some(state) = self.slots.find_state_mut(id) else { return };
        state.flags &= !phase::PENDING;
        if !state.is_in(Phase::Leaving) {
            self.send_failed(id.index());
        }
    }

    // ---- Frames come

    /// Queues a frame, unless the socket sends none or holds too much.
    #[inline(never)]
    pub(super) fn send_special(&mut self, id: SockId, frame: Frame) -> Result<(), Refused<Frame, NetError>> {
        let Some(state) = self.slots.find_state_mut(id) else { return Err(Refused { item: frame, why: NetError::Stale }) };
        if !state.is(phase::SENDS) {
            let why = if state.is_here() { NetError::NotConnected } else { NetError::Stale };
            return Err(Refused { item: frame, why });
        }
        if self.limits.refuse_sends(state) {
            return Err(self.limits.refused(state, frame));
        }
        self.frames.push(state, frame);
        if state.is(phase::STUCK) {
            self.queued_behind(id.index());
        } else if state.enlist(phase::IN_DIRTY) {
            self.dirty.push(id.index() as u32);
        }
        Ok(())
    }

    /// A frame was queued behind what the system does not take. If that makes too much, nothing
    /// more is read.
    #[cold]
    fn queued_behind(&mut self, i: usize) {
        if self.limits.hold_reads(self.slots.state_mut(i)) {
            self.hold(i, phase::FULL);
        }
    }

    fn after_write(&mut self, i: usize) {
        if self.slots.state_mut(i).is(phase::FULL) {
            self.end_hold_of_full(i);
        }
        if self.slots.state_mut(i).is(phase::FIN_WANTED) {
            self.end_sending(i);
        }
    }

    /// FIN is wanted: it goes out when nothing is queued before it, and there is a connection.
    pub(super) fn end_sending(&mut self, i: usize) {
        let state = self.slots.state_mut(i);
        match () {
            () if state.is_in(Phase::Open) => state.enter(Phase::Finishing),
            () if state.is_in(Phase::PeerDone) => state.enter(Phase::Ending),
            () => {}
        }
        if !state.is(Phase::Finishing as u32 | Phase::Ending as u32) || !state.queue.is_empty() {
            return;
        }
        state.flags = state.flags & !phase::FIN_WANTED | phase::FIN_SENT;
        let (slot, peer_is_done) = (state.slot(), state.is_in(Phase::Ending));
        self.backend.fin(slot);
        if peer_is_done {
            self.end(i, Release::Over, None);
        }
    }

    /// The connection is gone. What had been received is still delivered, then `Closed`.
    #[cold]
    fn send_failed(&mut self, i: usize) {
        let state = self.slots.state_mut(i);
        let (id, token, written) = (state.id, state.token, state.written);
        let mut queue = mem::take(&mut state.queue);
        (state.queued, state.written) = (0, 0);
        state.flags &= !(phase::FIN_WANTED | slab::REFUSED | slab::STALLED);
        let (slot, all_read) = (state.slot(), state.is(phase::PEER_IS_DONE));
        if !all_read {
            state.enter(Phase::Broken);
            state.flags |= phase::READABLE | phase::DRAIN;
        }
        self.frames.cancel(&mut queue, id, token, written);
        if all_read {
            let why = self.backend.error(slot);
            self.end(i, Release::Over, why);
        } else {
            self.end_hold_of_full(i);
            self.enqueue(i);
        }
    }
}

/// A walk through the slots with frames to write, which are not in the group meanwhile.
struct Visit<'a, B: Backend> {
    group: &'a mut Group<B>,
    list: Vec<u32>,
}

impl<B: Backend> Drop for Visit<'_, B> {
    /// The list goes back, emptied; or with all that was in it, if somebody panicked who was woken
    /// by a buffer that came home: to be written to twice does no harm.
    fn drop(&mut self) {
        self.list.append(&mut self.group.dirty);
        self.group.dirty = mem::take(&mut self.list);
    }
}
