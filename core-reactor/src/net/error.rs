//! Why a network operation failed.

use alloc::boxed::Box;
use core::net::SocketAddr;

use crate::PlatformError;

/// Why a network operation failed: a variant for each thing that a caller would do differently.
///
/// ```
/// use core_reactor::net::NetError;
///
/// /// Whether another try may go better.
/// fn may_try_again(why: &NetError) -> bool {
///     matches!(why, NetError::ConnectRefused(_) | NetError::TimedOut | NetError::Reset | NetError::Unreachable(_))
/// }
///
/// let why = NetError::ConnectRefused(([127, 0, 0, 1], 7).into());
/// assert!(may_try_again(&why));
/// assert_eq!(why.to_string(), "connect to 127.0.0.1:7: refused; nothing listens there");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// Choose another port, or stop who has it.
    #[error("{0} is in use by another socket; choose another port (0 takes a free one)")]
    AddressInUse(SocketAddr),
    /// Not an address of this machine.
    #[error("{0} is no address of this machine")]
    AddressUnavailable(SocketAddr),
    /// The system does not allow it.
    #[error("{0}: permission denied (ports under 1024 need CAP_NET_BIND_SERVICE)")]
    Denied(SocketAddr),
    /// Nobody listens there.
    #[error("connect to {0}: refused; nothing listens there")]
    ConnectRefused(SocketAddr),
    /// No way there.
    #[error("connect to {0}: unreachable")]
    Unreachable(SocketAddr),
    /// No answer, from a connect or a connection.
    #[error("no answer in time")]
    TimedOut,
    /// The peer ended the connection by a reset.
    #[error("connection reset by peer")]
    Reset,
    /// A text that is no address.
    #[error("{text:?} is no IPv4 or IPv6 address ({hint})")]
    NotAnAddress {
        /// What was written.
        text: Text,
        /// What it may have been meant to be. Found out where the text was read: to print an error
        /// would take the parser into each image otherwise.
        hint: &'static str,
    },
    /// A text that is no address of a Unix socket, and what to write.
    #[error("no address of a Unix socket: {0}")]
    NotAUnixAddress(Text),
    /// Somebody listens at this path or name.
    #[error("{0} is in use: another socket listens there; choose another path, or stop who has it")]
    UnixInUse(Text),
    /// A listener that has ended left its socket file.
    #[error("{0} is left over: the socket file is there, and nobody listens; remove the file")]
    UnixLeftOver(Text),
    /// A file of that name is no socket.
    #[error("{0} is taken: there is a file of that name which is no socket; choose another path")]
    UnixNoSocket(Text),
    /// The socket file is there, and nobody listens.
    #[error("connect to {0}: refused; the socket file is there, and nobody listens: start who should")]
    UnixRefused(Text),
    /// No such file, or no such directory.
    #[error("{0}: no such file or directory; look at the path, and whether who should listen runs")]
    UnixMissing(Text),
    /// The modes of a file or of a directory on its path do not allow it.
    #[error("{0}: permission denied; look at the modes of the file and of the directories before it")]
    UnixDenied(Text),
    /// An address list with nothing in it.
    #[error("no address to connect to")]
    NoAddress,
    /// Cancelled by close, detach or the end of its socket.
    #[error("cancelled: the socket was closed or detached first")]
    Cancelled,
    /// A key whose socket is gone, or another group's.
    #[error("stale key: the socket is no longer in this group")]
    Stale,
    /// Not connected yet, or its sending side has ended.
    #[error("not connected for sending")]
    NotConnected,
    /// The socket holds as much as it may; send again after
    /// [`NetEvent::Writable`](super::NetEvent::Writable).
    #[error(
        "the peer does not take what is sent: {queued} bytes in {frames} frames are queued, {limit} bytes or {limit_frames} frames are allowed"
    )]
    SendLimit {
        /// Bytes queued.
        queued: usize,
        /// [`GroupConfig::send_limit`](super::GroupConfig::send_limit).
        limit: usize,
        /// Frames queued, and those sent whose event was not taken.
        frames: usize,
        /// [`GroupConfig::send_frames`](super::GroupConfig::send_frames).
        limit_frames: usize,
    },
    /// Ended by its group: buffers had run short, and the peer of this socket had taken nothing for
    /// [`GroupConfig::stall_limit`](super::GroupConfig::stall_limit).
    #[error("reset: the group had {free} of {of} buffers left, and this peer had taken nothing of {queued} queued bytes for {for_ms} ms")]
    Stalled {
        /// Bytes that were queued.
        queued: usize,
        /// How long nothing of them was taken, in milliseconds.
        for_ms: u64,
        /// Buffers that were free.
        free: usize,
        /// Buffers that the group can have.
        of: usize,
    },
    /// The group holds as many sockets as it was made for.
    #[error("the group holds {0} sockets, as many as it was made for (GroupConfig::sockets)")]
    GroupFull(usize),
    /// Out of descriptors.
    #[error("out of file descriptors (see ulimit -n)")]
    NoDescriptors,
    /// This user may lock no more memory.
    #[error(
        "{doing}: {needs} KiB of memory have to be locked, and this user may lock {limit} KiB in all processes together; \
         raise that (ulimit -l) or choose another backend (-N posix)"
    )]
    LockedMemory {
        /// What was attempted.
        doing: &'static str,
        /// KiB that it locks.
        needs: u64,
        /// KiB that may be locked (`RLIMIT_MEMLOCK`).
        limit: u64,
    },
    /// A socket of another backend.
    #[error("a socket of backend {socket} cannot join a group of backend {group}")]
    WrongBackend {
        /// The socket's backend.
        socket: &'static str,
        /// The group's.
        group: &'static str,
    },
    /// The option cannot be honoured.
    #[error("option {option} cannot be honoured: {why}")]
    Option {
        /// The field of [`SockOptions`](super::SockOptions).
        option: &'static str,
        /// What the backend or the system says, with the value it was asked for.
        why: Text,
    },
    /// The backend cannot work here.
    #[error("not usable here: {0}")]
    Unusable(Text),
    /// The thread's platform or limits refused the group.
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

impl<T> From<crate::Refused<T, NetError>> for NetError {
    fn from(refused: crate::Refused<T, Self>) -> Self {
        refused.why
    }
}

/// The system's words, or the backend's. On the heap, because errors travel inside
/// [`NetEvent`](super::NetEvent)s, which are moved on the hot path: there the common event should
/// not pay for a text that it has not.
pub type Text = Box<str>;

impl From<PlatformError> for NetError {
    fn from(why: PlatformError) -> Self {
        Self::Platform(Box::new(why))
    }
}
