//! Files and disks as block devices, over a few threads that wait ([`aio`]): for kernels and
//! containers without io_uring.
//!
#![doc = include_str!("../README.md")]
//!
//! The threads of a device make the calls (`preadv`, `pwritev2`, `fdatasync`, `fallocate`) and ring
//! at the core that asked. How requests become calls is `bdev-file`'s. Costs a switch of threads
//! for each call; `bdev-uring` does without.
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

mod engine;
#[cfg(feature = "rpc")]
mod rpc;
mod threads;

use std::sync::Arc;

use bdev::{Bdev, BdevError, BdevModule, Bdevs, Params};
pub use bdev_file::Config;
use bdev_file::{Disk, Module};
use core_reactor::Cx;

use crate::engine::Aio;
use crate::threads::Threads;

bdev::register!(AioModule);

struct AioModule;

/// A device, and the threads that make its calls.
struct AioDevice(Threads);

/// What clients are told that such a device is.
const PRODUCT: &str = "AIO disk";
/// Threads of a device.
const THREADS: usize = 4;

/// Opens a file and adds it as a device.
///
/// # Errors
/// The file cannot be opened, or makes no device; its name is taken; there are no threads.
pub fn aio(bdevs: &Bdevs, config: &Config) -> Result<Bdev, BdevError> {
    let threads = Threads::start(THREADS).map_err(|why| BdevError::invalid("aio", format!("no threads for its calls: {why}")))?;
    bdev_file::create(bdevs, config, AioDevice(threads))
}

impl BdevModule for AioModule {
    fn name(&self) -> &'static str {
        "aio"
    }

    fn create(&self, bdevs: &Bdevs, params: &Params<'_>) -> Result<Bdev, BdevError> {
        aio(bdevs, &Config::read(params)?)
    }
}

impl Module for AioDevice {
    type Engine = Aio;

    const PRODUCT: &'static str = PRODUCT;
    const STEM: &'static str = "Aio";
    const METHOD: (&'static str, &'static str) = ("aio", "bdev_aio_create");

    fn engine(&self, cx: &mut Cx<'_>, disk: &Arc<Disk>, depth: usize) -> Result<Aio, BdevError> {
        Ok(Aio::new(cx, self.0.queue(), disk.clone(), depth))
    }
}
