//! What is known about each data buffer, one cache line for each.

// UNSAFETY: a `Meta` has fields that only the buffer's holder may touch, and lies in a slab that
// all cores share.

use alloc::boxed::Box;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Release};

use crate::Class;
use crate::stack::{Links, NIL};
use crate::sync::{AtomicU32, Witness};

/// Where a buffer goes when it is dropped: a pointer, and of which of two kinds it is. What it
/// points to is `buf.rs`'s affair.
#[derive(Clone, Copy)]
pub(crate) struct RawHome {
    pub(crate) here: bool,
    pub(crate) at: *const (),
}

/// What is known about one buffer. All but `next` belongs to whoever holds the buffer.
#[repr(align(64))]
pub(crate) struct Meta {
    pub(crate) data: NonNull<u8>,
    pub(crate) offset: usize,
    /// Means something while a `Buf` is there, and only then.
    pub(crate) home: Cell<RawHome>,
    pub(crate) start: Cell<u32>,
    pub(crate) end: Cell<u32>,
    pub(crate) cap: u32,
    pub(crate) index: u32,
    next: AtomicU32,
    pub(crate) class: Class,
    pub(crate) witness: Witness,
}

#[cfg(not(loom))]
static_assertions::assert_eq_size!(Meta, [u8; 64]);

impl Meta {
    /// What is known about the buffer of `cap` bytes that lies `offset` bytes behind `base`.
    ///
    /// # Safety
    /// The buffer lies within the memory that `base` begins.
    pub(crate) unsafe fn new(class: Class, index: u32, base: NonNull<u8>, offset: usize, cap: u32) -> Self {
        // SAFETY: within, as the caller says.
        let data = unsafe { base.add(offset) };
        let (start, end) = (Cell::new(0), Cell::new(0));
        let (home, next) = (Cell::new(RawHome { here: false, at: ptr::null() }), AtomicU32::new(NIL));
        Self { data, offset, home, start, end, cap, index, next, class, witness: Witness::new() }
    }

    /// Links the buffer to the one that lies under it in a list.
    #[inline]
    pub(crate) fn set_next(&self, next: u32) {
        self.next.store(next, Release);
    }

    /// What lies under it in a list.
    #[inline]
    pub(crate) fn next(&self) -> u32 {
        self.next.load(Acquire)
    }
}

/// The metas of all buffers of a pool, and the links of its stacks.
pub(crate) struct Slab(pub(crate) Box<[Meta]>);

// SAFETY: the fields of a `Meta` that are not atomic are touched by the holder of its index alone.
// An index has one holder, as a `Buf`, in one list or in one `Chain`, and passes from thread to
// thread through stacks, a lock or a `SendBuf`'s move, all of which order the two. A home that is
// bound to a thread lies in a meta only while a `Buf` does too, which stays there.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Links for [Meta] {
    #[inline]
    fn after(&self, index: u32) -> u32 {
        self[index as usize].next()
    }

    #[inline]
    fn set_after(&self, index: u32, next: u32) {
        self[index as usize].set_next(next);
    }
}
