//! How many buffers each socket has handed out in the present poll.
//!
//! What it may is [`Limits::turn`](crate::Limits::turn): with many buffers ready one poll could hand out more of a socket than its limits let be answered, and what is
//! refused then is lost to whoever does not mind it. And the others have their turn.

use alloc::boxed::Box;
use alloc::vec;

/// The count of every place of a group.
pub struct Turns {
    poll: u32,
    places: Box<[Turn]>,
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
        Self { poll: 0, places: vec![Turn::default(); places].into() }
    }

    /// A poll begins.
    #[inline]
    pub fn begin(&mut self) {
        self.poll = self.poll.wrapping_add(1);
    }

    /// Whether one more buffer may be handed out from a place, of `most` in a poll, and counts it if so.
    #[inline]
    pub fn take(&mut self, place: usize, most: u32) -> bool {
        let turn = &mut self.places[place];
        if turn.poll != self.poll {
            *turn = Turn { poll: self.poll, taken: 0 };
        }
        let may = turn.taken < most;
        turn.taken += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

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
