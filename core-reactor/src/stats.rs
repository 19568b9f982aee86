//! Figures that reactors and threads keep.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{CoreId, Name};

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Messages and critical messages run.
    pub messages: u32,
    /// Runs of active pollers that were busy.
    pub pollers: u32,
    /// Timed pollers that were due and run, busy or not.
    pub timers: u32,
    /// Events of the reactor itself: placements, arrivals, calls.
    pub events: u32,
    /// Nanoseconds of the turn that were spent on something (the time of idle pollers is not in
    /// it).
    pub busy_ns: u64,
}

impl Turn {
    /// Whether nothing at all happened.
    pub fn is_idle(&self) -> bool {
        self.messages == 0 && self.pollers == 0 && self.timers == 0 && self.events == 0
    }

    pub(crate) fn add(&mut self, other: Turn) {
        self.messages += other.messages;
        self.pollers += other.pollers;
        self.timers += other.timers;
        self.events += other.events;
        self.busy_ns += other.busy_ns;
    }
}

/// What a thread has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStats {
    /// Its name.
    pub name: Name,
    /// Turns.
    pub turns: u64,
    /// Messages run.
    pub messages: u64,
    /// Time that went into something, nanoseconds.
    pub busy_ns: u64,
    /// Time that it was given and had no use for, nanoseconds: its share of its reactor's idle
    /// time.
    pub idle_ns: u64,
    /// Its share of the time that its reactor slept, nanoseconds.
    pub parked_ns: u64,
    /// Its longest busy turn, nanoseconds.
    pub longest_ns: u64,
    /// Runs, and batches of messages, that took longer than they may (see
    /// [`ThreadLibOptions::stall_limit`](crate::ThreadLibOptions::stall_limit)).
    pub stalls: u64,
    /// Messages that wait now.
    pub mailbox_depth: usize,
    /// Most messages seen waiting.
    pub mailbox_high_water: usize,
    /// Messages that its mailbox holds.
    pub mailbox_capacity: usize,
    /// Its pollers'.
    pub pollers: Vec<PollerStats>,
}

/// What a poller has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PollerStats {
    /// Its name.
    pub name: Name,
    /// Runs.
    pub runs: u64,
    /// Runs that answered [`Polled::Busy`](crate::Polled::Busy) or
    /// [`Polled::Done`](crate::Polled::Done).
    pub busy_runs: u64,
    /// Time in busy runs, nanoseconds. The clock is read after busy runs only, so idle runs
    /// directly before one count in.
    pub busy_ns: u64,
    /// Time in idle runs, nanoseconds: its share, by runs, of the thread's idle time.
    pub idle_ns: u64,
    /// The longest busy run, nanoseconds.
    pub longest_ns: u64,
    /// Runs that took longer than they may.
    pub stalls: u64,
}

/// Pollers of a thread, by kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollerCounts {
    /// Those that run in every turn.
    pub active: usize,
    /// Those that have a period.
    pub timed: usize,
    /// Those that are paused, of either kind.
    pub paused: usize,
}

/// A poller as it is now.
#[derive(Clone, Debug)]
pub struct PollerInfo {
    /// Its number on its thread: the key's ([`PollerId::number`](crate::PollerId::number)).
    pub id: u64,
    /// Its name.
    pub name: Name,
    /// Its period, zero for one that runs in every turn.
    pub period: Duration,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Runs.
    pub runs: u64,
    /// Runs that did something.
    pub busy_runs: u64,
    /// Time in those, nanoseconds.
    pub busy_ns: u64,
    /// The longest of them, nanoseconds.
    pub longest_ns: u64,
    /// Runs that took longer than they may.
    pub stalls: u64,
}

/// What a reactor has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReactorStats {
    /// Its core.
    pub core: CoreId,
    /// Turns.
    pub turns: u64,
    /// Messages run by its threads.
    pub messages: u64,
    /// Time that went into something, nanoseconds.
    pub busy_ns: u64,
    /// Time spent looking for something to do, nanoseconds.
    pub idle_ns: u64,
    /// Time asleep in the platform, nanoseconds.
    pub parked_ns: u64,
    /// Times that it went to sleep.
    pub parks: u64,
    /// Its longest turn that did something, nanoseconds.
    pub longest_ns: u64,
    /// What took longer than it may on it, its threads' and its own.
    pub stalls: u64,
    /// Threads on it now.
    pub threads: usize,
    /// Events that wait in its ring now.
    pub events_depth: usize,
    /// Most events seen waiting in its ring.
    pub events_high_water: usize,
    /// Events that its ring holds.
    pub events_capacity: usize,
}

impl ReactorStats {
    /// Busy time as a share of all time, 0 to 1.
    pub fn busy_share(&self) -> f64 {
        self.busy_ns as f64 / (self.busy_ns + self.idle_ns + self.parked_ns).max(1) as f64
    }

    /// Time asleep as a share of all time, 0 to 1.
    pub fn parked_share(&self) -> f64 {
        self.parked_ns as f64 / (self.busy_ns + self.idle_ns + self.parked_ns).max(1) as f64
    }
}
