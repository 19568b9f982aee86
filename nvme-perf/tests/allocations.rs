//! No command allocates: the whole program in this process, the target in another, and an allocator
//! that counts. In a program of its own, as the allocator counts for all.
// UNSAFETY: an allocator is unsafe by its trait; this one passes everything on and counts.

mod nvmf_tgt;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use nvmf_tgt::NvmfTgt;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is the system allocator's, with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` or `realloc` above, so from the system's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above, and the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Fills, reads and writes with and without R2Ts and digests, over a few and over many places: a
/// run of thousands more commands allocates no more.
#[test]
fn s315_no_command_allocates() {
    let target = NvmfTgt::start("--malloc 32M");
    for net in ["posix", "uring"] {
        for options in ["-o 4k", "-o 64k -G -g"] {
            let allocations = |size: &str| {
                let before = ALLOCATIONS.load(Ordering::SeqCst);
                // The time is short: most commands fill and read back.
                let line = format!("-q 16 -w randrw -t 0.05 --verify --json -N {net} --log-level error {options} --size {size}");
                let args = ["nvme-perf".to_owned(), "-r".to_owned(), target.name()].into_iter().chain(line.split(' ').map(str::to_owned));
                assert_eq!(nvme_perf::run(args), std::process::ExitCode::SUCCESS);
                ALLOCATIONS.load(Ordering::SeqCst) - before
            };
            allocations("2M");
            let (few, many) = (allocations("2M"), allocations("32M"));
            // 480 places more at least, each filled once.
            assert!(many < few + 100, "{net} {options}: {few} allocations for 2 MiB, {many} for 32 MiB");
        }
    }
    target.stop();
}
