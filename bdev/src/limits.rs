//! How much a device does in a second (`bdev_set_qos_limit`).
//!
//! Each limit is a bucket that fills with time: one number that all cores share, the time at which
//! it was last empty. A request goes when no bucket that it draws from is in debt, and may put it
//! in debt: so a request that is larger than what a bucket holds goes too, and the next ones wait
//! the longer. Channels that have something waiting each go at the rate divided by their number, so
//! that who is polled first, or has more requests under way, gets no more than another.
//!
//! Without a limit a channel has no [`Throttle`], and a request costs the look whether it has one.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::array;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::time::Duration;

#[cfg(target_has_atomic = "64")]
use core::sync::atomic::AtomicU64;
#[cfg(not(target_has_atomic = "64"))]
use portable_atomic::AtomicU64;

use core_reactor::Instant;

use crate::device::DeviceChannel;
use crate::shared::Shared;
use crate::{BdevError, Io, Kind, Request};

/// What a bucket holds at most, as the time in which that comes: enough for a core that wakes a
/// little late.
const HOLDS: u64 = 4_000_000;
/// A channel that waits looks again after this time at the latest: others may have gone.
const LOOK: Duration = Duration::from_millis(1);

/// How much a device may do in a second; 0 for no limit. What moves data counts: reads, compares,
/// writes, and compare-and-writes as writes.
///
/// ```
/// use bdev::Limits;
///
/// let limits = Limits { ios: 10_000, read_bytes: 100 << 20, ..Limits::default() };
/// assert_eq!(limits.write_bytes, 0, "writes are only counted as requests");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests.
    pub ios: u64,
    /// Bytes read or written.
    pub bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
}

impl Limits {
    fn rates(self) -> [u64; 4] {
        [self.ios, self.bytes, self.read_bytes, self.write_bytes]
    }
}

/// The limits of a device and their buckets.
#[derive(Default)]
pub(crate) struct Throttles {
    /// In a second; 0 for no limit.
    rates: [AtomicU64; 4],
    /// When each bucket was last empty, in nanoseconds: in the future while it is in debt.
    empty: [AtomicU64; 4],
    /// Channels that have something waiting.
    waiting: AtomicU32,
}

impl Throttles {
    pub(crate) fn limits(&self) -> Limits {
        let [ios, bytes, read_bytes, write_bytes] = array::from_fn(|n| self.rates[n].load(Relaxed));
        Limits { ios, bytes, read_bytes, write_bytes }
    }

    /// Old debts are forgotten.
    pub(crate) fn set(&self, limits: Limits) {
        for ((rate, empty), new) in self.rates.iter().zip(&self.empty).zip(limits.rates()) {
            rate.store(new, Relaxed);
            empty.store(0, Relaxed);
        }
    }

    /// How long each bucket takes to get what a request draws.
    fn costs(&self, request: &Request, block_size: u32) -> [u64; 4] {
        let bytes = request.blocks * u64::from(block_size);
        let (read, written) = if is_read(request.kind) { (bytes, 0) } else { (0, bytes) };
        let draws = [1, bytes, read, written];
        array::from_fn(|n| match self.rates[n].load(Relaxed) {
            0 => 0,
            rate => (u128::from(draws[n]) * 1_000_000_000).div_ceil(u128::from(rate)).min(u128::from(u64::MAX >> 2)) as u64,
        })
    }

    /// When no bucket from which these are drawn is in debt.
    fn ready(&self, costs: &[u64; 4]) -> u64 {
        let owed = self.empty.iter().zip(costs).filter(|(_, cost)| **cost > 0).map(|(empty, _)| empty.load(Acquire));
        owed.max().unwrap_or(0)
    }

    fn draw(&self, costs: &[u64; 4], now: u64) {
        for (empty, cost) in self.empty.iter().zip(costs).filter(|(_, cost)| **cost > 0) {
            let drawn = |at: u64| Some(at.max(now.saturating_sub(HOLDS)).saturating_add(*cost));
            // It changes always.
            let _ = empty.fetch_update(Release, Relaxed, drawn);
        }
    }
}

fn is_read(kind: Kind) -> bool {
    matches!(kind, Kind::Read | Kind::Compare)
}

/// Requests of a channel that wait until the limits let them go.
pub(crate) struct Throttle {
    shared: Arc<Shared>,
    /// Reads, and writes: a limit of one does not hold the other up.
    queues: [VecDeque<Io>; 2],
    /// Whose turn it is.
    turn: usize,
    /// Whether this channel is counted among those that wait.
    is_counted: bool,
    /// Its own share: when its last request was to go, and how long that one filled all buckets.
    last: u64,
    last_cost: u64,
}

impl Throttle {
    /// One for a channel of this depth, if there are limits.
    pub(crate) fn new(shared: &Arc<Shared>, depth: usize) -> Option<Box<Self>> {
        let queue = || VecDeque::with_capacity(depth);
        let is_needed = shared.throttles.limits() != Limits::default();
        is_needed.then(|| {
            Box::new(Self { shared: shared.clone(), queues: [queue(), queue()], turn: 0, is_counted: false, last: 0, last_cost: 0 })
        })
    }

    /// Whether it is about requests of this kind.
    pub(crate) fn holds(kind: Kind) -> bool {
        is_read(kind) || matches!(kind, Kind::Write | Kind::CompareAndWrite)
    }

    /// Takes a request, which goes with the next [`release`](Self::release) that may let it.
    pub(crate) fn push(&mut self, io: Io) {
        self.queues[usize::from(!is_read(io.request().kind))].push_back(io);
    }

    /// Hands to the device what may go now: reads and writes in turn, as far as both wait.
    pub(crate) fn release(&mut self, now: Instant, device: &mut dyn DeviceChannel) {
        while self.release_one(self.turn, now, device) || self.release_one(1 - self.turn, now, device) {}
        self.count();
    }

    fn release_one(&mut self, queue: usize, now: Instant, device: &mut dyn DeviceChannel) -> bool {
        let Some((at, costs)) = self.next(queue) else { return false };
        let nanos = now.as_nanos();
        if at > nanos {
            return false;
        }
        let Some(io) = self.queues[queue].pop_front() else { return false };
        let cost = costs.into_iter().max().unwrap_or(0);
        if cost > 0 {
            self.shared.throttles.draw(&costs, nanos);
            self.last = self.share().map_or(nanos, |at| at.max(nanos.saturating_sub(HOLDS)));
            self.last_cost = cost;
        }
        self.turn = 1 - queue;
        device.submit(now, io);
        true
    }

    /// Lets everything go, as there are no limits any more.
    pub(crate) fn release_all(&mut self, now: Instant, device: &mut dyn DeviceChannel) {
        self.queues.iter_mut().for_each(|queue| queue.drain(..).for_each(|io| device.submit(now, io)));
        self.count();
    }

    /// Gives up those for which `which` holds.
    pub(crate) fn cancel(&mut self, which: &dyn Fn(&Request) -> bool) {
        for queue in &mut self.queues {
            for _ in 0..queue.len() {
                match queue.pop_front() {
                    Some(io) if which(io.request()) => io.finish(Err(BdevError::Aborted)),
                    other => queue.extend(other),
                }
            }
        }
        self.count();
    }

    /// When it must be asked again, if something waits.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let at = (0..self.queues.len()).filter_map(|n| self.next(n)).map(|(at, _)| at).min()?;
        Some(Instant::from_nanos(at).min(now + LOOK))
    }

    /// When the first of a queue may go, and what it draws.
    fn next(&self, queue: usize) -> Option<(u64, [u64; 4])> {
        let (request, throttles) = (self.queues[queue].front()?.request(), &self.shared.throttles);
        let costs = throttles.costs(request, self.shared.shape.block_size);
        if costs == [0; 4] {
            return Some((0, costs));
        }
        Some((throttles.ready(&costs).max(self.share().unwrap_or(0)), costs))
    }

    /// When this channel's share of the rate lets its next request go. Alone it has all, and the
    /// buckets see to that.
    fn share(&self) -> Option<u64> {
        let channels = self.shared.throttles.waiting.load(Relaxed) + u32::from(!self.is_counted);
        (channels > 1).then(|| self.last.saturating_add(self.last_cost.saturating_mul(u64::from(channels))))
    }

    /// Counts the channel among those that wait, or no more.
    fn count(&mut self) {
        let waits = self.queues.iter().any(|queue| !queue.is_empty());
        match (self.is_counted, waits) {
            (false, true) => _ = self.shared.throttles.waiting.fetch_add(1, Relaxed),
            (true, false) => _ = self.shared.throttles.waiting.fetch_sub(1, Relaxed),
            _ => return,
        }
        self.is_counted = waits;
    }
}
