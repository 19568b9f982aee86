//! What an application knows of each socket of a group.

use alloc::vec::Vec;
use core::fmt;

use super::SockId;

/// Something of each socket of one group, by the socket's key: what was read of a request, where
/// its bytes go, when it times out. A stale key finds nothing, also when another socket has its
/// slot.
///
/// It has as many slots as the group has had sockets at a time, and allocates nothing while those
/// do.
///
/// ```
/// use core_reactor::net::{SockId, SockMap};
///
/// // Keys come from a group; these two had the same slot in it, one after the other.
/// let (gone, here) = (SockId::new(3, 1, 0), SockId::new(3, 2, 0));
/// let mut names = SockMap::new();
/// names.insert(gone, "Ann");
/// assert_eq!(names.remove(gone), Some("Ann"));
/// names.insert(here, "Bob");
/// assert_eq!((names.get(gone), names.get(here), names.len()), (None, Some(&"Bob"), 1));
/// for (id, name) in names.iter_mut() {
///     assert_eq!((id, *name), (here, "Bob"));
///     *name = "Eve";
/// }
/// ```
pub struct SockMap<T> {
    slots: Vec<Option<(SockId, T)>>,
    len: usize,
}

impl<T> SockMap<T> {
    /// Of no socket yet.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), len: 0 }
    }

    /// Puts something to a socket. What was there comes back, be it an older socket's.
    ///
    /// ```
    /// # use core_reactor::net::{SockId, SockMap};
    /// let id = SockId::new(0, 0, 0);
    /// let mut asked = SockMap::new();
    /// assert_eq!(asked.insert(id, "one"), None);
    /// assert_eq!(asked.insert(id, "another"), Some("one"));
    /// ```
    pub fn insert(&mut self, id: SockId, value: T) -> Option<T> {
        if id.index() >= self.slots.len() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        let before = self.slots[id.index()].replace((id, value));
        self.len += usize::from(before.is_none());
        before.map(|(_, value)| value)
    }

    /// What there is of a socket.
    ///
    /// ```
    /// # use core_reactor::net::{SockId, SockMap};
    /// let mut lengths = SockMap::new();
    /// lengths.insert(SockId::new(5, 0, 0), 512);
    /// assert_eq!(lengths.get(SockId::new(5, 0, 0)), Some(&512));
    /// assert_eq!(lengths.get(SockId::new(5, 1, 0)), None, "a later socket in that slot");
    /// ```
    #[inline]
    pub fn get(&self, id: SockId) -> Option<&T> {
        let (there, value) = self.slots.get(id.index())?.as_ref()?;
        (*there == id).then_some(value)
    }

    /// The same, to be changed.
    ///
    /// ```
    /// # use core_reactor::net::{SockId, SockMap};
    /// # let id = SockId::new(0, 0, 0);
    /// let mut received = SockMap::new();
    /// received.insert(id, 0);
    /// if let Some(bytes) = received.get_mut(id) {
    ///     *bytes += 100;
    /// }
    /// assert_eq!(received.get(id), Some(&100));
    /// ```
    #[inline]
    pub fn get_mut(&mut self, id: SockId) -> Option<&mut T> {
        let (there, value) = self.slots.get_mut(id.index())?.as_mut()?;
        (*there == id).then_some(value)
    }

    /// Takes it out.
    ///
    /// ```
    /// # use core_reactor::net::{SockId, SockMap};
    /// # let id = SockId::new(0, 0, 0);
    /// let mut open = SockMap::new();
    /// open.insert(id, ());
    /// assert_eq!((open.remove(id), open.remove(id)), (Some(()), None));
    /// assert!(open.is_empty());
    /// ```
    pub fn remove(&mut self, id: SockId) -> Option<T> {
        let (_, value) = self.slots.get_mut(id.index())?.take_if(|(there, _)| *there == id)?;
        self.len -= 1;
        Some(value)
    }

    /// The key of the socket in this slot of the group ([`SockId::index`]), if that socket has
    /// something: for [`Deadlines`](crate::Deadlines), whose slots can be the same.
    ///
    /// ```
    /// # use core_reactor::net::{SockId, SockMap};
    /// let id = SockId::new(7, 2, 0);
    /// let mut map = SockMap::new();
    /// map.insert(id, "since when");
    /// // A deadline of slot 7 has passed: whose is it?
    /// assert_eq!(map.key_at(7), Some(id));
    /// ```
    pub fn key_at(&self, index: usize) -> Option<SockId> {
        self.slots.get(index)?.as_ref().map(|(id, _)| *id)
    }

    /// All sockets that have something, with it.
    ///
    /// ```
    /// # use core_reactor::net::{SockId, SockMap};
    /// let mut bytes = SockMap::new();
    /// bytes.insert(SockId::new(0, 0, 0), 10);
    /// bytes.insert(SockId::new(4, 0, 0), 32);
    /// assert_eq!(bytes.iter().map(|(_, bytes)| bytes).sum::<i32>(), 42);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (SockId, &T)> {
        self.slots.iter().flatten().map(|(id, value)| (*id, value))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SockId, &mut T)> {
        self.slots.iter_mut().flatten().map(|(id, value)| (*id, value))
    }

    /// How many sockets have something.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T> Default for SockMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for SockMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s420_a_stale_key_finds_nothing_and_removes_nothing() {
        let (old, new, other) = (SockId::new(2, 1, 9), SockId::new(2, 2, 9), SockId::new(0, 1, 9));
        let mut map = SockMap::default();
        assert_eq!((map.get(old).copied(), map.remove(old), map.len()), (None, None, 0));
        assert_eq!((map.insert(old, 1), map.insert(other, 5), map.len()), (None, None, 2));
        assert_eq!(map.insert(old, 2), Some(1), "the same socket's");
        assert_eq!((map.insert(new, 3), map.len()), (Some(2), 2), "an older socket's");
        assert_eq!((map.get(old).copied(), map.get_mut(old).copied(), map.remove(old)), (None, None, None));
        assert!(map.iter().eq([(other, &5), (new, &3)]));
        assert_eq!([0, 1, 2, 3].map(|index| map.key_at(index)), [Some(other), None, Some(new), None]);
        assert_eq!((map.remove(new), map.remove(new), map.len(), map.is_empty()), (Some(3), None, 1, false));
        assert_eq!((map.remove(other), map.is_empty()), (Some(5), true));
    }
}
