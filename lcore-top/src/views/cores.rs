//! Reactors, each on its core.

use serde::Deserialize;

use super::histograms::{self, Histograms};
use super::{Rows, View, grown};
use crate::seen::{Pair, Seen};
use crate::table::{Cell, column};

pub(super) const METHOD: &str = "framework_get_reactors";
/// The kernel's ticks in a second (USER_HZ), of which `irq`, `sys` and `usr` are counts.
const JIFFIES: f64 = 100.0;

pub(super) static VIEW: View = View {
    key: "cores",
    title: "Cores",
    methods: &[METHOD, histograms::METHOD],
    columns: &[
        column("core", "CORE"),
        column("threads", "THREADS"),
        column("busy_share", "BUSY %"),
        column("user_share", "USR %"),
        column("system_share", "SYS %"),
        column("interrupt_share", "IRQ %"),
        column("wake_p99_seconds", "WAKE P99"),
        column("longest_wake_seconds", "LONGEST WAKE"),
        column("mode", "MODE"),
        column("frequency_mhz", "MHZ"),
        column("numa", "NUMA"),
        column("tid", "TID"),
    ],
    rows,
    sorted: ("core", false),
};

/// What `framework_get_reactors` answers.
#[derive(Deserialize)]
pub(super) struct Reactors {
    pub(super) reactors: Vec<Reactor>,
}

#[derive(Deserialize)]
pub(super) struct Reactor {
    pub(super) lcore: u64,
    numa_id: Option<i64>,
    tid: Option<u64>,
    #[serde(default)]
    busy: u64,
    #[serde(default)]
    idle: u64,
    in_interrupt: Option<bool>,
    irq: Option<u64>,
    sys: Option<u64>,
    usr: Option<u64>,
    core_freq: Option<u64>,
    #[serde(default)]
    lw_threads: Vec<LwThread>,
}

#[derive(Deserialize)]
struct LwThread {
    id: u64,
}

impl Reactors {
    /// The core that a thread is on.
    pub(super) fn core_of(&self, thread: u64) -> Option<u64> {
        let has = |reactor: &&Reactor| reactor.lw_threads.iter().any(|it| it.id == thread);
        self.reactors.iter().find(has).map(|reactor| reactor.lcore)
    }
}

impl Pair<Reactors> {
    fn before(&self, core: u64) -> Option<&Reactor> {
        self.before.as_ref()?.reactors.iter().find(|reactor| reactor.lcore == core)
    }

    /// All the time of a core between the two looks, in ticks.
    pub(super) fn time_of(&self, core: u64) -> Option<u64> {
        let now = self.now.reactors.iter().find(|reactor| reactor.lcore == core)?;
        now.time_since(self.before(core)?)
    }
}

impl Reactor {
    fn time_since(&self, before: &Self) -> Option<u64> {
        grown(Some(before.busy), self.busy)?.checked_add(grown(Some(before.idle), self.idle)?)
    }

    fn cells(&self, pair: &Pair<Reactors>, histograms: Option<&Histograms>) -> Vec<Cell> {
        let before = pair.before(self.lcore);
        let whole = before.and_then(|before| self.time_since(before));
        // Of the core, whatever ran on it.
        let jiffies = |of: fn(&Self) -> Option<u64>| {
            let grown = of(self).and_then(|now| grown(of(before?), now)).filter(|_| pair.elapsed > 0.0);
            Cell::maybe(grown, |grown| Cell::Share(grown as f64 / JIFFIES / pair.elapsed))
        };
        let wakes = histograms.and_then(|all| all.wakes_of(self.lcore));
        vec![
            Cell::Id(self.lcore),
            Cell::Count(self.lw_threads.len() as u64),
            Cell::share(grown(before.map(|it| it.busy), self.busy), whole),
            jiffies(|it| it.usr),
            jiffies(|it| it.sys),
            jiffies(|it| it.irq),
            Cell::maybe(wakes, |(wakes, rate)| wakes.p99(rate)),
            Cell::maybe(wakes, |(wakes, rate)| wakes.longest(rate)),
            Cell::maybe(self.in_interrupt, |interrupt| Cell::text(if interrupt { "interrupt" } else { "poll" })),
            Cell::maybe(self.core_freq, Cell::Count),
            Cell::maybe(self.numa_id.and_then(|node| node.try_into().ok()), Cell::Id),
            Cell::maybe(self.tid, Cell::Id),
        ]
    }
}

fn rows(seen: &Seen) -> Result<Rows, String> {
    let pair = seen.pair::<Reactors>(METHOD)?;
    let histograms = seen.now::<Histograms>(histograms::METHOD).ok();
    Ok(pair.now.reactors.iter().map(|reactor| reactor.cells(&pair, histograms.as_ref())).collect())
}
