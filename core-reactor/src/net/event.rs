//! What goes through a group: [`Frame`]s out, [`NetEvent`]s back, the [`Events`] list that carries
//! them.

use alloc::boxed::Box;
use core::{fmt, slice};

use pool::Buf;

use super::{NetError, NetImpl, SockGroup, SockId, Socket, Token};
use crate::EventList;

/// Buffers that go out together, in order: header, payload, digest.
///
/// ```
/// use core_reactor::net::Frame;
///
/// let bufs = pool::BufGroup::new(2, 16);
/// let (mut head, mut body) = (bufs.get().ok_or("all are out")?, bufs.get().ok_or("all are out")?);
/// head.append(b"4:");
/// body.append(b"body");
/// let frame = Frame::from([head, body]).tagged(7);
/// assert_eq!((frame.bytes(), frame.parts().len()), (6, 2));
/// for mut buf in frame {
///     buf.clear();
/// }
/// # Ok::<(), &str>(())
/// ```
///
/// More than [`PARTS`](Self::PARTS) make no frame:
///
/// ```compile_fail,E0277
/// # fn parts() -> [pool::Buf; 5] { unimplemented!() }
/// core_reactor::net::Frame::from(parts());
/// ```
#[derive(Debug, Default)]
pub struct Frame {
    parts: heapless::Vec<Buf, { Frame::PARTS }>,
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
    /// ```
    /// use core_reactor::net::Frame;
    ///
    /// let bufs = pool::BufGroup::new(5, 16);
    /// let mut frame = Frame::new();
    /// for part in 0..Frame::PARTS {
    ///     assert!(frame.push(bufs.get().ok_or("all are out")?).is_ok(), "part {part}");
    /// }
    /// assert!(frame.push(bufs.get().ok_or("all are out")?).is_err(), "a frame is full");
    /// # Ok::<(), &str>(())
    /// ```
    ///
    /// # Errors
    /// The frame is full; the buffer comes back.
    #[inline]
    pub fn push(&mut self, buf: Buf) -> Result<(), Buf> {
        self.parts.push(buf)
    }

    /// Asks for a [`NetEvent::Sent`] when the frame is out. Without it only frames that were *not*
    /// sent come back.
    ///
    /// ```
    /// use core_reactor::net::{Events, Frame, NetEvent, SockGroup, SockId};
    ///
    /// /// Sends something and hears when it is with the system.
    /// fn send(group: &mut dyn SockGroup, id: SockId, frame: Frame, events: &mut Events) {
    ///     if group.send(id, frame.tagged(7)).is_ok() {
    ///         group.poll(events);
    ///         let out = |event: &NetEvent| matches!(event, NetEvent::Sent { frame, error: None, .. } if frame.tag() == Some(7));
    ///         println!("sent already: {}", events.iter().any(out));
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    /// The tag, if it has one.
    ///
    /// ```
    /// # use core_reactor::net::Frame;
    /// assert_eq!((Frame::new().tag(), Frame::new().tagged(0).tag()), (None, Some(0)));
    /// ```
    #[inline]
    pub fn tag(&self) -> Option<u32> {
        self.tag
    }

    /// The buffers.
    #[inline]
    pub fn parts(&self) -> &[Buf] {
        &self.parts
    }

    /// The buffers, to be filled.
    ///
    /// ```
    /// # use core_reactor::net::Frame;
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// let mut frame = Frame::from(bufs.get().ok_or("all are out")?);
    /// frame.parts_mut()[0].append(b"late");
    /// assert_eq!(&frame.parts()[0][..], b"late");
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn parts_mut(&mut self) -> &mut [Buf] {
        &mut self.parts
    }

    /// Bytes in all buffers.
    ///
    /// ```
    /// # use core_reactor::net::Frame;
    /// # let bufs = pool::BufGroup::new(2, 16);
    /// # let [mut head, mut body] = [bufs.get().ok_or("all are out")?, bufs.get().ok_or("all are out")?];
    /// head.append(b"HTTP");
    /// body.append(b"/1.1");
    /// assert_eq!(Frame::from([head, body]).bytes(), 8);
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn bytes(&self) -> usize {
        match &*self.parts {
            [one] => one.len(),
            parts => parts.iter().map(|b| b.len()).sum(),
        }
    }

    /// The only buffer of a frame without a tag.
    ///
    /// ```
    /// # use core_reactor::net::Frame;
    /// # let bufs = pool::BufGroup::new(2, 16);
    /// let mut frame = Frame::from(bufs.get().ok_or("all are out")?);
    /// assert!(frame.single().is_some());
    /// assert!(frame.push(bufs.get().ok_or("all are out")?).is_ok());
    /// assert!(frame.single().is_none(), "there are two");
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn single(&self) -> Option<&Buf> {
        match &*self.parts {
            [one] if self.tag.is_none() => Some(one),
            _ => None,
        }
    }

    /// The same, itself. Any other frame comes back.
    ///
    /// ```
    /// # use core_reactor::net::Frame;
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// let frame = Frame::from(bufs.get().ok_or("all are out")?);
    /// assert!(frame.tagged(1).into_single().is_err(), "who gets it back wants the tag too");
    /// # Ok::<(), &str>(())
    /// ```
    ///
    /// # Errors
    /// The frame, if it has a tag, or not exactly one buffer.
    #[inline]
    pub fn into_single(mut self) -> Result<Buf, Self> {
        if self.tag.is_none()
            && self.parts.len() == 1
            && let Some(buf) = self.parts.pop()
        {
            return Ok(buf);
        }
        Err(self)
    }
}

/// The buffers of a frame, first one first.
#[derive(Debug)]
pub struct FrameBufs(<heapless::Vec<Buf, { Frame::PARTS }> as IntoIterator>::IntoIter);

impl Iterator for FrameBufs {
    type Item = Buf;

    #[inline]
    fn next(&mut self) -> Option<Buf> {
        self.0.next()
    }
}

impl IntoIterator for Frame {
    type Item = Buf;
    type IntoIter = FrameBufs;

    #[inline]
    fn into_iter(self) -> FrameBufs {
        FrameBufs(self.parts.into_iter())
    }
}

impl<'a> IntoIterator for &'a Frame {
    type Item = &'a Buf;
    type IntoIter = slice::Iter<'a, Buf>;

    #[inline]
    fn into_iter(self) -> slice::Iter<'a, Buf> {
        self.parts.iter()
    }
}

impl<'a> IntoIterator for &'a mut Frame {
    type Item = &'a mut Buf;
    type IntoIter = slice::IterMut<'a, Buf>;

    #[inline]
    fn into_iter(self) -> slice::IterMut<'a, Buf> {
        self.parts.iter_mut()
    }
}

/// A frame of as many buffers as fit, so that there is nothing to go wrong.
macro_rules! from_arrays {
    ($($count:literal)*) => {$(
        impl From<[Buf; $count]> for Frame {
            #[inline]
            fn from(bufs: [Buf; $count]) -> Self {
                const { assert!($count <= Self::PARTS) };
                Self { parts: bufs.into_iter().collect(), tag: None }
            }
        }
    )*};
}

from_arrays!(1 2 3 4);

impl From<Buf> for Frame {
    #[inline]
    fn from(buf: Buf) -> Self {
        let mut frame = Self::new();
        // A new frame has room for its first buffer.
        let _ = frame.push(buf);
        frame
    }
}

/// What happened to a socket. `Closed` is the last event of every socket that was not detached, and
/// comes exactly once.
///
/// ```
/// use core_reactor::net::{Events, NetEvent, SockGroup, Token};
///
/// /// One turn of an echo server.
/// fn serve(group: &mut dyn SockGroup, events: &mut Events) {
///     group.poll(events);
///     for event in events.drain() {
///         match event {
///             NetEvent::Accepted { socket, .. } => drop(group.attach(socket, Token(0))),
///             NetEvent::Received { id, buf, .. } => drop(group.send(id, buf.into())),
///             NetEvent::PeerClosed { id, .. } => drop(group.shutdown(id)),
///             _ => {}
///         }
///     }
/// }
/// ```
#[derive(Debug)]
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
    /// After a send was refused with [`NetError::SendLimit`]: half of what the socket may hold is
    /// free again, so a send is taken. Told once for all that was refused before, and not at all
    /// when the sending side has ended meanwhile.
    Writable {
        /// The socket.
        id: SockId,
        /// Its token.
        token: Token,
    },
    /// The peer will send no more (FIN); all that it sent has been delivered. Told once, whether
    /// this side has ended or not. Sending may go on;
    /// [`SockGroup::shutdown`](super::SockGroup::shutdown) ends it.
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
        /// `None` after an orderly end or [`SockGroup::close`](super::SockGroup::close).
        why: Option<NetError>,
    },
}

/// Events of one poll, up to a bound, in a list that is used again and again.
pub type Events = EventList<NetEvent>;

impl NetEvent {
    /// The socket that it is about.
    ///
    /// ```
    /// use core_reactor::net::{Events, SockMap};
    ///
    /// /// How many events each socket had.
    /// fn count(events: &mut Events, counts: &mut SockMap<u64>) {
    ///     for event in events.drain() {
    ///         if let Some(count) = counts.get_mut(event.id()) {
    ///             *count += 1;
    ///         }
    ///     }
    /// }
    /// ```
    pub fn id(&self) -> SockId {
        self.socket().0
    }

    /// The token of that socket.
    pub fn token(&self) -> Token {
        self.socket().1
    }

    fn socket(&self) -> (SockId, Token) {
        match self {
            Self::Accepted { id, token, .. }
            | Self::Connected { id, token }
            | Self::Received { id, token, .. }
            | Self::Sent { id, token, .. }
            | Self::Writable { id, token }
            | Self::PeerClosed { id, token }
            | Self::Closed { id, token, .. } => (*id, *token),
        }
    }
}

impl fmt::Debug for dyn NetImpl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NetImpl").field(&self.name()).finish()
    }
}

impl fmt::Debug for dyn SockGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SockGroup").field(&self.stats()).finish()
    }
}

impl fmt::Debug for dyn Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("backend", &self.backend()).field("peer", &self.peer_addr()).finish_non_exhaustive()
    }
}
