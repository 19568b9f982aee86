//! How many buffers each socket has handed out in the present poll.
//!
//! What it may is [`Limits::turn`](crate::Limits::turn): with many buffers ready one poll could hand out more of a socket than its limits let be answered, and what is
//! refused then is lost to whoever does not mind it. And the others have their turn.

use alloc::vec;
use alloc::vec::Vec;

/// The count of every place of a group.
pub struct Turns {
    poll: u32,
    /// A slab may get more places than it was made with.
    places: Vec<Turn>,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    /// The poll that it counts in: what was counted in another is over.
    poll: u32,
    taken: u32,
}

impl Turns {
    /// Of so many places.
    pub fn new(places: usize) -> Self {
        Self { poll: 0, places: vec![Turn::default(); places] }
    }

    /// A poll begins.
    #[inline]
    pub fn begin(&mut self) {
        self.poll = self.poll.wrapping_add(1);
    }

    /// Whether one more buffer may be handed out from a place, of `most` in a poll, and counts it if so.
    #[inline]
    pub fn take(&mut self, place: usize, most: u32) -> bool {
        let Some(turn) = self.places.get_mut(place) else { return self.take_of_new(place, most) };
        if turn.poll != self.poll {
            *turn = Turn { poll: self.poll, taken: 0 };
        }
        let may = turn.taken < most;
        turn.taken += u32::from(may);
        may
    }

    #[cold]
    fn take_of_new(&mut self, place: usize, most: u32) -> bool {
        self.places.resize(place + 1, Turn::default());
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
