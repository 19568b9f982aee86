//! A table of what a backend knows of each slot.

use alloc::vec::Vec;
use core::fmt;

/// Something of each slot that has it. It grows with the group's slots, and allocates nothing while
/// they stay as many.
pub struct PerSlot<T> {
    slots: Vec<Option<T>>,
}

impl<T> fmt::Debug for PerSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerSlot").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

impl<T> PerSlot<T> {
    /// Of no slot yet.
    pub const fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// With room for so many slots.
    pub fn of(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| None).collect() }
    }

    /// That of a slot.
    #[inline]
    pub fn get(&self, slot: usize) -> Option<&T> {
        self.slots.get(slot)?.as_ref()
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Puts something there, or nothing, in place of what there was.
    pub fn set(&mut self, slot: usize, what: Option<T>) {
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = what;
    }

    /// Takes it out.
    pub fn take(&mut self, slot: usize) -> Option<T> {
        self.slots.get_mut(slot)?.take()
    }

    /// What there is, with its slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, what)| Some((slot, what.as_mut()?)))
    }
}

impl<T> Default for PerSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}
