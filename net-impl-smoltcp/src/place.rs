//! The sockets of a host. There are as many as it was started with; what one is for changes.

use core::net::SocketAddr;
use core::time::Duration;

use core_reactor::Instant;
use smoltcp::iface::SocketHandle;

/// A socket of the stack, from its first use on with what its application wants of it.
pub(crate) struct Place {
    pub(crate) handle: SocketHandle,
    pub(crate) role: Role,
    /// Both ends of a connection that came to a listener: smoltcp forgets them when it is reset.
    pub(crate) ends: Option<(SocketAddr, SocketAddr)>,
    /// How the connection ended, once the protocol has ended it.
    pub(crate) end: Option<End>,
    pub(crate) wants: Wants,
    /// Since when it has its role, or has made no progress in it.
    pub(crate) since: Instant,
    /// It waits for its peer since then: for the end of a handshake, or for the acknowledgement of a FIN.
    pub(crate) waits: bool,
    /// Bytes that were queued then, of one that is closing.
    pub(crate) queued: usize,
    /// When its neighbour was asked for last.
    pub(crate) asked: Option<Instant>,
    /// Half-open: its peer has shown that it is there before it was let in.
    pub(crate) proven: bool,
    /// Half-open: when it makes room for others.
    pub(crate) yields: Instant,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing.
    Free,
    /// It listens, or shakes hands, for this listener.
    Listening(u32),
    /// It is connected and waits at this listener to be accepted.
    Accepted(u32),
    /// The application has it.
    Owned,
    /// The application has closed it, and the protocol has not.
    Closing,
}

/// How the protocol ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In good order.
    Orderly,
    /// By a reset.
    Reset,
    /// No answer in time.
    TimedOut,
}

/// What an application asked of a socket, as far as it is used in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) no_delay: bool,
    pub(crate) quick_ack: bool,
    /// How long sent bytes may stay unanswered.
    pub(crate) user_timeout: Option<Duration>,
    /// How often to probe a silent peer, and how long it may stay silent.
    pub(crate) keepalive: Option<(Duration, Duration)>,
    /// Bytes that make it readable.
    pub(crate) low_water: usize,
    /// Bytes that may be queued in the stack.
    pub(crate) send_buf: usize,
}
