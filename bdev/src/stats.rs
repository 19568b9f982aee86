//! What a device has done.

use core::sync::atomic::Ordering::Relaxed;

#[cfg(target_has_atomic = "64")]
use core::sync::atomic::AtomicU64;
#[cfg(not(target_has_atomic = "64"))]
use portable_atomic::AtomicU64;

use crate::{BdevError, Kind, Request};

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests that went well.
    pub ops: u64,
    /// Bytes that they were about.
    pub bytes: u64,
    /// How long they took, together, in nanoseconds.
    pub nanos: u64,
    /// The longest.
    pub max_nanos: u64,
    /// The shortest; 0 where there was none.
    pub min_nanos: u64,
}

/// What a device has done (`bdev_get_iostat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Reads.
    pub read: Figures,
    /// Writes, write zeroes and compare-and-writes.
    pub write: Figures,
    /// Unmaps.
    pub unmap: Figures,
    /// Requests that failed, whatever they were; those that were aborted among them.
    pub errors: u64,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.min_nanos = match (self.ops, other.ops) {
            (0, _) => other.min_nanos,
            (_, 0) => self.min_nanos,
            _ => self.min_nanos.min(other.min_nanos),
        };
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.nanos += other.nanos;
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }
}

impl IoStats {
    pub(crate) fn add(&mut self, other: Self) {
        self.read.add(other.read);
        self.write.add(other.write);
        self.unmap.add(other.unmap);
        self.errors += other.errors;
    }
}

/// The same of one channel: written by its core alone, read from anywhere.
#[derive(Default)]
pub(crate) struct ChannelStats {
    read: Cells,
    write: Cells,
    unmap: Cells,
    errors: AtomicU64,
}

#[derive(Default)]
struct Cells {
    ops: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    max_nanos: AtomicU64,
    min_nanos: AtomicU64,
}

/// One writer, so that this needs no locked instruction.
#[inline]
fn add(to: &AtomicU64, n: u64) {
    to.store(to.load(Relaxed).wrapping_add(n), Relaxed);
}

impl Cells {
    #[inline]
    fn count(&self, bytes: u64, nanos: u64) {
        if nanos > self.max_nanos.load(Relaxed) {
            self.max_nanos.store(nanos, Relaxed);
        }
        if self.ops.load(Relaxed) == 0 || nanos < self.min_nanos.load(Relaxed) {
            self.min_nanos.store(nanos, Relaxed);
        }
        add(&self.bytes, bytes);
        add(&self.nanos, nanos);
        add(&self.ops, 1);
    }

    fn read(&self) -> Figures {
        let load = |cell: &AtomicU64| cell.load(Relaxed);
        Figures {
            ops: load(&self.ops),
            bytes: load(&self.bytes),
            nanos: load(&self.nanos),
            max_nanos: load(&self.max_nanos),
            min_nanos: load(&self.min_nanos),
        }
    }
}

impl ChannelStats {
    #[inline]
    pub(crate) fn count(&self, request: &Request, result: &Result<(), BdevError>, block_size: u32, nanos: u64) {
        if result.is_err() {
            return add(&self.errors, 1);
        }
        let cells = match request.kind {
            Kind::Read => &self.read,
            Kind::Write | Kind::WriteZeroes | Kind::CompareAndWrite => &self.write,
            Kind::Unmap => &self.unmap,
            Kind::Flush | Kind::Compare | Kind::Reset => return,
        };
        cells.count(request.blocks * u64::from(block_size), nanos);
    }

    pub(crate) fn read(&self) -> IoStats {
        IoStats { read: self.read.read(), write: self.write.read(), unmap: self.unmap.read(), errors: self.errors.load(Relaxed) }
    }
}
