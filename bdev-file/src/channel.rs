//! A file on one core: requests become calls, one after the other.

// UNSAFETY: the kernel, or another thread, reads and writes the buffers of requests while they lie
// here, and nobody looks at their bytes meanwhile. See `start` and `drop`.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bdev::{BdevError, DeviceChannel, Io, Kind, Request};
use core_reactor::Instant;
use pool::{Buf, BufGroup};

use crate::call::PIECES;
use crate::claims::{Claim, How};
use crate::disk::What;
use crate::error::{io_error, too_short};
use crate::{Call, Disk, Engine, Op};

/// Bytes that are copied at a time where memory does not lie as the file wants it.
const BOUNCE: usize = 64 << 10;
/// Such copies at a time, on each channel.
const BOUNCES: usize = 8;
/// When what waits for others to be done with the same blocks, on other cores, looks again.
const LOOK: Duration = Duration::from_micros(50);
/// How long a channel that ends waits for a call that does not come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Zeroes to be written, where a file system makes none by itself.
#[repr(align(4096))]
struct Zeroes([u8; BOUNCE]);
static ZEROES: Zeroes = Zeroes([0; BOUNCE]);

/// A file on one core, of requests that an [`Engine`] makes the calls of.
pub struct Channel<E: Engine> {
    disk: Arc<Disk>,
    engine: E,
    slots: Box<[Slot]>,
    free: Vec<usize>,
    /// Slots that wait for a claim, or for a buffer to copy through.
    waiting: VecDeque<usize>,
    /// Slots whose call is under way.
    under_way: usize,
    back: Vec<(usize, i32)>,
    /// Made when it is first needed.
    bounces: Option<BufGroup>,
    now: Instant,
}

/// A request, and how far it is.
struct Slot {
    io: Option<Io>,
    claim: Claim,
    step: Step,
    /// Bytes of the step that are done.
    done: usize,
    /// Where in the request's buffers the step's bytes begin.
    skip: usize,
    /// What its call copies through.
    bounce: Option<Buf>,
    has_call: bool,
    /// It is to be given up.
    gives_up: bool,
    pieces: [libc::iovec; PIECES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Read,
    Write,
    Compare,
    /// Zeroes that the file system makes.
    Zero,
    /// Zeroes that are written.
    WriteZeroes,
    Punch,
    Sync,
}

impl Slot {
    fn new() -> Self {
        let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            io: None,
            claim: Claim::default(),
            step: Step::Sync,
            done: 0,
            skip: 0,
            bounce: None,
            has_call: false,
            gives_up: false,
            pieces: [nothing; PIECES],
        }
    }
}

impl<E: Engine> Channel<E> {
    pub(crate) fn new(disk: Arc<Disk>, engine: E, depth: usize) -> Self {
        Self {
            disk,
            engine,
            slots: (0..depth).map(|_| Slot::new()).collect(),
            free: (0..depth).rev().collect(),
            waiting: VecDeque::with_capacity(depth),
            under_way: 0,
            back: Vec::with_capacity(depth),
            bounces: None,
            now: Instant::ZERO,
        }
    }

    /// Goes on with a request: its next call, or it waits.
    fn go(&mut self, slot: usize) {
        let of = &mut self.slots[slot];
        let Some(io) = &mut of.io else { return };
        if of.gives_up {
            return self.finish(slot, Err(BdevError::Aborted));
        }
        if !self.disk.claims.take(&mut of.claim) {
            return self.waiting.push_back(slot);
        }
        let request = io.request_mut();
        let block_size = u64::from(self.disk.block_size());
        let (start, len) = (request.block * block_size, (request.blocks * block_size) as usize);
        let left = len - of.done;
        let fua = request.fua;
        let (op, count, len) = match of.step {
            Step::Sync => (Op::Sync, 0, 0),
            Step::Punch => (Op::Allocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE), 0, left),
            Step::Zero => (Op::Allocate(libc::FALLOC_FL_ZERO_RANGE), 0, left),
            Step::WriteZeroes => {
                let (count, len) = zeroes(&mut of.pieces, left);
                (Op::Write { lasts: fua }, count, len)
            }
            Step::Read | Step::Write if of.bounce.is_none() => {
                let is_read = of.step == Step::Read;
                let count =
                    if is_read { room(request, left, &mut of.pieces) } else { filled(request, of.skip + of.done, left, &mut of.pieces) };
                if !is_aligned(&of.pieces[..count], self.disk.align()) {
                    return self.bounce(slot);
                }
                (if is_read { Op::Read } else { Op::Write { lasts: fua } }, count, left)
            }
            step => {
                let Some(bounce) = &mut of.bounce else { return self.bounce(slot) };
                let len = left.min(BOUNCE);
                bounce.clear();
                let into = &mut bounce.spare_mut()[..len];
                if step == Step::Write {
                    request.copy_to(of.skip + of.done, into);
                }
                of.pieces[0] = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: len };
                (if step == Step::Write { Op::Write { lasts: fua } } else { Op::Read }, 1, len)
            }
        };
        of.has_call = true;
        self.under_way += 1;
        let of = &self.slots[slot];
        let call = Call { op, at: start + of.done as u64, len: len as u64, pieces: &of.pieces[..count] };
        // SAFETY: the pieces lie in the slot, and what they name is memory of the request's
        // buffers, of the slot's own, or zeroes that live for ever. All of it stays until the call
        // has come back: `has_call` keeps the request in its slot, and the channel's end waits for
        // it, or leaves all where it is. Bytes of a request's buffers are looked at by nobody
        // meanwhile, since nobody else has them.
        unsafe { self.engine.start(slot, call) };
    }

    /// Has a request copied through a buffer of the channel's own, or wait for one.
    #[cold]
    fn bounce(&mut self, slot: usize) {
        let bounces = self.bounces.get_or_insert_with(|| BufGroup::new(BOUNCES, BOUNCE));
        let Some(buf) = bounces.get() else { return self.waiting.push_back(slot) };
        if self.slots[slot].step != Step::Compare {
            self.disk.count_bounced();
        }
        self.slots[slot].bounce = Some(buf);
        self.go(slot);
    }

    /// What a call has answered.
    fn on(&mut self, slot: usize, result: i32) {
        let of = &mut self.slots[slot];
        if !mem::take(&mut of.has_call) {
            return;
        }
        self.under_way -= 1;
        match result {
            0.. => self.advance(slot, result as usize),
            _ if -result == libc::EINTR || -result == libc::EAGAIN => self.go(slot),
            _ if -result == libc::ECANCELED => self.finish(slot, Err(BdevError::Aborted)),
            _ => self.failed(slot, -result),
        }
    }

    /// `n` bytes more of a step are done; all of them, of a call that does not count.
    fn advance(&mut self, slot: usize, n: usize) {
        let of = &mut self.slots[slot];
        let Some(io) = &mut of.io else { return };
        let request = io.request_mut();
        let len = request.blocks as usize * self.disk.block_size() as usize;
        // What is done goes on from a place that the file takes.
        let n = if of.done + n < len { n - n % self.disk.align() } else { n.min(len - of.done) };
        match of.step {
            Step::Sync => return self.finish(slot, Ok(())),
            Step::Punch | Step::Zero if request.fua => return self.next(slot, Step::Sync, 0),
            Step::Punch | Step::Zero => return self.finish(slot, Ok(())),
            _ if n == 0 => return self.finish(slot, Err(too_short())),
            Step::Read => match &mut of.bounce {
                Some(bounce) => request.fill(&bounce.spare_mut()[..n]),
                None => grow(request, n),
            },
            Step::Compare => {
                let there = of.bounce.as_mut().map_or(&mut [][..], |bounce| &mut bounce.spare_mut()[..n]);
                if let Some(at) = request.differs(of.done, there) {
                    let at = (of.done + at) as u64;
                    return self.finish(slot, Err(BdevError::Miscompare(at)));
                }
            }
            Step::Write | Step::WriteZeroes => {}
        }
        of.done += n;
        if of.done < len {
            return self.go(slot);
        }
        if of.step == Step::Compare && request.kind == Kind::CompareAndWrite {
            return self.next(slot, Step::Write, len);
        }
        self.finish(slot, Ok(()));
    }

    /// Another step of a request, on its bytes from `skip` on.
    fn next(&mut self, slot: usize, step: Step, skip: usize) {
        let of = &mut self.slots[slot];
        (of.step, of.skip, of.done, of.bounce) = (step, skip, 0, None);
        self.go(slot);
    }

    /// A call has failed. What a file system does not have is done otherwise, or left: blocks that
    /// are not needed may as well stay.
    #[cold]
    fn failed(&mut self, slot: usize, errno: i32) {
        let has_not = matches!(errno, libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV | libc::EINVAL);
        match self.slots[slot].step {
            Step::Zero if has_not => {
                self.disk.cannot(What::Zero).store(true, Ordering::Relaxed);
                self.next(slot, Step::WriteZeroes, 0);
            }
            Step::Punch if has_not => {
                self.disk.cannot(What::Punch).store(true, Ordering::Relaxed);
                self.finish(slot, Ok(()));
            }
            _ => self.finish(slot, Err(io_error(errno))),
        }
    }

    fn finish(&mut self, slot: usize, result: Result<(), BdevError>) {
        let of = &mut self.slots[slot];
        let Some(io) = of.io.take() else { return };
        self.disk.claims.release(&mut of.claim);
        of.bounce = None;
        self.free.push(slot);
        io.finish(result);
    }

    /// The first step of a request; `None` where there is nothing to do.
    fn first(&self, request: &Request) -> Option<Step> {
        let cannot = |what| self.disk.cannot(what).load(Ordering::Relaxed);
        Some(match request.kind {
            Kind::Read => Step::Read,
            Kind::Write => Step::Write,
            Kind::Compare | Kind::CompareAndWrite => Step::Compare,
            Kind::WriteZeroes if cannot(What::Zero) => Step::WriteZeroes,
            Kind::WriteZeroes => Step::Zero,
            Kind::Unmap if cannot(What::Punch) => return None,
            Kind::Unmap => Step::Punch,
            Kind::Flush | Kind::Reset => Step::Sync,
        })
    }

    fn claim(&self, request: &Request) -> Claim {
        let block_size = u64::from(self.disk.block_size());
        let bytes = request.block * block_size..(request.block + request.blocks) * block_size;
        Claim::new(how(request.kind, self.disk.tears()), &bytes)
    }

    /// Takes back what has come, and goes on with it.
    fn take_back(&mut self) {
        let mut back = mem::take(&mut self.back);
        self.engine.poll(&mut back);
        back.drain(..).for_each(|(slot, result)| self.on(slot, result));
        self.back = back;
    }

    /// Goes on with what waits.
    fn retry(&mut self) {
        for _ in 0..self.waiting.len() {
            if let Some(slot) = self.waiting.pop_front() {
                self.go(slot);
            }
        }
    }
}

/// How a request claims what it touches. Where blocks do not tear by themselves, only a
/// compare-and-write need be alone.
fn how(kind: Kind, tears: bool) -> How {
    match kind {
        Kind::CompareAndWrite => How::Alone,
        Kind::Read | Kind::Compare if tears => How::Shared,
        Kind::Write | Kind::WriteZeroes | Kind::Unmap if tears => How::Alone,
        Kind::Write | Kind::WriteZeroes | Kind::Unmap => How::Shared,
        Kind::Read | Kind::Compare | Kind::Flush | Kind::Reset => How::Not,
    }
}

/// Names the room of a request for `left` bytes; in how many pieces.
fn room(request: &mut Request, mut left: usize, pieces: &mut [libc::iovec; PIECES]) -> usize {
    let mut count = 0;
    for part in request.data.parts_mut() {
        let spare = part.spare_mut();
        let len = spare.len().min(left);
        if len > 0 {
            pieces[count] = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: len };
            (count, left) = (count + 1, left - len);
        }
    }
    count
}

/// Names `len` bytes of a request from `at` on; in how many pieces.
fn filled(request: &Request, at: usize, len: usize, pieces: &mut [libc::iovec; PIECES]) -> usize {
    let mut count = 0;
    for (piece, bytes) in pieces.iter_mut().zip(request.pieces(at, len)) {
        *piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        count += 1;
    }
    count
}

/// Names as many of `left` zeroes as fit; in how many pieces, and how many those are.
fn zeroes(pieces: &mut [libc::iovec; PIECES], left: usize) -> (usize, usize) {
    let (mut count, mut len) = (0, 0);
    for piece in pieces {
        let n = BOUNCE.min(left - len);
        if n > 0 {
            *piece = libc::iovec { iov_base: ZEROES.0.as_ptr().cast_mut().cast(), iov_len: n };
            (count, len) = (count + 1, len + n);
        }
    }
    (count, len)
}

fn is_aligned(pieces: &[libc::iovec], align: usize) -> bool {
    align == 1 || pieces.iter().all(|piece| piece.iov_base.addr().is_multiple_of(align) && piece.iov_len.is_multiple_of(align))
}

/// Counts `n` bytes more as read.
fn grow(request: &mut Request, mut n: usize) {
    for part in request.data.parts_mut() {
        let taken = n.min(part.spare_capacity());
        part.grow(taken);
        n -= taken;
    }
}

impl<E: Engine> DeviceChannel for Channel<E> {
    fn submit(&mut self, now: Instant, io: Io) {
        self.now = now;
        let Some(step) = self.first(io.request()) else { return io.finish(Ok(())) };
        // There are as many slots as requests are taken.
        let Some(slot) = self.free.pop() else { return io.finish(Err(BdevError::Lost)) };
        let claim = self.claim(io.request());
        let of = &mut self.slots[slot];
        (of.io, of.claim, of.step, of.done, of.skip, of.gives_up) = (Some(io), claim, step, 0, 0, false);
        self.go(slot);
    }

    fn poll(&mut self, now: Instant) {
        self.now = now;
        self.take_back();
        if !self.waiting.is_empty() {
            self.retry();
        }
    }

    fn cancel(&mut self, which: &dyn Fn(&Request) -> bool) {
        for slot in 0..self.slots.len() {
            let of = &mut self.slots[slot];
            if !of.io.as_ref().is_some_and(|io| which(io.request())) {
                continue;
            }
            of.gives_up = true;
            if of.has_call {
                self.engine.cancel(slot);
            }
        }
        // What has no call waits, and finds that it is to be given up.
        self.retry();
    }

    fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.now + LOOK)
    }
}

impl<E: Engine> Drop for Channel<E> {
    /// Waits for the calls that are under way, since their memory is with the kernel.
    fn drop(&mut self) {
        self.cancel(&|_| true);
        let begun = std::time::Instant::now();
        while self.under_way > 0 && begun.elapsed() < PATIENCE {
            self.engine.wait(Duration::from_millis(10));
            self.take_back();
        }
        if self.under_way > 0 {
            let n = self.under_way;
            Box::leak(Box::new((mem::take(&mut self.slots), self.bounces.take(), self.disk.clone())));
            log::error!("{n} calls do not come back from a disk whose channel has ended: their memory is lost");
        }
    }
}

impl<E: Engine> fmt::Debug for Channel<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("disk", &self.disk).field("under_way", &self.under_way).finish_non_exhaustive()
    }
}
