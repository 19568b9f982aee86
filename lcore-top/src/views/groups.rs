//! Poll groups.

use serde::Deserialize;

use super::{Rows, View, grown};
use crate::seen::Seen;
use crate::table::{Cell, column};

const METHOD: &str = "lcore_get_poll_groups";

pub(super) static VIEW: View = View {
    key: "groups",
    title: "Groups",
    methods: &[METHOD],
    columns: &[
        column("thread", "THREAD"),
        column("group", "GROUP"),
        column("core", "CORE"),
        column("sockets", "SOCKETS"),
        column("bytes_in_per_second", "IN B/S"),
        column("bytes_out_per_second", "OUT B/S"),
        column("events_per_second", "EVENTS/S"),
        column("polls_per_second", "POLLS/S"),
        column("busy_poll_share", "BUSY %"),
        column("accepted_per_second", "ACCEPTS/S"),
        column("unsent_bytes", "UNSENT"),
        column("buffer_waits_per_second", "WAITS/S"),
        column("buffer_waits", "WAITS"),
        column("stalled", "STALLED"),
        column("accepted", "ACCEPTED"),
        column("bytes_in", "IN"),
        column("bytes_out", "OUT"),
        column("backend", "BACKEND"),
    ],
    rows,
    sorted: ("bytes_in_per_second", true),
};

#[derive(Deserialize)]
struct Groups {
    poll_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    thread: String,
    thread_id: u64,
    core: u64,
    group: u64,
    #[serde(default)]
    backend: String,
    #[serde(flatten)]
    figures: Figures,
}

/// By the names that the registry of statistics has, but for their beginnings.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Figures {
    sockets: u64,
    #[serde(rename = "polls_total")]
    polls: u64,
    #[serde(rename = "busy_polls_total")]
    busy_polls: u64,
    #[serde(rename = "events_total")]
    events: u64,
    #[serde(rename = "received_bytes_total")]
    bytes_in: u64,
    #[serde(rename = "sent_bytes_total")]
    bytes_out: u64,
    #[serde(rename = "accepted_total")]
    accepted: u64,
    #[serde(rename = "buffer_waits_total")]
    buffer_waits: u64,
    #[serde(rename = "stalled_sockets_total")]
    stalled: u64,
    #[serde(rename = "unsent_bytes")]
    unsent: u64,
}

fn rows(seen: &Seen) -> Result<Rows, String> {
    let pair = seen.pair::<Groups>(METHOD)?;
    let row = |it: &Group| {
        let same = |then: &&Group| (then.thread_id, then.group, &then.thread) == (it.thread_id, it.group, &it.thread);
        let before = pair.before.as_ref().and_then(|before| before.poll_groups.iter().find(same)).map(|it| &it.figures);
        let rate = |of: fn(&Figures) -> u64| Cell::rate(before.map(of), of(&it.figures), pair.elapsed);
        let since = |of: fn(&Figures) -> u64| grown(before.map(of), of(&it.figures));
        vec![
            Cell::text(&it.thread),
            Cell::Id(it.group),
            Cell::Id(it.core),
            Cell::Count(it.figures.sockets),
            rate(|it| it.bytes_in),
            rate(|it| it.bytes_out),
            rate(|it| it.events),
            rate(|it| it.polls),
            Cell::share(since(|it| it.busy_polls), since(|it| it.polls)),
            rate(|it| it.accepted),
            Cell::Count(it.figures.unsent),
            rate(|it| it.buffer_waits),
            Cell::Count(it.figures.buffer_waits),
            Cell::Count(it.figures.stalled),
            Cell::Count(it.figures.accepted),
            Cell::Count(it.figures.bytes_in),
            Cell::Count(it.figures.bytes_out),
            Cell::text(&it.backend),
        ]
    };
    Ok(pair.now.poll_groups.iter().map(row).collect())
}
