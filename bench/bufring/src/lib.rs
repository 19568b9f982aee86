//! A ring of receive buffers that the kernel takes from: what the io_uring server and the io_uring
//! engine of the load generator share.
//!
//! A [`BufRing`] is registered with an io_uring under a group number; a receive that selects from
//! the group comes back with a buffer number, and the buffer belongs to the caller until
//! [`BufRing::give`] returns it. An *incremental* ring (Linux 6.12) is consumed piece by piece: one
//! buffer takes many small messages, so that little memory is touched; [`BufRing::take`] keeps
//! account of both kinds.
// UNSAFETY: the kernel reads the entries and writes the buffers while the program runs; Rust cannot
// see that.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{Submitter, cqueue};

/// Flag of the registration: consume buffers piece by piece (`IOU_PBUF_RING_INC`).
const INCREMENTAL: u16 = 2;

/// Buffers of one size, and the ring through which the kernel gets them. The memory lives until the
/// process ends.
#[derive(Debug)]
pub struct BufRing {
    entries: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    size: u32,
    mask: u16,
    tail: u16,
    group: u16,
    states: Vec<State>,
    lent: usize,
}

/// How far the kernel has got with a buffer, and how many pieces of it are in the caller's hands.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    used: u32,
    pieces: u32,
    /// The kernel writes no more to it.
    done: bool,
}

/// Bytes that have been received, to be given back.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    buffer: u16,
    at: u32,
    len: u32,
}

impl Piece {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it is empty; a received one is not.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl BufRing {
    /// Registers `count` buffers (a power of two, at most 32768) of `size` bytes as `group`; an
    /// incremental ring where the kernel has it.
    ///
    /// # Errors
    /// Of the system: no memory, or the kernel has no such ring (Linux 5.19).
    pub fn register(ring: &Submitter<'_>, group: u16, count: u16, size: u32) -> io::Result<Self> {
        Self::register_as(ring, group, count, size, true).or_else(|_| Self::register_as(ring, group, count, size, false))
    }

    fn register_as(ring: &Submitter<'_>, group: u16, count: u16, size: u32, incremental: bool) -> io::Result<Self> {
        if !count.is_power_of_two() || count > 1 << 15 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{count} buffers is not a power of two up to 32768")));
        }
        let entries = map(usize::from(count) * size_of::<BufRingEntry>())?.cast::<BufRingEntry>();
        let bytes = map(usize::from(count) * size as usize)?;
        let flags = if incremental { INCREMENTAL } else { 0 };
        // SAFETY: both maps are of the right length and stay until the process ends.
        unsafe { ring.register_buf_ring_with_flags(entries.as_ptr() as u64, count, group, flags)? };
        let states = vec![State::default(); usize::from(count)];
        let mut this = Self { entries, bytes, size, mask: count - 1, tail: 0, group, states, lent: 0 };
        for buffer in 0..count {
            this.hand_over(buffer);
        }
        Ok(this)
    }

    /// The group's number.
    pub fn group(&self) -> u16 {
        self.group
    }

    /// Pieces that have been taken and not given back.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// The piece that a completion with `len` bytes and these `flags` speaks of; `None` if it holds
    /// no buffer.
    pub fn take(&mut self, len: u32, flags: u32) -> Option<Piece> {
        let buffer = cqueue::buffer_select(flags)?;
        let state = self.states.get_mut(usize::from(buffer))?;
        let at = state.used;
        assert!(at + len <= self.size, "the kernel wrote {len} bytes at {at} of a buffer of {}", self.size);
        state.used += len;
        state.pieces += 1;
        self.lent += 1;
        state.done = !cqueue::buffer_more(flags);
        Some(Piece { buffer, at, len })
    }

    /// Where the bytes of a piece are.
    pub fn address(&self, piece: &Piece) -> *const u8 {
        // SAFETY: pieces are made by `take`, which has checked that they lie within their buffer.
        unsafe { self.bytes.as_ptr().add(usize::from(piece.buffer) * self.size as usize + piece.at as usize) }
    }

    /// The bytes of a piece.
    ///
    /// # Safety
    /// The piece is of this ring and has not been given back.
    pub unsafe fn bytes(&self, piece: &Piece) -> &[u8] {
        // SAFETY: within the map, as `address` says; the kernel wrote it and does not write to it
        // again before it is given back.
        unsafe { std::slice::from_raw_parts(self.address(piece), piece.len()) }
    }

    /// Gives a piece back; says whether its buffer went home to the kernel with it.
    pub fn give(&mut self, piece: Piece) -> bool {
        let state = &mut self.states[usize::from(piece.buffer)];
        state.pieces -= 1;
        self.lent -= 1;
        let home = state.done && state.pieces == 0;
        if home {
            *state = State::default();
            self.hand_over(piece.buffer);
        }
        home
    }

    fn hand_over(&mut self, buffer: u16) {
        let at = usize::from(self.tail & self.mask);
        // SAFETY: `at` is within the ring, and the kernel does not read an entry that the tail has
        // not passed; the tail lies over the reserved part of the first entry, which no field below
        // touches.
        let tail = unsafe {
            let entry = &mut *self.entries.as_ptr().add(at);
            entry.set_addr(self.bytes.as_ptr().add(usize::from(buffer) * self.size as usize) as u64);
            entry.set_len(self.size);
            entry.set_bid(buffer);
            &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>()
        };
        self.tail = self.tail.wrapping_add(1);
        tail.store(self.tail, Ordering::Release);
    }
}

/// Memory in whole pages, zeroed and touched, so that no page fault falls into the measurement.
fn map(len: usize) -> io::Result<NonNull<u8>> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE);
    // SAFETY: a new mapping, wherever the system puts it.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::IoUring;

    const MORE: u32 = 1 << 4;
    const SELECTED: u32 = 1;

    fn ring(incremental: bool) -> BufRing {
        let ring = IoUring::new(4).expect("this kernel has io_uring");
        BufRing::register_as(&ring.submitter(), 7, 4, 64, incremental).expect("registers")
    }

    #[test]
    fn a_whole_buffer_goes_home_at_once() {
        let mut ring = ring(false);
        let piece = ring.take(10, SELECTED | 2 << 16).expect("a buffer");
        assert_eq!((piece.buffer, piece.at, piece.len()), (2, 0, 10));
        assert_eq!(ring.tail, 4);
        assert!(ring.give(piece));
        assert_eq!(ring.tail, 5);
    }

    #[test]
    fn a_buffer_in_pieces_goes_home_when_the_kernel_and_all_pieces_are_done() {
        let mut ring = ring(true);
        let first = ring.take(40, SELECTED | MORE | 1 << 16).expect("a buffer");
        let second = ring.take(24, SELECTED | 1 << 16).expect("a buffer");
        assert_eq!((second.at, second.len()), (40, 24));
        assert_eq!(ring.address(&second) as usize - ring.address(&first) as usize, 40);
        assert!(!ring.give(second));
        assert!(ring.give(first));
        let again = ring.take(1, SELECTED | MORE | 1 << 16).expect("a buffer");
        assert_eq!(again.at, 0);
    }

    #[test]
    fn a_completion_without_a_buffer_has_no_piece() {
        assert!(ring(false).take(0, 0).is_none());
    }
}
