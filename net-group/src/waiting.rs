//! Who waits: sockets for a buffer, listeners for a descriptor.

use alloc::collections::VecDeque;
use core::task::Waker;

use core_reactor::Platform;
use pool::{Buf, BufGroup, Class, Request};

/// The slots that wait for a buffer, first come first served, and what was asked of the pool for them.
pub(crate) struct Starving {
    slots: VecDeque<u32>,
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
        Self { slots: VecDeque::with_capacity(sockets), request: None }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn push(&mut self, slot: usize) {
        self.slots.push_back(slot as u32);
    }

    /// The next one. With the last one goes what was asked for.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let slot = self.slots.pop_front();
        if self.slots.is_empty() {
            self.request = None;
        }
        slot.map(|slot| slot as usize)
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
