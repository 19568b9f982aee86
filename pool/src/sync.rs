//! The atomics of this crate, exchanged for the model checker's under `cfg(loom)`.
//!
//! Everything that two cores may touch goes through here, so that the code that loom explores is the code that runs. Reference counts stay
//! `alloc`'s: loom is not asked to check those.

pub(crate) use imp::{AtomicU32, AtomicU64, AtomicUsize};

#[cfg(not(loom))]
mod imp {
    #[cfg(target_has_atomic = "64")]
    pub(crate) use core::sync::atomic::AtomicU64;
    pub(crate) use core::sync::atomic::{AtomicU32, AtomicUsize};
    // Stack heads stay 64 bits wide on machines that cannot swap 64 bits at once: there `portable-atomic` falls back to a lock.
    #[cfg(not(target_has_atomic = "64"))]
    pub(crate) use portable_atomic::AtomicU64;
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
}
