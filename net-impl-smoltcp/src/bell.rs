//! What a group tells a core that is about to sleep.

use alloc::sync::Arc;
use core::cell::Cell;

use core_reactor::{Bell, Instant};

use crate::stack::Shared;

/// Arms the device, and knows when the stack is to be polled next, and when the group.
pub(crate) struct StackBell {
    stack: Arc<Shared>,
    /// When the group wants to be polled in any case.
    time: Cell<Option<Instant>>,
}

impl StackBell {
    pub(crate) fn new(stack: Arc<Shared>) -> Self {
        Self { stack, time: Cell::new(None) }
    }

    /// Has the core awake at this time, or earlier.
    pub(crate) fn wake_at(&self, at: Instant) {
        self.time.set(Some(self.time.get().map_or(at, |before| before.min(at))));
    }

    /// Whether that has come, which is told once. Who waits for no time reads no clock.
    #[inline]
    pub(crate) fn is_time(&self, now: impl FnOnce() -> Instant) -> bool {
        let is_time = self.time.get().is_some_and(|at| now() >= at);
        if is_time {
            self.time.set(None);
        }
        is_time
    }
}

impl Bell for StackBell {
    fn arm(&self) -> bool {
        self.stack.lock().arm()
    }

    fn disarm(&self) {
        self.stack.lock().disarm();
    }

    fn due(&self) -> Option<Instant> {
        let of_stack = self.stack.lock().due();
        [of_stack, self.time.get()].into_iter().flatten().min()
    }
}
