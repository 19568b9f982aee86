//! What a group holds: listeners, and queues in each of their states.

use std::net::SocketAddr;

use core_reactor::Instant;
use core_reactor::transport::{QueueId, QueueLimits, QueueOptions, Token, TransportError};

use crate::verbs::{ConnId, QueuePair};

pub(crate) enum Member {
    Listener(Listening),
    Queue(Box<Pair>),
}

pub(crate) struct Listening {
    pub(crate) id: QueueId,
    pub(crate) token: Token,
    pub(crate) conn: ConnId,
    pub(crate) at: SocketAddr,
    /// Of the queues that are requested here.
    pub(crate) options: QueueOptions,
    /// Its device is gone.
    pub(crate) removed: bool,
}

/// A queue.
///
/// ```text
///  Connecting ── established ──► Open ── disconnect, the peer's end, an error ──► Ending ──┐ nothing is with the device, and the peer
///  Accepting ── established, or a message came ──►                                         │ has heard of it, or it takes too long
///      └── refused, timed out, ended ──────────────────────────────────────────────────────┴──► Draining ── the completion queue was seen empty ──► gone
/// ```
///
/// Each state but Open, which is for the protocol above, has a deadline: Connecting and Accepting
/// `QueueOptions::connect_timeout`, Ending half a second (`settle.rs`); Draining ends with the
/// first poll that sees the completion queue empty.
pub(crate) struct Pair {
    pub(crate) id: QueueId,
    pub(crate) token: Token,
    pub(crate) state: State,
    pub(crate) link: Link,
    pub(crate) peer: SocketAddr,
    pub(crate) options: QueueOptions,
    /// What goes with a request, until it goes.
    pub(crate) private_data: Box<[u8]>,
    /// Which of the group's ports it is on, once that is known.
    pub(crate) port: usize,
    /// Reads that may be under way.
    pub(crate) reads: u32,
    /// Reads that are.
    pub(crate) reading: u32,
    /// Known when it is established.
    pub(crate) limits: Option<QueueLimits>,
    /// Buffers that it exposes.
    pub(crate) exposed: u32,
    /// In the group's list of queues with something to hand over.
    pub(crate) dirty: bool,
    /// Until when it may be in a state that does not last.
    pub(crate) until: Instant,
    /// This side has asked for the end.
    pub(crate) asked: bool,
    /// The peer has ended the connection, or has heard of its end.
    pub(crate) disconnected: bool,
    /// The first that went wrong.
    pub(crate) why: Option<TransportError>,
    /// While ending: until when the device may take to flush the receive that it may have.
    pub(crate) flushed: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Accepting,
    Open,
    Ending,
    Draining,
}

/// What there is of a connection.
pub(crate) enum Link {
    /// Before the device is known.
    Id(ConnId),
    Pair(QueuePair),
    /// It was given up before there was a queue pair.
    Gone,
}

impl Pair {
    pub(crate) fn new(
        id: QueueId,
        token: Token,
        state: State,
        link: Link,
        peer: SocketAddr,
        options: QueueOptions,
        until: Instant,
    ) -> Self {
        Self {
            id,
            token,
            state,
            link,
            peer,
            private_data: Box::default(),
            port: 0,
            reads: options.reads,
            reading: 0,
            options,
            limits: None,
            exposed: 0,
            dirty: false,
            until,
            asked: false,
            disconnected: false,
            why: None,
            flushed: Instant::ZERO,
        }
    }

    /// Notes what went wrong, if it is the first.
    pub(crate) fn blame(&mut self, why: Option<TransportError>) {
        if self.why.is_none() {
            self.why = why;
        }
    }

    pub(crate) fn conn(&self) -> Option<&ConnId> {
        match &self.link {
            Link::Id(id) => Some(id),
            Link::Pair(pair) => Some(pair.id()),
            Link::Gone => None,
        }
    }

    #[inline]
    pub(crate) fn queue_pair(&mut self) -> Option<&mut QueuePair> {
        match &mut self.link {
            Link::Pair(pair) => Some(pair),
            _ => None,
        }
    }
}
