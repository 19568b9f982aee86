//! The device, as all cores share it.

use std::sync::Arc;

use bdev::{Bdev, BdevError, Bdevs, Device, DeviceChannel, Kind, Kinds, NewBdev, Shape};
use core_reactor::Cx;

use crate::{Channel, Config, Disk, Engine, identity};

/// Bytes of a compare-and-write at most.
const MOST_COMPARED: u32 = 64 << 10;

/// What a crate with an [`Engine`] says of its devices.
pub trait Module: Send + Sync + 'static {
    /// What makes the calls of a channel.
    type Engine: Engine + 'static;

    /// The kind of device, as clients are told.
    const PRODUCT: &'static str;

    /// What names begin with where none is given.
    const STEM: &'static str;

    /// The kind of device, as methods name it: the `uring` of `bdev_uring_create`, and that method.
    const METHOD: (&'static str, &'static str);

    /// What makes the calls of a channel on the core of `cx`, `depth` of them at most at a time.
    ///
    /// # Errors
    /// What it needs there cannot be had.
    fn engine(&self, cx: &mut Cx<'_>, disk: &Arc<Disk>, depth: usize) -> Result<Self::Engine, BdevError>;
}

/// Opens a file and adds it as a device.
///
/// # Errors
/// It cannot be opened, or makes no device; its name is taken.
pub fn create<M: Module>(bdevs: &Bdevs, config: &Config, module: M) -> Result<Bdev, BdevError> {
    let name = bdevs.name_or(config.name.as_deref(), M::STEM);
    if bdevs.get(&name).is_ok() {
        // Before a disk is opened that the other may have for itself.
        return Err(BdevError::NameTaken(name.into()));
    }
    let disk = Arc::new(Disk::open(config)?);
    let blocks = disk.blocks()?;
    let block_size = disk.block_size();
    let shape = Shape {
        product: M::PRODUCT,
        block_size,
        align: 1,
        optimal_boundary: 0,
        most_compare_and_write: MOST_COMPARED / block_size,
        kinds: if config.is_read_only { Kinds::of(&[Kind::Read, Kind::Compare, Kind::Flush, Kind::Reset]) } else { Kinds::ALL },
        has_write_cache: true,
    };
    let uuid = config.uuid.or_else(|| identity::of(&name, &config.path));
    let new = NewBdev { name, aliases: Vec::new(), uuid, blocks, shape };
    let config = config.clone();
    bdevs.add(new, Box::new(FileDevice { disk, config, module }))
}

struct FileDevice<M> {
    disk: Arc<Disk>,
    #[cfg_attr(not(feature = "rpc"), expect(dead_code, reason = "what is saved, which a method asks for"))]
    config: Config,
    module: M,
}

impl<M: Module> Device for FileDevice<M> {
    fn channel(&self, cx: &mut Cx<'_>, depth: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        let engine = self.module.engine(cx, &self.disk, depth)?;
        Ok(Box::new(Channel::new(self.disk.clone(), engine, depth)))
    }

    /// Of a file nothing is cut off or added here: it is made longer or shorter where it is.
    fn resize(&self, blocks: u64) -> Result<(), BdevError> {
        let there = self.disk.blocks()?;
        if blocks > there {
            let why = format!("{blocks} blocks are more than the {there} of the file; make it longer first");
            return Err(BdevError::invalid("num_blocks", why));
        }
        Ok(())
    }

    fn rescan(&self) -> Result<u64, BdevError> {
        self.disk.blocks()
    }

    #[cfg(feature = "rpc")]
    fn made(&self, bdev: &Bdev) -> Option<(&'static str, serde_json::Value)> {
        Some((M::METHOD.1, crate::rpc::made(bdev, &self.config)))
    }

    #[cfg(feature = "rpc")]
    fn told(&self) -> serde_json::Value {
        serde_json::json!({ M::METHOD.0: crate::rpc::told(&self.config, &self.disk) })
    }
}
