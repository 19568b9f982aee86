//! What a group tells a core that is about to sleep.

use alloc::sync::Arc;

use core_reactor::{Bell, Instant};
use net_group::Alarm;

use crate::stack::Shared;

/// Arms the device, and knows when the stack is to be polled next, and when the group.
pub(crate) struct StackBell {
    stack: Arc<Shared>,
    alarm: Alarm,
}

impl StackBell {
    pub(crate) fn new(stack: Arc<Shared>) -> Self {
        Self { stack, alarm: Alarm::default() }
    }

    /// When the group wants to be polled in any case.
    #[inline]
    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
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
        [of_stack, self.alarm.due()].into_iter().flatten().min()
    }
}
