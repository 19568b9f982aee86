//! Pollers, of all threads.

use std::collections::HashMap;

use serde::Deserialize;

use super::cores::{self, Reactors};
use super::{Rows, View, grown, seconds};
use crate::seen::Seen;
use crate::table::{Cell, column};

const METHOD: &str = "thread_get_pollers";

pub(super) static VIEW: View = View {
    key: "pollers",
    title: "Pollers",
    methods: &[METHOD],
    columns: &[
        column("name", "POLLER"),
        column("thread", "THREAD"),
        column("core", "CORE"),
        column("kind", "KIND"),
        column("period_seconds", "PERIOD"),
        column("runs_per_second", "RUNS/S"),
        column("busy_runs_per_second", "BUSY/S"),
        column("busy_run_share", "BUSY %"),
        column("runs", "RUNS"),
        column("busy_runs", "BUSY RUNS"),
        column("state", "STATE"),
        column("thread_id", "TID"),
        column("id", "ID"),
    ],
    rows,
    sorted: ("runs_per_second", true),
};

#[derive(Deserialize)]
struct Threads {
    #[serde(default)]
    tick_rate: u64,
    threads: Vec<Thread>,
}

#[derive(Deserialize)]
struct Thread {
    name: String,
    id: u64,
    #[serde(default)]
    active_pollers: Vec<Poller>,
    #[serde(default)]
    timed_pollers: Vec<Poller>,
    #[serde(default)]
    paused_pollers: Vec<Poller>,
}

#[derive(Deserialize)]
struct Poller {
    name: String,
    #[serde(default)]
    id: u64,
    state: Option<String>,
    run_count: u64,
    #[serde(default)]
    busy_count: u64,
    period_ticks: Option<u64>,
}

/// Ids of pollers count for each thread. A name tells one that has an id again from who had it.
type Key<'a> = (u64, u64, &'a str);

impl Threads {
    fn pollers(&self) -> impl Iterator<Item = (&Thread, &'static str, &Poller)> {
        self.threads.iter().flat_map(|thread| {
            let kinds = [("active", &thread.active_pollers), ("timed", &thread.timed_pollers), ("paused", &thread.paused_pollers)];
            kinds.into_iter().flat_map(move |(kind, pollers)| pollers.iter().map(move |poller| (thread, kind, poller)))
        })
    }

    fn by_key(&self) -> HashMap<Key<'_>, &Poller> {
        self.pollers().map(|(thread, _, poller)| (poller.key(thread), poller)).collect()
    }
}

impl Poller {
    fn key(&self, thread: &Thread) -> Key<'_> {
        (thread.id, self.id, &self.name)
    }
}

fn rows(seen: &Seen) -> Result<Rows, String> {
    let pair = seen.pair::<Threads>(METHOD)?;
    let reactors = seen.now::<Reactors>(cores::METHOD).ok();
    let before = pair.before.as_ref().map(Threads::by_key).unwrap_or_default();
    let row = |(thread, kind, poller): (&Thread, &str, &Poller)| {
        let before = before.get(&poller.key(thread));
        let runs = before.map(|it| it.run_count);
        let busy_runs = before.map(|it| it.busy_count);
        let core = reactors.as_ref().and_then(|reactors| reactors.core_of(thread.id));
        // Active pollers have none, or 0.
        let period = poller.period_ticks.filter(|ticks| *ticks > 0);
        vec![
            Cell::text(&poller.name),
            Cell::text(&thread.name),
            Cell::maybe(core, Cell::Id),
            Cell::text(kind),
            Cell::maybe(period, |ticks| seconds(ticks, pair.now.tick_rate)),
            Cell::rate(runs, poller.run_count, pair.elapsed),
            Cell::rate(busy_runs, poller.busy_count, pair.elapsed),
            Cell::share(grown(busy_runs, poller.busy_count), grown(runs, poller.run_count)),
            Cell::Count(poller.run_count),
            Cell::Count(poller.busy_count),
            Cell::maybe(poller.state.as_deref(), Cell::text),
            Cell::Id(thread.id),
            Cell::Id(poller.id),
        ]
    };
    Ok(pair.now.pollers().map(row).collect())
}
