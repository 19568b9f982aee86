//! Taking back buffers that lie ready, when the pool has no other.
//!
//! A kernel that tells what it has taken (6.8) lets go of one at a time, while receives go on. An older one may be about to receive into any of them, on a
//! worker thread of its own. There every receive of the group is given up; when the last completion of each has come nobody receives, so the buffer ring is
//! exchanged for an empty one, and the buffers come home all at once. The receives are asked for again in the next poll, which finds them ended.

use pool::Buf;

use crate::flag;
use crate::group::State;
use crate::key::Op;
use crate::leave::SOON;
use crate::ring::{Completion, Io};

/// What completions that were not handled yet tell of receives.
#[derive(Default)]
struct Unhandled {
    /// Completions of any kind.
    count: usize,
    /// Receives that have ended.
    ended: usize,
    /// Buffers that were received into.
    named: Vec<u16>,
}

impl Unhandled {
    fn note(&mut self, completion: Completion) {
        self.count += 1;
        if completion.key.op() == Op::Recv {
            self.ended += usize::from(!completion.more());
            self.named.extend(completion.buffer());
        }
    }
}

impl State {
    /// Takes back a buffer that lies ready to be received into.
    #[cold]
    pub(crate) fn retract(&mut self, io: &mut Io) -> Option<Buf> {
        if self.buffers.len() == 0 {
            return None;
        }
        // What has been received into must be known, which is what completions tell.
        io.enter_for_events();
        io.sift(self.member, |_| false);
        self.buffers.retract(io.fd()).unwrap_or_else(|_| self.recall(io))
    }

    /// Takes back all buffers that lie ready, and hands out one of them. They stay where they are if the kernel does not
    /// give the receives up: after [`SOON`] entries in a row that bring nothing, as there are as many to
    /// give up as the group has sockets.
    #[cold]
    pub(crate) fn recall(&mut self, io: &mut Io) -> Option<Buf> {
        if self.unhandled(io).named.len() == self.buffers.len() {
            return None;
        }
        for place in 0..self.slab.places() {
            if self.is_receiving(place) {
                self.give_up_receiving(io, place);
            }
        }
        let (mut in_vain, mut count) = (0, 0);
        while in_vain < SOON {
            let waiting = io.waiting();
            let unhandled = self.unhandled(io);
            if unhandled.ended == (0..self.slab.places()).filter(|place| self.is_receiving(*place)).count() {
                io.renew_buffers(&mut self.buffers, &unhandled.named);
                return self.bufs.get();
            }
            in_vain = if unhandled.count > count || io.waiting() < waiting { 0 } else { in_vain + 1 };
            count = unhandled.count;
        }
        None
    }

    /// Has the kernel do what is left to do, and looks through what it has done.
    fn unhandled(&mut self, io: &mut Io) -> Unhandled {
        let mut unhandled = Unhandled::default();
        io.enter_for_events();
        io.sift(self.member, |completion| {
            let handled = self.on_out_of_turn(completion);
            if !handled {
                unhandled.note(completion);
            }
            handled
        });
        unhandled
    }

    /// Whether there is a request that receives whose end was not handled yet.
    fn is_receiving(&mut self, place: usize) -> bool {
        self.slab.hot(place).flags & (flag::STREAM | flag::READING) == flag::STREAM | flag::READING
    }

    fn give_up_receiving(&mut self, io: &mut Io, place: usize) {
        if !self.slab.hot(place).is(flag::STOPPING) {
            self.stop_reading(io, place);
        }
        // It has no bytes now, or they are in a completion: the next receive waits for some, and does not queue for a buffer before.
        self.slab.hot(place).flags |= flag::FRESH;
    }
}
