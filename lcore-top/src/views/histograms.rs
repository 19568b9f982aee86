//! How long things took, as threads and reactors have recorded it since their start.

use serde::Deserialize;

use super::seconds;
use crate::table::Cell;

pub(super) const METHOD: &str = "lcore_get_histograms";

#[derive(Deserialize)]
pub(super) struct Histograms {
    tick_rate: u64,
    #[serde(default)]
    threads: Vec<Thread>,
    #[serde(default)]
    reactors: Vec<Reactor>,
}

#[derive(Deserialize)]
pub(super) struct Thread {
    id: u64,
    pub(super) pollers: Histogram,
    messages: Histogram,
    pub(super) timers_late: Histogram,
}

#[derive(Deserialize)]
struct Reactor {
    lcore: u64,
    wakes: Histogram,
}

/// In ticks.
#[derive(Deserialize)]
pub(super) struct Histogram {
    count: u64,
    max: u64,
    p99: u64,
}

impl Histograms {
    /// A thread's, and the ticks of a second.
    pub(super) fn of_thread(&self, id: u64) -> Option<(&Thread, u64)> {
        self.threads.iter().find(|it| it.id == id).map(|it| (it, self.tick_rate))
    }

    /// How long a core took to wake, and the ticks of a second.
    pub(super) fn wakes_of(&self, core: u64) -> Option<(&Histogram, u64)> {
        self.reactors.iter().find(|it| it.lcore == core).map(|it| (&it.wakes, self.tick_rate))
    }
}

impl Thread {
    /// Of pollers and messages.
    pub(super) fn longest_run(&self, tick_rate: u64) -> Cell {
        let longest = if self.pollers.max < self.messages.max { &self.messages } else { &self.pollers };
        longest.longest(tick_rate)
    }
}

impl Histogram {
    pub(super) fn p99(&self, tick_rate: u64) -> Cell {
        self.if_any(self.p99, tick_rate)
    }

    pub(super) fn longest(&self, tick_rate: u64) -> Cell {
        self.if_any(self.max, tick_rate)
    }

    fn if_any(&self, ticks: u64, tick_rate: u64) -> Cell {
        if self.count == 0 { Cell::Unknown } else { seconds(ticks, tick_rate) }
    }
}
