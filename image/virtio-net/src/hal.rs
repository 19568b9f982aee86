//! What the driver needs of the machine: memory that the card can reach, which is all memory, where
//! it is.

// UNSAFETY: memory is handed to a device by address.
#![allow(unsafe_code)]

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::{NonNull, with_exposed_provenance_mut};

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// The platform maps the first 4 GiB where they are, and caches are coherent.
pub(crate) struct Identity;

fn pages(count: usize) -> Layout {
    // The driver asks for a few pages; far more would be refused by the allocator.
    Layout::from_size_align(count.max(1).saturating_mul(PAGE_SIZE), PAGE_SIZE).unwrap_or(Layout::new::<u8>())
}

// SAFETY: the memory is the allocator's, zeroed, aligned to pages, and nobody else's until it is
// given back.
unsafe impl Hal for Identity {
    fn dma_alloc(count: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout is not empty.
        let at = unsafe { alloc_zeroed(pages(count)) };
        // Address 0 is the driver's word for "no memory"; the pointer is not looked at then.
        (at.expose_provenance() as PhysAddr, NonNull::new(at).unwrap_or(NonNull::dangling()))
    }

    unsafe fn dma_dealloc(_: PhysAddr, at: NonNull<u8>, count: usize) -> i32 {
        // SAFETY: allocated above with the same layout; the caller gives it back once.
        unsafe { dealloc(at.as_ptr(), pages(count)) };
        0
    }

    unsafe fn mmio_phys_to_virt(at: PhysAddr, size: usize) -> NonNull<u8> {
        let end = at.checked_add(size as PhysAddr).filter(|end| at != 0 && *end <= 1 << 32);
        assert!(end.is_some(), "the network card's registers at {at:#x} are not in the first 4 GiB, which is what an image can reach");
        NonNull::new(with_exposed_provenance_mut(at as usize)).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
