//! What the lock-free parts are made of. The model checker's tests put their own in its place: they
//! compile these parts as theirs.
#![forbid(unsafe_code)]

pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
pub(crate) use std::thread::yield_now;
