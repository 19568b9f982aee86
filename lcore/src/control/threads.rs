//! The methods that tell of threads. Each thread tells of itself, on its own core and in a message
//! of its own, so that thousands hold nobody up.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use core_reactor::{ChannelInfo, Cx, PollerInfo, ThreadInfo};
use rpc::{Call, Error, List, Method, NoParams, Text};
use serde::Serialize;

use super::elsewhere::Elsewhere;
use super::visits::Visits;
use super::{TICK_RATE, mask};

/// Pollers that a thread tells of: more take too long.
const POLLERS: usize = 256;

/// Has every thread add what it tells of itself to `told`, and calls `done` with that. Who calls
/// this is let in by [`Visits`].
///
/// The reactors are visited first: they share out their idle time, of which threads tell.
pub(super) fn gather<T: Default + Send + 'static>(
    cx: &mut Cx<'_>,
    tell: impl Fn(&Cx<'_>, &mut T) + Send + 'static,
    done: impl FnOnce(&mut Cx<'_>, T) + Send + 'static,
) {
    let told = Arc::new(Mutex::new(T::default()));
    let all = told.clone();
    let visit = move |cx: &mut Cx<'_>| tell(cx, &mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    let finish = move |cx: &mut Cx<'_>| {
        let all = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
        done(cx, all);
    };
    cx.for_each_core(|_| {}, move |cx| cx.for_each_thread(visit, finish));
}

/// Answers with an object of the tick rate and what each thread tells of itself.
fn answer_threads<R: Serialize>(cx: &mut Cx<'_>, call: Call, tell: impl Fn(&Cx<'_>) -> R + Send + 'static) {
    let control = call.control().clone();
    let Some((NoParams, reply)) = call.open() else { return };
    let tell = move |cx: &Cx<'_>, all: &mut Gathered| all.push(&tell(cx));
    Visits::enter(&control, cx, move |cx, going| {
        gather(cx, tell, move |cx, all: Gathered| {
            reply.send_text(all.0.map(object));
            going.end(cx);
        });
    });
}

/// A list, until one cannot tell.
pub(super) struct Gathered(pub(super) Result<List, Error>);

impl Gathered {
    pub(super) fn push(&mut self, told: &impl Serialize) {
        if let Ok(list) = &mut self.0
            && let Err(why) = list.push(told)
        {
            self.0 = Err(why);
        }
    }
}

impl Default for Gathered {
    fn default() -> Self {
        Self(Ok(List::default()))
    }
}

fn object(threads: List) -> Text {
    let mut text = Text::default();
    text.push_str(&format!("{{\"tick_rate\":{TICK_RATE},\"threads\":"));
    text.append(threads.finish());
    text.push_str("}");
    text
}

rpc::register!(Method::new("thread_get_stats", "How busy each thread is, and how many pollers it has", |cx, call| {
    answer_threads(cx, call, |cx| Stats::of(&cx.info(), cx));
}));

/// A thread. `spdk_top` takes no key more.
#[derive(Serialize)]
struct Stats {
    name: String,
    id: u64,
    cpumask: String,
    busy: u64,
    idle: u64,
    active_pollers_count: usize,
    timed_pollers_count: usize,
    paused_pollers_count: usize,
}

impl Stats {
    fn of(thread: &ThreadInfo, cx: &Cx<'_>) -> Self {
        Self {
            name: thread.name.as_str().to_owned(),
            id: thread.id.number(),
            cpumask: mask::to_hex(&thread.cpus.and(&cx.lib().reactors())),
            busy: thread.busy_ns,
            // A core that sleeps has nothing to do.
            idle: thread.idle_ns + thread.parked_ns,
            active_pollers_count: thread.pollers.active,
            timed_pollers_count: thread.pollers.timed,
            paused_pollers_count: thread.pollers.paused,
        }
    }
}

rpc::register!(Method::new("thread_get_pollers", "What each poller has done: runs, and runs that found something to do", |cx, call| {
    get_pollers(cx, call);
}));

/// Threads only list their pollers: as text, which takes many times as long, they are written
/// elsewhere.
fn get_pollers(cx: &mut Cx<'_>, call: Call) {
    type Listed = Vec<(ThreadInfo, Vec<PollerInfo>)>;
    let (control, elsewhere) = (call.control().clone(), call.control().service::<Elsewhere>());
    let Some((NoParams, reply)) = call.open() else { return };
    let elsewhere = match elsewhere {
        Ok(elsewhere) => elsewhere,
        Err(why) => return reply.send::<()>(Err(why)),
    };
    let list = |cx: &Cx<'_>, all: &mut Listed| all.push((cx.info(), cx.pollers().take(POLLERS).collect()));
    Visits::enter(&control, cx, move |cx, going| {
        gather(cx, list, move |cx, all: Listed| {
            let me = cx.handle();
            elsewhere.run(move || {
                let mut told = Gathered::default();
                all.into_iter().for_each(|(thread, pollers)| told.push(&Pollers::of(&thread, pollers.into_iter())));
                reply.send_text(told.0.map(object));
                // Only now, so that lists do not heap up here.
                let _ = me.send(move |cx: &mut Cx<'_>| going.end(cx));
            });
        });
    });
}

/// The pollers of a thread, by kinds, each of which is there.
#[derive(Default, Serialize)]
struct Pollers {
    name: String,
    id: u64,
    active_pollers: Vec<OnePoller>,
    timed_pollers: Vec<OnePoller>,
    paused_pollers: Vec<OnePoller>,
    /// How many are not told.
    #[serde(skip_serializing_if = "is_zero")]
    pollers_left_out: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A poller. `spdk_top` takes no key more.
#[derive(Serialize)]
struct OnePoller {
    name: String,
    id: u64,
    state: &'static str,
    run_count: u64,
    busy_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    period_ticks: Option<u64>,
}

impl Pollers {
    fn of(thread: &ThreadInfo, pollers: impl Iterator<Item = PollerInfo>) -> Self {
        let counts = thread.pollers;
        let left_out = (counts.active + counts.timed + counts.paused).saturating_sub(POLLERS);
        let mut told =
            Self { name: thread.name.as_str().to_owned(), id: thread.id.number(), pollers_left_out: left_out, ..Self::default() };
        for poller in pollers {
            let kind = match (poller.is_paused, poller.period.is_zero()) {
                (true, _) => &mut told.paused_pollers,
                (false, true) => &mut told.active_pollers,
                (false, false) => &mut told.timed_pollers,
            };
            kind.push(OnePoller::of(&poller));
        }
        told
    }
}

impl OnePoller {
    fn of(poller: &PollerInfo) -> Self {
        Self {
            name: poller.name.as_str().to_owned(),
            id: poller.id,
            state: if poller.is_paused { "paused" } else { "waiting" },
            run_count: poller.runs,
            busy_count: poller.busy_runs,
            period_ticks: (!poller.period.is_zero()).then_some(poller.period.as_nanos() as u64),
        }
    }
}

rpc::register!(Method::new("thread_get_io_channels", "The channels of each thread, by name, and how many have each", |cx, call| {
    answer_threads(cx, call, |cx| {
        let thread = cx.info();
        let io_channels = thread.channels.into_iter().map(|ChannelInfo { name, refs, .. }| Channel { name, r#ref: refs }).collect();
        Channels { name: thread.name.as_str().to_owned(), io_channels }
    });
}));

#[derive(Serialize)]
struct Channels {
    name: String,
    io_channels: Vec<Channel>,
}

#[derive(Serialize)]
struct Channel {
    name: Cow<'static, str>,
    r#ref: usize,
}
