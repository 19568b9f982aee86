//! No request allocates.

use bdev_conformance::{Subject, steady};
use bdev_fault::{Faults, fault};
use bdev_malloc::{Config, malloc, null};
use conformance::heap::CountingHeap;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap;

#[test]
fn s230_no_request_allocates() {
    let subject = |make| Subject { make, keeps: true, resizes: false, fails: false };
    steady(&subject(|bdevs| malloc(bdevs, Config::new(4096, 300))), &HEAP);
    steady(&subject(|bdevs| null(bdevs, Config::new(4096, 300))), &HEAP);
    let over = |bdevs: &bdev::Bdevs| {
        malloc(bdevs, Config::new(512, 300).name("m"))?;
        fault(bdevs, "f", "m", Faults::none(1))
    };
    steady(&subject(over), &HEAP);
}
