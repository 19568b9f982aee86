//! The list that a group is polled into.

use alloc::vec::Vec;

/// Events of one poll, up to a bound, in a list that is used again and again.
pub struct EventList<E> {
    list: Vec<E>,
    room: usize,
}

impl<E> EventList<E> {
    /// A list that takes `room` events at a time (at least 1). Allocates once, here.
    pub fn new(room: usize) -> Self {
        let room = room.max(1);
        Self { list: Vec::with_capacity(room), room }
    }

    /// How many more events fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.room - self.list.len()
    }

    /// Appends an event.
    ///
    /// # Errors
    /// The list is full; the event comes back.
    #[inline]
    pub fn push(&mut self, event: E) -> Result<(), E> {
        if self.list.len() == self.room {
            return Err(event);
        }
        self.list.push(event);
        Ok(())
    }

    /// Takes the events out, first one first.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = E> + '_ {
        self.list.drain(..)
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
