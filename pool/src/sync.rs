//! The atomics, fences and locks of this crate, exchanged for the model checker's under
//! `cfg(loom)`.
//!
//! Everything that two cores may touch goes through here, so that the code that loom explores is
//! the code that runs. Loom treats `SeqCst` loads and stores as acquire and release; where a total
//! order is needed this crate says so with [`fence`], which loom does model. Reference counts stay
//! `alloc`'s: loom is not asked to check those.

pub(crate) use imp::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, Witness, fence};

#[cfg(not(loom))]
mod imp {
    #[cfg(target_has_atomic = "64")]
    pub(crate) use core::sync::atomic::AtomicU64;
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, fence};
    // Stack heads stay 64 bits wide on machines that cannot swap 64 bits at once: there
    // `portable-atomic` falls back to a lock.
    #[cfg(not(target_has_atomic = "64"))]
    pub(crate) use portable_atomic::AtomicU64;
    pub(crate) use spin::Mutex;

    /// Stands for memory that only its owner may touch. Nothing here; under loom a cell that
    /// reports unordered owners.
    pub(crate) struct Witness;

    impl Witness {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn touch(&self) {}
    }
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};

    /// Loom's lock with the face of `spin`'s.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a model's thread panicked under the lock")
        }
    }

    /// Stands for memory that only its owner may touch: loom fails the model when two owners are
    /// not ordered.
    pub(crate) struct Witness(loom::cell::UnsafeCell<()>);

    impl Witness {
        pub(crate) fn new() -> Self {
            Self(loom::cell::UnsafeCell::new(()))
        }

        pub(crate) fn touch(&self) {
            self.0.with_mut(|_| ());
        }
    }
}
