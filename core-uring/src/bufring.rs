//! Buffers that lie ready for the kernel to receive into.
//!
//! UNSAFETY: the kernel reads the ring's entries and writes into the buffers that they name,
//! whenever a request that receives runs.
//!
//! ```text
//!   pool ── provide ──► in the ring ── a receive completes: take ──► the reader, as the very Buf
//!                           └──── renew, where nothing receives ──► pool
//! ```
//!
//! A buffer in the ring is owned here and touched by nobody. Its memory stays where it is while its
//! `Buf` lives. The kernel takes entries only while it runs requests, and an entry whose completion
//! was not seen yet still counts as being in the ring.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use pool::Buf;

use crate::error::RingError;
use crate::io::Io;
use crate::key::Member;

/// The kernel wants the ring at the start of a page.
const PAGE: usize = 4096;

/// The number with the kernel of the first member's ring. Numbers below are not used: Linux 6.1
/// keeps what it knows of them when their ring is unregistered, and would take the entries of the
/// next one from where it stopped in that.
const FIRST: u16 = 64;
/// A member's rings are registered in turn under two numbers, which differ by this.
const TURN: u16 = 1 << 13;
const _: () = assert!(FIRST as usize + Member::MOST <= TURN as usize);

/// A member's buffers that lie ready, until [`close`](Self::close). Dropped before, they are
/// leaked: they are the kernel's.
pub struct BufRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    /// Where the next entry goes. Counts on, as the kernel's own head does.
    tail: u16,
    group: u16,
    /// The buffers by their number in the ring. Given back by [`close`](Self::close) only: whatever
    /// else ends this leaves them to the kernel.
    held: ManuallyDrop<Box<[Option<Buf>]>>,
    /// Numbers that no buffer has.
    free: Vec<u16>,
}

impl fmt::Debug for BufRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, free) = (self.held.len(), self.free.len());
        f.debug_struct("BufRing").field("entries", &entries).field("held", &(entries - free)).finish_non_exhaustive()
    }
}

impl BufRing {
    /// None yet, and room for `entries`, which are a power of two. A member has one such ring.
    ///
    /// # Errors
    /// The kernel takes none: [`RingError::Os`], [`RingError::LockedMemory`].
    ///
    /// # Panics
    /// If `entries` is no power of two.
    pub fn open(io: &Io, member: Member, entries: u16) -> Result<Self, RingError> {
        assert!(entries.is_power_of_two(), "a ring of {entries} entries");
        Self::open_as(io, FIRST + member.index() as u16, entries)
    }

    /// The same, with this number.
    fn open_as(io: &Io, group: u16, entries: u16) -> Result<Self, RingError> {
        let bytes = usize::from(entries) * size_of::<BufRingEntry>();
        let Ok(layout) = Layout::from_size_align(bytes, PAGE) else { unreachable!("a page is a power of two") };
        // SAFETY: a ring has at least one entry, so the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let free = (0..entries).rev().collect();
        let held: Box<[_]> = (0..entries).map(|_| None).collect();
        // SAFETY: the memory is zeroed, as large as the ring and page-aligned; it is given back
        // only after the ring was unregistered, or never.
        if let Err(why) = unsafe { io.submitter().register_buf_ring_with_flags(memory.as_ptr() as u64, entries, group, 0) } {
            // SAFETY: allocated above with this layout; the kernel did not take it.
            unsafe { dealloc(memory.as_ptr(), layout) };
            return Err(RingError::no_ring("io_uring_register(PBUF_RING)", &why, bytes as u64));
        }
        let held = ManuallyDrop::new(held);
        Ok(Self { entries: memory.cast(), layout, mask: entries - 1, tail: 0, group, held, free })
    }

    /// Its number with the kernel, for a request with `IOSQE_BUFFER_SELECT`.
    #[inline]
    pub fn group(&self) -> u16 {
        self.group
    }

    /// Buffers in it, as far as completions have told.
    #[inline]
    pub fn lying(&self) -> usize {
        self.held.len() - self.free.len()
    }

    /// Puts in empty buffers, as far as there are some and there is room.
    #[inline]
    pub fn provide(&mut self, bufs: impl Iterator<Item = Buf>) {
        if self.held.is_empty() {
            // It is closed, and its memory gone.
            return;
        }
        for buf in bufs {
            let Some(number) = self.free.pop() else { break };
            self.put(number, buf);
        }
        // Release: the kernel that sees the tail sees the entries.
        self.shared_tail().store(self.tail, Ordering::Release);
    }

    #[inline]
    fn put(&mut self, number: u16, mut buf: Buf) {
        let spare = buf.spare_mut();
        let (address, len) = (spare.as_mut_ptr() as u64, spare.len() as u32);
        // SAFETY: the masked index is within the ring. There are as many numbers as entries, so the
        // kernel does not own this entry; its last two bytes, which of the first entry are the
        // tail, are not written.
        let entry = unsafe { self.entries.add(usize::from(self.tail & self.mask)).as_mut() };
        entry.set_addr(address);
        entry.set_len(len);
        entry.set_bid(number);
        self.held[usize::from(number)] = Some(buf);
        self.tail = self.tail.wrapping_add(1);
    }

    /// The buffer of this number, into which the kernel has received `len` bytes.
    ///
    /// # Safety
    /// A completion of a request that receives into this ring has told so, and is used for this
    /// once.
    #[inline]
    pub unsafe fn take(&mut self, number: u16, len: usize) -> Option<Buf> {
        let mut buf = self.held.get_mut(usize::from(number))?.take()?;
        self.free.push(number);
        buf.grow(len);
        Some(buf)
    }

    /// Takes all buffers back and drops them. Without memory for another ring all stays as it is.
    ///
    /// # Safety
    /// As of [`close`](Self::close); and all completions of such requests were handled.
    #[cold]
    pub unsafe fn renew(&mut self, io: &Io) {
        let Ok(new) = Self::open_as(io, self.group ^ TURN, self.mask + 1) else { return };
        let mut old = std::mem::replace(self, new);
        // The old one's buffers wake who waits for some, and who is woken may panic.
        // SAFETY: the caller's promise.
        unsafe { old.close(io) };
    }

    /// Gives the buffers and the memory back. If the kernel does not let go of them, everything is
    /// leaked.
    ///
    /// # Safety
    /// No request that receives into it is with the kernel, and `io` is the one that it was opened
    /// for.
    pub unsafe fn close(&mut self, io: &Io) {
        if self.held.is_empty() {
            return;
        }
        if let Err(why) = io.submitter().unregister_buf_ring(self.group) {
            log::error!("the kernel keeps a buffer ring, whose {} buffers are lost: {why}", self.lying());
            return;
        }
        // Without numbers nothing can be put in or taken out any more.
        self.free.clear();
        drop(std::mem::take(&mut *self.held));
        // SAFETY: allocated in `open` with this layout; the kernel has let go of it just now, and
        // nothing here looks at it without a number.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
    }

    fn shared_tail(&self) -> &AtomicU16 {
        // SAFETY: the tail lies within the first entry, is aligned, and is only ever accessed as an
        // atomic.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) }
    }
}
