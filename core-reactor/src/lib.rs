//! Reactors, lightweight threads, pollers and messages; the traits that platforms and backends implement.
//!
//! A `Reactors` set holds one `Reactor` for each core. A reactor turns: it takes messages, runs pollers and timers of the
//! [`Thread`]s placed on it, and parks when nothing has happened for a while. Code runs with a [`Cx`], which is how it reaches its own
//! thread; a `ThreadHandle` is how anyone else does. Time comes from a [`Platform`], so a whole set can run on a hand-moved clock.
#![no_std]

extern crate alloc;

mod cpus;
pub mod net;
mod platform;
mod thread;
mod time;

pub use cpus::{CoreId, CpuSet, CpuSetError};
pub use platform::{Platform, PlatformError, WaitSource};
pub use thread::{Cx, Hold, Thread, ThreadLib, Watch};
pub use time::Instant;

/// What was handed over and could not be taken, with the reason.
#[derive(Debug)]
pub struct Refused<T, E> {
    /// The thing, unharmed.
    pub item: T,
    /// Why it was refused.
    pub why: E,
}
