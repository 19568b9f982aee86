//! Falling asleep without missing what is sent meanwhile.
//!
//! ```text
//!  the core                                a sender
//!  fall_asleep()                           puts something where the core will look (SeqCst)
//!  looks once more (SeqCst): nothing       wake(): does it sleep?
//!  parks, wake_up()                        unparks it
//! ```
//!
//! All four are sequentially consistent, so either the core sees what was sent or the sender sees
//! that it sleeps.

use crate::sync::{AtomicBool, Ordering, model_fence};

/// Whether a core sleeps or is about to.
pub struct Sleep {
    asleep: AtomicBool,
}

impl Sleep {
    /// Awake.
    #[allow(clippy::new_without_default, reason = "there is one for each core, made in one place")]
    pub fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// Whether the caller has to unpark the core: it sleeps, and of many callers this is the one.
    #[inline]
    pub fn wake(&self) -> bool {
        model_fence();
        self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst)
    }

    /// Says that the core sleeps from now on, unless it finds something when it looks once more.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        model_fence();
    }

    /// Says that the core is awake, found something or not.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
