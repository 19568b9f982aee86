//! From a call of the application's to the device (statement 32: what there is no room for is
//! refused, and the provider never has to).

use core_reactor::Refused;
use core_reactor::transport::{Frame, Op, QueueId, TransportError};

use crate::error::{limit, os};
use crate::group::Group;
use crate::member::Pair;
use crate::verbs::Work;

impl Group {
    pub(crate) fn post(&mut self, id: QueueId, work: Work) -> Result<(), Refused<Frame, TransportError>> {
        let pair = match self.open(id) {
            Ok(pair) => pair,
            Err(why) => return Err(Refused { item: work.frame, why }),
        };
        if let Err(why) = pair.may_post(&work) {
            return Err(Refused { item: work.frame, why });
        }
        let reads = u32::from(work.op == Op::Read);
        match pair.queue_pair().map(|queue| queue.push(work)) {
            Some(Ok(())) => {}
            // There is room: it is the memory that does not suit.
            Some(Err(work)) => return Err(Refused { item: work.frame, why: TransportError::ForeignBuffer }),
            None => unreachable!("an open queue has its queue pair"),
        }
        pair.reading += reads;
        if !std::mem::replace(&mut pair.dirty, true) {
            self.dirty.push(id.index());
        }
        Ok(())
    }

    /// Hands over what was posted: one list for each queue.
    pub(crate) fn hand_over(&mut self) {
        for n in 0..self.dirty.len() {
            self.hand_over_of(self.dirty[n]);
        }
        self.dirty.clear();
    }

    fn hand_over_of(&mut self, place: usize) {
        let Some(pair) = self.queue_at(place) else { return };
        pair.dirty = false;
        let Some(queue) = pair.queue_pair() else { return };
        match queue.flush() {
            // What the device has no part in may have ended already.
            Ok(()) => self.take_finished(place),
            Err(why) => self.end(place, Some(os("hand requests to a device", why))),
        }
    }
}

impl Pair {
    /// Whether something may be posted: first what can never be, then what cannot be now.
    fn may_post(&mut self, work: &Work) -> Result<(), TransportError> {
        let Some(limits) = self.limits else { return Err(TransportError::NotConnected) };
        let (parts, bytes) = (work.frame.parts().len() as u64, work.frame.bytes() as u64);
        limit("buffers of a frame", parts, limits.gather)?;
        limit("bytes of a frame", bytes, limits.message)?;
        let there = work.remote.map_or(0, |remote| u64::from(remote.len));
        match work.op {
            Op::Message => {}
            Op::Write => limit("bytes to be written, to what the peer exposes", bytes, there)?,
            Op::Read => {
                // Of what the peer answers none of there will never be room for one.
                limit("reads of a queue whose peer answers none", u64::from(limits.reads == 0), 0_u32)?;
                limit("bytes of a read", there, limits.message)?;
                let spare = work.frame.parts().iter().map(|buf| buf.spare_capacity() as u64).sum::<u64>();
                limit("bytes to be read, into the spare room", there, spare)?;
            }
        }
        let reading = self.reading;
        let Some(queue) = self.queue_pair() else { return Err(TransportError::NotConnected) };
        if queue.posted() >= limits.sends as usize {
            return Err(TransportError::QueueFull { what: "operations", limit: limits.sends });
        }
        if work.op == Op::Read && reading >= limits.reads {
            return Err(TransportError::QueueFull { what: "reads", limit: limits.reads });
        }
        Ok(())
    }
}
