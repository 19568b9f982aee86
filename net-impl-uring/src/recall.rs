//! Taking back buffers that lie ready, when the pool has no other.
//!
//! A kernel that tells what it has taken (6.8) lets go of one at a time, while receives go on. An older one may be about to receive into any of them, on a
//! worker thread of its own. There every receive of the group is given up; when the last completion of each has come nobody receives, so the buffer ring is
//! exchanged for an empty one, and the buffers come home all at once. The receives are asked for again in the next poll, which finds them ended.

use pool::Buf;

use crate::flag;
use crate::group::State;
use crate::key::Op;
use crate::ring::{Completion, Io};

/// Entries after which the kernel has given up the receives of a group, or the buffers stay where they are. It takes one or two, unless a worker has one of them or the
/// completion ring is tiny.
const ENTRIES: usize = 100;

/// What completions that were not handled yet tell of receives.
#[derive(Default)]
struct Unhandled {
    /// Receives that have ended.
    ended: usize,
    /// Buffers that were received into.
    named: Vec<u16>,
}

impl Unhandled {
    fn note(&mut self, completion: Completion) {
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

    /// Takes back all buffers that lie ready, and hands out one of them.
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
        for _ in 0..ENTRIES {
            let unhandled = self.unhandled(io);
            if unhandled.ended == (0..self.slab.places()).filter(|place| self.is_receiving(*place)).count() {
                io.renew_buffers(&mut self.buffers, &unhandled.named);
                return self.bufs.get();
            }
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
