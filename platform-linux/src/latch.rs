//! The latch of a core: what makes sure that no wake-up is lost between deciding to sleep and
//! sleeping.
//!
//! ```text
//!            park() [1]                unpark() [2]: ring the bell
//!   EMPTY ──────────────► PARKED ────────────────────────────────┐
//!    ▲ ▲                    │                                    ▼
//!    │ └────────────────────┘ deadline, source, signal [3]    NOTIFIED
//!    │        unpark() [4]: no system call                     ▲   │
//!    ├─────────────────────────────────────────────────────────┘   │
//!    └─────────────────────────────────────────────────────────────┘ park() returns [3], or returns at once [5]
//! ```
//!
//! [1] and [2] change the same atomic, so one comes first: if [1], the unparker sees PARKED and
//! rings the bell, which ends the sleep that is going on or about to begin; if [2] (it is [4]
//! then), [1] finds NOTIFIED and does not sleep [5]. A waker that loses the race with [3] rings
//! when nobody sleeps any more: the next park returns early, which it may.
#![forbid(unsafe_code)]

use crate::sync::{AtomicU32, Ordering};

const EMPTY: u32 = 0;
const PARKED: u32 = 1;
const NOTIFIED: u32 = 2;

/// One core's; one flow of control at a time parks at it.
pub(crate) struct Latch(AtomicU32);

impl Default for Latch {
    fn default() -> Self {
        Self(AtomicU32::new(EMPTY))
    }
}

impl Latch {
    /// Takes the latch. Sleeps by `sleep` before, unless the latch is set; `sleep` has to end some
    /// time after the bell has rung.
    #[inline]
    pub(crate) fn park(&self, sleep: impl FnOnce()) {
        // AcqRel: who sees PARKED also sees the bell; who made it NOTIFIED is seen in full.
        if self.0.compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            sleep();
        }
        // Takes the latch with everything that the unparkers did before they set it.
        self.0.swap(EMPTY, Ordering::Acquire);
    }

    /// Sets the latch, and rings the bell if somebody sleeps.
    #[inline]
    pub(crate) fn unpark(&self, ring: impl FnOnce()) {
        // A swap even if the latch is set already: it is what hands the caller's earlier writes to
        // the parked core.
        if self.0.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            ring();
        }
    }

    /// Whether it is set, so that another round of sleep would only be cut short by the bell.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NOTIFIED
    }

    /// Whether somebody sleeps, or is about to.
    #[cfg(test)]
    pub(crate) fn is_parked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == PARKED
    }
}
