//! What a group tells: [`QueueEvent`]s, in the [`QueueEvents`] that carry them.

use alloc::boxed::Box;
use core::fmt;

use pool::Buf;

use super::{ExposedKey, Frame, Listener, Queue, QueueGroup, QueueId, Token, Transport, TransportError};
use crate::EventList;

/// Events of one poll, up to a bound, in a list that is used again and again.
pub type QueueEvents = EventList<QueueEvent>;

/// What was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`QueueGroup::send`](super::QueueGroup::send). Not called after it: a `Send` here would make
    /// the compiler spell out `std::marker::Send` in the errors of every crate that depends on this
    /// one.
    Message,
    /// [`QueueGroup::read`](super::QueueGroup::read).
    Read,
    /// [`QueueGroup::write`](super::QueueGroup::write).
    Write,
}

/// What happened to a queue or a listener. `Closed` is the last event of each, and comes exactly
/// once.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueueEvent {
    /// A peer wants to connect to a listener.
    Requested {
        /// The listener.
        id: QueueId,
        /// Its token.
        token: Token,
        /// The queue, to be attached to this or another core's group, or rejected.
        queue: Box<dyn Queue>,
    },
    /// A connection stands: operations are taken from now on.
    Established {
        /// The queue.
        id: QueueId,
        /// Its token.
        token: Token,
        /// What the peer sent with its acceptance; nothing on the side that accepted. A transport
        /// may pad it with zeros up to [`ACCEPT_DATA`](super::ACCEPT_DATA).
        private_data: Box<[u8]>,
    },
    /// A message.
    Received {
        /// The queue.
        id: QueueId,
        /// Its token.
        token: Token,
        /// The message. It may be empty.
        buf: Buf,
        /// What came beside it.
        imm: Option<u32>,
    },
    /// The peer wrote to exposed memory, and said so: the bytes are in place.
    Written {
        /// The queue.
        id: QueueId,
        /// Its token.
        token: Token,
        /// What came with it.
        imm: u32,
        /// Bytes written.
        bytes: u32,
    },
    /// Something posted has ended.
    Done {
        /// The queue.
        id: QueueId,
        /// Its token.
        token: Token,
        /// The tag that it was posted with.
        tag: u64,
        /// What it was.
        op: Op,
        /// The frame, its buffers as they were handed over; after a successful read, with what was
        /// read.
        frame: Frame,
        /// Why it failed.
        error: Option<TransportError>,
    },
    /// The peer can no longer reach a buffer that was exposed.
    Withdrawn {
        /// The queue.
        id: QueueId,
        /// Its token.
        token: Token,
        /// What was its key.
        key: ExposedKey,
        /// The buffer, with what the peer wrote.
        buf: Buf,
    },
    /// The queue or listener is gone.
    Closed {
        /// What was its key.
        id: QueueId,
        /// Its token.
        token: Token,
        /// `None` after either side's orderly end.
        why: Option<TransportError>,
    },
}

impl QueueEvent {
    /// The queue or listener that it is about.
    pub fn id(&self) -> QueueId {
        self.queue().0
    }

    /// The token of that.
    pub fn token(&self) -> Token {
        self.queue().1
    }

    fn queue(&self) -> (QueueId, Token) {
        match self {
            Self::Requested { id, token, .. }
            | Self::Established { id, token, .. }
            | Self::Received { id, token, .. }
            | Self::Written { id, token, .. }
            | Self::Done { id, token, .. }
            | Self::Withdrawn { id, token, .. }
            | Self::Closed { id, token, .. } => (*id, *token),
        }
    }
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transport").field(&self.name()).finish()
    }
}

impl fmt::Debug for dyn QueueGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueueGroup").field(&self.stats()).finish()
    }
}

impl fmt::Debug for dyn Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.local_addr()).finish()
    }
}

impl fmt::Debug for dyn Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("peer", &self.peer_addr()).finish_non_exhaustive()
    }
}
