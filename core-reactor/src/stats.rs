//! Figures that reactors and threads keep.

use alloc::vec::Vec;
use core::time::Duration;

use statistics::stats;

use crate::{CoreId, Name};

/// What one turn did.
///
/// ```
/// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
/// # let mut sim = Sim::new(1);
/// sim.lib().spawn(ThreadConfig::new("t"), |_: &mut Cx<'_>| {})?;
/// let turn = sim.turn();
/// assert!(turn.events == 1 && !turn.is_idle(), "a thread was placed");
/// sim.settle();
/// assert!(sim.turn().is_idle());
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
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

stats! {
    /// What a thread has done.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct ThreadStats {
        /// Its name.
        pub name: Name,
        /// Turns.
        pub turns: u64 => counter("lcore_thread_turns_total"),
        /// Messages run.
        pub messages: u64 => counter("lcore_thread_messages_total"),
        /// Time that went into something.
        pub busy_ns: u64 => counter_ns("lcore_thread_busy_seconds_total"),
        /// Time that it was given and had no use for: its share of its reactor's idle time.
        pub idle_ns: u64 => counter_ns("lcore_thread_idle_seconds_total"),
        /// Its share of the time that its reactor slept.
        pub parked_ns: u64 => counter_ns("lcore_thread_parked_seconds_total"),
        /// Its longest busy turn.
        pub longest_ns: u64 => peak_ns("lcore_thread_longest_turn_seconds"),
        /// Runs, and batches of messages, that took longer than they may.
        pub stalls: u64 => counter("lcore_thread_stalls_total"),
        /// Messages that wait now.
        pub mailbox_depth: usize => gauge("lcore_thread_mailbox_messages"),
        /// Most messages seen waiting.
        pub mailbox_high_water: usize => peak("lcore_thread_mailbox_high_water_messages"),
        /// Messages that its mailbox holds.
        pub mailbox_capacity: usize => gauge("lcore_thread_mailbox_capacity_messages"),
        /// Its pollers'.
        pub pollers: Vec<PollerStats>,
    }
}

stats! {
    /// What a poller has done.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct PollerStats {
        /// Its name.
        pub name: Name,
        /// Runs.
        pub runs: u64 => counter("lcore_poller_runs_total"),
        /// Runs that found something to do.
        pub busy_runs: u64 => counter("lcore_poller_busy_runs_total"),
        /// Time in busy runs. The clock is read after busy runs only, so idle runs
        /// directly before one count in.
        pub busy_ns: u64 => counter_ns("lcore_poller_busy_seconds_total"),
        /// Time in idle runs: its share, by runs, of the thread's idle time.
        pub idle_ns: u64 => counter_ns("lcore_poller_idle_seconds_total"),
        /// The longest busy run.
        pub longest_ns: u64 => peak_ns("lcore_poller_longest_run_seconds"),
        /// Runs that took longer than they may.
        pub stalls: u64 => counter("lcore_poller_stalls_total"),
    }
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

stats! {
    /// What a reactor has done.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct ReactorStats {
        /// Its core.
        pub core: CoreId,
        /// Turns.
        pub turns: u64 => counter("lcore_reactor_turns_total"),
        /// Messages run by its threads.
        pub messages: u64 => counter("lcore_reactor_messages_total"),
        /// Time that went into something.
        pub busy_ns: u64 => counter_ns("lcore_reactor_busy_seconds_total"),
        /// Time spent looking for something to do.
        pub idle_ns: u64 => counter_ns("lcore_reactor_idle_seconds_total"),
        /// Time asleep in the platform.
        pub parked_ns: u64 => counter_ns("lcore_reactor_parked_seconds_total"),
        /// Times that it went to sleep.
        pub parks: u64 => counter("lcore_reactor_parks_total"),
        /// Its longest turn that did something.
        pub longest_ns: u64 => peak_ns("lcore_reactor_longest_turn_seconds"),
        /// What took longer than it may on it, its threads' and its own.
        pub stalls: u64 => counter("lcore_reactor_stalls_total"),
        /// Threads on it now.
        pub threads: usize => gauge("lcore_reactor_threads"),
        /// Events that wait in its ring now.
        pub events_depth: usize => gauge("lcore_reactor_events"),
        /// Most events seen waiting in its ring.
        pub events_high_water: usize => peak("lcore_reactor_high_water_events"),
        /// Events that its ring holds.
        pub events_capacity: usize => gauge("lcore_reactor_capacity_events"),
    }
}

impl ReactorStats {
    /// Busy time as a share of all time, 0 to 1.
    ///
    /// ```
    /// # use core_reactor::sim::Sim;
    /// let mut sim = Sim::new(1);
    /// sim.advance(core::time::Duration::from_secs(1));
    /// let stats = sim.reactors[0].stats();
    /// assert_eq!(stats.busy_share(), 0.0, "there was nothing to do");
    /// ```
    pub fn busy_share(&self) -> f64 {
        self.busy_ns as f64 / (self.busy_ns + self.idle_ns + self.parked_ns).max(1) as f64
    }

    /// Time asleep as a share of all time, 0 to 1.
    ///
    /// ```
    /// # use core_reactor::sim::Sim;
    /// let sim = Sim::new(1);
    /// assert_eq!(sim.reactors[0].stats().parked_share(), 0.0, "it has not turned yet");
    /// ```
    pub fn parked_share(&self) -> f64 {
        self.parked_ns as f64 / (self.busy_ns + self.idle_ns + self.parked_ns).max(1) as f64
    }
}
