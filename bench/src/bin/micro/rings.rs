//! Rings: lcore's own, from many senders to one receiver, beside what else carries numbers from one
//! thread to another.

mod pipes;

use std::hint::{black_box, spin_loop};

use anyhow::Result;

use crate::measure::{Aim, Bench, Case, Row, time};
use crate::peer::{Gate, Peer};
use pipes::{ArrayQueue, HeaplessSpsc, Lcore, Pipe, Rtrb, Rx, StdChannel, Tx};

/// Items that all rings hold.
const CAPACITY: usize = 1024;
/// Items that are sent and received together in the bulk rows.
const BULK: u64 = 32;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "ring on one core, one at a time",
            operation: "one number of 64 bits in and out again",
            aim: Some(Aim::Nanos(9.0)),
            cases: |bench| {
                Ok(vec![
                    alone::<Lcore>(bench),
                    alone::<ArrayQueue>(bench),
                    alone::<StdChannel>(bench),
                    alone::<Rtrb>(bench),
                    alone::<HeaplessSpsc>(bench),
                ])
            },
        },
        Row {
            name: "ring on one core, bulk of 32",
            operation: "one number of a bulk of 32 in and out again",
            aim: None,
            cases: |bench| Ok(vec![alone_bulk::<Lcore>(bench), alone_bulk::<Rtrb>(bench)]),
        },
        Row {
            name: "ring across two cores, one at a time",
            operation: "one number from a core that sends all the time to one that receives all the time, one by one on either side",
            aim: Some(Aim::Nanos(19.0)),
            cases: |bench| {
                Ok(vec![
                    across::<Lcore>(bench, 1)?,
                    across::<ArrayQueue>(bench, 1)?,
                    across::<StdChannel>(bench, 1)?,
                    across::<Rtrb>(bench, 1)?,
                    across::<HeaplessSpsc>(bench, 1)?,
                ])
            },
        },
        Row {
            name: "ring across two cores, bulk of 32",
            operation: "one number from a core that sends all the time to one that receives all the time, up to 32 at once on either side",
            aim: Some(Aim::Nanos(4.0)),
            cases: |bench| Ok(vec![across::<Lcore>(bench, BULK)?, across::<Rtrb>(bench, BULK)?]),
        },
    ]
}

/// In and out on one core.
fn alone<P: Pipe>(bench: &Bench) -> Case {
    let (mut tx, mut rx) = P::new(CAPACITY);
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            for n in 0..operations {
                assert!(tx.send(black_box(n)));
                assert_eq!(rx.receive(), Some(n));
            }
            operations
        })
    };
    Case { who: P::NAME, run: Box::new(run) }
}

/// Bulks in and out on one core.
fn alone_bulk<P: Pipe>(bench: &Bench) -> Case {
    let (mut tx, mut rx) = P::new(CAPACITY);
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            let bulks = operations.div_ceil(BULK);
            for n in 0..bulks {
                let first = black_box(n * BULK);
                assert_eq!(tx.send_bulk(first, BULK), BULK);
                assert_eq!(rx.receive_bulk(first, BULK), BULK);
            }
            bulks * BULK
        })
    };
    Case { who: P::NAME, run: Box::new(run) }
}

/// A stream from this core to the other, which looks at every number.
fn across<P: Pipe>(bench: &Bench, bulk: u64) -> Result<Case> {
    let (mut tx, rx) = P::new(CAPACITY);
    let platform = bench.another_platform()?;
    let peer = Peer::new(platform.clone(), bench.there, move || receiver::<P>(rx, bulk))?;
    let run = move |operations: u64| {
        peer.go(operations);
        time(&platform, || {
            let mut sent = 0;
            while sent < operations {
                let count = match bulk {
                    1 => u64::from(tx.send(sent)),
                    _ => tx.send_bulk(sent, bulk.min(operations - sent)),
                };
                sent += count;
                if count == 0 {
                    spin_loop();
                }
            }
            peer.finish();
            operations
        })
    };
    Ok(Case { who: P::NAME, run: Box::new(run) })
}

/// Takes as many numbers as it is told to, and makes sure that they come in order.
fn receiver<P: Pipe>(mut rx: P::Rx, bulk: u64) -> impl FnMut(u64, &Gate) {
    move |operations, _| {
        let mut next = 0;
        while next < operations {
            let count = match bulk {
                1 => rx.receive().map_or(0, |n| {
                    assert_eq!(n, next);
                    1
                }),
                _ => rx.receive_bulk(next, bulk),
            };
            next += count;
            if count == 0 {
                spin_loop();
            }
        }
    }
}
