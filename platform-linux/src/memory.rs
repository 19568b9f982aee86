//! Memory for pools: hugepages where there are any, ordinary pages where not.
//!
//! A [`HugeMemory`] is one mapping, all of it there from the start: no page fault comes later, and
//! io_uring and RDMA can register it once.
// UNSAFETY: mmap, madvise and munmap deal in addresses.

use std::io;
use std::ptr::{self, NonNull};

use core_reactor::PlatformError;
use pool::Memory;

use crate::error::os_error;
use crate::limits::available_memory;

/// The size of a hugepage, bytes.
const HUGE: usize = 2 << 20;
/// The least size of an ordinary page, bytes. Larger ones (arm64, ppc64) are multiples of it.
const PAGE: usize = 4096;

/// What is attempted where there are no hugepages.
const ORDINARY: &str = "map memory in ordinary pages";

/// A region of zeroed memory at an address that stays, freed on drop.
#[derive(Debug)]
pub struct HugeMemory {
    base: NonNull<u8>,
    len: usize,
    huge: bool,
}

// SAFETY: the region belongs to this value alone, which hands out its address and never reads or
// writes it.
unsafe impl Send for HugeMemory {}
// SAFETY: as above: nothing can be done to the region through a shared reference.
unsafe impl Sync for HugeMemory {}

// SAFETY: base and length are set once; the mapping is zeroed, readable and writable, and this
// value does not touch it until it unmaps it.
unsafe impl Memory for HugeMemory {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl HugeMemory {
    /// At least `len` bytes: in hugepages of 2 MiB if enough are free, in ordinary pages
    /// (transparent hugepages if the kernel likes) if not. Aligned to 4 KiB, and to 2 MiB from that
    /// size on. Which it was goes to the log, once for each region.
    ///
    /// ```
    /// use platform_linux::HugeMemory;
    /// use pool::Memory;
    ///
    /// // In hugepages where there are any.
    /// let memory = HugeMemory::new(1 << 20)?;
    /// assert!(memory.len() >= 1 << 20);
    /// # Ok::<(), core_reactor::PlatformError>(())
    /// ```
    ///
    /// # Errors
    /// The system has not so much memory, or the process may not have it.
    pub fn new(len: usize) -> Result<Self, PlatformError> {
        let memory = match Self::huge(len) {
            Ok(memory) => {
                log::info!("{} MiB of memory in 2 MiB hugepages", memory.len >> 20);
                memory
            }
            Err(why) => {
                // The system would grant it and end some process, this one perhaps, on the way.
                if let Some(available) = available_memory().filter(|available| len as u64 > *available) {
                    return Err(too_much(len, available));
                }
                let memory = Self::ordinary(len).map_err(|e| os_error(ORDINARY, &e))?;
                log::info!("{} KiB of memory in ordinary pages, as hugepages were refused ({why}); see vm.nr_hugepages", memory.len >> 10);
                memory
            }
        };
        Ok(memory)
    }

    /// Whether it lies in reserved hugepages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    fn huge(len: usize) -> io::Result<Self> {
        let len = round_up(len, HUGE)?;
        let memory = Self { base: map(len, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB)?, len, huge: true };
        // A reservation can still fail to become pages (a cgroup's limit, another NUMA node):
        // better here than by SIGBUS later.
        memory.populate()?;
        Ok(memory)
    }

    fn ordinary(len: usize) -> io::Result<Self> {
        let len = round_up(len, PAGE)?;
        // Only a mapping that begins where a hugepage would can be given transparent ones.
        let memory = if len < HUGE { Self { base: map(len, 0)?, len, huge: false } } else { Self::aligned(len)? };
        // SAFETY: the range is this mapping. A kernel without transparent hugepages says no, which
        // is fine.
        unsafe { libc::madvise(memory.base.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        memory.populate()?;
        Ok(memory)
    }

    /// A mapping that begins at a multiple of [`HUGE`]: a larger one with both ends cut off.
    fn aligned(len: usize) -> io::Result<Self> {
        let room = len.checked_add(HUGE).ok_or_else(more_than_there_can_be)?;
        let start = map(room, 0)?;
        let before = start.align_offset(HUGE);
        // SAFETY: `before` is less than HUGE, so the three ranges lie in the mapping; nothing uses
        // the two that are given back.
        unsafe {
            let base = start.add(before);
            unmap(start, before);
            unmap(base.add(len), HUGE - before);
            Ok(Self { base, len, huge: false })
        }
    }

    /// Makes every page be there.
    fn populate(&self) -> io::Result<()> {
        // SAFETY: the range is this mapping, and the call keeps its contents.
        if unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_POPULATE_WRITE) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
        // Kernels before 5.14 do not know the advice.
        for at in (0..self.len).step_by(PAGE) {
            // SAFETY: `at` is in the mapping, which nobody else knows yet.
            unsafe { self.base.add(at).write_volatile(0) };
        }
        Ok(())
    }
}

impl Drop for HugeMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own. Whoever went through its address had to promise
        // not to outlive it.
        unsafe { unmap(self.base, self.len) };
    }
}

/// A new private mapping of zeroes.
fn map(len: usize, flags: i32) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choosing touches nothing that is there.
    let base = unsafe {
        libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags, -1, 0)
    };
    match NonNull::new(base.cast::<u8>()) {
        Some(start) if base != libc::MAP_FAILED => Ok(start),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives back a range.
///
/// # Safety
/// Whole pages of mappings of ours that nobody uses any more (or nothing).
unsafe fn unmap(base: NonNull<u8>, len: usize) {
    if len > 0 {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(base.as_ptr().cast(), len) };
    }
}

fn too_much(len: usize, available: u64) -> PlatformError {
    let text = format!("{} MiB are asked for and {} MiB available", len >> 20, available >> 20).into();
    PlatformError::Os { doing: ORDINARY, code: libc::ENOMEM, text }
}

/// At least one `unit`, and whole ones.
fn round_up(len: usize, unit: usize) -> io::Result<usize> {
    len.max(1).checked_next_multiple_of(unit).ok_or_else(more_than_there_can_be)
}

/// What the system would say if it could be asked.
fn more_than_there_can_be() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOMEM)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    /// Reads all of a region and writes both its ends.
    fn exercise(memory: &HugeMemory) {
        // SAFETY: the region is all there, zeroed, and this test has it alone.
        let bytes = unsafe { std::slice::from_raw_parts_mut(memory.base().as_ptr(), memory.len()) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes[0] = 1;
        bytes[memory.len() - 1] = 2;
    }

    #[test]
    fn s29_ordinary_pages_are_zeroed_and_aligned() {
        for (asked, given, align) in [(0, PAGE, PAGE), (1, PAGE, PAGE), (10_000, 3 * PAGE, PAGE), (HUGE + 1, HUGE + PAGE, HUGE)] {
            let memory = HugeMemory::ordinary(asked).unwrap();
            assert_eq!((memory.len(), memory.is_huge()), (given, false));
            assert_eq!(memory.base().align_offset(align), 0);
            exercise(&memory);
        }
    }

    /// Kernels before 6.7 put a mapping where the one before it begins, so something odd lies
    /// between.
    #[test]
    fn s29_a_region_of_one_hugepage_begins_where_one_would() {
        let odd = || HugeMemory::ordinary(PAGE).unwrap();
        let regions: Vec<_> = (0..8).map(|_| (odd(), HugeMemory::ordinary(HUGE).unwrap())).collect();
        assert!(regions.iter().all(|(_, region)| region.base().align_offset(HUGE) == 0));
        let told = [true, false].map(|huge| HugeMemory { base: map(PAGE, 0).unwrap(), len: PAGE, huge }.is_huge());
        assert_eq!(told, [true, false]);
    }

    /// Pages behind the end of a file cannot be had; what an earlier call has failed of is no
    /// matter.
    #[test]
    fn s29_pages_that_do_not_come_are_an_error() {
        let file = tempfile::tempfile().unwrap();
        // SAFETY: a new mapping of a file of this test's, which nobody looks into.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), 2 * PAGE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(base, libc::MAP_FAILED);
        let memory = HugeMemory { base: NonNull::new(base.cast()).unwrap(), len: 2 * PAGE, huge: false };
        assert_eq!(memory.populate().unwrap_err().raw_os_error(), Some(libc::EFAULT));
        file.set_len(2 * PAGE as u64).unwrap();
        // SAFETY: closes nothing; it leaves an errno.
        assert_eq!(unsafe { libc::close(-1) }, -1);
        assert!(memory.populate().is_ok());
    }

    #[test]
    fn s29_more_than_there_can_be_is_an_error() {
        let available = available_memory().unwrap() as usize;
        // Little that is too much would do as well; but where this goes wrong the machine is to
        // survive.
        for len in [usize::MAX, usize::MAX / 2, 1 << 46, 8 * available] {
            let error = HugeMemory::new(len).unwrap_err().to_string();
            let asked = format!("map memory in ordinary pages: {} MiB are asked for and ", len >> 20);
            assert!(error.starts_with(&asked) && error.ends_with(" MiB available (error 12)"), "{error}");
        }
        // Where the system does not tell what is available it still refuses.
        assert_eq!(HugeMemory::ordinary(usize::MAX).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
        assert_eq!(HugeMemory::ordinary(1 << 46).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
    }

    #[test]
    fn s29_memory_is_given_back_on_drop() {
        // Whether an address is in use can be asked by mapping there without replacing.
        let in_use = |at: usize| {
            // SAFETY: never replaces a mapping; what it makes is removed again.
            unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                let got = libc::mmap(at as *mut _, PAGE, libc::PROT_NONE, flags, -1, 0);
                if got != libc::MAP_FAILED {
                    libc::munmap(got, PAGE);
                }
                got == libc::MAP_FAILED
            }
        };
        // Larger than what other tests map meanwhile, so that they do not fill the gap between the
        // drop and the question.
        let len = 64 * HUGE;
        let memory = HugeMemory::aligned(len).unwrap();
        let middle = memory.base().as_ptr() as usize + len / 2;
        assert!(in_use(middle));
        drop(memory);
        assert!(!in_use(middle));
    }

    /// Holds with hugepages and without: the machine's count says which answer is right.
    #[test]
    fn s29_hugepages_are_used_where_there_are_any() {
        let free = || crate::Limits::read().free_hugepages;
        // Another process may take or free pages between the question and the answer: ask again
        // then.
        let memory = loop {
            let before = free();
            let memory = HugeMemory::new(HUGE).unwrap();
            if before == free() + u64::from(memory.is_huge()) {
                assert_eq!(memory.is_huge(), before > 0);
                break memory;
            }
        };
        assert_eq!(memory.len(), HUGE);
        assert_eq!(memory.base().align_offset(HUGE), 0);
        exercise(&memory);
    }
}
