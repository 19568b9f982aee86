//! What a module implements: the device itself, and its part of a channel.

use alloc::boxed::Box;
use core::any::Any;

use core_reactor::{Cx, Instant};

use crate::{Bdev, BdevError, Io, Kinds, Request};

/// What a device is like. Its size is told apart, because it may change.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The kind of device, as clients are told: "Malloc disk".
    pub product: &'static str,
    /// Bytes of a block.
    pub block_size: u32,
    /// What buffers are to be aligned to, in bytes; 1 for anything.
    pub align: u32,
    /// Blocks at whose multiples a request had better be cut; 0 for none.
    pub optimal_boundary: u32,
    /// The most blocks of a compare-and-write.
    pub most_compare_and_write: u32,
    /// The operations that it has.
    pub kinds: Kinds,
    /// Whether a write that has come back may be lost with the power until it is flushed.
    pub has_write_cache: bool,
}

/// A block device, as a module makes it. Shared by all cores. Its module finds it again by
/// [`Bdev::device`](crate::Bdev::device).
pub trait Device: Any + Send + Sync {
    /// Its part of a channel on the core of `cx`, with room for `depth` requests.
    ///
    /// # Errors
    /// What it needs on a core cannot be had.
    fn channel(&self, cx: &mut Cx<'_>, depth: usize) -> Result<Box<dyn DeviceChannel>, BdevError>;

    /// The device that it stands on, which it has open. It is removed with that. Without more,
    /// none. The list of devices is locked while this is asked.
    fn below(&self) -> Option<Bdev> {
        None
    }

    /// Makes it so many blocks, so that requests for them are taken from now on.
    ///
    /// # Errors
    /// It cannot be so many. Without more, that is what it says.
    fn resize(&self, blocks: u64) -> Result<(), BdevError> {
        Err(BdevError::invalid("num_blocks", alloc::format!("this device cannot change its size, to {blocks} or otherwise")))
    }

    /// The call of a method that would make it again as it is, as `save_config` keeps it: the
    /// method's name and its parameters. Without more, none: it is not saved.
    #[cfg(feature = "rpc")]
    fn made(&self, bdev: &Bdev) -> Option<(&'static str, serde_json::Value)> {
        let _ = bdev;
        None
    }

    /// What only devices of its kind have to tell (`driver_specific` of `bdev_get_bdevs`).
    #[cfg(feature = "rpc")]
    fn told(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    /// Looks how many blocks what it stands for has now.
    ///
    /// # Errors
    /// That cannot be told. Without more, that nothing stands behind it that could change.
    fn rescan(&self) -> Result<u64, BdevError> {
        Err(BdevError::invalid("name", "nothing stands behind this device whose size could have changed"))
    }
}

/// A device on one core. It is given requests that are well formed and within the device as far as
/// its size had not changed in between, `depth` of them at most at a time. Each is to be
/// [finished](Io::finish), at once or in a later call.
pub trait DeviceChannel {
    /// Takes a request. Never a [`Kind::Reset`](crate::Kind::Reset).
    fn submit(&mut self, now: Instant, io: Io);

    /// Finishes what can be finished. Never blocks.
    fn poll(&mut self, now: Instant);

    /// Is asked to finish those requests for which `which` holds, and may do so later, and with
    /// success.
    fn cancel(&mut self, which: &dyn Fn(&Request) -> bool);

    /// Whether [`write_at_once`](Self::write_at_once) is worth asking. Without more, never.
    fn writes_at_once(&self) -> bool {
        false
    }

    /// Writes `bytes` from `block` on if that takes no waiting, and tells whether it has: for
    /// devices that are memory, whose caller may spare itself a buffer. Whole blocks within the
    /// device, as a request has them. Without more, never.
    fn write_at_once(&mut self, block: u64, bytes: &[u8]) -> bool {
        let _ = (block, bytes);
        false
    }

    /// When it must be polled at the latest, if nothing else wakes its core.
    fn due(&self) -> Option<Instant> {
        None
    }
}
