//! Sockets, as every network backend offers them; the slice in which backends register themselves.
//!
//! A [`NetImpl`] makes [`Socket`]s and [`SockGroup`]s. A socket that is in no group (just made, or
//! just accepted) can do no I/O and may cross cores; [`SockGroup::attach`] gives it to a group,
//! which lives on one core and owns it from then on. The group is polled into [`Events`], and the
//! events are handled after the poll has returned: no callback ever runs inside a group, so any
//! socket may be closed, detached or sent to while events are being handled.
//!
//! ```text
//!                     attach                     peer's FIN            shutdown()
//!  connect() ─────────────────► Connecting ─► Open ────► PeerClosed ─────┐
//!  accepted  ─────────────────────────────────►│                         ├─► Closed (exactly one event,
//!                                              └─shutdown()─► Finishing ─┘    always the socket's last)
//!  at any time: close() ─► Sent{Cancelled}.., Closed      detach() ─► a Box<dyn Socket> again
//! ```
//!
//! # The order of the events
//!
//! | what happens | what is told, in this order |
//! |---|---|
//! | the peer ends its side (FIN) | each `Received` of what came before, then `PeerClosed` |
//! | this side ends first (`shutdown`), then the peer | each `Received`, `PeerClosed`, `Closed` without an error |
//! | the peer ends first, then this side | `PeerClosed`; after `shutdown`, when all frames are out: `Closed` without an error |
//! | the connection breaks (reset, time-out) | `Received` as far as the system still has it, each frame not sent as `Sent` with `Cancelled`, `Closed` with the error; no `PeerClosed` |
//! | the group ends it for want of buffers | `Sent` with `Cancelled` .., `Closed` with [`NetError::Stalled`] |
//! | `close` or `abort` | `Sent` with `Cancelled` .., `Closed` without an error |
//! | `detach` | `Sent` with `Cancelled` .., and nothing more |
//! | a send was refused with [`NetError::SendLimit`] | once half of the room is back: `Writable` |
//!
//! So `PeerClosed` comes once for every peer that ends in good order, and before `Closed`; what a
//! proxy does of it is `shutdown` of the other side, behind all that it has passed on. The key of a
//! socket is stale when its `Closed` was appended, though events of it that lie before that in the
//! same list may not have been handled yet: calls for it then answer [`NetError::Stale`], which is
//! no fault.

mod address;
mod error;
mod event;
mod group_map;
mod options;
mod registry;
mod sock_map;
mod unix;
mod view;

pub use crate::keys::{SockId, group_tag};
pub use address::parse_address;
pub use error::{NetError, Text};
pub use event::{Events, Frame, FrameBufs, NetEvent};
pub use group_map::GroupMap;
pub use options::{Keepalive, SockOptions};
pub use registry::{SelectError, Selected, Why, linked, select, select_from};
pub use sock_map::SockMap;
pub use unix::UnixAddress;
pub use view::{GroupInfo, GroupView, SocketInfo};

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::any::Any;
use core::net::SocketAddr;
use core::time::Duration;

use linkme::distributed_slice;
use pool::{Buf, BufGroup, Class};
use statistics::stats;

use crate::setters::setters;
use crate::{Cx, Refused, WaitSource};

/// Where [`register!`] puts the backends.
#[doc(hidden)]
#[distributed_slice]
pub static LCORE_NET_IMPLS: [&'static dyn NetImpl];

/// Registers a network backend at link time: [`linked`] has it then. The counterpart of
/// `SPDK_NET_IMPL_REGISTER`.
///
/// ```
/// use core_reactor::Cx;
/// use core_reactor::net::{self, GroupConfig, NetError, NetImpl, SockGroup, SockOptions, Socket};
/// # use core::net::SocketAddr;
///
/// struct MyBackend;
///
/// net::register!(MyBackend);
///
/// impl NetImpl for MyBackend {
///     fn name(&self) -> &'static str {
///         "mine"
///     }
/// #   fn priority(&self) -> u8 { net::DEFAULT_PRIORITY }
/// #   fn probe(&self) -> Result<(), NetError> { Ok(()) }
/// #   fn listen(&self, _: SocketAddr, _: &SockOptions) -> Result<Box<dyn Socket>, NetError> { Err(NetError::NoAddress) }
/// #   fn connect(&self, _: &[SocketAddr], _: &SockOptions) -> Result<Box<dyn Socket>, NetError> { Err(NetError::NoAddress) }
/// #   fn group(&self, _: &mut Cx<'_>, _: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> { Err(NetError::NoAddress) }
///     // …
/// }
///
/// assert_eq!(net::linked().iter().map(|backend| backend.name()).collect::<Vec<_>>(), ["mine"]);
/// ```
///
/// A crate is linked only if something names it (`use net_impl_posix as _;`). In a static library
/// the registration itself must be named, for which it can have a name:
/// `net::register!(pub static POSIX = Posix)`.
#[doc(inline)]
pub use crate::__register_net as register;

#[doc(hidden)]
#[macro_export]
macro_rules! __register_net {
    ($($registration:tt)*) => {
        $crate::__register!([$crate::net::LCORE_NET_IMPLS] [&'static dyn $crate::net::NetImpl] $($registration)*);
    };
}

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

    /// A listening socket at `at`; port 0 takes a free one (see [`Socket::local_addr`]). Attach it
    /// to a group to accept.
    ///
    /// ```
    /// use core_reactor::net::{NetError, NetImpl, SockGroup, SockOptions, Token};
    ///
    /// /// Listens at a free port, and tells which.
    /// fn listen(net: &dyn NetImpl, group: &mut dyn SockGroup) -> Result<u16, NetError> {
    ///     let listener = net.listen(([127, 0, 0, 1], 0).into(), &SockOptions::default())?;
    ///     let port = listener.local_addr()?.port();
    ///     group.attach(listener, Token(0))?;
    ///     Ok(port)
    /// }
    /// ```
    ///
    /// # Errors
    /// The address is in use, not of this machine or not allowed; an option cannot be honoured.
    fn listen(&self, at: SocketAddr, options: &SockOptions) -> Result<Box<dyn Socket>, NetError>;

    /// A socket that connects, when it is attached to a group, to the first of `to` that answers.
    /// Never blocks.
    ///
    /// ```
    /// use core_reactor::net::{NetError, NetImpl, SockGroup, SockId, SockOptions, Token};
    ///
    /// /// Connects to the first of two that answers. `NetEvent::Connected` or `Closed` tells the rest.
    /// fn connect(net: &dyn NetImpl, group: &mut dyn SockGroup) -> Result<SockId, NetError> {
    ///     let to = [([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()];
    ///     Ok(group.attach(net.connect(&to, &SockOptions::default())?, Token(0))?)
    /// }
    /// ```
    ///
    /// # Errors
    /// `to` is empty; an option cannot be honoured; [`SockOptions::source`] is in use, not of this
    /// machine or not allowed. What happens on the way arrives as
    /// [`NetEvent::Connected`] or [`NetEvent::Closed`].
    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError>;

    /// As [`listen`](Self::listen), a Unix stream socket. Its file is taken away when it is closed,
    /// if it is still this listener's.
    ///
    /// ```
    /// use core_reactor::net::{NetError, NetImpl, SockOptions, Socket};
    ///
    /// fn listen(net: &dyn NetImpl) -> Result<Box<dyn Socket>, NetError> {
    ///     net.listen_unix(&"unix:/run/mine.sock".parse()?, &SockOptions::default())
    /// }
    /// ```
    ///
    /// # Errors
    /// Somebody listens there, or did and left the file; the path cannot be made; the backend has
    /// no Unix sockets.
    fn listen_unix(&self, at: &UnixAddress, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        let _ = options;
        Err(no_unix(self.name(), at))
    }

    /// As [`connect`](Self::connect), to a Unix stream socket. If as many wait there as may, it is
    /// asked again until there is room.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); the backend has no Unix sockets.
    fn connect_unix(&self, to: &UnixAddress, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        let _ = options;
        Err(no_unix(self.name(), to))
    }

    /// A group on the core and thread of `cx`: it pins the thread, keeps it from ending while the
    /// group lives, and wakes its core.
    ///
    /// # Errors
    /// The system refuses, or `config` asks for what the backend cannot give.
    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError>;
}

/// A socket in no group. It may cross cores and can do no I/O. Being [`Any`], it can be taken apart
/// by its own backend's group.
pub trait Socket: Any + Send {
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
}

fn no_unix(backend: &str, at: &UnixAddress) -> NetError {
    NetError::Unusable(format!("backend {backend} has no Unix sockets such as {at}; choose posix or uring (-N)").into())
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
///
/// ```
/// use core_reactor::net::{GroupConfig, NetError, NetImpl, SockGroup, SockId, SockOptions, Token};
/// use core_reactor::Cx;
/// use pool::BufGroup;
///
/// /// A group with a listener in it, over whatever backend.
/// fn listen(cx: &mut Cx<'_>, net: &dyn NetImpl) -> Result<(Box<dyn SockGroup>, SockId), NetError> {
///     let mut group = net.group(cx, GroupConfig::new(BufGroup::new(64, 4096)))?;
///     let listener = net.listen(([127, 0, 0, 1], 0).into(), &SockOptions::default())?;
///     let id = group.attach(listener, Token(0))?;
///     Ok((group, id))
/// }
/// ```
pub trait SockGroup {
    /// Takes a socket of the same backend. Its events carry `token`.
    ///
    /// # Errors
    /// [`NetError::GroupFull`], [`NetError::WrongBackend`], or the system's; the socket comes back.
    fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> Result<SockId, Refused<Box<dyn Socket>, NetError>>;

    /// Gives a socket up. Sends that the system had not taken come back as [`NetEvent::Sent`] with
    /// [`NetError::Cancelled`] and how much of them was written; no other event of it follows.
    ///
    /// A connect under way goes on, and its outcome is told where the socket is attached next.
    /// There a peer's end that had been told is told again; a pause, and a
    /// [`shutdown`](Self::shutdown) whose FIN was not out, are forgotten.
    ///
    /// ```
    /// use core_reactor::net::{NetError, SockGroup, SockId, Token};
    ///
    /// /// Gives a connection to another group of this core; one of another core gets it in a message.
    /// fn hand_over(from: &mut dyn SockGroup, id: SockId, to: &mut dyn SockGroup) -> Result<SockId, NetError> {
    ///     Ok(to.attach(from.detach(id)?, Token(0))?)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`NetError::Stale`]; the system's.
    fn detach(&mut self, id: SockId) -> Result<Box<dyn Socket>, NetError>;

    /// Queues a frame behind those queued before. It goes out with the next [`flush`](Self::flush)
    /// or [`poll`](Self::poll), many frames in one gather call; short writes are the group's
    /// affair.
    ///
    /// ```
    /// use core_reactor::net::{Frame, NetError, SockGroup, SockId};
    ///
    /// /// What is left when a peer takes nothing more: it goes out after `NetEvent::Writable`.
    /// fn send(group: &mut dyn SockGroup, id: SockId, frame: Frame) -> Result<Option<Frame>, NetError> {
    ///     match group.send(id, frame) {
    ///         Ok(()) => Ok(None),
    ///         Err(refused) if matches!(refused.why, NetError::SendLimit { .. }) => Ok(Some(refused.item)),
    ///         Err(refused) => Err(refused.why),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`NetError::SendLimit`] when the socket holds [`GroupConfig::send_limit`] bytes or more that
    /// its peer does not take, or [`GroupConfig::send_frames`] frames: [`NetEvent::Writable`] tells
    /// when there is room again; [`NetError::Stale`]; [`NetError::NotConnected`] after
    /// [`shutdown`](Self::shutdown) or before `Connected`. The frame comes back.
    fn send(&mut self, id: SockId, frame: Frame) -> Result<(), Refused<Frame, NetError>>;

    /// Sends a copy of `bytes` as [`send`](Self::send) does, of any length, as far as there is
    /// room: tells how many went. Fewer than all where the socket holds as much as it may: the rest
    /// can go after [`NetEvent::Writable`]. Or where the group has no [`buffer`](Self::buffer):
    /// then no event follows, and the rest can go when another poll has brought some home.
    ///
    /// ```
    /// use core_reactor::net::{NetError, SockGroup, SockId};
    ///
    /// /// To be called again after each poll until nothing is left.
    /// fn go_on(group: &mut dyn SockGroup, id: SockId, rest: &mut Vec<u8>) -> Result<(), NetError> {
    ///     let sent = group.send_bytes(id, rest)?;
    ///     rest.drain(..sent);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`NetError::Stale`]; [`NetError::NotConnected`] after [`shutdown`](Self::shutdown) or before
    /// `Connected`.
    fn send_bytes(&mut self, id: SockId, bytes: &[u8]) -> Result<usize, NetError> {
        let mut sent = 0;
        while sent < bytes.len() {
            let Some(mut buf) = self.buffer() else { break };
            let filled = buf.append(&bytes[sent..]);
            match self.send(id, buf.into()) {
                Ok(()) => sent += filled,
                Err(refused) if matches!(refused.why, NetError::SendLimit { .. }) => break,
                Err(refused) => return Err(refused.why),
            }
        }
        Ok(sent)
    }

    /// Ends the sending side (FIN) when all queued frames are out, or when the connect under way
    /// has succeeded. Receiving goes on. When the peer has ended its side too, `Closed` follows.
    ///
    /// ```
    /// use core_reactor::net::{Frame, NetError, SockGroup, SockId};
    ///
    /// /// The last words: the FIN goes out behind them.
    /// fn end(group: &mut dyn SockGroup, id: SockId, last: Frame) -> Result<(), NetError> {
    ///     group.send(id, last)?;
    ///     group.shutdown(id)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`NetError::Stale`]; [`NetError::NotConnected`] for a listener.
    fn shutdown(&mut self, id: SockId) -> Result<(), NetError>;

    /// Closes a socket of any kind and state. Queued frames come back as cancelled, in order, then
    /// `Closed` without an error.
    ///
    /// What the system had taken still goes out, then FIN. Bytes that had arrived unread are thrown
    /// away, so that they do not turn the end into a reset; to what arrives later the system
    /// answers with one.
    ///
    /// # Errors
    /// [`NetError::Stale`].
    fn close(&mut self, id: SockId) -> Result<(), NetError>;

    /// As [`close`](Self::close), but the peer sees a reset (RST) instead of an orderly end.
    ///
    /// # Errors
    /// [`NetError::Stale`].
    fn abort(&mut self, id: SockId) -> Result<(), NetError>;

    /// Stops reading from a socket: what its peer sends waits in the system, and the peer is held
    /// back. Other sockets go on. The peer's end waits, too, behind what it sent;
    /// [`close`](Self::close) does not. A paused listener takes no connections.
    ///
    /// ```
    /// use core_reactor::net::{NetError, SockGroup, SockId};
    ///
    /// /// Reads from a socket only while less than a megabyte waits to be handled.
    /// fn hold_back(group: &mut dyn SockGroup, id: SockId, waiting: usize) -> Result<(), NetError> {
    ///     if waiting >= 1 << 20 { group.pause(id) } else { group.resume(id) }
    /// }
    /// ```
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

    /// Flushes, then appends what has happened to `out`, as much as `out` has room for; what finds
    /// no room comes with the next poll. Tells how many events were appended. Never blocks.
    fn poll(&mut self, out: &mut Events) -> usize;

    /// An empty buffer of this group's, to fill and send; `None` when all are out.
    ///
    /// ```
    /// use core_reactor::net::{NetError, SockGroup, SockId};
    ///
    /// /// Sends a text that fits a buffer. Whether there was one.
    /// fn say(group: &mut dyn SockGroup, id: SockId, text: &str) -> Result<bool, NetError> {
    ///     let Some(mut buf) = group.buffer() else { return Ok(false) };
    ///     buf.append(text.as_bytes());
    ///     group.send(id, buf.into())?;
    ///     Ok(true)
    /// }
    /// ```
    fn buffer(&mut self) -> Option<Buf>;

    /// A socket's addresses: its own, and the peer's where it has one.
    ///
    /// ```
    /// use core_reactor::net::{NetError, SockGroup, SockId};
    ///
    /// fn describe(group: &dyn SockGroup, id: SockId) -> Result<String, NetError> {
    ///     let (here, peer) = group.addresses(id)?;
    ///     Ok(peer.map_or_else(|| format!("listens at {here}"), |peer| format!("{here} to {peer}")))
    /// }
    /// ```
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

/// Bytes that a group keeps of each socket that it has room for, in one piece.
const PLACE: usize = 64;

/// The size of a group. What it needs for that is allocated when it is made.
///
/// ```
/// use core_reactor::net::GroupConfig;
///
/// let config = GroupConfig::new(pool::BufGroup::new(256, 4096)).sockets(64).stall_limit(None);
/// assert_eq!((config.sockets, config.send_frames), (64, 64));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupConfig {
    /// Sockets it can hold: 1 to [`MOST_SOCKETS`](Self::MOST_SOCKETS). Default 1024.
    pub sockets: usize,
    /// Bytes that a socket may hold queued before sends are refused, at least 1. Default 1 MiB.
    pub send_limit: usize,
    /// Frames that a socket may hold queued before sends are refused, at least 1. Default 64.
    pub send_frames: usize,
    /// Reading from a socket stops while it holds so many bytes queued (or half of `send_frames`),
    /// so that a peer that takes no answers is asked no further questions; nothing is lost. 0
    /// counts as 1. Default 256 KiB, and never more than `send_limit`. `usize::MAX` for a proxy,
    /// whose sockets send what others received. While half of the group's buffers are out or more,
    /// reading stops already while anything is queued or the system has no room for an answer.
    pub hold_reads_at: usize,
    /// When fewer than an eighth of the group's buffers are left, sockets whose peers have taken
    /// nothing of what is queued for so long are reset, the longest first, with
    /// [`NetError::Stalled`]. Default 2 s; `None` for never, as for a client of servers that may be
    /// slow, whose own sends hold its buffers. To end idle readers also while buffers are plenty
    /// there is [`SockOptions::user_timeout`].
    pub stall_limit: Option<Duration>,
    /// Where received bytes go.
    pub bufs: BufGroup,
}

impl GroupConfig {
    setters! {
        sockets: usize,
        send_limit: usize,
        send_frames: usize,
        hold_reads_at: usize,
        stall_limit: Option<Duration>,
    }

    /// The defaults, over these buffers.
    ///
    /// ```
    /// # use core_reactor::net::GroupConfig;
    /// let config = GroupConfig::new(pool::BufGroup::new(16, 4096));
    /// assert_eq!((config.sockets, config.send_limit, config.send_frames), (1024, 1 << 20, 64));
    /// ```
    pub fn new(bufs: BufGroup) -> Self {
        Self {
            sockets: 1024,
            send_limit: 1 << 20,
            send_frames: 64,
            hold_reads_at: 256 << 10,
            stall_limit: Some(Duration::from_secs(2)),
            bufs,
        }
    }

    /// Sockets that the keys of a group can tell apart.
    pub const MOST_SOCKETS: usize = 0xFF_FFFF;

    /// Bytes that a group over the system's sockets takes for each that it has room for, at most,
    /// as long as no more than two frames of each are queued. For a look at the memory there is.
    pub const BYTES_OF_A_SOCKET: usize = 448;

    /// Whether a group like this can work, on whichever backend. For backends, at the start of
    /// [`NetImpl::group`].
    ///
    /// ```
    /// # use core_reactor::net::GroupConfig;
    /// let none = GroupConfig::new(pool::BufGroup::new(16, 4096)).sockets(0);
    /// assert!(none.check().is_err_and(|why| why.to_string().contains("GroupConfig::sockets")));
    /// ```
    ///
    /// # Errors
    /// [`NetError::Option`], with the field and the numbers.
    pub fn check(&self) -> Result<(), NetError> {
        let wrong = |option, why: alloc::string::String| Err(NetError::Option { option, why: why.into() });
        if self.sockets == 0 || self.sockets > Self::MOST_SOCKETS {
            return wrong("GroupConfig::sockets", format!("{} is not between 1 and {}", self.sockets, Self::MOST_SOCKETS));
        }
        for (option, value) in [("GroupConfig::send_limit", self.send_limit), ("GroupConfig::send_frames", self.send_frames)] {
            if value == 0 {
                return wrong(option, "at 0 every send would be refused".into());
            }
        }
        let (own, pool) = (self.bufs.stats(Class::Small).reserve, self.bufs.pool().stats(Class::Small));
        if own == 0 && pool.reserved == pool.count {
            let why = format!(
                "received bytes go into small buffers, of which this share reserves 0 and its pool has {}, {} of them reserved",
                pool.count, pool.reserved
            );
            return wrong("GroupConfig::bufs", why);
        }
        // What the slots alone take. Backends add to it, and allocate in smaller pieces, which end
        // the process where there is no memory.
        let bytes = self.sockets * PLACE;
        if Vec::<u8>::new().try_reserve_exact(bytes).is_err() {
            return wrong("GroupConfig::sockets", format!("no memory for {}, which take {bytes} bytes or more", self.sockets));
        }
        Ok(())
    }
}

/// The application's own name for a socket; comes back in each of its events.
///
/// ```
/// use core_reactor::net::Token;
///
/// let token = Token::from(42);
/// assert_eq!(token, Token(42));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl From<u64> for Token {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

stats! {
    /// What a group has done since it was made.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GroupStats {
        /// Sockets in it now.
        pub sockets: usize => gauge("lcore_poll_group_sockets"),
        /// Polls.
        pub polls: u64 => counter("lcore_poll_group_polls_total"),
        /// Polls that appended at least one event.
        pub busy_polls: u64 => counter("lcore_poll_group_busy_polls_total"),
        /// Events delivered.
        pub events: u64 => counter("lcore_poll_group_events_total"),
        /// Bytes received.
        pub bytes_in: u64 => counter("lcore_poll_group_received_bytes_total"),
        /// Bytes that the system took.
        pub bytes_out: u64 => counter("lcore_poll_group_sent_bytes_total"),
        /// Connections accepted.
        pub accepted: u64 => counter("lcore_poll_group_accepted_total"),
        /// Times that a listener paused for want of descriptors.
        pub accept_pauses: u64 => counter("lcore_poll_group_accept_pauses_total"),
        /// Times that a socket found no buffer to receive into.
        pub buffer_waits: u64 => counter("lcore_poll_group_buffer_waits_total"),
        /// Times that fewer than half of the buffers were left, so that nothing was read from
        /// sockets with something to be sent.
        pub buffers_low: u64 => counter("lcore_poll_group_buffers_low_total"),
        /// Sockets that were reset because buffers had run short and their peers took nothing.
        pub stalled: u64 => counter("lcore_poll_group_stalled_sockets_total"),
        /// Bytes of frames that its sockets hold now and the system has not taken.
        pub unsent: u64 => gauge("lcore_poll_group_unsent_bytes"),
    }
}
