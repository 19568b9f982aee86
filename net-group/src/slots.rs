//! A table of what a backend knows of each slot.

use alloc::vec::Vec;
use core::fmt;

/// Something of each slot that has it. It grows with the group's slots, and allocates nothing while
/// they stay as many.
///
/// ```
/// use net_group::PerSlot;
///
/// // A backend's own table: which sockets have asked for an end.
/// let mut ends = PerSlot::new();
/// ends.set(3, Some("reset"));
/// assert_eq!((ends.get(3), ends.get(7)), (Some(&"reset"), None));
/// assert_eq!((ends.take(3), ends.get(3)), (Some("reset"), None));
/// ```
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
    ///
    /// ```
    /// let mut counts = net_group::PerSlot::of(4);
    /// counts.set(2, Some(1));
    /// if let Some(count) = counts.get_mut(2) {
    ///     *count += 1;
    /// }
    /// assert_eq!(counts.get(2), Some(&2));
    /// ```
    #[inline]
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Puts something there, or nothing, in place of what there was.
    ///
    /// ```
    /// let mut table = net_group::PerSlot::new();
    /// table.set(5, Some('a'));
    /// table.set(5, None);
    /// assert_eq!(table.get(5), None);
    /// ```
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
    ///
    /// ```
    /// let mut table = net_group::PerSlot::of(3);
    /// table.set(0, Some(10));
    /// table.set(2, Some(12));
    /// let all: Vec<_> = table.iter_mut().map(|(slot, what)| (slot, *what)).collect();
    /// assert_eq!(all, [(0, 10), (2, 12)]);
    /// ```
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, what)| Some((slot, what.as_mut()?)))
    }
}

impl<T> Default for PerSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}
