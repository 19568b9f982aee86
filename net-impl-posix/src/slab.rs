//! The places of a group's sockets, and the keys to them.
//!
//! A place is split in two: [`Hot`], one cache line that an echo touches, and the socket itself, which is looked at when it comes and goes. A key names
//! its place and the generation of its socket, so one comparison tells whether it is still meant.

use std::os::fd::RawFd;

use core_reactor::net::{SockId, Token};

use crate::frames::Queue;
use crate::socket::PosixSocket;

/// What each echo needs of a socket.
#[repr(align(64))]
pub(crate) struct Hot {
    /// The key of the socket here; of an empty place one that [`Slab::find`] never looks for.
    pub(crate) id: SockId,
    pub(crate) token: Token,
    pub(crate) fd: RawFd,
    pub(crate) flags: u32,
    /// Frames to be sent.
    pub(crate) queue: Queue,
    /// Frames in the queue, and those sent whose event has not been taken.
    pub(crate) frames: u32,
    /// Bytes of the queue's first frame that the system has.
    pub(crate) written: usize,
    /// Bytes in the queue that the system has not.
    pub(crate) queued: usize,
    /// Of the next socket here.
    generation: u32,
}

const _: () = assert!(size_of::<Hot>() == 64);

/// The bits of [`Hot::flags`].
pub(crate) mod flag {
    /// What the socket is: one of three, or none in an empty place.
    pub(crate) const STREAM: u32 = 1;
    pub(crate) const LISTENER: u32 = 1 << 1;
    pub(crate) const CONNECTING: u32 = 1 << 2;
    /// Reading, accepting or connecting may find something.
    pub(crate) const READABLE: u32 = 1 << 3;
    /// A short read does not mean that all was read: an end, an error or urgent data was announced.
    pub(crate) const DRAIN: u32 = 1 << 4;
    /// The system announced an error or the end of both directions.
    pub(crate) const ENDED: u32 = 1 << 5;
    /// The application does not want to read.
    pub(crate) const PAUSED: u32 = 1 << 6;
    /// The system had no room for more: the next EPOLLOUT goes on.
    pub(crate) const BLOCKED: u32 = 1 << 7;
    /// The peer's FIN was delivered.
    pub(crate) const READ_EOF: u32 = 1 << 8;
    /// FIN goes out behind the queue.
    pub(crate) const FIN_WANTED: u32 = 1 << 9;
    /// FIN is out.
    pub(crate) const FIN_SENT: u32 = 1 << 10;
    /// A send failed; what had been received comes first, then `Closed`.
    pub(crate) const FAILED: u32 = 1 << 11;
    /// Acknowledgements are to be sent at once, which the system must be told again after each read.
    pub(crate) const QUICK_ACK: u32 = 1 << 12;
    /// Not read, because it holds too much that its peer does not take.
    pub(crate) const HELD: u32 = 1 << 13;

    /// In the list of sockets to serve. The list flags belong to the place and outlive its socket, so that a place is in each list once
    /// and the lists never grow; what is found in a list is judged by its other flags.
    pub(crate) const IN_READY: u32 = 1 << 16;
    /// In the list of sockets with frames to write.
    pub(crate) const IN_DIRTY: u32 = 1 << 17;
    /// In the list of sockets that wait for a buffer.
    pub(crate) const IN_STARVED: u32 = 1 << 18;
    /// In the list of listeners that wait for a descriptor.
    pub(crate) const IN_NO_FD: u32 = 1 << 19;
    /// All of these.
    pub(crate) const LISTS: u32 = IN_READY | IN_DIRTY | IN_STARVED | IN_NO_FD;

    /// A frame may be queued if only this is set of it and [`CANNOT_SEND`].
    pub(crate) const CANNOT_SEND: u32 = FIN_WANTED | FIN_SENT | FAILED;
}

impl Hot {
    pub(crate) fn is(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    /// Sets a list flag; false if it was set.
    pub(crate) fn enlist(&mut self, list: u32) -> bool {
        let new = self.flags & list == 0;
        self.flags |= list;
        new
    }
}

/// The places of one group.
pub(crate) struct Slab {
    hot: Box<[Hot]>,
    cold: Box<[Option<Box<PosixSocket>>]>,
    /// Empty places; the one used last is taken first, while it is in the cache.
    free: Vec<u32>,
    tag: u16,
}

impl Slab {
    /// A slab of at most this many places keeps the last index for keys that name nothing.
    pub(crate) const LIMIT: usize = 0xFF_FFFF;

    /// A key that names nothing.
    const NOTHING: u64 = u64::MAX;

    pub(crate) fn new(places: usize, tag: u16) -> Self {
        let empty = || Hot {
            id: SockId::from_raw(Self::NOTHING),
            token: Token::default(),
            fd: -1,
            flags: 0,
            queue: Queue::default(),
            frames: 0,
            written: 0,
            queued: 0,
            generation: 1,
        };
        Self {
            hot: (0..places).map(|_| empty()).collect(),
            cold: (0..places).map(|_| None).collect(),
            free: (0..places as u32).rev().collect(),
            tag,
        }
    }

    /// Sockets in it.
    pub(crate) fn len(&self) -> usize {
        self.hot.len() - self.free.len()
    }

    /// Places in it.
    pub(crate) fn places(&self) -> usize {
        self.hot.len()
    }

    /// The place of a key whose socket is still here.
    #[inline]
    pub(crate) fn find(&self, id: SockId) -> Option<usize> {
        self.hot.get(id.index()).filter(|hot| hot.id == id).map(|_| id.index())
    }

    #[inline]
    pub(crate) fn hot(&mut self, place: usize) -> &mut Hot {
        &mut self.hot[place]
    }

    /// The socket of a place that is not empty.
    pub(crate) fn socket(&self, place: usize) -> Option<&PosixSocket> {
        self.cold[place].as_deref()
    }

    pub(crate) fn socket_mut(&mut self, place: usize) -> Option<&mut PosixSocket> {
        self.cold[place].as_deref_mut()
    }

    /// Puts a socket into an empty place, with the flags that say what it is.
    pub(crate) fn put(&mut self, socket: Box<PosixSocket>, token: Token, flags: u32) -> Result<usize, Box<PosixSocket>> {
        let Some(place) = self.free.pop() else { return Err(socket) };
        let place = place as usize;
        let hot = &mut self.hot[place];
        hot.id = SockId::new(place as u32, hot.generation, self.tag);
        hot.token = token;
        hot.fd = socket.fd();
        hot.flags = hot.flags & flag::LISTS | flags;
        hot.written = 0;
        hot.queued = 0;
        hot.frames = 0;
        self.cold[place] = Some(socket);
        Ok(place)
    }

    /// Takes the socket out of its place: its keys are stale from here on.
    pub(crate) fn take(&mut self, place: usize) -> Option<Box<PosixSocket>> {
        let socket = self.cold[place].take()?;
        let hot = &mut self.hot[place];
        hot.id = SockId::from_raw(Self::NOTHING);
        hot.flags &= flag::LISTS;
        hot.fd = -1;
        hot.generation = hot.generation.wrapping_add(1);
        self.free.push(place as u32);
        Some(socket)
    }

    /// All sockets, out of their places.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Box<PosixSocket>> + '_ {
        self.cold.iter_mut().filter_map(Option::take)
    }
}
