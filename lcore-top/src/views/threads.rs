//! Lightweight threads.

use serde::Deserialize;

use super::cores::{self, Reactors};
use super::histograms::{self, Histograms};
use super::{Rows, View, grown};
use crate::seen::{Pair, Seen};
use crate::table::{Cell, column};

const METHOD: &str = "thread_get_stats";

pub(super) static VIEW: View = View {
    key: "threads",
    title: "Threads",
    methods: &[METHOD, histograms::METHOD],
    columns: &[
        column("name", "THREAD"),
        column("id", "ID"),
        column("core", "CORE"),
        column("cpu_share", "CPU %"),
        column("busy_share", "BUSY %"),
        column("longest_run_seconds", "LONGEST"),
        column("run_p99_seconds", "RUN P99"),
        column("late_p99_seconds", "LATE P99"),
        column("active_pollers", "ACTIVE"),
        column("timed_pollers", "TIMED"),
        column("paused_pollers", "PAUSED"),
        column("cpumask", "CPUMASK"),
    ],
    rows,
    sorted: ("cpu_share", true),
};

#[derive(Deserialize)]
struct Threads {
    threads: Vec<Thread>,
}

#[derive(Deserialize)]
struct Thread {
    name: String,
    id: u64,
    cpumask: Option<String>,
    #[serde(default)]
    busy: u64,
    #[serde(default)]
    idle: u64,
    active_pollers_count: Option<u64>,
    timed_pollers_count: Option<u64>,
    paused_pollers_count: Option<u64>,
}

impl Thread {
    fn cells(&self, pair: &Pair<Threads>, reactors: Option<&Pair<Reactors>>, histograms: Option<&Histograms>) -> Vec<Cell> {
        let same = |it: &&Self| it.id == self.id && it.name == self.name;
        let before = pair.before.as_ref().and_then(|before| before.threads.iter().find(same));
        let busy = grown(before.map(|it| it.busy), self.busy);
        let own = busy.zip(grown(before.map(|it| it.idle), self.idle)).and_then(|(busy, idle)| busy.checked_add(idle));
        let core = reactors.and_then(|pair| pair.now.core_of(self.id));
        let whole = core.and_then(|core| reactors?.time_of(core));
        let ran = histograms.and_then(|all| all.of_thread(self.id));
        vec![
            Cell::text(&self.name),
            Cell::Id(self.id),
            Cell::maybe(core, Cell::Id),
            Cell::share(busy, whole),
            Cell::share(busy, own),
            Cell::maybe(ran, |(thread, rate)| thread.longest_run(rate)),
            Cell::maybe(ran, |(thread, rate)| thread.pollers.p99(rate)),
            Cell::maybe(ran, |(thread, rate)| thread.timers_late.p99(rate)),
            Cell::maybe(self.active_pollers_count, Cell::Count),
            Cell::maybe(self.timed_pollers_count, Cell::Count),
            Cell::maybe(self.paused_pollers_count, Cell::Count),
            Cell::maybe(self.cpumask.as_deref(), Cell::text),
        ]
    }
}

fn rows(seen: &Seen) -> Result<Rows, String> {
    let pair = seen.pair::<Threads>(METHOD)?;
    let reactors = seen.pair::<Reactors>(cores::METHOD).ok();
    let histograms = seen.now::<Histograms>(histograms::METHOD).ok();
    Ok(pair.now.threads.iter().map(|thread| thread.cells(&pair, reactors.as_ref(), histograms.as_ref())).collect())
}
