//! Queue pairs, as every transport offers them; the slice in which transports register themselves.
//!
//! A [`Transport`] carries messages between two ends, and lets each end read and write memory that
//! the other has exposed: RDMA verbs, or a framing over sockets that does the same. A [`Queue`]
//! (one end of a connection: RDMA's queue pair with its connection id) that is in no group can do
//! no I/O and may cross cores; [`QueueGroup::attach`] gives it to a group, which lives on one core
//! and owns it from then on (in RDMA's terms: one completion queue and one shared receive queue for
//! each device). The group is polled into [`QueueEvents`], and the events are handled after the
//! poll has returned. The counterparts in SPDK are `spdk_nvmf_transport_ops` and the transports'
//! poll groups; the shape is that of [`net`](crate::net).
//!
//! ```text
//!             attach                      the peer accepts
//!  connect() ────────► Connecting ─────────────────────────► Open ── disconnect(), the peer's end, an error ──┐
//!  Requested ────────► Accepting ── the connection stands ────►                                              ▼
//!      │                   └───────── refused, timed out ───────────► Ending: Done.., Withdrawn.., Closed (exactly once, last)
//!      └─ reject() or dropped: the peer hears of it
//! ```
//!
//! # What comes back
//!
//! Each [`send`](QueueGroup::send), [`read`](QueueGroup::read) and [`write`](QueueGroup::write)
//! that was not refused comes back as exactly one [`QueueEvent::Done`] with its frame, for each
//! queue in the order in which they were posted. Each exposed buffer comes back as exactly one
//! [`QueueEvent::Withdrawn`]. When `Closed` is delivered, all of them have been: every buffer is
//! the application's again, or home.
//!
//! `Done` without an error means that the peer's side has it: a message lies in one of its receive
//! buffers, written bytes are in place, read bytes are here. The operation that fails says why;
//! those behind it come back as [`TransportError::Flushed`], whether the peer saw them or not; then
//! `Closed` says why again.
//!
//! # In which order
//!
//! The peer receives messages in the order of their posting, each whole and once. Bytes of a
//! `write` are in place before the peer receives any message that was posted behind it. A `read`
//! sees what the same queue wrote before it; whether it sees what is posted behind it is not said.
//! Between two queues there is no order. `Established` comes before anything that is received.
//!
//! # Room
//!
//! Nothing is posted beyond a depth: it is refused as [`TransportError::QueueFull`], the frame
//! comes back, and a later `Done` makes room. A place is free again when its `Done` has been
//! *delivered*, so a completion queue cannot overflow.
//!
//! A message that finds no receive buffer at the peer waits there ("receiver not ready"), with all
//! that was posted behind it on the same queue; nothing is lost, and the queues around it go on.
//! Nor may it hold up the answers that its own peer waits for: two ends that both wait for buffers
//! must still see their `Done`s, or neither gets a buffer back. (RDMA acknowledges apart from the
//! receive queue. A framing over one stream must see to it, with credits for instance.) How often a
//! message is tried is the receiving end's option, [`QueueOptions::rnr_retry`].
//!
//! A transport cannot know how long a message the peer's buffers take; protocols negotiate that. A
//! longer one ends the connection: [`TransportError::RemoteInvalid`] for the sender,
//! [`TransportError::Overrun`] for the receiver.
//!
//! # Remote memory
//!
//! [`QueueGroup::expose`] lets the peer of one queue reach a buffer's filled part, and nothing
//! around it, until `Withdrawn`. A `read` or `write` is checked at the peer before its first byte
//! moves: the key must be one that is exposed (to this queue; with RDMA a transport may only be
//! able to say: to this protection domain), the access allowed, and the whole range inside.
//! Otherwise the operation's `Done` says [`TransportError::RemoteAccess`] and the connection ends,
//! on both sides: the requester's `Closed` says [`TransportError::RemoteAccess`], the other's says
//! [`TransportError::AccessViolation`], or nothing where the transport does not tell. No byte
//! outside the exposed range is read or written. Operations of zero bytes reach nothing and are not
//! checked.
//!
//! # The end
//!
//! There is no half-close. [`QueueGroup::disconnect`] flushes what is posted and tells the peer,
//! whose queue ends likewise; both get `Closed` without an error. What was `Done` before is
//! received by the peer before its `Closed`. A queue cannot leave its group: what a device does for
//! it is bound to the group's queues.
//!
//! A peer whose group is dropped or whose process dies: `Closed`, with [`TransportError::PeerGone`]
//! where the transport can tell it from an orderly end. A peer whose machine vanishes is noticed
//! when something is posted and not answered ([`TransportError::TimedOut`]).

#![forbid(unsafe_code)]

mod error;
mod event;

mod memory;
mod options;
mod registry;
mod slab;

pub use crate::keys::{ExposedKey, QueueId};
pub use crate::net::{Frame, Text, Token};
pub use error::TransportError;
pub use event::{Op, QueueEvent, QueueEvents};
pub use memory::{Access, RemoteMemory};
pub use options::{QueueGroupConfig, QueueGroupInfo, QueueGroupStats, QueueGroupView, QueueLimits, QueueOptions, Wait};
pub use registry::{SelectError, Selected, Why, linked, select, select_from};
pub use slab::Slab;

use alloc::boxed::Box;
use core::any::Any;
use core::net::SocketAddr;

use linkme::distributed_slice;
use pool::Buf;

use crate::{Cx, Refused, WaitSource};

/// Where [`register!`] puts the transports.
#[doc(hidden)]
#[distributed_slice]
pub static LCORE_TRANSPORTS: [&'static dyn Transport];

/// Registers a transport at link time, as [`net::register!`](crate::net::register) does a network
/// backend: `transport::register!(MyTransport)`, or with a name
/// `transport::register!(pub static RDMA = Rdma::new())`. The counterpart of
/// `SPDK_NVMF_TRANSPORT_REGISTER`.
#[doc(inline)]
pub use crate::__register_transport as register;

#[doc(hidden)]
#[macro_export]
macro_rules! __register_transport {
    ($($registration:tt)*) => {
        $crate::__register!([$crate::transport::LCORE_TRANSPORTS] [&'static dyn $crate::transport::Transport] $($registration)*);
    };
}

/// The most bytes of private data that go with a request to connect, on every transport (RDMA's
/// connection manager: 92 less its own 36).
pub const REQUEST_DATA: usize = 56;

/// The most bytes of private data that go with an acceptance, on every transport (InfiniBand REP).
pub const ACCEPT_DATA: usize = 196;

/// The most bytes of private data that go with a rejection, on every transport (InfiniBand REJ).
pub const REJECT_DATA: usize = 148;

/// A transport: the link-time plug-in.
pub trait Transport: Sync {
    /// Its name, as `-N` takes it. Unique among the linked ones.
    fn name(&self) -> &'static str;

    /// The highest priority that probes well is the default; among equals the first name.
    fn priority(&self) -> u8;

    /// Whether it can work here, found out by doing.
    ///
    /// # Errors
    /// Why not, such as [`TransportError::Unusable`] without a device or its library. Any error
    /// means: not usable here.
    fn probe(&self) -> Result<(), TransportError>;

    /// A listener at `at`; port 0 takes a free one (see [`Listener::local_addr`]). Requests wait
    /// from now on, up to [`QueueOptions::backlog`]; give it to a group to see them
    /// ([`QueueGroup::listen`]). The queues that are requested here have `options`.
    ///
    /// # Errors
    /// The address is in use, not of this machine or not allowed; an option is beyond the device or
    /// cannot be honoured.
    fn listen(&self, at: SocketAddr, options: &QueueOptions) -> Result<Box<dyn Listener>, TransportError>;

    /// A queue that connects to `to` when it is attached to a group. Never blocks.
    ///
    /// # Errors
    /// An option is beyond the device or cannot be honoured. Where the device is known only on the
    /// way, and for all else that happens there: [`QueueEvent::Closed`].
    fn connect(&self, to: SocketAddr, options: &QueueOptions) -> Result<Box<dyn Queue>, TransportError>;

    /// A group on the core and thread of `cx`: it pins the thread, keeps it from ending while the
    /// group lives, and with [`Wait::Events`] wakes its core.
    ///
    /// # Errors
    /// The system refuses, or `config` asks for what the transport cannot give.
    fn group(&self, cx: &mut Cx<'_>, config: QueueGroupConfig) -> Result<Box<dyn QueueGroup>, TransportError>;
}

/// A listener in no group. It may cross cores. Dropped, it is gone, and requests that wait are
/// rejected.
pub trait Listener: Any + Send {
    /// Its address; the port is the real one also where 0 was asked for.
    fn local_addr(&self) -> SocketAddr;

    /// The name of its transport.
    fn transport(&self) -> &'static str;
}

/// A queue in no group: one that is to connect, or one that was requested and has not been
/// answered. It may cross cores and can do no I/O. Dropped, a requested queue is rejected without
/// private data. Being [`Any`], it can be taken apart by its own transport's group.
pub trait Queue: Any + Send {
    /// Where it connects to, or who asks.
    fn peer_addr(&self) -> SocketAddr;

    /// What the peer sent with its request; of a queue that is to connect, nothing. A transport may
    /// pad it with zeros up to [`REQUEST_DATA`].
    fn private_data(&self) -> &[u8];

    /// Answers a request with no; the peer's queue ends with [`TransportError::Rejected`]. A queue
    /// that is to connect is merely dropped.
    ///
    /// # Errors
    /// [`TransportError::Limit`]: more than [`REJECT_DATA`] bytes; the queue comes back.
    fn reject(self: Box<Self>, private_data: &[u8]) -> Result<(), Refused<Box<dyn Queue>, TransportError>>;

    /// The name of its transport.
    fn transport(&self) -> &'static str;
}

/// The queues of one core, and their I/O.
///
/// Dropping a group ends its queues and listeners; what is in flight is cancelled and drained
/// first, and every buffer goes home.
pub trait QueueGroup {
    /// Takes a queue of the same transport: a requested one is accepted, another begins to connect.
    /// `private_data` goes with the acceptance or the request: up to [`ACCEPT_DATA`] or
    /// [`REQUEST_DATA`] bytes. Its events carry `token`; the first is [`QueueEvent::Established`],
    /// or `Closed` if nothing came of it.
    ///
    /// # Errors
    /// The queue comes back:
    /// [`TransportError::GroupFull`]; [`TransportError::Limit`]: too much private data, or the
    /// depth of this queue and those of the others together are more than
    /// [`QueueGroupConfig::operations`]; [`TransportError::WrongTransport`]; the system's.
    fn attach(
        &mut self,
        queue: Box<dyn Queue>,
        token: Token,
        private_data: &[u8],
    ) -> Result<QueueId, Refused<Box<dyn Queue>, TransportError>>;

    /// Takes a listener: its requests arrive as [`QueueEvent::Requested`], with `token`, until
    /// [`disconnect`](Self::disconnect).
    ///
    /// # Errors
    /// [`TransportError::GroupFull`], [`TransportError::WrongTransport`], the system's; the
    /// listener comes back.
    fn listen(&mut self, listener: Box<dyn Listener>, token: Token) -> Result<QueueId, Refused<Box<dyn Listener>, TransportError>>;

    /// Posts a message: the filled parts of the frame's buffers, one after the other, with or
    /// without 32 bits beside it. The peer gets it as one [`QueueEvent::Received`]. A message may
    /// be empty. Comes back as `Done` with `tag` (a tag of the frame's own plays no part).
    ///
    /// # Errors
    /// [`TransportError::QueueFull`]; [`TransportError::Limit`]: more buffers or bytes than
    /// [`limits`](Self::limits) allows; [`TransportError::ForeignBuffer`];
    /// [`TransportError::NotConnected`] before `Established` and after `disconnect`;
    /// [`TransportError::Stale`]. The frame comes back.
    fn send(&mut self, id: QueueId, frame: Frame, imm: Option<u32>, tag: u64) -> Result<(), Refused<Frame, TransportError>>;

    /// Reads all of `from`, which the peer has exposed, into the spare room behind the filled parts
    /// of the frame's buffers: the first is filled up, then the next. `Done` brings the frame with
    /// the bytes counted as filled; with an error they are not, and the spare room holds anything.
    ///
    /// # Errors
    /// As [`send`](Self::send); `Limit` also when the spare room is less than `from`. Beyond
    /// [`QueueLimits::reads`]: `QueueFull`. The frame comes back.
    fn read(&mut self, id: QueueId, into: Frame, from: RemoteMemory, tag: u64) -> Result<(), Refused<Frame, TransportError>>;

    /// Writes the filled parts of the frame's buffers to the beginning of `to`, which the peer has
    /// exposed. With `imm` the peer gets a [`QueueEvent::Written`] when the bytes are in place,
    /// which takes one of its receive buffers meanwhile, as a message does; without, it hears
    /// nothing.
    ///
    /// # Errors
    /// As [`send`](Self::send); `Limit` also when the frame is longer than `to`. The frame comes
    /// back.
    fn write(
        &mut self,
        id: QueueId,
        frame: Frame,
        to: RemoteMemory,
        imm: Option<u32>,
        tag: u64,
    ) -> Result<(), Refused<Frame, TransportError>>;

    /// Lets the peer of `id` reach the filled part of `buf`. What to do so with, the peer must be
    /// told in a message; one that is posted after this call may rely on it. A buffer that the peer
    /// is to write to is first filled with anything ([`Buf::grow`]): where the written part ends is
    /// the protocol's to say.
    ///
    /// # Errors
    /// [`TransportError::QueueFull`] beyond [`QueueGroupConfig::exposures`]; `Limit`: `buf` has no
    /// filled part; [`TransportError::ForeignBuffer`]; [`TransportError::LockedMemory`];
    /// `NotConnected`; `Stale`. The buffer comes back.
    fn expose(&mut self, id: QueueId, buf: Buf, access: Access) -> Result<(RemoteMemory, ExposedKey), Refused<Buf, TransportError>>;

    /// Ends an exposure. What the peer is doing with the buffer at this moment is let finish or
    /// fails; then the buffer comes back as [`QueueEvent::Withdrawn`], and the peer cannot reach it
    /// any more. Exposures left at the end of a queue come back the same way.
    ///
    /// # Errors
    /// [`TransportError::Stale`]: it came back already.
    fn withdraw(&mut self, key: ExposedKey) -> Result<(), TransportError>;

    /// Ends a queue in any state, or a listener. What was posted comes back, flushed where it was
    /// not done; then `Closed` without an error, unless the queue was ending for one already. A
    /// second call does nothing. A listener's requests that were not delivered yet are rejected.
    ///
    /// # Errors
    /// [`TransportError::Stale`]: its `Closed` was delivered.
    fn disconnect(&mut self, id: QueueId) -> Result<(), TransportError>;

    /// Hands what was posted to the device, or writes it.
    fn flush(&mut self);

    /// Flushes, then appends what has happened to `out`, as much as it has room for; what finds no
    /// room comes with the next poll. Tells how many events were appended. Never blocks. With
    /// [`Wait::Events`], a poll that finds nothing arms the source and looks once more, so that
    /// after an answer of 0 the core may sleep on [`wait_source`](Self::wait_source) and misses
    /// nothing (statement 30).
    fn poll(&mut self, out: &mut QueueEvents) -> usize;

    /// An empty buffer of this group's, to fill and send; `None` when all are out.
    fn buffer(&mut self) -> Option<Buf>;

    /// The addresses of a queue, its own and its peer's, or of a listener, which has no peer.
    ///
    /// # Errors
    /// [`TransportError::Stale`]; `NotConnected` while the own one is not known.
    fn addresses(&self, id: QueueId) -> Result<(SocketAddr, Option<SocketAddr>), TransportError>;

    /// What a queue can do: known from `Established` on.
    ///
    /// # Errors
    /// [`TransportError::Stale`]; `NotConnected` before, and of a listener.
    fn limits(&self, id: QueueId) -> Result<QueueLimits, TransportError>;

    /// What the group has done.
    fn stats(&self) -> QueueGroupStats;

    /// What becomes ready when a poll would find something: there is one with [`Wait::Events`], and
    /// none with [`Wait::Polled`]. The group has had its core watch it already. It may be ready for
    /// nothing, and is never unready for something.
    fn wait_source(&self) -> Option<WaitSource>;
}

// Which of these may cross cores.
static_assertions::assert_impl_all!(dyn Queue: Send);
static_assertions::assert_impl_all!(dyn Listener: Send);
static_assertions::assert_not_impl_any!(dyn QueueGroup: Send, Sync);
static_assertions::assert_not_impl_any!(QueueEvent: Send, Sync);
