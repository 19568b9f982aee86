//! Sockets of poll groups: those that an application tells of.

use serde::Deserialize;

use super::{Rows, View};
use crate::seen::Seen;
use crate::table::{Cell, column};

const METHOD: &str = "lcore_get_sockets";

pub(super) static VIEW: View = View {
    key: "sockets",
    title: "Sockets",
    methods: &[METHOD],
    columns: &[
        column("peer", "PEER"),
        column("local", "LOCAL"),
        column("state", "STATE"),
        column("unsent_bytes", "UNSENT"),
        column("paused", "PAUSED"),
        column("thread", "THREAD"),
        column("core", "CORE"),
        column("group", "GROUP"),
        column("token", "TOKEN"),
        column("backend", "BACKEND"),
    ],
    rows,
    sorted: ("unsent_bytes", true),
};

#[derive(Deserialize)]
struct Groups {
    poll_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    thread: String,
    core: u64,
    group: u64,
    #[serde(default)]
    backend: String,
    sockets: Vec<Socket>,
    /// More than these take too long to tell.
    #[serde(default)]
    sockets_left_out: u64,
}

#[derive(Deserialize)]
struct Socket {
    token: Option<u64>,
    #[serde(default)]
    state: String,
    local: Option<String>,
    peer: Option<String>,
    unsent: Option<u64>,
    paused: Option<bool>,
}

fn rows(seen: &Seen) -> Result<Rows, String> {
    let groups = seen.now::<Groups>(METHOD)?.poll_groups;
    Ok(groups.iter().flat_map(|group| group.sockets.iter().map(|socket| socket.cells(group)).chain(group.others())).collect())
}

impl Socket {
    fn cells(&self, group: &Group) -> Vec<Cell> {
        vec![
            Cell::maybe(self.peer.as_deref(), Cell::text),
            Cell::maybe(self.local.as_deref(), Cell::text),
            Cell::text(&self.state),
            Cell::maybe(self.unsent, Cell::Count),
            Cell::maybe(self.paused, |paused| Cell::text(if paused { "yes" } else { "no" })),
            Cell::text(&group.thread),
            Cell::Id(group.core),
            Cell::Id(group.group),
            Cell::maybe(self.token, Cell::Id),
            Cell::text(&group.backend),
        ]
    }
}

impl Group {
    /// A row for those that are not told, if there are some.
    fn others(&self) -> Option<Vec<Cell>> {
        let state = format!("{} more", self.sockets_left_out);
        let others = Socket { token: None, state, local: None, peer: None, unsent: None, paused: None };
        (self.sockets_left_out > 0).then(|| others.cells(self))
    }
}
