//! A file or disk that is open, and what it can do.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bdev::BdevError;
use pool::BufGroup;

use crate::Config;
use crate::claims::Claims;
use crate::sys;

/// Bytes of a block at most.
const MOST_BLOCK: u32 = 64 << 10;
/// Bytes of a file's block if nobody says another number.
const FILE_BLOCK: u32 = 4096;
/// What a disk keeps whole if nothing is known of it.
const SECTOR: u32 = 512;

/// A file or disk that is open.
#[derive(Debug)]
pub struct Disk {
    file: File,
    path: PathBuf,
    block_size: u32,
    /// What memory and places are to be multiples of; 1 through the kernel's cache.
    align: u32,
    /// Whether a block may be read as a mixture of two writes unless they are kept apart.
    tears: bool,
    pub(crate) claims: Claims,
    /// What its file system does not have, found out by trying.
    cannot_zero: AtomicBool,
    cannot_punch: AtomicBool,
    bounced: AtomicU64,
}

/// What a disk says of itself.
struct Sectors {
    logical: u32,
    physical: u32,
}

impl Disk {
    pub(crate) fn open(config: &Config) -> Result<Self, BdevError> {
        let fails = |why: io::Error| BdevError::invalid("path", format!("{}: {}", config.path.display(), hint(&why, config)));
        let meta = std::fs::metadata(&config.path).map_err(fails)?;
        if !meta.is_file() && !meta.file_type().is_block_device() {
            let why = format!("{}: it is neither a file nor a disk but {}", config.path.display(), kind(&meta));
            return Err(BdevError::invalid("path", why));
        }
        sys::ignore_limit_signal();
        let is_disk = meta.file_type().is_block_device();
        let (file, mut refusal) = open(config, is_disk).map_err(fails)?;
        let sectors = sectors(&file, is_disk).map_err(fails)?;
        let block_size = block_size(config, sectors.as_ref())?;
        let mut align = 1;
        if refusal.is_none() {
            (align, refusal) = match direct_align(&file) {
                Some(align) if block_size.is_multiple_of(align) => (align, None),
                Some(align) => (1, Some(format!("its blocks have {align} bytes, those of the device {block_size}"))),
                None => (1, Some("reads past the kernel's cache fail there".into())),
            };
        }
        let file = if config.is_direct && refusal.is_some() {
            // First the one goes: a disk is opened once.
            drop(file);
            open_with(config, is_disk, false).map_err(fails)?
        } else {
            file
        };
        let path = config.path.clone();
        match &refusal {
            None => log::info!("{}: read and written with O_DIRECT, in multiples of {align} bytes", path.display()),
            Some(why) => log::info!("{}: read and written through the kernel's cache: {why}", path.display()),
        }
        let whole = sectors.map_or(SECTOR, |sectors| sectors.physical);
        Ok(Self {
            file,
            path,
            block_size,
            align,
            tears: align == 1 || block_size > whole,
            claims: Claims::new(),
            cannot_zero: AtomicBool::new(!config.allocates),
            cannot_punch: AtomicBool::new(!config.allocates),
            bounced: AtomicU64::new(0),
        })
    }

    /// Its descriptor, which is open as long as this is.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Whether it is read and written past the kernel's cache.
    pub fn is_direct(&self) -> bool {
        self.align > 1
    }

    /// Calls whose memory did not lie as `O_DIRECT` wants it, so that it was copied.
    pub fn bounced(&self) -> u64 {
        self.bounced.load(Ordering::Relaxed)
    }

    pub(crate) fn count_bounced(&self) {
        self.bounced.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn align(&self) -> usize {
        self.align as usize
    }

    pub(crate) fn tears(&self) -> bool {
        self.tears
    }

    pub(crate) fn block_size(&self) -> u32 {
        self.block_size
    }

    pub(crate) fn cannot(&self, what: What) -> &AtomicBool {
        match what {
            What::Zero => &self.cannot_zero,
            What::Punch => &self.cannot_punch,
        }
    }

    /// How many blocks it has now.
    pub(crate) fn blocks(&self) -> Result<u64, BdevError> {
        let fails = |why: io::Error| BdevError::invalid("path", format!("{}: its size: {why}", self.path.display()));
        let meta = self.file.metadata().map_err(fails)?;
        let bytes = if meta.is_file() { meta.len() } else { sys::disk_sizes(&self.file).map_err(fails)?.0 };
        let size = u64::from(self.block_size);
        if bytes == 0 || !bytes.is_multiple_of(size) {
            let hint = if bytes > 0 && bytes.is_multiple_of(512) { "; give another block_size, such as 512" } else { "" };
            let why = format!("{}: its {bytes} bytes are no whole number of blocks of {size}{hint}", self.path.display());
            return Err(BdevError::invalid("path", why));
        }
        Ok(bytes / size)
    }
}

/// What a file system may not have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Zero,
    Punch,
}

/// Opens it, past the kernel's cache where that is wanted and can be. If not, why.
fn open(config: &Config, is_disk: bool) -> io::Result<(File, Option<String>)> {
    if !config.is_direct {
        return Ok((open_with(config, is_disk, false)?, Some("as was asked for".into())));
    }
    match open_with(config, is_disk, true) {
        Ok(file) => Ok((file, None)),
        Err(why) if why.raw_os_error() == Some(libc::EINVAL) => {
            Ok((open_with(config, is_disk, false)?, Some("its file system has no O_DIRECT".into())))
        }
        Err(why) => Err(why),
    }
}

fn open_with(config: &Config, is_disk: bool, is_direct: bool) -> io::Result<File> {
    let mut flags = if is_direct { libc::O_DIRECT } else { 0 };
    if is_disk && !config.is_read_only {
        // Not one that is mounted.
        flags |= libc::O_EXCL;
    }
    OpenOptions::new().read(true).write(!config.is_read_only).custom_flags(flags).open(&config.path)
}

/// The system's words, and what to do.
fn hint(why: &io::Error, config: &Config) -> String {
    match why.raw_os_error() {
        Some(libc::ENOENT) => "there is no such file; make one, such as with truncate -s 1G".into(),
        Some(libc::EACCES | libc::EPERM | libc::EROFS) if !config.is_read_only => {
            format!("it cannot be opened for writing ({why}); change who may, or make the device readonly")
        }
        Some(libc::EBUSY) => "it is in use: mounted, or another device's".into(),
        _ => format!("it cannot be opened ({why})"),
    }
}

fn kind(meta: &Metadata) -> &'static str {
    let of = meta.file_type();
    match () {
        () if of.is_dir() => "a directory",
        () if of.is_socket() => "a socket",
        () if of.is_fifo() => "a pipe",
        () => "a device of characters",
    }
}

fn sectors(file: &File, is_disk: bool) -> io::Result<Option<Sectors>> {
    let sizes = is_disk.then(|| sys::disk_sizes(file)).transpose()?;
    Ok(sizes.map(|(_, logical, physical)| Sectors { logical, physical }))
}

fn block_size(config: &Config, sectors: Option<&Sectors>) -> Result<u32, BdevError> {
    let size = config.block_size.unwrap_or_else(|| sectors.map_or(FILE_BLOCK, |sectors| sectors.logical));
    if size == 0 || !size.is_multiple_of(512) || size > MOST_BLOCK {
        let why = format!("{size} is not a multiple of 512 from 512 to {MOST_BLOCK}");
        return Err(BdevError::invalid("block_size", why));
    }
    Ok(size)
}

/// What reads past the kernel's cache are to be multiples of, found out by trying.
fn direct_align(file: &File) -> Option<u32> {
    let mut buf = BufGroup::new(1, FILE_BLOCK as usize).get()?;
    [SECTOR, FILE_BLOCK].into_iter().find(|align| {
        // At a place, and of a length, that are multiples of nothing more.
        sys::try_read(file, &mut buf, u64::from(*align), *align as usize).is_ok()
    })
}
