//! Posting: the checks, and the way onto the wire.

use core_reactor::Refused;
use core_reactor::transport::{Frame, Op, RemoteMemory, TransportError};

use crate::pair::{Pair, Posted, State};
use crate::wire::Request;
use crate::{MESSAGE, limit};

impl Pair {
    pub(crate) fn post(&mut self, posted: Posted) -> Result<(), Refused<Frame, TransportError>> {
        if let Err(why) = self.may_post(&posted) {
            return Err(Refused { item: posted.frame, why });
        }
        self.outstanding += 1;
        self.reading += u32::from(posted.op == Op::Read);
        self.posted.push_back(posted);
        Ok(())
    }

    fn may_post(&self, posted: &Posted) -> Result<(), TransportError> {
        if self.state != State::Open {
            return Err(TransportError::NotConnected);
        }
        let Posted { op, frame, remote, .. } = posted;
        limit("buffers of a frame", frame.parts().len() as u64, self.options.gather)?;
        let moved = match (op, remote) {
            (Op::Read, Some(remote)) => {
                let spare: usize = frame.parts().iter().map(|buf| buf.spare_capacity()).sum();
                limit("bytes to be read, into the spare room", remote.len, spare as u64)?;
                u64::from(remote.len)
            }
            (_, Some(remote)) => {
                limit("bytes to be written, to the memory described", frame.bytes() as u64, remote.len)?;
                frame.bytes() as u64
            }
            (_, None) => frame.bytes() as u64,
        };
        limit("bytes of one operation", moved, MESSAGE)?;
        if *op == Op::Read && self.options.reads == 0 {
            // There never will be room for one.
            return limit("reads of a queue whose peer answers none", 1_u32, 0_u32);
        }
        if self.outstanding >= self.options.send_depth {
            return Err(TransportError::QueueFull { what: "send depth", limit: self.options.send_depth });
        }
        if *op == Op::Read && self.reading >= self.options.reads {
            return Err(TransportError::QueueFull { what: "reads", limit: self.options.reads });
        }
        Ok(())
    }

    /// Sends what is posted on its way.
    pub(crate) fn flush(&mut self) {
        while let Some(posted) = self.posted.get(self.flushed) {
            self.wire.request(self.side, request(posted));
            self.flushed += 1;
        }
    }
}

fn request(posted: &Posted) -> Request {
    let bytes = || posted.frame.parts().iter().flat_map(|buf| buf.iter().copied()).collect();
    // Nothing can be reached with this; a read and a write have their own.
    let remote = posted.remote.unwrap_or(RemoteMemory { addr: 0, key: 0, len: 0 });
    match posted.op {
        Op::Message => Request::Send { bytes: bytes(), imm: posted.imm },
        Op::Write => Request::Write { bytes: bytes(), to: remote, imm: posted.imm },
        Op::Read => Request::Read { from: remote },
    }
}
