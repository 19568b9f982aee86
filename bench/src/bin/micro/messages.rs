//! Messages to the own thread and to a thread on another core.
//!
//! In each row a fixed number of messages is in flight, and each one that runs sends the next.
//! Between cores every message goes to the other core, so that of `n` operations half run on each;
//! a round trip is two. Each core's reactor turns as it does in an application, without parking.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use core_reactor::{CoreId, Cx, Idle, Msg, Reactor, ReactorOptions, Reactors, ThreadConfig, ThreadHandle};
use crossbeam_utils::CachePadded;
use platform_linux::LinuxPlatform;

use crate::measure::{Aim, Bench, Case, Row, Sample, time};
use crate::peer::{Gate, Peer};

/// Messages that are sent together in the bulk rows.
const BULK: u64 = 32;

const OWN: &str = "one message sent to the own thread, and run there";
const OTHER: &str = "one message sent to the other core, and run there (a round trip is two)";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row { name: "message to the own thread, 1 in flight", operation: OWN, aim: None, cases: |b| Ok(vec![own(b, 1, hop)?]) },
        Row {
            name: "message to the own thread, 32 in flight",
            operation: OWN,
            aim: Some(Aim::Millions(75.0)),
            cases: |b| Ok(vec![own(b, 32, hop)?]),
        },
        Row { name: "message to the own thread, 256 in flight", operation: OWN, aim: None, cases: |b| Ok(vec![own(b, 256, hop)?]) },
        Row {
            name: "message to the own thread, bulk of 32, 256 in flight",
            operation: "one message of a bulk sent to the own thread, and run there",
            aim: None,
            cases: |b| Ok(vec![own(b, 256 / BULK, bulk_hop)?]),
        },
        Row {
            name: "message to another core, 1 in flight",
            operation: OTHER,
            aim: Some(Aim::Millions(3.0)),
            cases: |b| Ok(vec![other(b, 1, hop)?, bare(b)?]),
        },
        Row {
            name: "message to another core, 32 in flight",
            operation: OTHER,
            aim: Some(Aim::Millions(25.0)),
            cases: |b| Ok(vec![other(b, 32, hop)?]),
        },
        Row { name: "message to another core, 256 in flight", operation: OTHER, aim: None, cases: |b| Ok(vec![other(b, 256, hop)?]) },
        Row {
            name: "message to another core, bulk of 32, 256 in flight",
            operation: "one message of a bulk sent to the other core, and run there",
            aim: None,
            cases: |b| Ok(vec![other(b, 256 / BULK, bulk_hop)?]),
        },
    ]
}

/// Where messages go to and fro. One side only: to itself.
struct Court {
    sides: Vec<Side>,
}

struct Side {
    thread: ThreadHandle,
    /// The side that messages from here go to.
    next: usize,
    /// Messages that ran here. Written on this side only.
    runs: CachePadded<AtomicU64>,
    /// Messages that are to run here before those in flight come to rest. Read on this side only,
    /// and written between runs.
    goal: CachePadded<AtomicU64>,
    /// Messages, or bulks, that have come to rest. Written on this side only.
    at_rest: CachePadded<AtomicU64>,
}

type Send = fn(&'static Court, usize);

impl Court {
    /// A court with a thread on each of the cores. It stays for good: messages refer to it as
    /// handles to threads do in an application, by a pointer that they need not count.
    fn new(reactors: &Reactors, cores: &[CoreId]) -> Result<&'static Self> {
        let side = |(at, core): (usize, &CoreId)| -> Result<Side> {
            let config = ThreadConfig::new("court").cpus([*core].into_iter().collect());
            let thread = reactors.lib().spawn(config, |_| ())?;
            Ok(Side {
                thread,
                next: (at + 1) % cores.len(),
                runs: CachePadded::default(),
                goal: CachePadded::default(),
                at_rest: CachePadded::default(),
            })
        };
        Ok(Box::leak(Box::new(Self { sides: cores.iter().enumerate().map(side).collect::<Result<_>>()? })))
    }

    /// Sets `balls` going, turns the first side's reactor until `operations` messages have run, and
    /// gives their number.
    fn play(&'static self, reactor: &mut Reactor, balls: u64, operations: u64, send: Send) -> u64 {
        let before = self.runs();
        let first = &self.sides[0];
        first.goal.store(first.runs.load(Ordering::Relaxed) + operations.div_ceil(self.sides.len() as u64), Ordering::Relaxed);
        first.at_rest.store(0, Ordering::Relaxed);
        for _ in 0..balls {
            send(self, 0);
        }
        while first.at_rest.load(Ordering::Relaxed) < balls {
            reactor.turn();
        }
        self.runs() - before
    }

    fn runs(&self) -> u64 {
        self.sides.iter().map(|side| side.runs.load(Ordering::Acquire)).sum()
    }

    /// Counts a message that ran on side `at`.
    #[inline]
    fn count(&self, at: usize) -> u64 {
        let side = &self.sides[at];
        let runs = side.runs.load(Ordering::Relaxed) + 1;
        side.runs.store(runs, Ordering::Relaxed);
        runs
    }

    /// What follows a message, or a bulk, on side `at`: the next one to the other side, or rest.
    #[inline]
    fn pass_on(&'static self, at: usize, runs: u64, send: Send) {
        let side = &self.sides[at];
        if at == 0 && runs >= side.goal.load(Ordering::Relaxed) {
            side.at_rest.store(side.at_rest.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            send(self, side.next);
        }
    }
}

/// One message to side `to`.
fn hop(court: &'static Court, to: usize) {
    let run = move |_: &mut Cx<'_>| court.pass_on(to, court.count(to), hop);
    court.sides[to].thread.send(run).expect("the mailbox holds more than there are in flight");
}

/// A bulk of messages to side `to`; the last one passes on.
fn bulk_hop(court: &'static Court, to: usize) {
    thread_local! {
        static BULK_OUT: RefCell<VecDeque<Msg>> = RefCell::new(VecDeque::with_capacity(BULK as usize));
    }
    BULK_OUT.with_borrow_mut(|out| {
        out.extend((1..BULK).map(|_| {
            Msg::new(move |_| {
                court.count(to);
            })
        }));
        out.push_back(Msg::new(move |_| court.pass_on(to, court.count(to), bulk_hop)));
        let sent = court.sides[to].thread.send_bulk(out);
        assert_eq!(sent, Ok(BULK as usize), "the mailbox holds more than there are in flight");
    });
}

fn own(bench: &Bench, balls: u64, send: Send) -> Result<Case> {
    let reactors = reactors(&bench.platform, &[bench.here])?;
    let court = Court::new(&reactors, &[bench.here])?;
    let mut reactor = reactors.reactor(bench.here).context("the reactor's core is taken")?;
    reactor.turn();
    let platform = bench.platform.clone();
    let run = move |operations| time(&platform, || court.play(&mut reactor, balls, operations, send));
    Ok(Case { who: "lcore", run: Box::new(run) })
}

fn other(bench: &Bench, balls: u64, send: Send) -> Result<Case> {
    let platform = bench.another_platform()?;
    let reactors = reactors(&platform, &[bench.here, bench.there])?;
    let court = Court::new(&reactors, &[bench.here, bench.there])?;
    let mut reactor = reactors.reactor(bench.here).context("the reactor's core is taken")?;
    reactor.turn();
    let there = bench.there;
    let peer = Peer::new(platform.clone(), there, move || {
        let mut reactor = reactors.reactor(there).expect("only this thread claims it");
        reactor.turn();
        move |_, gate: &Gate| {
            while gate.is_open() {
                reactor.turn();
            }
        }
    })?;
    let run = move |operations| -> Sample {
        peer.go(operations);
        let sample = time(&platform, || court.play(&mut reactor, balls, operations, send));
        peer.stop();
        sample
    };
    Ok(Case { who: "lcore", run: Box::new(run) })
}

/// A number that goes to the other core and back through two cache lines, with nothing around it:
/// what the machine itself takes.
fn bare(bench: &Bench) -> Result<Case> {
    let lines: Arc<[CachePadded<AtomicU64>; 2]> = Arc::default();
    let platform = bench.another_platform()?;
    let theirs = lines.clone();
    let peer = Peer::new(platform.clone(), bench.there, move || {
        move |_, gate: &Gate| {
            while gate.is_open() {
                theirs[1].store(theirs[0].load(Ordering::Acquire), Ordering::Release);
            }
        }
    })?;
    let mut last = 0;
    let run = move |operations: u64| -> Sample {
        peer.go(operations);
        let sample = time(&platform, || {
            let end = last + operations.div_ceil(2);
            while last < end {
                last += 1;
                lines[0].store(last, Ordering::Release);
                while lines[1].load(Ordering::Acquire) != last {}
            }
            operations.div_ceil(2) * 2
        });
        peer.stop();
        sample
    };
    Ok(Case { who: "two atomics, no message", run: Box::new(run) })
}

fn reactors(platform: &Arc<LinuxPlatform>, cores: &[CoreId]) -> Result<Reactors> {
    let options = ReactorOptions::new(cores.iter().copied().collect()).idle(Idle::Poll);
    Ok(Reactors::new(platform.clone(), &options)?)
}
