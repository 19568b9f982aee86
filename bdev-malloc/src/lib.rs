//! Block devices of memory ([`malloc`]), and of nothing ([`null`]).
//!
#![doc = include_str!("../README.md")]
//!
//! A malloc device holds what was written as long as it is there. A null device forgets it, and
//! reads as zeroes: it costs what a device costs without its medium.
//!
//! Cores use a malloc device at the same time. Its memory is in stripes of 64 KiB, each with a lock
//! that is tried and never waited for: a request that finds it taken goes on with the next poll. So
//! each block is read and written as one, whatever others do, and of longer requests nothing more
//! is promised.
#![no_std]
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod config;
mod malloc;
mod memory;
mod null;
#[cfg(feature = "rpc")]
mod rpc;

pub use config::Config;
pub use malloc::malloc;
pub use null::null;

use bdev::{Bdev, BdevError, BdevModule, Bdevs, Params};

bdev::register!(Malloc);

bdev::register!(Null);

struct Malloc;
struct Null;

impl BdevModule for Malloc {
    fn name(&self) -> &'static str {
        "malloc"
    }

    fn create(&self, bdevs: &Bdevs, params: &Params<'_>) -> Result<Bdev, BdevError> {
        malloc(bdevs, Config::read(params)?)
    }
}

impl BdevModule for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn create(&self, bdevs: &Bdevs, params: &Params<'_>) -> Result<Bdev, BdevError> {
        null(bdevs, Config::read(params)?)
    }
}
