//! The places of a group's sockets, and the keys to them.
//!
//! A place is split in two: [`SlotState`], one cache line that an echo touches, and the socket
//! itself, which is looked at when it comes and goes. A key names its place and the generation of
//! its socket, so one comparison tells whether it is still meant.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use core_reactor::net::{GroupConfig, SockId, Token};

use crate::frames::Queue;

/// What each echo needs of a socket.
#[derive(Debug)]
#[repr(align(64))]
pub struct SlotState {
    /// The key of the socket here; of an empty place one that [`Slab::find`] never looks for.
    pub id: SockId,
    /// The application's name for it.
    pub token: Token,
    /// Its descriptor, or whatever number its backend knows it by; -1 in an empty place.
    pub fd: i32,
    /// What is so of it now: [`LISTS`], and bits of the backend's.
    pub flags: u32,
    /// Frames to be sent.
    pub queue: Queue,
    /// Frames in the queue, and those sent whose event has not been taken.
    pub frames: u32,
    /// Bytes of the queue's first frame that the system has.
    pub written: usize,
    /// Bytes in the queue that the system has not.
    pub queued: usize,
    /// Of the socket here, or of the next one; up to [`GENERATIONS`].
    generation: u32,
}

/// Sockets that a place can have, one after the other, with keys of their own. The next one gets
/// another place.
const GENERATIONS: u32 = 0xFF_FFFF;

const _: () = assert!(size_of::<SlotState>() == 64);

/// The bits of [`SlotState::flags`] that say in which lists of its group a place is. They belong to
/// the place and outlive its socket, so that a place is in each list once and the lists never grow;
/// what is found in a list is judged by its other flags. The other bits are the backend's, but for
/// the next two.
pub const LISTS: u32 = 0xFF00_0000;

/// A send was refused, which the application hears the end of
/// ([`NetEvent::Writable`](core_reactor::net::NetEvent::Writable)).
pub const REFUSED: u32 = 1 << 23;

/// When stalled sockets were last looked for this one was, and nothing of its queue has been taken
/// since ([`Supply`](crate::Supply)).
pub const STALLED: u32 = 1 << 22;

impl SlotState {
    fn empty() -> Self {
        Self {
            id: SockId::from_raw(NOTHING),
            token: Token::default(),
            fd: -1,
            flags: 0,
            queue: Queue::default(),
            frames: 0,
            written: 0,
            queued: 0,
            generation: 1,
        }
    }

    /// Which of the sockets that had this place.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// let mut slab = Slab::new(1, 7);
    /// let mut generations = Vec::new();
    /// for socket in ["first", "second"] {
    ///     let place = slab.put(Box::new(socket), 5, Token(0), 0)?;
    ///     generations.push(slab.state_mut(place).generation());
    ///     slab.take(place);
    /// }
    /// assert_eq!(generations, [1, 2]);
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether any of `flags` is set.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// # let mut slab = Slab::new(1, 7);
    /// const LISTENER: u32 = 1;
    /// const PAUSED: u32 = 2;
    /// let place = slab.put(Box::new("socket"), 5, Token(0), LISTENER)?;
    /// let state = slab.state_mut(place);
    /// assert!(state.is(LISTENER | PAUSED) && !state.is(PAUSED));
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn is(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    /// Sets a list flag; false if it was set.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// # let mut slab = Slab::new(1, 7);
    /// const DIRTY: u32 = 1 << 24; // of `LISTS`
    /// let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// let mut dirty = Vec::new();
    /// for _ in 0..2 {
    ///     if slab.state_mut(place).enlist(DIRTY) {
    ///         dirty.push(place);
    ///     }
    /// }
    /// assert_eq!(dirty, [place], "once");
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn enlist(&mut self, list: u32) -> bool {
        let new = self.flags & list == 0;
        self.flags |= list;
        new
    }
}

/// A slab of at most this many places keeps the last index for keys that name nothing.
pub const LIMIT: usize = GroupConfig::MOST_SOCKETS;

/// The places of one group.
///
/// ```
/// use core_reactor::net::Token;
/// use net_group::Slab;
///
/// let mut slab = Slab::new(1, 7);
/// let place = slab.put(Box::new("socket"), 5, Token(42), 0)?;
/// let id = slab.state_mut(place).id;
/// assert_eq!(slab.find(id), Some(place));
/// assert_eq!(slab.take(place).as_deref(), Some(&"socket"));
/// // The next socket has the same place and another key.
/// assert_eq!(slab.put(Box::new("next"), 6, Token(43), 0), Ok(place));
/// assert_eq!(slab.find(id), None);
/// # Ok::<(), Box<&str>>(())
/// ```
pub struct Slab<S> {
    state: Vec<SlotState>,
    cold: Vec<Option<Box<S>>>,
    /// Empty places; the one used last is taken first, while it is in the cache.
    free: Vec<u32>,
    /// Places whose generations are used up. For each there is another, so that a group never holds
    /// fewer sockets for them: a busy one loses a place in half an hour.
    used_up: usize,
    tag: u16,
}

/// A key that names nothing.
const NOTHING: u64 = u64::MAX;

impl<S> fmt::Debug for Slab<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("sockets", &self.sockets()).field("places", &self.state.len()).finish_non_exhaustive()
    }
}

impl<S> Slab<S> {
    /// Empty places; `tag` is the group's part of their keys.
    pub fn new(places: usize, tag: u16) -> Self {
        Self {
            state: (0..places).map(|_| SlotState::empty()).collect(),
            cold: (0..places).map(|_| None).collect(),
            free: (0..places as u32).rev().collect(),
            used_up: 0,
            tag,
        }
    }

    /// Sockets in it.
    pub fn sockets(&self) -> usize {
        self.state.len() - self.free.len() - self.used_up
    }

    /// Sockets that it holds at most.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// let mut slab = Slab::new(2, 7);
    /// slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// assert_eq!((slab.sockets(), slab.room()), (1, 2));
    /// # Ok::<(), Box<&str>>(())
    /// ```
    pub fn room(&self) -> usize {
        self.state.len() - self.used_up
    }

    /// Bytes that its sockets hold to be sent: a walk over all places, for reports.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// # use net_group::Frames;
    /// let (mut slab, mut frames) = (Slab::new(2, 7), Frames::new(2));
    /// let bufs = pool::BufGroup::new(1, 64);
    /// let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// let mut buf = bufs.get().expect("one");
    /// buf.append(b"hello");
    /// frames.push(slab.state_mut(place), buf.into());
    /// assert_eq!(slab.queued(), 5);
    /// # Ok::<(), Box<&str>>(())
    /// ```
    pub fn queued(&self) -> u64 {
        self.state.iter().filter(|state| state.fd >= 0).map(|state| state.queued as u64).sum()
    }

    /// Places in it, those that are used up included.
    pub fn places(&self) -> usize {
        self.state.len()
    }

    /// The place of a key whose socket is still here.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// # use core_reactor::net::SockId;
    /// let mut slab = Slab::new(1, 7);
    /// let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// let id = slab.state_mut(place).id;
    /// assert_eq!((slab.find(id), slab.find(SockId::from_raw(!0))), (Some(place), None));
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn find(&self, id: SockId) -> Option<usize> {
        self.state.get(id.index()).filter(|state| state.id == id).map(|_| id.index())
    }

    /// What an echo needs of the place of a key whose socket is still here.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// let mut slab = Slab::new(1, 7);
    /// let place = slab.put(Box::new("socket"), 5, Token(42), 0)?;
    /// let id = slab.state_mut(place).id;
    /// assert_eq!(slab.find_state_mut(id).map(|state| state.token), Some(Token(42)));
    /// slab.retire(place);
    /// assert!(slab.find_state_mut(id).is_none());
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn find_state_mut(&mut self, id: SockId) -> Option<&mut SlotState> {
        self.state.get_mut(id.index()).filter(|state| state.id == id)
    }

    /// The same of the `generation`th socket of a place, while it is there, whether its keys are
    /// stale or not.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// let mut slab = Slab::new(1, 7);
    /// let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// slab.retire(place); // closed, while the system has still an answer for it
    /// assert!(slab.state_mut_of(place, 1).is_some());
    /// slab.take(place);
    /// assert!(slab.state_mut_of(place, 1).is_none());
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn state_mut_of(&mut self, place: usize, generation: u32) -> Option<&mut SlotState> {
        self.state.get_mut(place).filter(|state| state.generation == generation && state.fd >= 0)
    }

    /// What an echo needs of a place.
    #[inline]
    pub fn state_mut(&mut self, place: usize) -> &mut SlotState {
        &mut self.state[place]
    }

    /// The same, to be looked at.
    pub(crate) fn state(&self, place: usize) -> &SlotState {
        &self.state[place]
    }

    /// The socket of a place that is not empty.
    pub fn socket(&self, place: usize) -> Option<&S> {
        self.cold[place].as_deref()
    }

    /// The socket of a place that is not empty.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// let mut slab = Slab::new(1, 7);
    /// let place = slab.put(Box::new(1), 5, Token(0), 0).expect("there is room");
    /// *slab.socket_mut(place).expect("it is there") += 1;
    /// assert_eq!(slab.socket(place), Some(&2));
    /// ```
    pub fn socket_mut(&mut self, place: usize) -> Option<&mut S> {
        self.cold[place].as_deref_mut()
    }

    /// Puts a socket into an empty place, with the flags that say what it is.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// let mut slab = Slab::new(1, 7);
    /// assert_eq!(slab.put(Box::new("first"), 5, Token(0), 0), Ok(0));
    /// assert_eq!(slab.put(Box::new("second"), 6, Token(1), 0), Err(Box::new("second")), "it is full");
    /// ```
    pub fn put(&mut self, socket: Box<S>, fd: i32, token: Token, flags: u32) -> Result<usize, Box<S>> {
        let Some(place) = self.free.pop() else { return Err(socket) };
        let place = place as usize;
        let state = &mut self.state[place];
        state.id = SockId::new(place as u32, state.generation, self.tag);
        state.token = token;
        state.fd = fd;
        state.flags = state.flags & LISTS | flags;
        state.written = 0;
        state.queued = 0;
        state.frames = 0;
        self.cold[place] = Some(socket);
        Ok(place)
    }

    /// Makes the keys of a place's socket stale, which stays there for the time being.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// let mut slab = Slab::new(1, 7);
    /// let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// let id = slab.state_mut(place).id;
    /// slab.retire(place);
    /// assert_eq!((slab.find(id), slab.socket(place)), (None, Some(&"socket")));
    /// # Ok::<(), Box<&str>>(())
    /// ```
    pub fn retire(&mut self, place: usize) {
        let state = &mut self.state[place];
        state.id = SockId::from_raw(NOTHING);
        state.flags &= !(REFUSED | STALLED);
    }

    /// Takes the socket out of its place: its keys are stale from here on.
    pub fn take(&mut self, place: usize) -> Option<Box<S>> {
        let socket = self.cold[place].take()?;
        let state = &mut self.state[place];
        state.id = SockId::from_raw(NOTHING);
        state.flags &= LISTS;
        state.fd = -1;
        if state.generation < GENERATIONS {
            state.generation += 1;
            self.free.push(place as u32);
        } else {
            self.replace();
        }
        Some(socket)
    }

    /// A new place for one that is used up, as long as keys can name it: for 2^48 sockets.
    #[cold]
    fn replace(&mut self) {
        self.used_up += 1;
        if self.state.len() < LIMIT {
            self.free.push(self.state.len() as u32);
            self.state.push(SlotState::empty());
            self.cold.push(None);
        }
    }

    /// All sockets, out of their places.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::Slab;
    /// let mut slab = Slab::new(2, 7);
    /// for socket in ["first", "second"] {
    ///     slab.put(Box::new(socket), 5, Token(0), 0)?;
    /// }
    /// assert_eq!(slab.drain().count(), 2);
    /// # Ok::<(), Box<&str>>(())
    /// ```
    pub fn drain(&mut self) -> impl Iterator<Item = Box<S>> + '_ {
        self.cold.iter_mut().filter_map(Option::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<S> Slab<S> {
        /// Leaves a place so many generations.
        fn leave(&mut self, place: usize, generations: u32) {
            self.state[place].generation = GENERATIONS + 1 - generations;
        }
    }

    fn put(slab: &mut Slab<u32>, socket: u32) -> Option<SockId> {
        let place = slab.put(Box::new(socket), 5, Token(0), 0).ok()?;
        Some(slab.state_mut(place).id)
    }

    #[test]
    fn a_place_whose_generations_are_used_up_makes_way_for_another() {
        let mut slab = Slab::new(2, 7);
        slab.leave(0, 3);
        let stays = put(&mut slab, 100).expect("there is room");
        slab.take(0).expect("it is there");
        let mut keys = Vec::from([stays]);
        for n in 0..6 {
            let key = put(&mut slab, n).expect("there is room");
            let place = slab.find(key).expect("it is there");
            assert_eq!(slab.socket(place), Some(&n));
            assert_eq!(slab.state_mut_of(key.index(), key.generation()).map(|state| state.id), Some(key));
            assert!(keys.iter().all(|stale| slab.find(*stale).is_none() && slab.find_state_mut(*stale).is_none()));
            assert!(keys.iter().all(|stale| slab.state_mut_of(stale.index(), stale.generation()).is_none()));
            assert_eq!(slab.take(place).as_deref(), Some(&n));
            keys.push(key);
        }
        assert_eq!(keys.iter().map(|key| key.index()).collect::<Vec<_>>(), [0, 0, 0, 2, 2, 2, 2]);
        assert_eq!((slab.sockets(), slab.room(), slab.places()), (0, 2, 3));
        let full = [put(&mut slab, 1), put(&mut slab, 2), put(&mut slab, 3)];
        assert!(full[0].is_some() && full[1].is_some() && full[2].is_none(), "as many sockets as before");
        assert_eq!(slab.sockets(), 2);
    }

    #[test]
    fn a_key_of_the_last_place_and_generation_does_not_name_nothing() {
        let last = SockId::new(LIMIT as u32 - 1, GENERATIONS, u16::MAX);
        assert_ne!(last, SockId::from_raw(NOTHING));
    }
}
