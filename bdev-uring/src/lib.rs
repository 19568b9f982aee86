//! Files and disks as block devices, over the io_uring of each core ([`uring`]).
//!
#![doc = include_str!("../README.md")]
//!
//! A channel is a member of the ring that its core has already, beside the groups of sockets: one
//! entry into the kernel serves both, and one eventfd wakes the core for both. How requests become
//! calls is `bdev-file`'s. Where the kernel has no io_uring, or a container forbids it, `bdev-aio`
//! does the same with threads.
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

mod engine;
#[cfg(feature = "rpc")]
mod rpc;

use std::sync::Arc;

use bdev::{Bdev, BdevError, BdevModule, Bdevs, Params};
pub use bdev_file::Config;
use bdev_file::{Disk, Module};
use core_reactor::Cx;
use core_uring::{Ring, RingError, Sizes};

use crate::engine::Uring;

bdev::register!(UringModule);

struct UringModule;

/// What clients are told that such a device is.
const PRODUCT: &str = "URING bdev";

/// Opens a file and adds it as a device.
///
/// # Errors
/// The kernel gives no ring; the file cannot be opened, or makes no device; its name is taken.
pub fn uring(bdevs: &Bdevs, config: &Config) -> Result<Bdev, BdevError> {
    // Said here rather than by the first channel.
    Ring::new(Sizes { submissions: 2, completions: 4 }).map_err(no_ring)?;
    bdev_file::create(bdevs, config, UringModule)
}

fn no_ring(why: RingError) -> BdevError {
    BdevError::invalid("uring", format!("the kernel gives no ring ({why}); a device of the module aio needs none"))
}

impl BdevModule for UringModule {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn create(&self, bdevs: &Bdevs, params: &Params<'_>) -> Result<Bdev, BdevError> {
        uring(bdevs, &Config::read(params)?)
    }
}

impl Module for UringModule {
    type Engine = Uring;

    const PRODUCT: &'static str = PRODUCT;
    const STEM: &'static str = "Uring";
    const METHOD: (&'static str, &'static str) = ("uring", "bdev_uring_create");

    fn engine(&self, cx: &mut Cx<'_>, disk: &Arc<Disk>, depth: usize) -> Result<Uring, BdevError> {
        Uring::new(cx, disk.clone(), depth)
    }
}
