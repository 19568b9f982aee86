//! What a group does when its buffers run out: who may still have one, and who is ended.
//!
//! A peer that sends and does not read pins buffers: what was read of it comes back as answers that
//! it does not take. Enough of such peers would pin all, and nobody would be served. There are
//! three stages, by how many of the buffers that the group could have are left.
//!
//! | left | what is read | who is ended |
//! |---|---|---|
//! | half or more | every socket, up to its limits | nobody |
//! | under half: *low* | one buffer a poll of each socket that has nothing to be sent and whose system has room for an answer | nobody |
//! | under an eighth: *short* | the same | whose peer has taken nothing for the stall limit, the longest first |
//!
//! So peers that do not read pin half at the most and a part of a buffer each. Those parts can be
//! many, as can be buffers that the application has queued by itself: that is what the last stage
//! is for.
//!
//! The clock is read, and the sockets are walked through, only while buffers are short, and then a
//! few times in each stall limit.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use core_reactor::net::{GroupConfig, GroupStats, NetError, SockId};
use pool::{BufGroup, Class};

use crate::slab::{STALLED, Slab};
use crate::{Frames, Limits};

/// How often stalled sockets are looked for within the stall limit.
const LOOKS: u64 = 4;

/// The state of a group's buffers.
///
/// ```
/// use core_reactor::net::{GroupConfig, GroupStats};
/// use net_group::{Limits, SPARING, Supply};
///
/// let bufs = pool::BufGroup::new(8, 16 << 10);
/// let config = GroupConfig::new(bufs.clone());
/// let (mut limits, mut supply, mut stats) = (Limits::new(&config), Supply::new(&config), GroupStats::default());
/// assert!(!supply.look(0, &mut limits, &mut stats), "all are there");
/// let _taken: Vec<_> = (0..5).map(|_| bufs.get()).collect();
/// assert!(supply.may_be_low(0) && supply.look(0, &mut limits, &mut stats), "under half");
/// assert_eq!((limits.turn(), limits.at_once(16 << 10)), (1, SPARING));
/// ```
pub struct Supply {
    bufs: BufGroup,
    /// With so many at hand there are plenty.
    plenty: usize,
    low: bool,
    short: bool,
    /// What was left, of how many, at the last look.
    free: usize,
    of: usize,
    /// Nanoseconds, unless nobody is ever ended.
    limit: Option<u64>,
    next_look: u64,
    /// For each place, when it was first seen stalled.
    since: Vec<u64>,
}

impl fmt::Debug for Supply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bufs, low, short, free, of, .. } = self;
        let mut shown = f.debug_struct("Supply");
        shown.field("bufs", bufs).field("low", low).field("short", short).field("free", free).field("of", of).finish_non_exhaustive()
    }
}

impl Supply {
    /// Of a group over these buffers.
    pub fn new(config: &GroupConfig) -> Self {
        let plenty = match config.bufs.stats(Class::Small).reserve {
            // It lives on what others leave, so each time all has to be looked at.
            0 => usize::MAX,
            reserve => reserve.div_ceil(2),
        };
        let limit = config.stall_limit.map(|limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        Self {
            bufs: config.bufs.clone(),
            plenty,
            low: false,
            short: false,
            free: 0,
            of: 0,
            limit,
            next_look: 0,
            since: vec![0; config.sockets],
        }
    }

    /// Whether [`look`](Self::look) is called for: once in each poll. `lying` buffers are with the
    /// system, and empty.
    #[inline]
    pub fn may_be_low(&self, lying: usize) -> bool {
        self.low || self.bufs.at_hand(Class::Small) + lying < self.plenty
    }

    /// Looks how many buffers are left, and draws the conclusions for who is read. Tells whether
    /// they have become low just now.
    #[cold]
    pub fn look(&mut self, lying: usize, limits: &mut Limits, stats: &mut GroupStats) -> bool {
        (self.free, self.of) = (self.bufs.available(Class::Small) + lying, self.bufs.capacity(Class::Small));
        // Some way up before a stage is left again, so that it does not change with each buffer.
        let (eighths_low, eighths_short) = (if self.low { 5 } else { 4 }, if self.short { 2 } else { 1 });
        let is_under = |eighths: usize| self.free < (self.of * eighths / 8).max(1);
        let (low, short) = (is_under(eighths_low), is_under(eighths_short));
        let new = low && !self.low;
        stats.buffers_low += u64::from(new);
        // The first time, the second, the fourth: a group that is low again and again does not fill
        // the log.
        if new && stats.buffers_low.is_power_of_two() {
            logging::warn!(
                "{} of {} buffers are left (time {}): sockets are read only when nothing is to be sent on them, until more come back",
                self.free,
                self.of,
                stats.buffers_low
            );
        }
        (self.low, self.short) = (low, short);
        limits.set_low(low);
        new
    }

    /// Whether buffers are low, as far as was looked.
    #[inline]
    pub fn is_low(&self) -> bool {
        self.low
    }

    /// Whether buffers are short, and somebody may have to be ended for it: then the core must not
    /// sleep past the [next look](Self::next_look).
    pub fn ends_stalled(&self) -> bool {
        self.short && self.limit.is_some()
    }

    /// When it is next looked who has stalled: before, [`stalled`](Self::stalled) finds nobody.
    pub fn next_look(&self) -> u64 {
        self.next_look
    }

    /// The sockets that are to be ended now, and why. A socket is stalled while one of the flags
    /// `blocked` is set of it and the system takes nothing of its queue.
    #[cold]
    pub fn stalled<S>(&mut self, slab: &mut Slab<S>, frames: &Frames, blocked: u32, now: u64) -> Vec<(SockId, NetError)> {
        let Some(limit) = self.limit.filter(|_| self.short && now >= self.next_look) else { return Vec::new() };
        self.next_look = now.saturating_add(limit / LOOKS);
        // A place whose generations are used up makes way for another, behind the others.
        self.since.resize(slab.places(), 0);
        // A heap, and not the library's sort, which is 5 KB of an image: the longest stalled first,
        // and most need no order at all.
        let mut overdue = BinaryHeap::new();
        for place in 0..slab.places() {
            let id = slab.state_mut(place).id;
            let is_here = slab.find(id).is_some();
            let state = slab.state_mut(place);
            if !is_here || !state.is(blocked) || state.queue.is_empty() {
                state.flags &= !STALLED;
            } else if !state.is(STALLED) {
                state.flags |= STALLED;
                self.since[place] = now;
            } else if now - self.since[place] >= limit {
                overdue.push(Reverse((self.since[place], place)));
            }
        }
        let mut ended = vec![];
        let mut wanted = (self.of / 4).max(1).saturating_sub(self.free);
        while wanted > 0 {
            let Some(Reverse((since, place))) = overdue.pop() else { break };
            let state = slab.state_mut(place);
            wanted = wanted.saturating_sub(frames.parts(&state.queue).count());
            let for_ms = (now - since) / 1_000_000;
            ended.push((state.id, NetError::Stalled { queued: state.queued, for_ms, free: self.free, of: self.of }));
        }
        if !ended.is_empty() {
            let most_ms = limit / 1_000_000;
            logging::warn!(
                "{} of {} buffers were left: {} connections are reset whose peers had taken nothing for {} ms",
                self.free,
                self.of,
                ended.len(),
                most_ms
            );
        }
        ended
    }
}
