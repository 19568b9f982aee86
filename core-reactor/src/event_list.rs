//! The list that a group is polled into.

use alloc::vec::Vec;
use core::{fmt, slice};

/// Events of one poll, up to a bound, in a list that is used again and again.
///
/// ```
/// use core_reactor::EventList;
///
/// let mut events = EventList::new(2);
/// assert_eq!((events.push("a"), events.push("b"), events.push("c")), (Ok(()), Ok(()), Err("c")));
/// assert!(events.drain().eq(["a", "b"]));
/// assert_eq!(events.room(), 2);
/// ```
pub struct EventList<E> {
    /// Its capacity is the bound, so that one comparison looks for both.
    list: Vec<E>,
}

impl<E> EventList<E> {
    /// A list that takes `room` events at a time (at least 1). Allocates once, here.
    ///
    /// # Panics
    /// If there is no address space for so many; where there is no memory, the allocator ends the
    /// process.
    pub fn new(room: usize) -> Self {
        const { assert!(size_of::<E>() > 0, "a list of nothing has no bound") };
        let mut list = Vec::new();
        list.reserve_exact(room.max(1));
        Self { list }
    }

    /// How many more events fit.
    ///
    /// ```
    /// # use core_reactor::EventList;
    /// let mut events = EventList::new(3);
    /// events.append('a');
    /// assert_eq!(events.room(), 2);
    /// ```
    #[inline]
    pub fn room(&self) -> usize {
        self.list.capacity() - self.list.len()
    }

    /// Appends an event.
    ///
    /// ```
    /// # use core_reactor::EventList;
    /// let mut events = EventList::new(1);
    /// assert_eq!(events.push(1), Ok(()));
    /// assert_eq!(events.push(2), Err(2), "it is full");
    /// ```
    ///
    /// # Errors
    /// The list is full; the event comes back.
    #[inline]
    pub fn push(&mut self, event: E) -> Result<(), E> {
        if self.list.len() == self.list.capacity() {
            return Err(event);
        }
        self.list.push(event);
        Ok(())
    }

    /// Appends an event for which there is room: the caller has looked. One too many is dropped.
    #[inline]
    pub fn append(&mut self, event: E) {
        self.append_with(|| event);
    }

    /// The same, of an event that is made where it lies. One that is handed in is built first and
    /// then copied, all of it, however little of it is used.
    #[inline]
    pub fn append_with(&mut self, make: impl FnOnce() -> E) {
        debug_assert!(self.room() > 0, "the caller looked for room");
        // The same comparison as the caller's, which then is made once.
        if self.room() > 0 {
            self.list.push(make());
        }
    }

    /// Takes the events out, first one first.
    ///
    /// ```
    /// # use core_reactor::EventList;
    /// let mut events = EventList::new(2);
    /// events.append("first");
    /// events.append("second");
    /// // What is not looked at any more is gone too.
    /// assert_eq!(events.drain().next(), Some("first"));
    /// assert!(events.is_empty());
    /// ```
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = E> + '_ {
        self.list.drain(..)
    }

    /// The events that wait to be taken, first one first.
    ///
    /// ```
    /// # use core_reactor::EventList;
    /// let mut events = EventList::new(2);
    /// events.append(5);
    /// assert!(events.iter().eq(&[5]));
    /// assert_eq!(events.len(), 1, "it still waits to be taken");
    /// ```
    #[inline]
    pub fn iter(&self) -> slice::Iter<'_, E> {
        self.list.iter()
    }

    /// How many events wait to be taken.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A list without room, which allocates nothing: for the place of one that is taken out while its
/// events are handled.
///
/// ```
/// use core_reactor::EventList;
///
/// struct Service {
///     events: EventList<u32>,
///     sum: u32,
/// }
///
/// impl Service {
///     fn handle_all(&mut self) {
///         let mut events = core::mem::take(&mut self.events);
///         events.drain().for_each(|event| self.handle(event));
///         self.events = events;
///     }
///
///     fn handle(&mut self, event: u32) {
///         self.sum += event;
///     }
/// }
///
/// let mut service = Service { events: EventList::new(8), sum: 0 };
/// service.events.append(5);
/// service.handle_all();
/// assert_eq!((service.sum, service.events.room(), EventList::<u32>::default().room()), (5, 8, 0));
/// ```
impl<E> Default for EventList<E> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<'a, E> IntoIterator for &'a EventList<E> {
    type Item = &'a E;
    type IntoIter = slice::Iter<'a, E>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<E: fmt::Debug> fmt::Debug for EventList<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_as_many_as_it_was_made_for_each_time() {
        let mut list = EventList::new(3);
        for _ in 0..2 {
            assert_eq!((list.room(), list.len(), list.is_empty()), (3, 0, true));
            assert_eq!((list.push(1), list.room()), (Ok(()), 2));
            list.append(2);
            assert_eq!((list.push(3), list.push(4)), (Ok(()), Err(4)));
            assert_eq!((list.room(), list.len(), list.is_empty()), (0, 3, false));
            assert!(list.drain().eq([1, 2, 3]));
        }
        assert_eq!((EventList::<u8>::new(0).room(), EventList::default().push(1)), (1, Err(1)));
    }

    /// In a build for tests it says so.
    #[test]
    #[should_panic(expected = "the caller looked for room")]
    fn one_too_many_is_dropped() {
        let mut list = EventList::new(1);
        list.append(1);
        list.append(2);
    }
}
