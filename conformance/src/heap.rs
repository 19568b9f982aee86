//! A heap that counts, for the proof that nothing is allocated per I/O.
//!
//! A test program of its own makes [`CountingHeap`] its `#[global_allocator]` and hands it to a
//! check such as [`net::steady`](crate::net::steady).
//!
//! UNSAFETY: an allocator is an unsafe trait. This one passes every call on to the system's as it
//! is.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<Heap> = const { Cell::new(Heap { allocations: 0, bytes: 0 }) };
}

/// The system's heap, with a count for each thread.
pub struct CountingHeap;

/// What a thread has asked its heap for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Calls, also those that made a piece larger.
    pub allocations: u64,
    /// Bytes asked for in all of them.
    pub bytes: u64,
}

impl CountingHeap {
    /// What the calling thread has asked for so far. Panics if it does not count, which means that
    /// the program has another allocator.
    pub fn now(&self) -> Heap {
        let before = COUNT.get();
        drop(std::hint::black_box(Box::new(0u64)));
        let after = COUNT.get();
        assert!(after.allocations > before.allocations, "CountingHeap is not this program's #[global_allocator]");
        after
    }

    /// What `f` asks for on the calling thread.
    pub fn during(&self, f: impl FnOnce()) -> Heap {
        let before = self.now();
        f();
        let after = COUNT.get();
        Heap { allocations: after.allocations - before.allocations, bytes: after.bytes - before.bytes }
    }
}

fn count(bytes: usize) {
    // A thread that is ending has no count any more, and nothing to prove.
    let _ = COUNT.try_with(|count| {
        let Heap { allocations, bytes: before } = count.get();
        count.set(Heap { allocations: allocations + 1, bytes: before + bytes as u64 });
    });
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments; counting
// allocates nothing.
unsafe impl GlobalAlloc for CountingHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(at, layout) }
    }
}
