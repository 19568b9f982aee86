//! How many buffers each socket has handed out in the present poll.
//!
//! What it may is [`Limits::turn`](crate::Limits::turn): with many buffers ready one poll could
//! hand out more of a socket than its limits let be answered, and what is refused then is lost to
//! whoever does not mind it. And the others have their turn.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The count of every place of a group.
///
/// ```
/// let mut turns = net_group::Turns::new(2);
/// turns.begin();
/// assert_eq!([turns.take(0, 2), turns.take(0, 2), turns.take(0, 2)], [true, true, false]);
/// assert!(turns.take(1, 2), "the other place has its own");
/// ```
pub struct Turns {
    /// A count of none in the present poll. Each poll has [`POLL`] numbers of its own, so that what
    /// was counted in another is less than this. They last for a thousand years.
    none: u64,
    /// A slab may get more places than it was made with.
    places: Vec<u64>,
}

/// Numbers of a poll: more than a place may have buffers.
const POLL: u64 = 1 << u8::BITS;

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("places", &self.places.len()).finish_non_exhaustive()
    }
}

impl Turns {
    /// Of so many places.
    pub fn new(places: usize) -> Self {
        Self { none: 0, places: vec![0; places] }
    }

    /// A poll begins.
    ///
    /// ```
    /// let mut turns = net_group::Turns::new(1);
    /// for _poll in 0..3 {
    ///     turns.begin();
    ///     assert_eq!([turns.take(0, 1), turns.take(0, 1)], [true, false]);
    /// }
    /// ```
    #[inline]
    pub fn begin(&mut self) {
        self.none += POLL;
    }

    /// Whether one more buffer may be handed out from a place, of `most` in a poll, and counts it
    /// if so.
    #[inline]
    pub fn take(&mut self, place: usize, most: u8) -> bool {
        let Some(count) = self.places.get_mut(place) else { return self.take_of_new(place, most) };
        let taken = (*count).max(self.none);
        let may = taken - self.none < u64::from(most);
        if may {
            *count = taken + 1;
        }
        may
    }

    #[cold]
    fn take_of_new(&mut self, place: usize, most: u8) -> bool {
        self.places.resize(place + 1, 0);
        self.take(place, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_came_later_has_its_turn() {
        let mut turns = Turns::new(1);
        turns.begin();
        assert_eq!([turns.take(3, 1), turns.take(3, 1), turns.take(2, 1)], [true, false, true]);
    }

    #[test]
    fn s20_a_place_has_its_buffers_once_in_a_poll_however_others_come_between() {
        let mut turns = Turns::new(2);
        for _ in 0..2 {
            turns.begin();
            let first: Vec<bool> = (0..5).map(|_| (turns.take(0, 3), turns.take(1, 3)).0).collect();
            assert_eq!(first, [true, true, true, false, false]);
        }
    }
}
