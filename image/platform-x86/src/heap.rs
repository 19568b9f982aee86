//! The heap: all memory behind the image, for what is set up at the start and for connections as
//! they come and go. The data path takes nothing from it.

// UNSAFETY: an allocator hands out raw memory.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use linked_list_allocator::Heap;
use spin::Mutex;

use crate::boot::Free;

struct Locked {
    // Never contended: one core, and nothing allocates while it is interrupted.
    heap: Mutex<Heap>,
    calls: AtomicUsize,
}

#[global_allocator]
static HEAP: Locked = Locked { heap: Mutex::new(Heap::empty()), calls: AtomicUsize::new(0) };

// SAFETY: the list allocator gives out blocks of its memory that do not overlap, of the layout
// asked for.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.heap.lock().allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let Some(at) = NonNull::new(at) else { return };
        // SAFETY: the caller gives back what `alloc` gave, with its layout.
        unsafe { self.heap.lock().deallocate(at, layout) }
    }
}

pub(crate) fn init(free: &Free) {
    // SAFETY: the memory behind the image is nobody's, is mapped, and stays.
    unsafe { HEAP.heap.lock().init(free.base, free.len) }
}

/// The heap's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes in all.
    pub size: usize,
    /// Bytes that are out.
    pub used: usize,
    /// Allocations made so far.
    pub allocations: usize,
}

/// What the heap has given so far.
pub fn heap() -> HeapStats {
    let heap = HEAP.heap.lock();
    HeapStats { size: heap.size(), used: heap.used(), allocations: HEAP.calls.load(Ordering::Relaxed) }
}
