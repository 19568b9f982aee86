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

/// What is to be counted from 0 again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetStats {
    /// All.
    All,
    /// The longest and the shortest times alone.
    Extremes,
    /// What failed alone.
    Errors,
}

impl Figures {
    fn reset_extremes(&mut self) {
        (self.max_nanos, self.min_nanos) = (0, 0);
    }

    /// What has come since these were read; the longest and the shortest are as they are.
    fn since(self, zero: Self) -> Self {
        let (ops, bytes, nanos) = (self.ops - zero.ops, self.bytes - zero.bytes, self.nanos.wrapping_sub(zero.nanos));
        Self { ops, bytes, nanos, ..self }
    }

    fn add(&mut self, other: Self) {
        // 0 where there was none.
        self.min_nanos = match (self.min_nanos, other.min_nanos) {
            (0, min) | (min, 0) => min,
            (a, b) => a.min(b),
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

    pub(crate) fn since(self, zero: &Self) -> Self {
        Self {
            read: self.read.since(zero.read),
            write: self.write.since(zero.write),
            unmap: self.unmap.since(zero.unmap),
            errors: self.errors - zero.errors,
        }
    }

    /// Sets these to 0.
    pub(crate) fn reset(&mut self, what: ResetStats) {
        match what {
            ResetStats::All => *self = Self::default(),
            ResetStats::Extremes => [&mut self.read, &mut self.write, &mut self.unmap].into_iter().for_each(Figures::reset_extremes),
            ResetStats::Errors => self.errors = 0,
        }
    }

    /// Takes over those that are to be where it is counted from.
    pub(crate) fn take(&mut self, what: ResetStats, now: Self) {
        match what {
            ResetStats::All => *self = now,
            ResetStats::Extremes => {}
            ResetStats::Errors => self.errors = now.errors,
        }
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

struct Cells {
    ops: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    max_nanos: AtomicU64,
    /// [`NONE`] where there is none.
    min_nanos: AtomicU64,
}

/// Longer than anything.
const NONE: u64 = u64::MAX;

impl Default for Cells {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { ops: zero(), bytes: zero(), nanos: zero(), max_nanos: zero(), min_nanos: AtomicU64::new(NONE) }
    }
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
        if nanos < self.min_nanos.load(Relaxed) {
            self.min_nanos.store(nanos, Relaxed);
        }
        add(&self.bytes, bytes);
        add(&self.nanos, nanos);
        add(&self.ops, 1);
    }

    /// From any core: one that counts meanwhile may put in a time from just before.
    fn reset_extremes(&self) {
        self.max_nanos.store(0, Relaxed);
        self.min_nanos.store(NONE, Relaxed);
    }

    fn read(&self) -> Figures {
        let load = |cell: &AtomicU64| cell.load(Relaxed);
        let min_nanos = Some(load(&self.min_nanos)).filter(|min| *min != NONE).unwrap_or(0);
        Figures { ops: load(&self.ops), bytes: load(&self.bytes), nanos: load(&self.nanos), max_nanos: load(&self.max_nanos), min_nanos }
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

    /// A write of so many bytes that was done while its caller waited.
    #[inline]
    pub(crate) fn count_write(&self, bytes: u64) {
        self.write.count(bytes, 0);
    }

    pub(crate) fn reset_extremes(&self) {
        [&self.read, &self.write, &self.unmap].into_iter().for_each(Cells::reset_extremes);
    }

    pub(crate) fn read(&self) -> IoStats {
        IoStats { read: self.read.read(), write: self.write.read(), unmap: self.unmap.read(), errors: self.errors.load(Relaxed) }
    }
}
