//! What held a reactor up.

use serde::Deserialize;

use super::{Rows, View, seconds};
use crate::seen::Seen;
use crate::table::{Cell, column};

const METHOD: &str = "lcore_get_stalls";

pub(super) static VIEW: View = View {
    key: "stalls",
    title: "Stalls",
    methods: &[METHOD],
    columns: &[
        column("poller", "POLLER"),
        column("thread", "THREAD"),
        column("core", "CORE"),
        column("duration_seconds", "TOOK"),
        column("age_seconds", "AGO"),
        column("state", "STATE"),
    ],
    rows,
    sorted: ("age_seconds", false),
};

#[derive(Deserialize)]
struct Stalls {
    tick_rate: u64,
    #[serde(default)]
    going_on: Vec<Stall>,
    #[serde(default)]
    stalls: Vec<Stall>,
}

/// Without an age it goes on.
#[derive(Deserialize)]
struct Stall {
    lcore: u64,
    thread: String,
    poller: String,
    duration: u64,
    age: Option<u64>,
}

fn rows(seen: &Seen) -> Result<Rows, String> {
    let all = seen.now::<Stalls>(METHOD)?;
    let row = |it: &Stall| {
        vec![
            Cell::text(&it.poller),
            Cell::text(&it.thread),
            Cell::Id(it.lcore),
            seconds(it.duration, all.tick_rate),
            seconds(it.age.unwrap_or(0), all.tick_rate),
            Cell::text(if it.age.is_some() { "over" } else { "goes on" }),
        ]
    };
    Ok(all.going_on.iter().chain(&all.stalls).map(row).collect())
}
