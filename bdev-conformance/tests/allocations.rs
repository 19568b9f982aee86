//! No request allocates.

mod places;

use bdev::Limits;
use bdev_aio::aio;
use bdev_conformance::{Subject, steady};
use bdev_fault::{Faults, fault};
use bdev_file::Config;
use bdev_malloc::{Config as Memory, malloc, null};
use bdev_uring::uring;
use conformance::heap::CountingHeap;

use crate::places::file_in;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap;

#[test]
fn s230_no_request_allocates() {
    let subject = |make| Subject { make, keeps: true, resizes: false, fails: false };
    steady(&subject(|bdevs| malloc(bdevs, Memory::new(4096, 300))), &HEAP);
    steady(&subject(|bdevs| null(bdevs, Memory::new(4096, 300))), &HEAP);
    let over = |bdevs: &bdev::Bdevs| {
        malloc(bdevs, Memory::new(512, 300).name("m"))?;
        fault(bdevs, "f", "m", Faults::none(1))
    };
    steady(&subject(over), &HEAP);
    let limited = |bdevs: &bdev::Bdevs| {
        let bdev = malloc(bdevs, Memory::new(4096, 300))?;
        bdev.set_limits(Limits { ios: 50_000, ..Limits::default() });
        Ok(bdev)
    };
    steady(&subject(limited), &HEAP);
    steady(&subject(|bdevs| uring(bdevs, &Config::new(file_in("/tmp", 300 * 4096).path()))), &HEAP);
    steady(&subject(|bdevs| aio(bdevs, &Config::new(file_in("/tmp", 300 * 4096).path()))), &HEAP);
    // Blocks that no two calls may touch at a time.
    steady(&subject(|bdevs| uring(bdevs, &Config::new(file_in("/tmp", 300 * 4096).path()).buffered())), &HEAP);
}
