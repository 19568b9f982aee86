//! The methods that tell how long things take, and what took too long.

use std::sync::{Arc, Mutex, PoisonError};

use core_reactor::{Cx, GoingOn, Histogram, Instant, Stall, ThreadHistograms};
use rpc::{Call, Error, List, Method, NoParams, Reply, Text};
use serde::Serialize;

use super::TICK_RATE;
use super::threads::{self, Gathered};
use super::visits::{Going, Visits};

rpc::register!(Method::new(
    "lcore_get_histograms",
    "How long pollers and messages ran, how late messages and timers came, and how long sleeping cores took to wake",
    get_histograms,
));

/// A histogram, in ticks.
#[derive(Serialize)]
struct Told {
    count: u64,
    sum: u64,
    max: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    /// How many were at most so long, and longer than those before. The last bucket has no end.
    buckets: Vec<(Option<u64>, u64)>,
}

impl Told {
    fn of(histogram: &Histogram) -> Self {
        let filled = histogram.buckets().filter(|bucket| bucket.count > 0);
        Self {
            count: histogram.count(),
            sum: histogram.sum_ns(),
            max: histogram.max_ns(),
            p50: histogram.quantile_ns(0.5),
            p90: histogram.quantile_ns(0.9),
            p99: histogram.quantile_ns(0.99),
            p999: histogram.quantile_ns(0.999),
            buckets: filled.map(|bucket| (Some(bucket.up_to_ns).filter(|end| *end < u64::MAX), bucket.count)).collect(),
        }
    }
}

#[derive(Serialize)]
struct OneThread {
    name: String,
    id: u64,
    pollers: Told,
    messages: Told,
    message_waits: Told,
    timers_late: Told,
}

impl OneThread {
    fn of(cx: &Cx<'_>) -> Self {
        let thread = cx.handle();
        let ThreadHistograms { pollers, messages, message_waits, timers_late, .. } = &cx.histograms();
        let [pollers, messages, message_waits, timers_late] = [pollers, messages, message_waits, timers_late].map(Told::of);
        Self { name: thread.name().to_owned(), id: thread.id().number(), pollers, messages, message_waits, timers_late }
    }
}

#[derive(Serialize)]
struct OneReactor {
    lcore: u16,
    wakes: Told,
}

fn get_histograms(cx: &mut Cx<'_>, call: Call) {
    let control = call.control().clone();
    let Some((NoParams, reply)) = call.open() else { return };
    let tell = |cx: &Cx<'_>, all: &mut Gathered| all.push(&OneThread::of(cx));
    Visits::enter(&control, cx, move |cx, going| {
        threads::gather(cx, tell, move |cx, threads| ask_cores(cx, reply, threads, going));
    });
}

fn ask_cores(cx: &mut Cx<'_>, reply: Reply, threads: Gathered, going: Going) {
    let told = Arc::new(Mutex::new(Gathered::default()));
    let all = told.clone();
    cx.for_each_core(
        move |reactor| {
            let one = OneReactor { lcore: reactor.core().0, wakes: Told::of(reactor.wakes()) };
            told.lock().unwrap_or_else(PoisonError::into_inner).push(&one);
        },
        move |cx| {
            let reactors = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
            reply.send_text(object(threads, reactors));
            going.end(cx);
        },
    );
}

fn object(threads: Gathered, reactors: Gathered) -> Result<Text, Error> {
    let (threads, reactors): (List, List) = (threads.0?, reactors.0?);
    let mut text = Text::default();
    text.push_str(&format!("{{\"tick_rate\":{TICK_RATE},\"threads\":"));
    text.append(threads.finish());
    text.push_str(",\"reactors\":");
    text.append(reactors.finish());
    text.push_str("}");
    Ok(text)
}

rpc::register!(Method::new(
    "lcore_get_stalls",
    "What held a reactor up for longer than --stall-limit: the latest first, and what does so now",
    |cx, call| {
        let lib = cx.lib();
        let now = lib.platform().now();
        call.answer(move |NoParams| {
            let going_on = lib.going_on().iter().map(|it| Stalling::of(it, now)).collect();
            let stalls = lib.stalls().iter().rev().map(|it| Stalled::of(it, now)).collect();
            Ok(Stalls { tick_rate: TICK_RATE, limit: lib.stall_limit().as_nanos() as u64, going_on, stalls })
        });
    },
));

#[derive(Serialize)]
struct Stalls {
    tick_rate: u64,
    limit: u64,
    going_on: Vec<Stalling>,
    stalls: Vec<Stalled>,
}

/// What goes on: for how long, until now.
#[derive(Serialize)]
struct Stalling {
    lcore: u16,
    thread: String,
    poller: String,
    duration: u64,
}

impl Stalling {
    fn of(it: &GoingOn, now: Instant) -> Self {
        let (thread, poller) = (it.thread.as_str().to_owned(), it.what.as_str().to_owned());
        Self { lcore: it.core.0, thread, poller, duration: now.nanos_since(it.since) }
    }
}

/// What has ended: how long it took, and how long ago that is.
#[derive(Serialize)]
struct Stalled {
    lcore: u16,
    thread: String,
    poller: String,
    duration: u64,
    age: u64,
    exact: bool,
}

impl Stalled {
    fn of(it: &Stall, now: Instant) -> Self {
        let (thread, poller) = (it.thread.as_str().to_owned(), it.what.as_str().to_owned());
        let duration = it.took.as_nanos() as u64;
        Self { lcore: it.core.0, thread, poller, duration, age: now.nanos_since(it.at), exact: it.is_exact }
    }
}
