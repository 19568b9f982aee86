//! The connections that wait for a buffer, and whose turn it is.
//!
//! Each gets one buffer at a time and then goes to the end, so with one queue who asks a short
//! question would wait for as many buffers as there are peers that send all they can. So there are
//! two. Those with little waiting, which one buffer empties, go before those with much, but not as
//! often as they like: between two with much there go as many as there are for each of them, and one
//! at least. So nobody waits for longer than with one queue and everybody in it twice, and few that
//! ask little wait for each other and as many of the others.

use std::collections::VecDeque;

/// Places in the order in which they are asked.
pub(crate) struct Line {
    little: VecDeque<u32>,
    much: VecDeque<u32>,
    /// So many with little go before the next with much.
    ahead: usize,
}

impl Line {
    /// With room for so many.
    pub(crate) fn new(sockets: usize) -> Self {
        Self { little: VecDeque::with_capacity(sockets), much: VecDeque::with_capacity(sockets), ahead: 0 }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.little.is_empty() && self.much.is_empty()
    }

    pub(crate) fn push(&mut self, place: usize, has_much: bool) {
        let queue = if has_much { &mut self.much } else { &mut self.little };
        queue.push_back(place as u32);
    }

    /// Whose turn it is, until it is taken out.
    pub(crate) fn front(&self) -> Option<usize> {
        let next = if self.is_littles_turn() { &self.little } else { &self.much };
        next.front().map(|place| *place as usize)
    }

    /// Takes out whose turn it is.
    pub(crate) fn pop(&mut self) {
        if self.is_littles_turn() {
            self.little.pop_front();
            self.ahead = self.ahead.saturating_sub(1);
        } else {
            self.much.pop_front();
            self.ahead = (self.little.len() / self.much.len().max(1)).max(1);
        }
    }

    fn is_littles_turn(&self) -> bool {
        self.much.is_empty() || self.ahead > 0 && !self.little.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(line: &mut Line, count: usize) -> Vec<usize> {
        let next = |_| line.front().inspect(|_| line.pop());
        (0..count).map_while(next).collect()
    }

    #[test]
    fn s64_few_with_little_take_turns_with_many_that_have_much_and_each_kind_keeps_its_order() {
        let mut line = Line::new(8);
        (0..4).for_each(|place| line.push(place, true));
        assert_eq!(drain(&mut line, 1), [0]);
        (10..13).for_each(|place| line.push(place, false));
        assert_eq!(drain(&mut line, 3), [10, 1, 11]);
        line.push(13, false);
        assert_eq!(drain(&mut line, 9), [2, 12, 13, 3]);
        assert!(line.is_empty() && line.front().is_none());
        (20..23).for_each(|place| line.push(place, false));
        assert_eq!(drain(&mut line, 2), [20, 21]);
        line.push(30, true);
        assert_eq!(drain(&mut line, 9), [30, 22], "who comes new to the others has the next turn");
    }

    #[test]
    fn s64_one_with_much_has_no_more_turns_than_each_of_many_with_little() {
        let mut line = Line::new(8);
        line.push(99, true);
        (0..5).for_each(|place| line.push(place, false));
        let mut served = vec![];
        for _ in 0..12 {
            let place = line.front().expect("all come back");
            line.pop();
            line.push(place, place == 99);
            served.push(place);
        }
        assert_eq!(served, [99, 0, 1, 2, 3, 4, 99, 0, 1, 2, 3, 4]);
    }
}
