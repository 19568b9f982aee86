//! What took longer than it may.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{CoreId, Instant, Name};

/// Something that held a reactor up. By the clock: what the kernel did meanwhile with the core
/// counts in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// When it ended.
    pub at: Instant,
    /// Where.
    pub core: CoreId,
    /// The thread; empty where it is the reactor itself, or is not known.
    pub thread: Name,
    /// The poller, or `(messages)`, `(events)` of the reactor, or `(idle pollers)`: one of those
    /// that found nothing to do, and took their time over it.
    pub what: Name,
    /// How long.
    pub took: Duration,
    /// False where it may have been a poller directly before, which found nothing to do. The clock
    /// is not read after those, until there has been a stall.
    pub is_exact: bool,
}

/// Something that holds a reactor up now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoingOn {
    /// Where.
    pub core: CoreId,
    /// The thread; empty where it is the reactor itself.
    pub thread: Name,
    /// The poller, or as [`Stall::what`].
    pub what: Name,
    /// When the turn began that it is in.
    pub since: Instant,
}

impl Stall {
    /// How many of a core are kept.
    pub const KEPT: usize = 32;

    /// Logs it. `left_out` others were not.
    pub(super) fn say(&self, limit_ns: u64, left_out: u64) {
        let (thread, what) = (self.thread.as_str(), self.what.as_str());
        logging::warn!(
            "core {}: thread {}: {}{} took {} ms in one run, and {} ms is the limit ({} more stalls were not logged)",
            self.core.0,
            if thread.is_empty() { "(none)" } else { thread },
            what,
            if self.is_exact { "" } else { ", or a poller before it that found nothing," },
            self.took.as_millis() as u64,
            limit_ns / 1_000_000,
            left_out
        );
    }
}

/// The stalls of one core.
#[derive(Default)]
pub(super) struct Stalls {
    latest: VecDeque<Stall>,
    count: u64,
    logged: Option<Instant>,
    left_out: u64,
}

impl Stalls {
    /// Keeps one. If it is to be logged, it tells how many were not since the last that was.
    pub(super) fn enter(&mut self, stall: Stall) -> Option<u64> {
        let at = stall.at;
        self.count += 1;
        if self.latest.len() == Stall::KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(stall);
        if self.logged.is_some_and(|logged| at.since(logged) < Duration::from_secs(1)) {
            self.left_out += 1;
            return None;
        }
        self.logged = Some(at);
        Some(core::mem::take(&mut self.left_out))
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn latest(&self) -> Vec<Stall> {
        self.latest.iter().cloned().collect()
    }
}
