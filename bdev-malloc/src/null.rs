//! The device that forgets.

use alloc::boxed::Box;

use bdev::{Bdev, BdevError, Bdevs, Device, DeviceChannel, Io, Kind, Kinds, NewBdev, Request, Shape};
use core_reactor::{Cx, Instant};

use crate::Config;

/// Makes a device that forgets what is written, reads as zeroes, and may have any size; and adds
/// it.
///
/// ```
/// use bdev_malloc::{Config, null};
///
/// let bdevs = bdev::Bdevs::new(1);
/// let nothing = null(&bdevs, Config::new(4096, 1 << 40).name("Void"))?;
/// assert_eq!(nothing.blocks() >> 30, 1024, "four pebibytes, in no memory");
/// # Ok::<(), bdev::BdevError>(())
/// ```
///
/// # Errors
/// What it is to be makes no device; its name is taken.
pub fn null(bdevs: &Bdevs, config: Config) -> Result<Bdev, BdevError> {
    config.check()?;
    let shape = Shape {
        product: "Null disk",
        block_size: config.block_size,
        align: 1,
        optimal_boundary: config.optimal_boundary,
        most_compare_and_write: 0,
        kinds: Kinds::of(&[Kind::Read, Kind::Write, Kind::WriteZeroes, Kind::Unmap, Kind::Flush, Kind::Reset]),
        has_write_cache: false,
    };
    let name = bdevs.name_or(config.name.as_deref(), "Null");
    let new = NewBdev { name, aliases: Default::default(), uuid: config.uuid, blocks: config.blocks, shape };
    bdevs.add(new, Box::new(Null { block_size: config.block_size as usize }))
}

#[derive(Clone, Copy)]
struct Null {
    block_size: usize,
}

impl Device for Null {
    fn channel(&self, _: &mut Cx<'_>, _: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        Ok(Box::new(*self))
    }

    fn resize(&self, _: u64) -> Result<(), BdevError> {
        Ok(())
    }

    #[cfg(feature = "rpc")]
    fn made(&self, bdev: &Bdev) -> Option<(&'static str, serde_json::Value)> {
        Some(("bdev_null_create", crate::rpc::made(bdev)))
    }
}

impl DeviceChannel for Null {
    #[inline]
    fn submit(&mut self, _: Instant, mut io: Io) {
        let request = io.request_mut();
        if request.kind == Kind::Read {
            // Never what the buffers held before.
            let bytes = request.blocks as usize * self.block_size;
            request.fill_zeroes(bytes);
        }
        io.finish(Ok(()));
    }

    fn poll(&mut self, _: Instant) {}

    #[inline]
    fn writes_at_once(&self) -> bool {
        true
    }

    #[inline]
    fn write_at_once(&mut self, _: u64, _: &[u8]) -> bool {
        true
    }

    fn cancel(&mut self, _: &dyn Fn(&Request) -> bool) {}
}
