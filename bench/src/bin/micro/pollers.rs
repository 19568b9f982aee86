//! Turns with nothing to do, active pollers that find nothing, and timed pollers that come due.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use core_reactor::{Instant, Platform, Polled, ReactorOptions, Reactors, Schedule, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};

use crate::measure::{Aim, Bench, Case, Row, time};

/// Timed pollers on the thread.
const TIMED: u64 = 1000;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "idle turn",
            operation: "a turn, clock read included, of a thread without pollers, or of a reactor with one such thread",
            aim: None,
            cases: |bench| Ok(vec![idle_thread(bench, 0)?, idle_reactor(bench)?]),
        },
        Row {
            name: "idle active poller, 32 on the thread",
            operation: "a 32nd of a turn, clock read included, of a thread with 32 active pollers that find nothing",
            aim: Some(Aim::Cycles(13.0)),
            cases: |bench| Ok(vec![idle_thread(bench, 32)?]),
        },
        Row {
            name: "idle active poller, 1000 on the thread",
            operation: "a 1000th of a turn, clock read included, of a thread with 1000 active pollers that find nothing",
            aim: Some(Aim::Cycles(13.0)),
            cases: |bench| Ok(vec![idle_thread(bench, 1000)?]),
        },
        Row {
            name: "timed poller among 1,000, all due",
            operation: "a 1000th of a turn of a thread with 1000 timed pollers of one period which are all due; they find nothing",
            aim: Some(Aim::Cycles(60.0)),
            cases: |bench| Ok(vec![timed(bench, "lcore", 1000, |_| 1000)?, timed(bench, "lcore, 1000 periods", 3000, |n| 1000 + n)?]),
        },
        Row {
            name: "timed poller among 1,000, one due",
            operation: "a turn of a thread with 1000 timed pollers of one period of which one is due; it finds nothing",
            aim: None,
            cases: |bench| Ok(vec![one_due(bench)?]),
        },
    ]
}

/// Turns of a thread with `pollers` idle pollers. An operation is one run of one poller, or a turn
/// if there are none.
fn idle_thread(bench: &Bench, pollers: u64) -> Result<Case> {
    let mut thread = thread(bench)?;
    for n in 0..pollers {
        thread.with(|cx| cx.poller("idle", Schedule::Always, idle(n)));
    }
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            let turns = operations.div_ceil(pollers.max(1));
            for _ in 0..turns {
                black_box(thread.turn(platform.now()));
            }
            turns * pollers.max(1)
        })
    };
    Ok(Case { who: if pollers == 0 { "lcore thread" } else { "lcore" }, run: Box::new(run) })
}

fn idle_reactor(bench: &Bench) -> Result<Case> {
    let reactors = Reactors::new(bench.platform.clone(), &ReactorOptions::new([bench.here].into_iter().collect()))?;
    reactors.lib().spawn(ThreadConfig::new("idle"), |_| ())?;
    let mut reactor = reactors.reactor(bench.here).context("the reactor's core is taken")?;
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            for _ in 0..operations {
                black_box(reactor.turn());
            }
            operations
        })
    };
    Ok(Case { who: "lcore reactor", run: Box::new(run) })
}

/// Turns so far apart that every timer is due in each.
fn timed(bench: &Bench, who: &'static str, step: u64, period: fn(u64) -> u64) -> Result<Case> {
    let mut thread = thread(bench)?;
    for n in 0..TIMED {
        thread.with(|cx| cx.poller("timed", Schedule::Every(Duration::from_nanos(period(n))), idle(n)));
    }
    let platform = bench.platform.clone();
    // From here on time is ours: far enough ahead for all to be due once, and then a step at a
    // time.
    let mut now = platform.now() + Duration::from_millis(1);
    thread.turn(now);
    let run = move |operations: u64| {
        time(&platform, || {
            let turns = operations.div_ceil(TIMED);
            for _ in 0..turns {
                now += Duration::from_nanos(step);
                assert_eq!(u64::from(thread.turn(now).timers), TIMED);
            }
            turns * TIMED
        })
    };
    Ok(Case { who, run: Box::new(run) })
}

/// Timers registered one after the other, and turns so close together that one comes due in each.
fn one_due(bench: &Bench) -> Result<Case> {
    const APART: Duration = Duration::from_nanos(1000);
    let mut thread = thread(bench)?;
    let mut now = Instant::ZERO;
    for n in 0..TIMED {
        // What a message registers gets its deadline from its turn's time.
        let register = move |cx: &mut core_reactor::Cx<'_>| {
            let _ = cx.poller("timed", Schedule::Every(APART * TIMED as u32), idle(n));
        };
        thread.handle().send(register).map_err(|refused| refused.why)?;
        now += APART;
        thread.turn(now);
    }
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            for _ in 0..operations {
                now += APART;
                assert_eq!(thread.turn(now).timers, 1);
            }
            operations
        })
    };
    Ok(Case { who: "lcore", run: Box::new(run) })
}

fn thread(bench: &Bench) -> Result<Thread> {
    let platform: Arc<dyn Platform> = bench.platform.clone();
    let lib = ThreadLib::new(platform, [bench.here].into_iter().collect(), &ThreadLibOptions::default());
    lib.create(ThreadConfig::new("bench"), bench.here).context("the thread's core is not in its set")
}

/// A poller that looks at something of its own and finds nothing.
fn idle(mut seen: u64) -> impl FnMut(&mut core_reactor::Cx<'_>) -> Polled + Send {
    move |_| {
        seen = seen.wrapping_add(1);
        if seen == 0 { Polled::Busy } else { Polled::Idle }
    }
}
