//! A device's memory, in stripes that are locked one by one.

// UNSAFETY: the memory is one piece, so that it is zeroed by the system when it is first touched
// and can be in hugepages; its stripes are borrowed out of it by hand.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::slice;

use bdev::BdevError;
use pool::{HeapMemory, Memory};
use spin::{RwLock, RwLockWriteGuard};

/// Bytes of a stripe at most.
const MOST: usize = 64 << 10;

/// Memory in stripes of whole blocks.
pub(crate) struct Stripes {
    memory: HeapMemory,
    len: usize,
    stripe: usize,
    locks: Box<[RwLock<Stripe>]>,
}

/// What is known of a stripe.
#[derive(Default)]
struct Stripe {
    /// Whether anything but zeroes may be there.
    is_written: bool,
}

impl Stripes {
    /// `len` zeroed bytes, of which each `block` lies within a stripe.
    pub(crate) fn new(len: u64, block: u32) -> Result<Self, BdevError> {
        let none = BdevError::NoMemory(len);
        let bytes = usize::try_from(len).map_err(|_| none.clone())?;
        let stripe = MOST / block as usize * block as usize;
        let mut locks = Vec::new();
        locks.try_reserve_exact(bytes.div_ceil(stripe)).map_err(|_| none.clone())?;
        locks.resize_with(bytes.div_ceil(stripe), RwLock::default);
        let memory = HeapMemory::new(bytes).map_err(|_| none)?;
        Ok(Self { memory, len: bytes, stripe, locks: locks.into_boxed_slice() })
    }

    /// Bytes of a stripe.
    pub(crate) fn stripe(&self) -> usize {
        self.stripe
    }

    /// How many of `len` bytes from `at` on are in the stripe of the first.
    #[inline]
    pub(crate) fn within(&self, at: usize, len: usize) -> usize {
        len.min(self.stripe - at % self.stripe)
    }

    /// Has `f` look at `len` bytes from `at` on, all in one stripe. `None` while somebody writes
    /// there.
    #[inline]
    pub(crate) fn read<R>(&self, at: usize, len: usize, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let index = self.index(at, len);
        let _guard = self.locks[index].try_read()?;
        // SAFETY: the bytes are in the memory and in the stripe (`index`), initialised, and written
        // by nobody while its lock is held for reading.
        let bytes = unsafe { slice::from_raw_parts(self.memory.base().as_ptr().add(at), len) };
        Some(f(bytes))
    }

    /// Has `f` change `len` bytes from `at` on, all in one stripe. `None` while somebody else is
    /// there.
    #[inline]
    pub(crate) fn write<R>(&self, at: usize, len: usize, f: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let mut guard = self.locks[self.index(at, len)].try_write()?;
        guard.is_written = true;
        Some(f(self.bytes(&mut guard, at, len)))
    }

    /// The same over the border between two stripes, as one: `f` changes the bytes on either side.
    /// Nothing has happened where it answers `None`.
    pub(crate) fn write_both<R>(&self, at: usize, len: usize, f: impl FnOnce(&mut [u8], &mut [u8]) -> R) -> Option<R> {
        let first = self.within(at, len);
        let (border, second) = (at + first, len - first);
        let mut low = self.locks[self.index(at, first)].try_write()?;
        if second == 0 {
            low.is_written = true;
            return Some(f(self.bytes(&mut low, at, first), &mut []));
        }
        // Another stripe than the first, whose lock is held: `border` is where it ends.
        let mut high = self.locks[self.index(border, second)].try_write()?;
        (low.is_written, high.is_written) = (true, true);
        Some(f(self.bytes(&mut low, at, first), self.bytes(&mut high, border, second)))
    }

    /// Zeroes `len` bytes from `at` on, all in one stripe; tells how many had to be touched. `None`
    /// while somebody else is there.
    pub(crate) fn zero(&self, at: usize, len: usize) -> Option<usize> {
        let mut guard = self.locks[self.index(at, len)].try_write()?;
        if !guard.is_written {
            return Some(0);
        }
        self.bytes(&mut guard, at, len).fill(0);
        guard.is_written = len < self.stripe;
        Some(len)
    }

    /// The bytes, for as long as their stripe is held.
    #[inline]
    fn bytes<'a>(&self, _held: &'a mut RwLockWriteGuard<'_, Stripe>, at: usize, len: usize) -> &'a mut [u8] {
        // SAFETY: each caller has found the guard by `index` of the same place, so the bytes are in
        // the memory and in the stripe, and nobody else reads or writes there while it is held;
        // they are borrowed for no longer, and of one guard once at a time. The guard borrows the
        // locks, which are dropped with the memory.
        unsafe { slice::from_raw_parts_mut(self.memory.base().as_ptr().add(at), len) }
    }

    /// The stripe that has all of these bytes.
    ///
    /// # Panics
    /// No stripe has: a channel looks before whether a request is within the device, and a piece
    /// was made by [`within`](Self::within).
    #[inline]
    fn index(&self, at: usize, len: usize) -> usize {
        let index = at / self.stripe;
        assert!(len <= self.stripe - at % self.stripe && at <= self.len && len <= self.len - at, "a piece of one stripe");
        index
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::thread;

    use super::*;

    #[test]
    fn stripes_hold_whole_blocks() {
        for (block, stripe) in [(512, 65_536), (4096, 65_536), (1536, 64_512), (65_536, 65_536)] {
            let memory = Stripes::new(3 * u64::from(block), block).unwrap();
            assert_eq!(memory.stripe(), stripe);
        }
    }

    #[test]
    fn what_is_not_in_one_stripe_is_not_lent() {
        let memory = Stripes::new(100_000, 500).unwrap();
        for (at, len) in [(65_000, 600), (99_999, 2), (100_001, 0), (0, 65_501), (usize::MAX, 2)] {
            let lent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| memory.read(at, len, |_| ())));
            assert!(lent.is_err(), "{at} {len}");
        }
        assert_eq!(memory.read(65_000, 500, <[u8]>::len), Some(500));
    }

    #[test]
    fn who_finds_a_stripe_taken_is_told_and_gets_it_afterwards() {
        let memory = Stripes::new(200_000, 500).unwrap();
        let inner = memory.write(0, 500, |_| {
            let same = (memory.read(500, 1, |_| ()), memory.write(1, 1, |_| ()), memory.zero(0, 1), memory.write_both(0, 1, |_, _| ()));
            (same, memory.write_both(65_000, 1_000, |_, _| ()), memory.read(65_500, 1, |_| ()))
        });
        assert_eq!(inner, Some(((None, None, None, None), None, Some(()))));
        let read = memory.read(0, 1, |_| (memory.read(1, 1, |_| ()), memory.write(0, 1, |_| ())));
        assert_eq!(read, Some((Some(()), None)));
        assert_eq!(memory.write_both(65_000, 1_000, |a, b| (a.len(), b.len())), Some((500, 500)));
    }

    #[test]
    fn zeroes_cost_nothing_where_nothing_was_written() {
        let memory = Stripes::new(131_000, 500).unwrap();
        assert_eq!(memory.zero(0, 65_500), Some(0));
        memory.write(10, 2, |bytes| bytes.fill(7));
        assert_eq!((memory.zero(0, 11), memory.read(10, 2, |bytes| bytes.to_vec())), (Some(11), Some(alloc::vec![0, 7])));
        assert_eq!((memory.zero(0, 65_500), memory.zero(0, 65_500)), (Some(65_500), Some(0)));
        assert_eq!(memory.read(10, 2, |bytes| bytes.to_vec()), Some(alloc::vec![0, 0]));
    }

    /// Threads that write whole blocks, and read them: no block is a mixture.
    #[test]
    fn a_block_is_written_and_read_as_one() {
        let memory = Stripes::new(512 * 3, 512).unwrap();
        let rounds = if cfg!(miri) { 50 } else { 20_000 };
        thread::scope(|scope| {
            for byte in 1..4u8 {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..rounds {
                        let at = (round + usize::from(byte)) % 3 * 512;
                        while memory.write(at, 512, |bytes| bytes.fill(byte)).is_none() {
                            std::hint::spin_loop();
                        }
                        let one = memory.read((at + 512) % 1536, 512, |bytes| bytes.iter().all(|b| *b == bytes[0]));
                        assert_ne!(one, Some(false));
                    }
                });
            }
        });
    }
}
