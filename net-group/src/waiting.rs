//! Who waits: sockets for a buffer, listeners for a descriptor.

use alloc::collections::VecDeque;
use core::task::Waker;

use core_reactor::Platform;
use pool::{Buf, BufGroup, Class, Request};

/// The slots that wait for a buffer, and what was asked of the pool for them.
pub(crate) struct Starving {
    line: Line,
    request: Option<Request>,
}

/// What came of asking the pool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The core is woken when the buffer is there.
    Queued,
    /// The queue is full of other groups' requests, whose end is not announced.
    Refused,
}

impl Starving {
    pub(crate) fn new(sockets: usize) -> Self {
        Self { line: Line::new(sockets), request: None }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.line.little.len() + self.line.much.len()
    }

    /// A slot, on which `much` waits or little.
    pub(crate) fn push(&mut self, slot: usize, much: bool) {
        self.line.push(slot, much);
    }

    /// The next one. With the last one goes what was asked for.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let slot = self.line.pop();
        if self.line.is_empty() {
            self.request = None;
        }
        slot
    }

    /// Joins those of all groups that wait for a buffer (statement 28), unless it has.
    pub(crate) fn ask(&mut self, bufs: &BufGroup, platform: &dyn Platform, waker: &Waker) -> Asked {
        if self.request.is_some() {
            return Asked::Queued;
        }
        let now = platform.now().as_nanos();
        let Ok(mut request) = bufs.request(Class::Small, 1, now, waker) else { return Asked::Refused };
        match request.poll(now) {
            None => self.request = Some(request),
            // It came home just now: back, for the next poll.
            Some(_) => waker.wake_by_ref(),
        }
        Asked::Queued
    }

    /// The buffer asked for, or while none is asked for any that is free.
    pub(crate) fn buffer(&mut self, bufs: &BufGroup, platform: &dyn Platform) -> Option<Buf> {
        let Some(request) = &mut self.request else { return bufs.get() };
        let mut granted = request.poll(platform.now().as_nanos())?;
        self.request = None;
        granted.next()
    }
}

/// Slots in the order in which they have a buffer each.
///
/// With one queue who asks a short question would wait for as many buffers as there are peers that
/// send all they can. So there are two. Those with little waiting, which one buffer empties, go
/// before those with much, but not as often as they like: between two with much there go as many as
/// there are for each of them, and one at least. So nobody waits for longer than with one queue and
/// everybody in it twice (decision 0035).
struct Line {
    little: VecDeque<u32>,
    much: VecDeque<u32>,
    /// So many with little go before the next with much.
    ahead: usize,
}

impl Line {
    fn new(sockets: usize) -> Self {
        Self { little: VecDeque::with_capacity(sockets), much: VecDeque::with_capacity(sockets), ahead: 0 }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.little.is_empty() && self.much.is_empty()
    }

    fn push(&mut self, slot: usize, much: bool) {
        let queue = if much { &mut self.much } else { &mut self.little };
        queue.push_back(slot as u32);
    }

    fn pop(&mut self) -> Option<usize> {
        let is_littles_turn = self.much.is_empty() || self.ahead > 0 && !self.little.is_empty();
        let slot = if is_littles_turn {
            self.ahead = self.ahead.saturating_sub(1);
            self.little.pop_front()?
        } else {
            let slot = self.much.pop_front()?;
            self.ahead = (self.little.len() / self.much.len().max(1)).max(1);
            slot
        };
        Some(slot as usize)
    }
}

/// The listeners that wait for a descriptor.
pub(crate) struct NoDescriptor {
    slots: VecDeque<u32>,
    /// The want of descriptors was said, and is not over.
    is_said: bool,
}

impl NoDescriptor {
    pub(crate) fn new() -> Self {
        Self { slots: VecDeque::new(), is_said: false }
    }

    pub(crate) fn push(&mut self, slot: usize) {
        self.slots.push_back(slot as u32);
    }

    pub(crate) fn pop(&mut self) -> Option<usize> {
        self.slots.pop_front().map(|slot| slot as usize)
    }

    /// Whether it is to be said now.
    pub(crate) fn say(&mut self) -> bool {
        !core::mem::replace(&mut self.is_said, true)
    }

    /// All that waited were taken.
    pub(crate) fn is_over(&mut self) {
        self.is_said = false;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn drain(line: &mut Line, count: usize) -> Vec<usize> {
        (0..count).map_while(|_| line.pop()).collect()
    }

    #[test]
    fn s64_few_with_little_take_turns_with_many_that_have_much_and_each_kind_keeps_its_order() {
        let mut line = Line::new(8);
        (0..4).for_each(|slot| line.push(slot, true));
        assert_eq!(drain(&mut line, 1), [0]);
        (10..13).for_each(|slot| line.push(slot, false));
        assert_eq!(drain(&mut line, 3), [10, 1, 11]);
        line.push(13, false);
        assert_eq!(drain(&mut line, 9), [2, 12, 13, 3]);
        assert!(line.is_empty() && line.pop().is_none());
        (20..23).for_each(|slot| line.push(slot, false));
        assert_eq!(drain(&mut line, 2), [20, 21]);
        line.push(30, true);
        assert_eq!(drain(&mut line, 9), [30, 22], "who comes new to the others has the next turn");
    }

    #[test]
    fn s64_one_with_much_has_no_more_turns_than_each_of_many_with_little() {
        let mut line = Line::new(8);
        line.push(99, true);
        (0..5).for_each(|slot| line.push(slot, false));
        let mut served = Vec::new();
        for _ in 0..12 {
            let slot = line.pop().expect("all come back");
            line.push(slot, slot == 99);
            served.push(slot);
        }
        assert_eq!(served, [99, 0, 1, 2, 3, 4, 99, 0, 1, 2, 3, 4]);
    }
}
