//! The suite over files and disks, through the ring of a core and through threads.

mod places;

use bdev::{Bdev, BdevError, Bdevs};
use bdev_conformance::{Subject, suite};
use bdev_file::Config;

use crate::places::{Loop, file_in, named_disk};

type Make = fn(&Bdevs, &Config) -> Result<Bdev, BdevError>;

/// A device of a file, which can become twice as large, and half.
fn file(bdevs: &Bdevs, make: Make, dir: &str, block_size: u32, change: fn(Config) -> Config) -> Result<Bdev, BdevError> {
    let file = file_in(dir, 4_000 * u64::from(block_size));
    let bdev = make(bdevs, &change(Config::new(file.path()).name("f").block_size(block_size)));
    file.as_file().set_len(8_000 * u64::from(block_size)).expect("a longer file");
    // It goes by its name now, and stays for who has it open.
    bdev
}

/// A device of a disk: one that is named, or one made of a file; where there can be none, of the
/// file itself.
fn disk(bdevs: &Bdevs, make: Make, sector: u32, block_size: u32) -> Result<Bdev, BdevError> {
    let bytes = 8_000 * u64::from(block_size);
    let made;
    let path = match named_disk(bytes, sector) {
        Some(path) => path,
        None => match Loop::new(bytes, sector) {
            Some(disk) => {
                made = disk;
                made.path().into()
            }
            None => return file(bdevs, make, TMP, block_size, |config| config),
        },
    };
    let bdev = make(bdevs, &Config::new(&path).name("d").block_size(block_size))?;
    // So that there is more of it than the device is said to have.
    bdev.resize(4_000)?;
    Ok(bdev)
}

const FILE: Subject = Subject { make: |_| unreachable!("each has its own"), keeps: true, resizes: true, fails: false };
const TMP: &str = "/tmp";
const SHM: &str = "/dev/shm";

macro_rules! files {
    ($of:ident, $make:path) => {
        mod $of {
            use super::*;

            suite!(direct_512, Subject { make: |bdevs| file(bdevs, $make, TMP, 512, |config| config), ..FILE });
            // Blocks that no disk writes as one, so that they are kept apart here.
            suite!(direct_16k, Subject { make: |bdevs| file(bdevs, $make, TMP, 16 << 10, |config| config), ..FILE });
            suite!(buffered_512, Subject { make: |bdevs| file(bdevs, $make, TMP, 512, Config::buffered), ..FILE });
            suite!(tmpfs_4096, Subject { make: |bdevs| file(bdevs, $make, SHM, 4096, |config| config), ..FILE });
            suite!(tmpfs_1536, Subject { make: |bdevs| file(bdevs, $make, SHM, 1536, Config::buffered), ..FILE });
            suite!(disk_512, Subject { make: |bdevs| disk(bdevs, $make, 512, 512), ..FILE });
            suite!(disk_4096, Subject { make: |bdevs| disk(bdevs, $make, 4096, 4096), ..FILE });
            // Smaller blocks than the disk takes: through the cache.
            suite!(disk_4096_512, Subject { make: |bdevs| disk(bdevs, $make, 4096, 512), ..FILE });
        }
    };
}

files!(uring, bdev_uring::uring);
files!(aio, bdev_aio::aio);
