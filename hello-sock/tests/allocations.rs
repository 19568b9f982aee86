//! An echo allocates nothing: the server module over lcore's reactors and each backend, the peer
//! beside it in the same process, and an allocator that counts. In a program of its own, as the
//! allocator counts for all.
// UNSAFETY: an allocator is unsafe by its trait; this one passes everything on and counts.

mod in_process;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use in_process::serve;
use lcore::pool::ClassConfig;

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

#[test]
fn an_echo_allocates_nothing_over_posix_and_over_uring() {
    for net in ["posix", "uring"] {
        let made = allocations(serve(net, ClassConfig { count: 256, size: 16 << 10 }, 32));
        assert_eq!(made, 0, "allocations of echoes over {net}");
    }
    // The count is alive.
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    drop(std::hint::black_box(Box::new(1u8)));
    assert!(ALLOCATIONS.load(Ordering::SeqCst) > before);
}

/// Allocations in 9,600 echoes of various sizes, after some to warm up.
fn allocations(at: SocketAddr) -> u64 {
    let mut peers = [(); 8].map(|()| TcpStream::connect(at).unwrap());
    let (text, mut back) = ([5; 40_000], [0; 40_000]);
    let mut round = |sizes: &[usize], rounds: usize| {
        for _ in 0..rounds {
            for peer in &mut peers {
                for size in sizes {
                    peer.write_all(&text[..*size]).unwrap();
                    peer.read_exact(&mut back[..*size]).unwrap();
                }
            }
        }
    };
    let sizes = [1, 64, 16_384, 40_000];
    round(&sizes, 20);
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    round(&sizes, 300);
    ALLOCATIONS.load(Ordering::SeqCst) - before
}
