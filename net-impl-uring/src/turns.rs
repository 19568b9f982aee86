//! How many buffers each socket hands out in one poll.
//!
//! The application answers after the poll, so until then nothing shows that a socket holds too much to be read from. With many buffers ready one poll could hand out
//! more of a socket than its limits let be answered; what is refused then is lost to whoever does not mind it. And the others have their turn.

/// Buffers of one socket in a poll, where its limits would allow more (statement 20).
const MOST: u32 = 16;

/// The count of every place of a group.
pub(crate) struct Turns {
    poll: u32,
    most: u32,
    places: Box<[Turn]>,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    /// The poll that it counts in: what was counted in another is over.
    poll: u32,
    taken: u32,
}

impl Turns {
    /// Of so many places, each of which may have `answers` buffers answered.
    pub(crate) fn new(places: usize, answers: u32) -> Self {
        Self { poll: 0, most: answers.min(MOST), places: vec![Turn::default(); places].into() }
    }

    /// A poll begins.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.poll = self.poll.wrapping_add(1);
    }

    /// Whether one more buffer may be handed out from a place, and counts it if so.
    #[inline]
    pub(crate) fn take(&mut self, place: usize) -> bool {
        let turn = &mut self.places[place];
        if turn.poll != self.poll {
            *turn = Turn { poll: self.poll, taken: 0 };
        }
        let may = turn.taken < self.most;
        turn.taken += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s20_a_place_has_its_buffers_once_in_a_poll_however_others_come_between() {
        let mut turns = Turns::new(2, 3);
        for _ in 0..2 {
            turns.begin();
            let first: Vec<bool> = (0..5).map(|_| (turns.take(0), turns.take(1)).0).collect();
            assert_eq!(first, [true, true, true, false, false]);
        }
    }

    #[test]
    fn large_limits_do_not_make_a_turn_longer() {
        let mut turns = Turns::new(1, u32::MAX);
        turns.begin();
        assert_eq!((0..100).filter(|_| turns.take(0)).count(), MOST as usize);
    }
}
