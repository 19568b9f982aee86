//! What rings, handles and sets are made of: the real atomics, locks and counted references,
//! or the model checker's under `cfg(loom)`.

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
};

#[cfg(not(loom))]
pub(crate) use alloc::sync::Arc;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use spin::Mutex;

/// Loom's lock with the face of `spin`'s.
#[cfg(loom)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(_) => panic!("a model's thread panicked under the lock"),
        }
    }
}

/// `core`'s cell with loom's way of reaching into it.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Orders what a sender published before what it reads next about a core's sleep, and the other way
/// round. On real machines the sequentially consistent operations on both sides of it already do (a
/// locked instruction on x86, `stlr`/`ldar` on ARM); loom treats those as acquire and release only,
/// so the model needs the fence spelled out. Only where sleep is modelled: elsewhere it would hide
/// orderings that the ring owes to nothing but its own atomics.
#[inline(always)]
pub(crate) fn model_fence() {
    #[cfg(loom)]
    if SLEEP_IS_MODELLED.load(Ordering::Relaxed) {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// Where a core goes round once more because a sender has begun something and not finished: the
/// model checker has to be told that it is the others' turn.
#[inline(always)]
pub(crate) fn model_yield() {
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Whether the fences are in the model.
#[cfg(loom)]
pub static SLEEP_IS_MODELLED: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);
