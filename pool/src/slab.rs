//! What is known about each data buffer, one cache line for each.

// UNSAFETY: a `Meta` has fields that only the buffer's holder may touch, and lies in a slab that all cores share.

use alloc::{boxed::Box, rc::Rc, sync::Arc};
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Release};

use crate::Class;
use crate::group::GroupLocal;
use crate::share::GroupShared;
use crate::stack::{Links, NIL};
use crate::sync::{AtomicU32, Witness};

/// Where a buffer goes when it is dropped. The reference keeps the pool, and so the buffer's memory, alive.
pub(crate) enum Home {
    /// To the group of this core.
    Here(Rc<GroupLocal>),
    /// To a group of another core.
    Away(Arc<GroupShared>),
}

/// What is known about one buffer. All but `next` belongs to whoever holds the buffer.
#[repr(align(64))]
pub(crate) struct Meta {
    pub(crate) data: NonNull<u8>,
    pub(crate) offset: usize,
    /// There while a `Buf` is, and only then.
    home: Cell<MaybeUninit<Home>>,
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
        let (home, next) = (Cell::new(MaybeUninit::uninit()), AtomicU32::new(NIL));
        Self { data, offset, home, start, end, cap, index, next, class, witness: Witness::new() }
    }

    /// Says where the buffer goes that begins here, or that has just lost its home.
    #[inline]
    pub(crate) fn set_home(&self, home: Home) {
        self.home.set(MaybeUninit::new(home));
    }

    /// The home.
    ///
    /// # Safety
    /// It is there, and is not taken out or set while the reference lives.
    pub(crate) unsafe fn home(&self) -> &Home {
        // SAFETY: it was written when the buffer began, or was last taken out, and stays while it is looked at.
        unsafe { (*self.home.as_ptr()).assume_init_ref() }
    }

    /// Takes the home out.
    ///
    /// # Safety
    /// It is there: the caller holds the buffer, and sets another home or lets the buffer end.
    #[inline]
    pub(crate) unsafe fn take_home(&self) -> Home {
        // SAFETY: it was written when the buffer began, or was last taken out.
        unsafe { self.home.replace(MaybeUninit::uninit()).assume_init() }
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

// SAFETY: the fields of a `Meta` that are not atomic are touched by the holder of its index alone. An index has one holder, as a `Buf`, in
// one list or in one `Chain`, and passes from thread to thread through stacks, a lock or a `SendBuf`'s move, all of which order the two.
// An `Rc` lies in a meta only while a `Buf` does too, and that stays on its thread.
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
