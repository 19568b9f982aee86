//! Block devices of memory ([`malloc`]), and of nothing ([`null`]).
//!
//! A malloc device holds what was written as long as it is there. A null device forgets it, and
//! reads as zeroes: it costs what a device costs without its medium.
//!
//! ```
//! use bdev::{Bdevs, Mode};
//! use bdev_malloc::Config;
//!
//! let bdevs = Bdevs::new(1);
//! bdev_malloc::malloc(&bdevs, Config::new(512, 32_768).name("Malloc0"))?;
//! let opened = bdevs.get("Malloc0")?.open(Mode::ReadWrite)?;
//! assert_eq!(opened.bdev().blocks(), 32_768);
//! # Ok::<(), bdev::BdevError>(())
//! ```
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
#[allow(unsafe_code, reason = "a registration lies in a section of its own, which the lint takes for unsafe")]
mod rpc;

pub use config::Config;
pub use malloc::malloc;
pub use null::null;

use bdev::{Bdev, BdevError, BdevModule, Bdevs, LCORE_BDEV_MODULES, Params};
use linkme::distributed_slice;

#[distributed_slice(LCORE_BDEV_MODULES)]
#[allow(unsafe_code, reason = "a registration lies in a section of its own, which the lint takes for unsafe")]
static MALLOC: &dyn BdevModule = &Malloc;

#[distributed_slice(LCORE_BDEV_MODULES)]
#[allow(unsafe_code, reason = "a registration lies in a section of its own, which the lint takes for unsafe")]
static NULL: &dyn BdevModule = &Null;

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
