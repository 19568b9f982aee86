//! The memory under a data-buffer pool: one piece, so that it can be registered once with io_uring
//! or an RDMA protection domain.

// UNSAFETY: memory is taken from the allocator by hand, because no safe type is zeroed and
// page-aligned at a size chosen at run time.

use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::{boxed::Box, vec::Vec};
use core::alloc::Layout;
use core::ptr::NonNull;

use crate::{DATA_ALIGN, PoolError};

/// A list of `len` things, or the error that there is no memory for it.
pub(crate) fn many<T>(len: usize, mut make: impl FnMut() -> T) -> Result<Box<[T]>, PoolError> {
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| PoolError::NoMemory { bytes: len.saturating_mul(size_of::<T>()) })?;
    list.extend((0..len).map(|_| make()));
    Ok(list.into_boxed_slice())
}

/// One piece of memory for buffers: hugepages, ordinary pages, an image's own.
///
/// # Safety
/// [`base`](Self::base) and [`len`](Self::len) always answer the same. The bytes between are
/// initialised (zeroed, so that no one else's data is seen), may be read and written from any
/// thread, and are touched by nobody but the pool until this is dropped.
#[expect(clippy::len_without_is_empty, reason = "the length of a mapping, which nobody asks whether it is empty")]
pub unsafe trait Memory: Send + Sync {
    /// The first byte, aligned to [`DATA_ALIGN`].
    fn base(&self) -> NonNull<u8>;

    /// Bytes in it.
    fn len(&self) -> usize;
}

/// Memory from the allocator.
///
/// ```
/// use pool::{DataPool, DataPoolConfig, HeapMemory};
///
/// // As `DataPool::on_heap` does it; other memory comes from whoever implements `Memory`.
/// let config = DataPoolConfig::default();
/// let pool = DataPool::new(config, Box::new(HeapMemory::new(config.footprint())?))?;
/// assert_eq!(pool.region().1, config.footprint());
/// # Ok::<(), pool::PoolError>(())
/// ```
#[derive(Debug)]
pub struct HeapMemory {
    base: NonNull<u8>,
    layout: Layout,
}

impl HeapMemory {
    /// `len` zeroed bytes.
    ///
    /// ```
    /// use pool::{HeapMemory, Memory};
    ///
    /// let memory = HeapMemory::new(8192)?;
    /// assert_eq!((memory.len(), memory.base().addr().get() % 4096), (8192, 0));
    /// # Ok::<(), pool::PoolError>(())
    /// ```
    ///
    /// # Errors
    /// [`PoolError::NoMemory`].
    pub fn new(len: usize) -> Result<Self, PoolError> {
        let none = PoolError::NoMemory { bytes: len };
        let layout = Layout::from_size_align(len.max(1), DATA_ALIGN).map_err(|_| none)?;
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(none)?;
        Ok(Self { base, layout })
    }
}

// SAFETY: the allocation is its own, zeroed, and stays where it is until the drop.
unsafe impl Memory for HeapMemory {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.layout.size()
    }
}

// SAFETY: it only names memory; what is done with the bytes is the affair of who holds the pointer.
unsafe impl Send for HeapMemory {}
// SAFETY: as above.
unsafe impl Sync for HeapMemory {}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout and freed once.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}
