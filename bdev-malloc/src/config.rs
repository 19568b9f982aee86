//! What a device is to be.

use alloc::format;
use alloc::string::String;

use bdev::{BdevError, Params, Uuid};

/// What a device is to be.
///
/// ```
/// use bdev_malloc::Config;
///
/// let config = Config::new(4096, 256).name("Scratch");
/// assert_eq!((config.blocks, config.name.as_deref(), config.uuid), (256, Some("Scratch"), None));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Its name; without one the first free of Malloc0, Malloc1, … (Null0, …).
    pub name: Option<String>,
    /// Its uuid; without one it is given one.
    pub uuid: Option<Uuid>,
    /// Bytes of a block: a multiple of 512, 64 KiB at most.
    pub block_size: u32,
    /// How many blocks.
    pub blocks: u64,
    /// Blocks at whose multiples a request had better be cut; 0 for none.
    pub optimal_boundary: u32,
}

/// Bytes of a block at most.
pub(crate) const MOST_BLOCK: u32 = 64 << 10;

impl Config {
    /// A device of so many blocks of so many bytes.
    pub fn new(block_size: u32, blocks: u64) -> Self {
        Self { name: None, uuid: None, block_size, blocks, optimal_boundary: 0 }
    }

    /// With this name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Out of `name=…,size=…,block_size=…,uuid=…`.
    pub(crate) fn read(params: &Params<'_>) -> Result<Self, BdevError> {
        params.allow(&["name", "size", "block_size", "uuid"])?;
        let size = params.number("size")?.ok_or_else(|| BdevError::invalid("size", "it is missing; such as size=64M"))?;
        let block_size = params.number("block_size")?.unwrap_or(512);
        let block_size = u32::try_from(block_size).unwrap_or(u32::MAX);
        let mut config = Self::new(block_size, 0);
        config.check_block_size()?;
        if size == 0 || size % u64::from(block_size) != 0 {
            return Err(BdevError::invalid("size", format!("{size} bytes are no whole number of blocks of {block_size}")));
        }
        config.blocks = size / u64::from(block_size);
        config.name = params.get("name").map(String::from);
        config.uuid = params.get("uuid").map(str::parse).transpose()?;
        Ok(config)
    }

    /// Bytes of all blocks.
    pub(crate) fn check(&self) -> Result<u64, BdevError> {
        self.check_block_size()?;
        let bytes = self.blocks.checked_mul(u64::from(self.block_size)).filter(|bytes| *bytes > 0);
        bytes.ok_or_else(|| {
            let why = format!("{} blocks of {} bytes make no device", self.blocks, self.block_size);
            BdevError::invalid("num_blocks", why)
        })
    }

    fn check_block_size(&self) -> Result<(), BdevError> {
        if self.block_size == 0 || !self.block_size.is_multiple_of(512) || self.block_size > MOST_BLOCK {
            let why = format!("{} is not a multiple of 512 from 512 to {MOST_BLOCK}", self.block_size);
            return Err(BdevError::invalid("block_size", why));
        }
        Ok(())
    }
}
