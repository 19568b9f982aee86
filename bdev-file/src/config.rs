//! What a device is to be.

use std::path::{Path, PathBuf};

use bdev::{BdevError, Params, Uuid};

/// What a device is to be.
///
/// ```
/// use bdev_file::Config;
///
/// let config = Config::new("/dev/nvme0n1").name("Disk0").block_size(4096).read_only();
/// assert_eq!(config.name.as_deref(), Some("Disk0"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The file or disk.
    pub path: PathBuf,
    /// The device's name; without one the first free of Uring0, Uring1, … (Aio0, …).
    pub name: Option<String>,
    /// Its uuid. Without one it has that of this computer, its name and the file, which lasts;
    /// where the computer has no machine-id, another each time.
    pub uuid: Option<Uuid>,
    /// Bytes of a block: a multiple of 512, 64 KiB at most. Without it 4,096 for a file, and what a
    /// disk says of itself.
    pub block_size: Option<u32>,
    /// It is opened for reading, and not written to.
    pub is_read_only: bool,
    /// It is read and written past the kernel's cache where that can be.
    pub is_direct: bool,
    /// Whether unmapped blocks and zeroes are made by `fallocate`.
    pub allocates: bool,
}

impl Config {
    /// A device of this file.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        Self { path, name: None, uuid: None, block_size: None, is_read_only: false, is_direct: true, allocates: true }
    }

    /// With this name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// With blocks of so many bytes.
    #[must_use]
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = Some(bytes);
        self
    }

    /// Through the kernel's cache.
    #[must_use]
    pub fn buffered(mut self) -> Self {
        self.is_direct = false;
        self
    }

    /// Only to be read.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Out of `path=…,name=…,block_size=…,uuid=…,readonly=true,direct=false`.
    ///
    /// ```
    /// use bdev::Params;
    /// use bdev_file::Config;
    ///
    /// let config = Config::read(&Params::read("name=Disk0,path=/tmp/disk,block_size=512")?)?;
    /// assert_eq!(config.block_size, Some(512));
    /// assert!(Config::read(&Params::read("name=Disk0")?).is_err(), "which file?");
    /// # Ok::<(), bdev::BdevError>(())
    /// ```
    ///
    /// # Errors
    /// What is missing or none of these.
    pub fn read(params: &Params<'_>) -> Result<Self, BdevError> {
        params.allow(&["path", "name", "block_size", "uuid", "readonly", "direct"])?;
        let path = params.get("path").ok_or_else(|| BdevError::invalid("path", "it is missing; such as path=disk.img"))?;
        let mut config = Self::new(path);
        let block_size = params.number("block_size")?;
        config.block_size = block_size.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        config.name = params.get("name").map(String::from);
        config.uuid = params.get("uuid").map(str::parse).transpose()?;
        config.is_read_only = flag(params, "readonly")?.unwrap_or(config.is_read_only);
        config.is_direct = flag(params, "direct")?.unwrap_or(config.is_direct);
        Ok(config)
    }
}

fn flag(params: &Params<'_>, key: &'static str) -> Result<Option<bool>, BdevError> {
    let wrong = |text| BdevError::invalid(key, format!("{text:?} is neither true nor false"));
    params.get(key).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}
