//! The methods that tell of poll groups and their sockets. Each group is asked first and tells in
//! its next poll; the visits of all reactors that come between are turns in which it has polled.

use std::collections::BTreeMap;

use core_reactor::Cx;
use core_reactor::net::{GroupInfo, GroupStats, SocketInfo};
use rpc::{Call, Control, Method, NoParams, Text};
use serde::{Deserialize, Serialize};
use statistics::{Figure, Stats, Value};

use super::threads::{self, Gathered};
use super::visits::Visits;

/// Sockets that a group tells of unless told otherwise: the most that it ever does.
const SOCKETS: usize = 64;

rpc::register!(Method::new(
    "lcore_get_poll_groups",
    "What each poll group has done: sockets, events, bytes, waits for buffers",
    get_groups
));

rpc::register!(Method::new("lcore_get_sockets", "The sockets of each poll group: those with the most unsent bytes first", get_sockets));

/// A group, without its sockets.
#[derive(Serialize)]
struct Group {
    thread: String,
    thread_id: u64,
    core: u16,
    /// Which of its thread's.
    group: usize,
    backend: &'static str,
    #[serde(flatten)]
    stats: BTreeMap<&'static str, u64>,
}

/// A group's figures by the part of their names that is not the same for all.
fn figures(stats: &GroupStats) -> BTreeMap<&'static str, u64> {
    let figures = GroupStats::FIGURES.iter().copied().flatten();
    let number = |(figure, value): (&Figure, Value)| match value {
        Value::Number(number) => Some((figure.name.strip_prefix("lcore_poll_group_")?, number)),
        Value::Times(_) => None,
    };
    figures.zip(stats.values()).filter_map(number).collect()
}

fn get_groups(cx: &mut Cx<'_>, call: Call) {
    let control = call.control().clone();
    let Some((NoParams, reply)) = call.open() else { return };
    gather(cx, &control, 0, |group, _| group, move |all| reply.send_text(all.0.map(|groups| object("poll_groups", groups.finish()))));
}

/// Whose sockets are wanted.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// The most of each group.
    limit: Option<usize>,
}

/// A group's sockets.
#[derive(Serialize)]
struct Sockets {
    thread: String,
    thread_id: u64,
    core: u16,
    group: usize,
    backend: &'static str,
    sockets: Vec<OneSocket>,
    sockets_left_out: usize,
}

#[derive(Serialize)]
struct OneSocket {
    token: u64,
    state: &'static str,
    local: Option<String>,
    peer: Option<String>,
    unsent: usize,
    paused: bool,
}

impl From<&SocketInfo> for OneSocket {
    fn from(socket: &SocketInfo) -> Self {
        Self {
            token: socket.token.0,
            state: socket.state,
            local: socket.local.map(|at| at.to_string()),
            peer: socket.peer.map(|at| at.to_string()),
            unsent: socket.unsent,
            paused: socket.is_paused,
        }
    }
}

impl Sockets {
    fn of(Group { thread, thread_id, core, group, backend, .. }: Group, seen: &GroupInfo) -> Self {
        let sockets: Vec<OneSocket> = seen.sockets.iter().map(OneSocket::from).collect();
        let sockets_left_out = seen.stats.sockets.saturating_sub(sockets.len());
        Self { thread, thread_id, core, group, backend, sockets, sockets_left_out }
    }
}

fn get_sockets(cx: &mut Cx<'_>, call: Call) {
    let control = call.control().clone();
    let Some((which, reply)) = call.open::<Option<Which>>() else { return };
    let limit = which.unwrap_or_default().limit.unwrap_or(SOCKETS).min(SOCKETS);
    gather(cx, &control, limit, Sockets::of, move |all| reply.send_text(all.0.map(|groups| object("poll_groups", groups.finish()))));
}

/// Asks every group, and then has every thread tell of its own.
fn gather<R: Serialize>(
    cx: &mut Cx<'_>,
    control: &Control,
    sockets: usize,
    tell: impl Fn(Group, &GroupInfo) -> R + Send + 'static,
    done: impl FnOnce(Gathered) + Send + 'static,
) {
    let ask = move |cx: &mut Cx<'_>| cx.views::<GroupInfo>().iter().for_each(|group| group.ask(sockets));
    let add = move |cx: &Cx<'_>, all: &mut Gathered| {
        for (index, group) in cx.views::<GroupInfo>().into_iter().enumerate() {
            let (thread, seen) = (cx.info(), group.seen());
            let Ok(list) = &mut all.0 else { return };
            let told = Group {
                thread: thread.name.as_str().to_owned(),
                thread_id: thread.id.number(),
                core: thread.core.0,
                group: index,
                backend: group.backend(),
                stats: figures(&seen.stats),
            };
            if let Err(why) = list.push(&tell(told, &seen)) {
                all.0 = Err(why);
            }
        }
    };
    Visits::enter(control, cx, move |cx, going| {
        let finish = move |cx: &mut Cx<'_>, all| {
            done(all);
            going.end(cx);
        };
        cx.for_each_thread(ask, move |cx| threads::gather(cx, add, finish));
    });
}

fn object(key: &str, list: Text) -> Text {
    let mut text = Text::default();
    text.push_str(&format!("{{\"{key}\":"));
    text.append(list);
    text.push_str("}");
    text
}
