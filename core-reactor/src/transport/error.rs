//! Why an operation of a transport failed.

use alloc::boxed::Box;
use core::fmt;
use core::net::SocketAddr;

use super::Text;
use crate::PlatformError;

/// Why an operation of a transport failed: a variant for each thing that a caller would do
/// differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The transport cannot work here: no device, no library, an old kernel.
    #[error("not usable here: {0}")]
    Unusable(Text),
    /// The device was taken away.
    #[error("device {0} was removed")]
    DeviceRemoved(Text),
    /// Choose another port, or stop who has it.
    #[error("{0} is in use by another listener; choose another port (0 takes a free one)")]
    AddressInUse(SocketAddr),
    /// Not an address of this machine, or of none of its devices.
    #[error("{0} is no address of a device of this machine")]
    AddressUnavailable(SocketAddr),
    /// The system does not allow it.
    #[error("{0}: permission denied")]
    Denied(SocketAddr),
    /// The address cannot be resolved, or there is no way there.
    #[error("connect to {0}: the address cannot be resolved or reached")]
    Unreachable(SocketAddr),
    /// Nobody listens there.
    #[error("connect to {0}: refused; nothing listens there")]
    ConnectRefused(SocketAddr),
    /// The peer's application said no, with this private data (which may be padded with zeros).
    #[error("the peer rejected the connection{}", Words(.0))]
    Rejected(Box<[u8]>),
    /// No answer to a connect, or to what was posted.
    #[error("no answer in time")]
    TimedOut,
    /// The connection was lost, or the peer ended without a word.
    #[error("the connection was lost")]
    PeerGone,
    /// The peer does not speak as it should.
    #[error("protocol error: {0}")]
    Protocol(Text),
    /// The peer does not let its memory be reached like this: the key, the range or the kind of
    /// access is not one that it has exposed.
    #[error("the peer refused the access to its memory (is the buffer still exposed, and all of the range inside it?)")]
    RemoteAccess,
    /// The peer tried to reach memory that is not exposed to it.
    #[error("the peer tried to reach memory that is not exposed to it")]
    AccessViolation,
    /// The peer cannot take the message: it is longer than its receive buffers.
    #[error("the peer could not take the message: it is longer than its receive buffers")]
    RemoteInvalid,
    /// The peer sent a message that is longer than a receive buffer.
    #[error("the peer sent a message that is longer than a receive buffer ({buf_size} bytes)")]
    Overrun {
        /// Bytes of a receive buffer.
        buf_size: usize,
    },
    /// The peer had no receive buffer, as often as it was tried.
    #[error("the peer had no receive buffer for the message, as often as it was tried (see QueueOptions::rnr_retry)")]
    ReceiverNotReady,
    /// Cancelled, because the queue ended first. Whether the peer has seen it is not known.
    #[error("flushed: the queue ended first")]
    Flushed,
    /// As many are posted as may be; try again after a `Done` (or, for exposures, a `Withdrawn`).
    #[error("{what}: all {limit} are in use; try again when one is done")]
    QueueFull {
        /// What there is no room for.
        what: &'static str,
        /// How many there may be.
        limit: u32,
    },
    /// More than is possible, now or later; ask for less.
    #[error("{what}: {asked} asked for, {limit} possible")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much was asked for.
        asked: u64,
        /// How much is possible.
        limit: u64,
    },
    /// A buffer that the transport cannot reach, because its pool is not the group's.
    #[error("a buffer of a pool that is not registered with this group; take it from the group (QueueGroup::buffer) or its pool")]
    ForeignBuffer,
    /// The system does not let so much memory be locked.
    #[error("registering {bytes} bytes of memory: beyond the limit for locked memory; raise it (ulimit -l)")]
    LockedMemory {
        /// Bytes to be registered.
        bytes: usize,
    },
    /// Not established yet, or ending.
    #[error("the queue is not connected")]
    NotConnected,
    /// A key whose queue, listener or exposure is gone, or another group's.
    #[error("stale key: what it named is no longer in this group")]
    Stale,
    /// The group holds as many queues and listeners as it was made for.
    #[error("the group holds {0} queues, as many as it was made for (QueueGroupConfig::queues)")]
    GroupFull(usize),
    /// A queue or listener of another transport.
    #[error("a queue of transport {queue} cannot join a group of transport {group}")]
    WrongTransport {
        /// The queue's transport.
        queue: &'static str,
        /// The group's.
        group: &'static str,
    },
    /// The option cannot be honoured.
    #[error("option {option} cannot be honoured: {why}")]
    Option {
        /// The field of [`QueueOptions`](super::QueueOptions) or
        /// [`QueueGroupConfig`](super::QueueGroupConfig).
        option: &'static str,
        /// What the transport or the system says, with the value it was asked for.
        why: Text,
    },
    /// The thread's platform refused the group.
    #[error(transparent)]
    Platform(Box<PlatformError>),
    /// Anything else the system said.
    #[error("{doing}: {text} (error {code})")]
    Os {
        /// What was attempted.
        doing: &'static str,
        /// The system's number for it.
        code: i32,
        /// The system's words for it.
        text: Text,
    },
}

impl<T> From<crate::Refused<T, TransportError>> for TransportError {
    fn from(refused: crate::Refused<T, Self>) -> Self {
        refused.why
    }
}

/// Private data in an error's text: none is spoken of where there was none, and what a transport
/// pads it with is not known from that.
struct Words<'a>(&'a [u8]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if there == 0 { Ok(()) } else { write!(f, "; its private data begins with {:02x?}", &self.0[..there.min(16)]) }
    }
}

// Errors travel inside events, which are moved on the hot path.
static_assertions::const_assert!(size_of::<TransportError>() <= size_of::<crate::net::NetError>());

impl From<PlatformError> for TransportError {
    fn from(why: PlatformError) -> Self {
        Self::Platform(Box::new(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_rejection_speaks_of_private_data_only_where_there_was_some() {
        for nothing in [0, 1, super::super::REJECT_DATA] {
            let why = TransportError::Rejected(alloc::vec![0; nothing].into());
            assert_eq!(why.to_string(), "the peer rejected the connection", "padding is not data");
        }
        let why = TransportError::Rejected([0, 7, 255, 0, 0].into());
        assert_eq!(why.to_string(), "the peer rejected the connection; its private data begins with [00, 07, ff]");
    }
}
