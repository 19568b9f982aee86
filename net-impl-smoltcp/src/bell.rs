//! What a group tells a core that is about to sleep.

use alloc::sync::Arc;

use core_reactor::{Bell, Instant};

use crate::stack::Shared;

/// Arms the device, and knows when the stack is to be polled next.
pub(crate) struct StackBell(pub(crate) Arc<Shared>);

impl Bell for StackBell {
    fn arm(&self) -> bool {
        self.0.lock().arm()
    }

    fn disarm(&self) {
        self.0.lock().disarm();
    }

    fn due(&self) -> Option<Instant> {
        self.0.lock().due()
    }
}
