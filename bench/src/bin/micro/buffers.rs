//! Data buffers: from a group's reserve, from the shared pool, and home from another core.

use std::hint::{black_box, spin_loop};

use anyhow::Result;
use core_reactor::{Receiver, Ring};
use pool::{BufGroup, ClassConfig, DataPool, DataPoolConfig, ReserveConfig, SendBuf};

use crate::measure::{Bench, Case, Row, time};
use crate::peer::{Gate, Peer};

/// Buffers in each pool, and the size of one.
const BUFFERS: ClassConfig = ClassConfig { count: 256, size: 8 << 10 };
/// Buffers that may be on their way to the other core.
const ON_THE_WAY: usize = 64;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "buffer get and put",
            operation: "one buffer of 8 KiB taken out of the group's reserve, or of the shared pool, and dropped",
            aim: None,
            cases: |bench| Ok(vec![here(bench, "from the reserve", group(BUFFERS.count)?), here(bench, "from the shared pool", group(0)?)]),
        },
        Row {
            name: "buffer returned by another core",
            operation: "one buffer of the reserve sent through a ring to the other core, dropped there, and taken again here",
            aim: None,
            cases: |bench| Ok(vec![away(bench)?]),
        },
    ]
}

/// A group of a pool of its own, of which `reserve` buffers are the group's.
fn group(reserve: usize) -> Result<BufGroup> {
    let none = ClassConfig { count: 0, size: 4096 };
    let config = DataPoolConfig::default().small(BUFFERS).large(none).control(none);
    Ok(DataPool::on_heap(config)?.group(ReserveConfig { small: reserve, large: 0, control: 0 })?)
}

fn here(bench: &Bench, who: &'static str, group: BufGroup) -> Case {
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            for _ in 0..operations {
                drop(black_box(group.get().expect("nothing else is out")));
            }
            operations
        })
    };
    Case { who, run: Box::new(run) }
}

fn away(bench: &Bench) -> Result<Case> {
    let group = group(BUFFERS.count)?;
    let (ring, receiver) = Ring::new(ON_THE_WAY);
    let platform = bench.another_platform()?;
    let peer = Peer::new(platform.clone(), bench.there, move || dropper(receiver))?;
    let run = move |operations: u64| {
        peer.go(operations);
        time(&platform, || {
            for _ in 0..operations {
                let mut parcel = take(&group).into_send();
                while let Err(refused) = ring.push(parcel) {
                    parcel = refused.item;
                    spin_loop();
                }
            }
            peer.finish();
            operations
        })
    };
    Ok(Case { who: "through SendBuf", run: Box::new(run) })
}

/// A buffer, as soon as one is home.
fn take(group: &BufGroup) -> pool::Buf {
    loop {
        match group.get() {
            Some(buf) => return buf,
            None => spin_loop(),
        }
    }
}

/// Drops as many buffers as it is told to.
fn dropper(mut receiver: Receiver<SendBuf>) -> impl FnMut(u64, &Gate) {
    move |operations, _| {
        let mut dropped = 0;
        while dropped < operations {
            let ready = receiver.ready(ON_THE_WAY);
            for _ in 0..ready {
                drop(receiver.pop());
            }
            receiver.publish(ready, ON_THE_WAY);
            dropped += ready as u64;
            if ready == 0 {
                spin_loop();
            }
        }
    }
}
