//! What a backend is to the engine: [`Backend`], and the words that the two speak.
//!
//! The engine asks, and the backend answers at once or tells later, when it is asked what has
//! happened ([`Backend::next`]). It never calls the engine, so it can be written and read alone.
//! Two kinds fit:
//!
//! - *Readiness* (epoll, a stack that is polled, memory): `next` tells which sockets are [`Ready`],
//!   and the engine calls [`recv`](Backend::recv), [`accept`](Backend::accept) or
//!   [`connect`](Backend::connect) for them when it is their turn.
//! - *Completion* (io_uring): bytes arrive by themselves, and `next` tells them as
//!   [`Happened::Bytes`]; sends are [`Sending::Pending`] and come back as [`Happened::Sent`]; a
//!   socket that is released may be [`Released::Later`].

use alloc::boxed::Box;

use core_reactor::net::{NetError, SockId, Socket};
use core_reactor::{Refused, WaitSource};
use pool::{Buf, BufGroup};

use crate::Frames;
use crate::frames::Queue;

/// What a kind of sockets can do, slot by slot; [`Group`](crate::Group) makes a
/// [`SockGroup`](core_reactor::net::SockGroup) of it.
///
/// Promised by the engine: a slot is used from [`open`](Self::open) until it is released, and its
/// index is less than [`GroupConfig::sockets`], or a little more in a group that is very old
/// ([`PerSlot`](crate::PerSlot) grows with it). No call is made from within another.
///
/// [`GroupConfig::sockets`]: core_reactor::net::GroupConfig::sockets
pub trait Backend: Sized + 'static {
    /// What crosses cores.
    type Socket: Socket;

    /// Its name, as [`NetImpl::name`](core_reactor::net::NetImpl::name) tells it.
    const NAME: &'static str;

    // ---- A socket comes, and goes.

    /// Takes a socket. From now on `next` may tell of it. Reading is wanted, until
    /// [`want`](Self::want) says otherwise.
    ///
    /// # Errors
    /// The socket comes back, as it was.
    fn open(&mut self, slot: Slot, socket: Box<Self::Socket>) -> Result<Opened, Refused<Box<Self::Socket>, NetError>>;

    /// Gives a socket up: see [`Release`]. What it answers is the last thing about this slot,
    /// unless that is [`Released::Later`].
    fn release(&mut self, slot: Slot, how: Release) -> Released<Self::Socket>;

    /// The socket of a slot, whose addresses and options are asked for.
    fn socket(&self, slot: Slot) -> Option<&Self::Socket>;

    // ---- Reading: asked when `next` has told that the slot is ready, and again until the answer
    // is that there is nothing.

    /// Bytes, into a buffer of `bufs`; never blocks. After [`Recv::Eof`] and [`Recv::Failed`] it is
    /// not asked again.
    fn recv(&mut self, slot: Slot, bufs: &mut Bufs<'_>) -> Recv;

    /// A connection out of a listener.
    fn accept(&mut self, slot: Slot) -> Accept<Self::Socket>;

    /// Begins a connect, when a [`Kind::Connect`] is attached: the answer is that it is under way,
    /// or has failed. After that, tells how far it is, when `next` has told that the slot is ready.
    fn connect(&mut self, slot: Slot) -> Connecting;

    // ---- Writing.

    /// Bytes to go out, behind all that went before. Not asked again after [`Sending::Blocked`] or
    /// [`Sending::Pending`] until `next` has told [`Ready::WRITE`] or
    /// [`Happened::Sent`].
    fn send(&mut self, slot: Slot, out: Outgoing<'_>) -> Sending;

    /// Ends the sending side: all that was to be sent is the system's. An error is told by reading.
    fn fin(&mut self, slot: Slot);

    // ---- What has happened.

    /// Something that has happened, each thing once: `None` when there is nothing more now. The
    /// engine asks until then, in every poll. With a `room` of 0 no
    /// [`Happened::Bytes`] is told: it keeps until the next poll.
    fn next(&mut self, room: usize) -> Option<Happened<Self::Socket>>;

    /// A poll begins: the system is asked, once, what has happened.
    fn poll(&mut self) {}

    /// What was asked for is on its way from here on, whether another poll follows or not. After
    /// [`flush`](core_reactor::net::SockGroup::flush), and after a poll that found nothing, so that
    /// the core may sleep.
    fn flush(&mut self) {}

    // ---- What not every backend needs.

    /// Starts or stops receiving, or accepting: told when it changes. For who is told of bytes
    /// without asking for them, or can spare itself some work; what is told all the same keeps in
    /// the system, or comes back by [`keep`](Self::keep).
    fn want(&mut self, _: Slot, _reading: bool) {}

    /// Bytes that were told as [`Happened::Bytes`] and are not wanted now: `recv` hands them out
    /// again, first ones first and without a buffer of its `bufs`, and they travel with the socket.
    fn keep(&mut self, _: Slot, _: Buf) {
        debug_assert!(false, "who tells of bytes must keep them");
    }

    /// What the connection has ended of, if it has not ended in good order. Asked behind all that
    /// it brought: after [`Ready::OVER`] behind the end of the stream, or after
    /// [`Sending::Failed`].
    fn error(&mut self, _: Slot) -> Option<NetError> {
        None
    }

    /// Whether the system would take an answer now; if not, [`Ready::WRITE`] tells when it would.
    /// Asked while buffers are low.
    fn has_room(&mut self, _: Slot) -> bool {
        true
    }

    /// Bytes were handed out of a slot that has asked for it ([`Opened::acknowledge`]).
    fn acknowledge(&mut self, _: Slot) {}

    /// Buffers have become low, or are no longer: of each socket one buffer at a time is to be
    /// taken.
    fn set_low(&mut self, _low: bool) {}

    /// Empty buffers that the system has, to receive into: they count as free.
    fn lying(&self) -> usize {
        0
    }

    /// An empty buffer out of [`lying`](Self::lying), when the pool has no other: for the
    /// application, or for who has waited longest.
    fn retract(&mut self) -> Option<Buf> {
        None
    }

    /// Has [`Happened::Time`] told in about 10 ms, also if the core sleeps by then. `false` if it
    /// cannot: then the engine keeps its core awake.
    fn wake_later(&mut self) -> bool {
        false
    }

    /// The same after `millis`, at least 1, where nothing is to be tried before. Of two times that
    /// are on their way the earlier one is told; the engine asks again for what is still to come.
    fn wake_for_look(&mut self, _millis: u32) -> bool {
        self.wake_later()
    }

    /// Whether more waits on a connection than the smallest read takes, as far as that is known: of
    /// those that wait for a buffer who asks little goes between those that send much.
    fn has_much(&mut self, _: Slot) -> bool {
        false
    }

    /// There were no descriptors to accept with. Told once, until connections have been taken
    /// again; for the log.
    fn out_of_descriptors(&mut self, _: Slot) {}

    /// As [`SockGroup::wait_source`](core_reactor::net::SockGroup::wait_source).
    fn wait_source(&self) -> Option<WaitSource> {
        None
    }

    // ---- For who answers `Released::Later`.

    /// Urges the system to give back what was released, without waiting, outside of a poll. Whether
    /// anything came of it, which [`next_quiet`](Self::next_quiet) tells.
    fn urge(&mut self) -> bool {
        false
    }

    /// As [`next`](Self::next), but only what the application is not told of, and that before what
    /// came earlier: `Sent`, `SendFailed` and `Released`.
    fn next_quiet(&mut self) -> Option<Happened<Self::Socket>> {
        None
    }

    /// The socket of a slot whose [`Release::Detach`] takes too long: another handle to it. The
    /// slot stays released until `next` tells so.
    ///
    /// # Errors
    /// It cannot be had. Then it is closed when the system gives it back.
    fn detach_now(&mut self, _: Slot) -> Result<Box<Self::Socket>, NetError> {
        Err(NetError::Unusable("the system does not give the socket back".into()))
    }

    /// The group ends, and what was released does not come back: whatever can be done about it.
    /// What does not come back after that is leaked by the engine, as far as it has it.
    fn abandon(&mut self) {}
}

/// A socket in a group: small, and handed along instead of looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    id: SockId,
    number: i32,
}

impl Slot {
    #[inline]
    pub(crate) fn new(id: SockId, number: i32) -> Self {
        Self { id, number }
    }

    /// Which slot of the group: where a backend keeps what it knows of it.
    #[inline]
    pub fn index(self) -> usize {
        self.id.index()
    }

    /// Its name in what [`Backend::next`] tells. A name that is stale is no fault there: the engine
    /// takes no notice of it.
    #[inline]
    pub fn id(self) -> SockId {
        self.id
    }

    /// The number that the backend gave it, such as a descriptor.
    #[inline]
    pub fn number(self) -> i32 {
        self.number
    }
}

/// A socket as it comes into a group.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// What it is.
    pub kind: Kind,
    /// At least 0, such as a descriptor. It comes along in every [`Slot`].
    pub number: i32,
    /// [`Backend::acknowledge`] is to be called for it.
    pub acknowledge: bool,
}

/// What a socket is when it comes into a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It takes connections.
    Listener,
    /// It is to be connected.
    Connect,
    /// A connect that has begun in another group. The socket is ready once it is decided, and stays
    /// one of this kind until [`Backend::connect`] has answered: nobody else was told.
    Connecting,
    /// A connection.
    Stream,
    /// A connection whose sending side has ended, in another group.
    Finished,
    /// A connection on which a send has failed, in another group.
    Broken,
}

/// How a socket is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The application closes it: what the system has still goes out, then FIN. What has arrived
    /// unread is thrown away, so that it does not turn the end into a reset.
    Close,
    /// The peer is to see a reset.
    Abort,
    /// It has ended, in good order or by an error.
    Over,
    /// It is given to the application, to be used elsewhere: its [`Released::Now`] is wanted.
    Detach,
}

/// What became of a socket that was given up.
#[derive(Debug)]
pub enum Released<S> {
    /// Here it is, and nothing of it is with the system. Dropped, it is closed.
    Now(Box<S>),
    /// The system holds something of it, such as bytes of a [`Sending::Pending`]:
    /// [`Happened::Released`] follows.
    Later,
    /// It stays in the group: an answer to [`Release::Detach`] only.
    Stays(NetError),
}

/// What came of a try to receive.
#[derive(Debug)]
pub enum Recv {
    /// At least one byte, and whether there may be more: if not, the next [`Ready::READ`] tells of
    /// more.
    Bytes(Buf, bool),
    /// Nothing now, and no end; `Ready` tells when there is.
    Empty,
    /// There are bytes, and [`Bufs::take`] had no buffer. The socket waits for one behind others,
    /// so this is not for one that has none, or whose end can be told without a buffer.
    NoBuffer,
    /// The peer's end, behind all bytes.
    Eof,
    /// The end of the connection, behind all bytes.
    Failed(NetError),
}

/// What came of a try to accept.
#[derive(Debug)]
pub enum Accept<S> {
    /// A connection.
    Taken(Box<S>),
    /// Nothing now; `Ready` tells when there is.
    Empty,
    /// One that was gone before it was taken; there may be more.
    Gone,
    /// There are no descriptors. The engine asks again when there may be.
    NoDescriptor,
    /// The listener cannot go on.
    Failed(NetError),
}

/// How far a connect is.
#[derive(Debug)]
pub enum Connecting {
    /// On its way, with this number from now on. `Ready` tells when there is news.
    UnderWay(i32),
    /// There is a connection, and the application is told.
    Connected,
    /// To no address.
    Failed(NetError),
}

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// The system has taken so many, and may take more.
    Taken(usize),
    /// The system has taken so many, which may be 0, and no more now: [`Ready::WRITE`] tells when
    /// it does.
    Blocked(usize),
    /// The system has the bytes where they lie, until [`Happened::Sent`] or [`Happened::Released`].
    /// Until then the engine keeps them there.
    Pending,
    /// The connection is gone. It is read until [`Recv::Empty`] or its end; then [`Backend::error`]
    /// is asked why.
    Failed,
}

/// Bytes to be sent.
#[derive(Debug)]
pub enum Outgoing<'a> {
    /// In one piece: all that is queued.
    One(&'a [u8]),
    /// In several.
    Many(Parts<'a>),
}

/// The pieces of a queue that are to be sent, from the first byte that the system has not.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    frames: &'a Frames,
    queue: &'a Queue,
    skip: usize,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(frames: &'a Frames, queue: &'a Queue, skip: usize) -> Self {
        Self { frames, queue, skip }
    }

    /// The pieces in order; none is empty, and there is at least one.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut skip = self.skip;
        self.frames.parts(self.queue).filter_map(move |part| {
            let gone = skip.min(part.len());
            skip -= gone;
            Some(&part[gone..]).filter(|rest| !rest.is_empty())
        })
    }
}

impl<'a> Outgoing<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::One(bytes) => bytes.is_empty(),
            Self::Many(parts) => parts.iter().next().is_none(),
        }
    }

    /// The pieces in order; none is empty, and there is at least one.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let (one, many) = match self {
            Self::One(bytes) => (Some(bytes), None),
            Self::Many(parts) => (None, Some(parts)),
        };
        one.into_iter().chain(many.into_iter().flat_map(Parts::iter))
    }
}

/// Something that has happened.
#[derive(Debug)]
pub enum Happened<S> {
    /// A slot may be read from, accepted from, connected or written to.
    Ready(SockId, Ready),
    /// Bytes have arrived: at least one.
    Bytes(SockId, Buf),
    /// What became of a [`Sending::Pending`]: so many bytes are the system's.
    Sent(SockId, usize),
    /// The same: the connection is gone, as after [`Sending::Failed`].
    SendFailed(SockId),
    /// The system has given back what it held of a slot that was [`Released::Later`].
    Released(SockId, Box<S>),
    /// The time of [`Backend::wake_later`] has come.
    Time,
}

/// What a slot is ready for: the bits of epoll, so that one who has those need not translate. Any
/// bit beside those named means that something is special, so that a short read does not say that
/// there is nothing more: it is read on until [`Recv::Empty`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(pub u32);

impl Ready {
    /// Nothing yet.
    pub const NOTHING: Self = Self(0);
    /// There is something to be received, accepted, or known of a connect.
    pub const READ: Self = Self(1);
    /// There is room to send.
    pub const WRITE: Self = Self(1 << 2);
    /// The connection is over, both ways: broken, or ended by this side too. A peer that has closed
    /// in good order is none yet, since this side may still end. Behind the end of the stream that
    /// is all that remains to be told, and [`Backend::error`] knows why.
    pub const OVER: Self = Self(1 << 3 | 1 << 4);

    /// Both.
    ///
    /// ```
    /// use net_group::Ready;
    ///
    /// assert_eq!(Ready::READ.and(Ready::WRITE).0, Ready::READ.0 | Ready::WRITE.0);
    /// ```
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has any of these bits.
    #[inline]
    pub(crate) fn is(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    /// Whether it can be read, and nothing else matters of it.
    #[inline]
    pub(crate) fn is_plain_read(self) -> bool {
        self.0 & !Self::WRITE.0 == Self::READ.0
    }

    /// Whether a short read says that there is nothing more.
    pub(crate) fn is_special(self) -> bool {
        self.0 & !(Self::READ.0 | Self::WRITE.0) != 0
    }
}

/// Where the buffers come from that are received into.
#[derive(Debug)]
pub struct Bufs<'a> {
    /// None while others wait for a buffer, who come first.
    group: Option<&'a BufGroup>,
    first: Option<Buf>,
    most: usize,
}

impl<'a> Bufs<'a> {
    #[inline]
    pub(crate) fn new(group: Option<&'a BufGroup>, first: Option<Buf>, most: usize) -> Self {
        Self { group, first, most }
    }

    /// An empty buffer. Dropped, it is free again.
    #[inline]
    pub fn take(&mut self) -> Option<Buf> {
        self.first.take().or_else(|| self.group?.get())
    }

    /// Whether others wait for a buffer, so that only who has waited for one gets one. Until they
    /// do not, a backend keeps none for whoever comes.
    pub fn others_wait(&self) -> bool {
        self.group.is_none()
    }

    /// How many bytes are to be received at once into a buffer with so much room.
    #[inline]
    pub fn at_once(&self, room: usize) -> usize {
        room.min(self.most)
    }

    /// What is left of the buffer that was waited for.
    pub(crate) fn into_first(self) -> Option<Buf> {
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_read_is_one_of_which_nothing_else_is_told() {
        for (bits, plain, special) in [(1, true, false), (5, true, false), (0, false, false), (4, false, false)]
            .into_iter()
            .chain([9, 17, 25, 8, 1 << 13, 1 | 1 << 13].map(|bits| (bits, false, true)))
        {
            assert_eq!((Ready(bits).is_plain_read(), Ready(bits).is_special()), (plain, special), "{bits}");
        }
    }

    /// Where what was kept was handed out it is for what follows.
    #[test]
    fn a_buffer_that_was_waited_for_and_not_taken_is_left() {
        let group = BufGroup::new(1, 8);
        let mut bufs = Bufs::new(None, group.get(), usize::MAX);
        let taken = bufs.take();
        assert!(taken.is_some() && bufs.take().is_none());
        assert!(Bufs::new(None, taken, usize::MAX).into_first().is_some());
    }
}
