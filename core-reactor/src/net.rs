//! Sockets, as every network backend offers them; the slice in which backends register themselves.
//!
//! A [`NetImpl`] makes [`Socket`]s and [`SockGroup`]s. A socket that is in no group (just made, or just accepted) can do no I/O and may
//! cross cores; [`SockGroup::attach`] gives it to a group, which lives on one core and owns it from then on. The group is polled into
//! [`Events`], and the events are handled after the poll has returned: no callback ever runs inside a group, so any socket may be closed,
//! detached or sent to while events are being handled.
//!
//! ```text
//!                     attach                     peer's FIN            shutdown()
//!  connect() ─────────────────► Connecting ─► Open ────► PeerClosed ─────┐
//!  accepted  ─────────────────────────────────►│                         ├─► Closed (exactly one event,
//!                                              └─shutdown()─► Finishing ─┘    always the socket's last)
//!  at any time: close() ─► Sent{Cancelled}.., Closed      detach() ─► a Box<dyn Socket> again
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use linkme::distributed_slice;
use pool::{Buf, BufGroup};

use crate::{Cx, Refused, WaitSource};

/// The network backends linked into this program. A backend adds itself with
///
/// ```ignore
/// #[distributed_slice(core_reactor::net::LCORE_NET_IMPLS)]
/// static POSIX: &dyn NetImpl = &Posix;
/// ```
///
/// and is linked only if something names its crate (`use net_impl_posix as _;`). The counterpart of `SPDK_NET_IMPL_REGISTER`.
#[distributed_slice]
pub static LCORE_NET_IMPLS: [&'static dyn NetImpl];

/// The priority of a backend that has no opinion (SPDK's `DEFAULT_SOCK_PRIORITY`).
pub const DEFAULT_PRIORITY: u8 = 0;

/// A network backend: the link-time plug-in.
pub trait NetImpl: Sync {
    /// Its name, as `-N` takes it. Unique among the linked ones.
    fn name(&self) -> &'static str;

    /// The highest priority that probes well is the default; among equals the first name.
    fn priority(&self) -> u8;

    /// Whether it can work here, found out by doing.
    ///
    /// # Errors
    /// Why not. Any error means: not usable here.
    fn probe(&self) -> Result<(), NetError>;

    /// A listening socket at `at`; port 0 takes a free one (see [`Socket::local_addr`]). Attach it to a group to accept.
    ///
    /// # Errors
    /// The address is in use, not of this machine or not allowed; an option cannot be honoured.
    fn listen(&self, at: SocketAddr, options: &SockOptions) -> Result<Box<dyn Socket>, NetError>;

    /// A socket that connects, when it is attached to a group, to the first of `to` that answers. Never blocks.
    ///
    /// # Errors
    /// `to` is empty; an option cannot be honoured. What happens on the way arrives as [`NetEvent::Connected`] or [`NetEvent::Closed`].
    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError>;

    /// A group on the core and thread of `cx`: it pins the thread, keeps it from ending while the group lives, and wakes its core.
    ///
    /// # Errors
    /// The system refuses, or `config` asks for what the backend cannot give.
    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError>;
}

/// A socket in no group. It may cross cores and can do no I/O.
pub trait Socket: Send {
    /// Its own address; the port is the real one also where 0 was asked for.
    ///
    /// # Errors
    /// The system does not tell.
    fn local_addr(&self) -> Result<SocketAddr, NetError>;

    /// The other side's address: `None` for a listener.
    fn peer_addr(&self) -> Option<SocketAddr>;

    /// Its options as they are now, read back from the system where it tells.
    ///
    /// # Errors
    /// The system does not tell.
    fn options(&self) -> Result<SockOptions, NetError>;

    /// Where its packets arrive, if the system knows.
    fn placement(&self) -> Placement;

    /// The name of its backend.
    fn backend(&self) -> &'static str;

    /// For its own backend's group to take it apart.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Where a socket's packets arrive (statement 22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// `SO_INCOMING_NAPI_ID`, where it is not 0.
    pub napi_id: Option<u32>,
    /// `SO_INCOMING_CPU`.
    pub incoming_cpu: Option<u32>,
}

/// The sockets of one core, and their I/O.
///
/// Dropping a group closes its sockets; what is in flight is cancelled and drained first.
pub trait SockGroup {
    /// Takes a socket of the same backend. Its events carry `token`.
    ///
    /// # Errors
    /// [`NetError::GroupFull`], [`NetError::WrongBackend`], or the system's; the socket comes back.
    fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> Result<SockId, Refused<Box<dyn Socket>, NetError>>;

    /// Gives a socket up. Sends that the system had not taken come back as [`NetEvent::Sent`] with [`NetError::Cancelled`] and how much
    /// of them was written; no other event of it follows.
    ///
    /// # Errors
    /// [`NetError::Stale`]; the system's.
    fn detach(&mut self, id: SockId) -> Result<Box<dyn Socket>, NetError>;

    /// Queues a frame behind those queued before. It goes out with the next [`flush`](Self::flush) or [`poll`](Self::poll), many frames in one
    /// gather call; short writes are the group's affair.
    ///
    /// # Errors
    /// [`NetError::SendLimit`] when the socket holds [`GroupConfig::send_limit`] bytes or more that its peer does not take, or
    /// [`GroupConfig::send_frames`] frames;
    /// [`NetError::Stale`]; [`NetError::NotConnected`] after [`shutdown`](Self::shutdown) or before `Connected`. The frame comes back.
    fn send(&mut self, id: SockId, frame: Frame) -> Result<(), Refused<Frame, NetError>>;

    /// Ends the sending side when all queued frames are out (FIN). Receiving goes on. When the peer has ended its side too, `Closed` follows.
    ///
    /// # Errors
    /// [`NetError::Stale`].
    fn shutdown(&mut self, id: SockId) -> Result<(), NetError>;

    /// Closes a socket of any kind and state. Queued frames come back as cancelled, in order, then `Closed` without an error.
    ///
    /// # Errors
    /// [`NetError::Stale`].
    fn close(&mut self, id: SockId) -> Result<(), NetError>;

    /// As [`close`](Self::close), but the peer sees a reset (RST) instead of an orderly end.
    ///
    /// # Errors
    /// [`NetError::Stale`].
    fn abort(&mut self, id: SockId) -> Result<(), NetError>;

    /// Stops reading from a socket: what its peer sends waits in the system, and the peer is held back. Other sockets go on.
    ///
    /// # Errors
    /// [`NetError::Stale`].
    fn pause(&mut self, id: SockId) -> Result<(), NetError>;

    /// Goes on reading after [`pause`](Self::pause).
    ///
    /// # Errors
    /// [`NetError::Stale`].
    fn resume(&mut self, id: SockId) -> Result<(), NetError>;

    /// Writes what is queued, as far as the system takes it.
    fn flush(&mut self);

    /// Flushes, then appends what has happened to `out`, as much as `out` has room for; what finds no room comes with the next poll.
    /// Tells how many events were appended. Never blocks.
    fn poll(&mut self, out: &mut Events) -> usize;

    /// An empty buffer of this group's, to fill and send; `None` when all are out.
    fn buffer(&mut self) -> Option<Buf>;

    /// A socket's addresses: its own, and the peer's where it has one.
    ///
    /// # Errors
    /// [`NetError::Stale`]; the system's.
    fn addresses(&self, id: SockId) -> Result<(SocketAddr, Option<SocketAddr>), NetError>;

    /// A socket's options as they are now.
    ///
    /// # Errors
    /// [`NetError::Stale`]; the system's.
    fn options(&self, id: SockId) -> Result<SockOptions, NetError>;

    /// What the group has done.
    fn stats(&self) -> GroupStats;

    /// What becomes ready when a poll would find something, so that a core can sleep.
    fn wait_source(&self) -> Option<WaitSource>;
}

/// The size of a group. Everything is allocated when it is made.
#[derive(Clone)]
pub struct GroupConfig {
    /// Sockets it can hold. Default 1024.
    pub sockets: usize,
    /// Bytes that a socket may hold queued before sends are refused. Default 1 MiB.
    pub send_limit: usize,
    /// Frames that a socket may hold queued before sends are refused. Default 64.
    pub send_frames: usize,
    /// Where received bytes go.
    pub bufs: BufGroup,
}

impl GroupConfig {
    /// The defaults, over these buffers.
    pub fn new(bufs: BufGroup) -> Self {
        Self { sockets: 1024, send_limit: 1 << 20, send_frames: 64, bufs }
    }
}

/// The application's own name for a socket; comes back in each of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A socket in a group. 64 bits, so that it rides in `epoll_data`, `user_data` or `wr_id`: index, generation, group tag. A key whose socket is gone
/// is refused as [`NetError::Stale`] and never names another socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SockId(u64);

impl SockId {
    /// Packs a key. `index` and `generation` keep their low 24 bits.
    pub fn new(index: u32, generation: u32, group: u16) -> Self {
        Self(u64::from(group) << 48 | u64::from(generation & 0xFF_FFFF) << 24 | u64::from(index & 0xFF_FFFF))
    }

    /// The place in the group's slab.
    pub fn index(self) -> usize {
        (self.0 & 0xFF_FFFF) as usize
    }

    /// Which of the sockets that had this place.
    pub fn generation(self) -> u32 {
        (self.0 >> 24 & 0xFF_FFFF) as u32
    }

    /// Which group, so that a key is not taken for another group's.
    pub fn group(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The key as one number, and back by [`from_raw`](Self::from_raw).
    pub fn raw(self) -> u64 {
        self.0
    }

    /// A key out of its number.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Debug for SockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SockId({}:{}.{})", self.group(), self.index(), self.generation())
    }
}

/// Buffers that go out together, in order: header, payload, digest.
#[derive(Default)]
pub struct Frame {
    parts: heapless::Vec<Buf, 4>,
    tag: Option<u32>,
}

impl Frame {
    /// Most buffers that a frame carries.
    pub const PARTS: usize = 4;

    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a buffer at the end.
    ///
    /// # Errors
    /// The frame is full; the buffer comes back.
    pub fn push(&mut self, buf: Buf) -> Result<(), Buf> {
        self.parts.push(buf)
    }

    /// Asks for a [`NetEvent::Sent`] when the frame is out. Without it only frames that were *not* sent come back.
    #[must_use]
    pub fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<u32> {
        self.tag
    }

    /// The buffers.
    pub fn parts(&self) -> &[Buf] {
        &self.parts
    }

    /// Bytes in all buffers.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|b| b.len()).sum()
    }

    /// The buffers themselves.
    pub fn into_parts(self) -> heapless::Vec<Buf, 4> {
        self.parts
    }
}

impl From<Buf> for Frame {
    fn from(buf: Buf) -> Self {
        let mut frame = Self::new();
        // A new frame has room for its first buffer.
        let _ = frame.push(buf);
        frame
    }
}

/// What happened to a socket. `Closed` is the last event of every socket that was not detached, and comes exactly once.
#[non_exhaustive]
pub enum NetEvent {
    /// A listener took a connection.
    Accepted {
        /// The listener.
        id: SockId,
        /// Its token.
        token: Token,
        /// The connection, to be attached to this or another core's group. Dropped, it is closed.
        socket: Box<dyn Socket>,
    },
    /// A connect succeeded: sends are taken from now on.
    Connected {
        /// The socket.
        id: SockId,
        /// Its token.
        token: Token,
    },
    /// Bytes, in order, each once.
    Received {
        /// The socket.
        id: SockId,
        /// Its token.
        token: Token,
        /// The bytes: at least one.
        buf: Buf,
    },
    /// A tagged frame is with the system, or any frame was not sent.
    Sent {
        /// The socket.
        id: SockId,
        /// Its token.
        token: Token,
        /// The frame, its buffers as they were handed over.
        frame: Frame,
        /// Bytes of it that the system took: all of them, or fewer with an error.
        written: usize,
        /// Why it was not sent.
        error: Option<NetError>,
    },
    /// The peer will send no more (FIN); all that it sent has been delivered. Sending may go on; [`SockGroup::shutdown`] ends it.
    PeerClosed {
        /// The socket.
        id: SockId,
        /// Its token.
        token: Token,
    },
    /// The socket is gone.
    Closed {
        /// What was its key.
        id: SockId,
        /// Its token.
        token: Token,
        /// `None` after an orderly end or [`SockGroup::close`].
        why: Option<NetError>,
    },
}

/// Events of one poll, up to a bound, in a list that is used again and again.
pub struct Events {
    list: Vec<NetEvent>,
    room: usize,
}

impl Events {
    /// A list that takes `room` events at a time (at least 1). Allocates once, here.
    pub fn new(room: usize) -> Self {
        let room = room.max(1);
        Self { list: Vec::with_capacity(room), room }
    }

    /// How many more events fit.
    pub fn room(&self) -> usize {
        self.room - self.list.len()
    }

    /// Appends an event.
    ///
    /// # Errors
    /// The list is full; the event comes back.
    pub fn push(&mut self, event: NetEvent) -> Result<(), NetEvent> {
        if self.list.len() == self.room {
            return Err(event);
        }
        self.list.push(event);
        Ok(())
    }

    /// Takes the events out, first one first.
    pub fn drain(&mut self) -> impl Iterator<Item = NetEvent> + '_ {
        self.list.drain(..)
    }

    /// How many events wait to be taken.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What a socket is asked to be. `None` leaves the system's default. An option that a backend cannot honour is an error when the socket is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SockOptions {
    /// Receive buffer in the system, bytes (`SO_RCVBUF`).
    pub recv_buf: Option<usize>,
    /// Send buffer in the system, bytes (`SO_SNDBUF`).
    pub send_buf: Option<usize>,
    /// Bytes that must be there before a socket counts as readable (`SO_RCVLOWAT`).
    pub low_water: Option<usize>,
    /// Priority of its packets (`SO_PRIORITY`).
    pub priority: Option<u32>,
    /// Send small frames at once (`TCP_NODELAY`). Default on.
    pub no_delay: bool,
    /// Acknowledge at once (`TCP_QUICKACK`). Default off.
    pub quick_ack: bool,
    /// How long sent bytes (or a connect) may stay unanswered (`TCP_USER_TIMEOUT`, milliseconds).
    pub user_timeout: Option<Duration>,
    /// Probe a silent peer (`SO_KEEPALIVE`).
    pub keepalive: Option<Keepalive>,
    /// Send frames of at least so many bytes without a copy (`MSG_ZEROCOPY`); never on loopback, where the system copies anyway. Default off.
    pub zero_copy: Option<usize>,
    /// Connections that may wait to be accepted. Default 1024.
    pub backlog: u32,
    /// Poll the device for so long before waiting (`SO_BUSY_POLL`, microseconds).
    pub busy_poll: Option<Duration>,
    /// Several listeners at one address (`SO_REUSEPORT`). Default off.
    pub reuse_port: bool,
}

impl Default for SockOptions {
    fn default() -> Self {
        Self {
            recv_buf: None,
            send_buf: None,
            low_water: None,
            priority: None,
            no_delay: true,
            quick_ack: false,
            user_timeout: None,
            keepalive: None,
            zero_copy: None,
            backlog: 1024,
            busy_poll: None,
            reuse_port: false,
        }
    }
}

/// How a silent peer is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`, seconds).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`, seconds).
    pub interval: Duration,
    /// Probes without an answer that end the connection (`TCP_KEEPCNT`).
    pub probes: u32,
}

/// What a group has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Sockets in it now.
    pub sockets: usize,
    /// Polls, and those that found something.
    pub polls: u64,
    /// Polls that appended at least one event.
    pub busy_polls: u64,
    /// Events delivered.
    pub events: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the system took.
    pub bytes_out: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Times that a listener paused for want of descriptors.
    pub accept_pauses: u64,
    /// Times that a socket found no buffer to receive into.
    pub buffer_waits: u64,
}

/// Why a network operation failed: a variant for each thing that a caller would do differently.
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
    /// The socket holds as much as it may; send again when its peer has taken some.
    #[error("the peer does not take what is sent: {queued} bytes are queued, {limit} are allowed")]
    SendLimit {
        /// Bytes queued.
        queued: usize,
        /// [`GroupConfig::send_limit`].
        limit: usize,
    },
    /// The group holds as many sockets as it was made for.
    #[error("the group holds {0} sockets, as many as it was made for (GroupConfig::sockets)")]
    GroupFull(usize),
    /// Out of descriptors.
    #[error("out of file descriptors (see ulimit -n)")]
    NoDescriptors,
    /// A socket of another backend.
    #[error("a socket of backend {socket} cannot join a group of backend {group}")]
    WrongBackend {
        /// The socket's backend.
        socket: &'static str,
        /// The group's.
        group: &'static str,
    },
    /// The option cannot be honoured.
    #[error("option {option} cannot be honoured by backend {backend}: {why}")]
    Option {
        /// The field of [`SockOptions`].
        option: &'static str,
        /// The backend.
        backend: &'static str,
        /// What the backend or the system says.
        why: Text,
    },
    /// The backend cannot work here.
    #[error("not usable here: {0}")]
    Unusable(Text),
    /// The thread's platform or limits refused the group.
    #[error(transparent)]
    Platform(#[from] crate::PlatformError),
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

/// A short text that an error carries without a heap.
pub type Text = heapless::String<96>;
