//! Memory that is handed out from the front on and never taken back. A reactor allocates when it is
//! made and when a thread or poller is; running takes none.

// UNSAFETY: an allocator hands out raw memory.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in all.
pub(crate) const ARENA: usize = 16 << 10;

struct Arena {
    memory: UnsafeCell<[u8; ARENA]>,
    used: AtomicUsize,
}

#[global_allocator]
static MEMORY: Arena = Arena { memory: UnsafeCell::new([0; ARENA]), used: AtomicUsize::new(0) };

// SAFETY: `used` gives each byte of `memory` to one caller only.
unsafe impl Sync for Arena {}

// SAFETY: blocks do not overlap (`used` only grows), are aligned, and stay for as long as the
// program.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.memory.get().cast::<u8>();
        let start = |used: usize| (base.addr() + used).next_multiple_of(layout.align()) - base.addr();
        let end = |used: usize| start(used).checked_add(layout.size()).filter(|end| *end <= ARENA);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end) {
            Ok(used) => base.wrapping_add(start(used)),
            Err(_) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// Bytes handed out so far.
pub(crate) fn used() -> usize {
    MEMORY.used.load(Ordering::Relaxed)
}
