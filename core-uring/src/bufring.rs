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
use std::io;
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
const _: () = assert!(FIRST as usize + Member::MOST <= u16::MAX as usize);

/// A member's buffers that lie ready, until [`close`](Self::close). Dropped before, they are
/// leaked: they are the kernel's.
pub struct BufRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    /// Where the next entry goes. Counts on, as the kernel's own head does.
    tail: u16,
    group: u16,
    /// Whether the kernel knows it. Not while locked memory is short, where others took what
    /// [`renew`](Self::renew) gave up for a moment.
    registered: bool,
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
        let bytes = usize::from(entries) * size_of::<BufRingEntry>();
        let Ok(layout) = Layout::from_size_align(bytes, PAGE) else { unreachable!("a page is a power of two") };
        // SAFETY: a ring has at least one entry, so the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let (held, free) = none_of(entries);
        let mut ring = Self {
            entries: memory.cast(),
            layout,
            mask: entries - 1,
            tail: 0,
            group: FIRST + member.index() as u16,
            registered: false,
            held: ManuallyDrop::new(held),
            free,
        };
        if let Err(why) = ring.register(io) {
            ring.free_all();
            return Err(RingError::no_ring("io_uring_register(PBUF_RING)", &why, bytes as u64));
        }
        Ok(ring)
    }

    /// Has the kernel know it, which starts at the first entry. It lies empty.
    fn register(&mut self, io: &Io) -> io::Result<()> {
        let (address, entries) = (self.entries.as_ptr() as u64, self.mask + 1);
        // SAFETY: the memory is as large as the ring and page-aligned, the tail in it is zero; it
        // is given back only after the ring was unregistered, or never.
        unsafe { io.submitter().register_buf_ring_with_flags(address, entries, self.group, 0)? };
        self.registered = true;
        Ok(())
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
    pub fn provide(&mut self, io: &Io, bufs: impl Iterator<Item = Buf>) {
        if !self.registered && !self.comes_back(io) {
            return;
        }
        for buf in bufs {
            let Some(number) = self.free.pop() else { break };
            self.put(number, buf);
        }
        // Release: the kernel that sees the tail sees the entries.
        self.shared_tail().store(self.tail, Ordering::Release);
    }

    /// Whether there is memory again for a ring that [`renew`](Self::renew) had to leave without.
    #[cold]
    fn comes_back(&mut self, io: &Io) -> bool {
        // Once closed it has no memory.
        !self.held.is_empty() && self.register(io).is_ok()
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

    /// Takes all buffers back and drops them. No memory is asked for: where locked memory is short
    /// (Linux charges the ring to the user, and sends without a copy too) buffers are short as
    /// well. If the kernel does not let go of the ring all stays as it is.
    ///
    /// # Safety
    /// As of [`close`](Self::close); and all completions of such requests were handled.
    #[cold]
    pub unsafe fn renew(&mut self, io: &Io) {
        if !self.is_let_go(io) {
            return;
        }
        let (held, free) = none_of(self.mask + 1);
        let old = std::mem::replace(&mut *self.held, held);
        self.free = free;
        self.tail = 0;
        self.shared_tail().store(0, Ordering::Release);
        // Between the two calls another process of the user may have locked the memory. Then the
        // next `provide` tries again; until then a receive finds no buffer.
        if let Err(why) = self.register(io) {
            log::debug!("a buffer ring stays away until its memory may be locked again: {why}");
        }
        // Last: they wake who waits for some, and who is woken may panic.
        drop(old);
    }

    /// Gives the buffers and the memory back. If the kernel does not let go of them, everything is
    /// leaked.
    ///
    /// # Safety
    /// No request that receives into it is with the kernel, and `io` is the one that it was opened
    /// for.
    pub unsafe fn close(&mut self, io: &Io) {
        if !self.held.is_empty() && self.is_let_go(io) {
            self.free_all();
        }
    }

    /// Whether the kernel knows it no more.
    fn is_let_go(&mut self, io: &Io) -> bool {
        if self.registered
            && let Err(why) = io.submitter().unregister_buf_ring(self.group)
        {
            log::error!("the kernel keeps a buffer ring, whose {} buffers are lost: {why}", self.lying());
            return false;
        }
        self.registered = false;
        true
    }

    /// Gives the memory and the buffers back. The kernel does not know it, and never will again.
    fn free_all(&mut self) {
        // Without numbers nothing can be put in or taken out any more.
        self.free.clear();
        let held = std::mem::take(&mut *self.held);
        // SAFETY: allocated in `open` with this layout; the kernel knows nothing of it, and nothing
        // here looks at it without a number.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
        drop(held);
    }

    fn shared_tail(&self) -> &AtomicU16 {
        // SAFETY: the tail lies within the first entry, is aligned, and is only ever accessed as an
        // atomic.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) }
    }
}

/// No buffer, and all numbers free.
fn none_of(entries: u16) -> (Box<[Option<Buf>]>, Vec<u16>) {
    ((0..entries).map(|_| None).collect(), (0..entries).rev().collect())
}
