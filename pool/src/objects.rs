//! What the cores that use a mempool share: the objects, and who has which.

// UNSAFETY: objects lie in `UnsafeCell`s and are reached by index; that an index has one owner is
// kept by `mempool` and `cache`, not by the compiler.

use alloc::{boxed::Box, sync::Arc};
use core::cell::UnsafeCell;

use crossbeam_utils::CachePadded;

use crate::stack::{FreeStack, LinkArray};
use crate::sync::{AtomicU32, AtomicUsize};

/// What the handle, the caches and the objects that travel hold on to.
pub(crate) struct Shared<T> {
    pub(crate) objects: Box<[UnsafeCell<T>]>,
    pub(crate) links: LinkArray,
    pub(crate) account: Arc<Account>,
    pub(crate) cache_size: usize,
    pub(crate) ids: FreeStack,
    pub(crate) id_links: LinkArray,
}

/// What may be seen of a pool, whatever its objects are.
pub(crate) struct Account {
    /// The type of the objects.
    pub(crate) of: &'static str,
    /// How many there are.
    pub(crate) objects: usize,
    /// Those that no core has in its cache.
    pub(crate) free: CachePadded<FreeStack>,
    /// One for each cache.
    pub(crate) counters: Box<[Arc<CachePadded<Counters>>]>,
}

// SAFETY: sharing it lets objects move between threads, which `T: Send` allows; two threads never
// have the same object, because an index is in the stack, in one cache, or with one `Obj`, `Bulk`
// or `SendObj`, and the stack orders who had it before who has it next.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Where object `index` lies.
    #[inline]
    pub(crate) fn object(&self, index: u32) -> *mut T {
        self.objects[index as usize].get()
    }
}

/// What a core writes about its cache and others may read. Only the cache's core writes, so a load
/// and a store make an increment.
#[derive(Default)]
pub(crate) struct Counters {
    /// Free objects in the cache.
    pub(crate) len: AtomicU32,
    pub(crate) hits: AtomicUsize,
    pub(crate) refills: AtomicUsize,
    pub(crate) spills: AtomicUsize,
    pub(crate) failures: AtomicUsize,
}
