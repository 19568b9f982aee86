//! Mempools: lcore's own, from the core's cache, beside what else hands out objects of a fixed
//! size.

use std::array;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Arc;

use anyhow::Result;
use crossbeam_queue::ArrayQueue;
use platform_linux::LinuxPlatform;
use pool::{Mempool, MempoolConfig};

use crate::measure::{Aim, Bench, Case, Row, time};

/// Objects in each pool.
const OBJECTS: usize = 1024;
/// Objects that are taken and given back together in the bulk rows.
const BULK: usize = 32;

/// What the pools hand out. Nobody looks into it.
type Object = MaybeUninit<[u64; 32]>;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "mempool get and put, one",
            operation: "one object of 256 bytes taken and given back",
            aim: Some(Aim::Nanos(4.0)),
            cases: |bench| {
                let (cache, queue) = (cache()?, queue());
                Ok(vec![
                    case(bench, "lcore mempool", 1, move || {
                        black_box(&cache.get().expect("the pool is full"));
                    }),
                    case(bench, "crossbeam ArrayQueue of boxes", 1, move || {
                        queue.push(black_box(queue.pop().expect("the pool is full"))).expect("what was taken has room")
                    }),
                    case(bench, "system allocator", 1, || {
                        black_box(&Box::<Object>::new_uninit());
                    }),
                ])
            },
        },
        Row {
            name: "mempool get and put, bulk of 32",
            operation: "one of 32 objects of 256 bytes taken together and then given back together (peers: one after the other)",
            aim: Some(Aim::Nanos(0.5)),
            cases: |bench| {
                let (cache, queue) = (cache()?, queue());
                Ok(vec![
                    case(bench, "lcore mempool", BULK, move || match &cache.get_bulk::<BULK>() {
                        Some(bulk) => _ = black_box(bulk),
                        None => panic!("the pool is full"),
                    }),
                    case(bench, "crossbeam ArrayQueue of boxes", BULK, move || {
                        let objects: [_; BULK] = array::from_fn(|_| queue.pop().expect("the pool is full"));
                        black_box(objects).into_iter().for_each(|object| queue.push(object).expect("what was taken has room"));
                    }),
                    case(bench, "system allocator", BULK, || {
                        black_box(&array::from_fn::<_, BULK, _>(|_| Box::<Object>::new_uninit()));
                    }),
                ])
            },
        },
    ]
}

/// A candidate whose `step` takes and gives back `count` objects.
fn case(bench: &Bench, who: &'static str, count: usize, mut step: impl FnMut() + 'static) -> Case {
    let platform: Arc<LinuxPlatform> = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            let steps = operations.div_ceil(count as u64);
            for _ in 0..steps {
                step();
            }
            steps * count as u64
        })
    };
    Case { who, run: Box::new(run) }
}

/// This core's cache of a pool. The pool's memory stays while a cache has it.
fn cache() -> Result<pool::MempoolCache<Object>> {
    let config = MempoolConfig { objects: OBJECTS, caches: 1, cache_size: 256 };
    Ok(Mempool::new(config, |_| Object::uninit())?.cache()?)
}

fn queue() -> ArrayQueue<Box<Object>> {
    let queue = ArrayQueue::new(OBJECTS);
    while queue.push(Box::new(Object::uninit())).is_ok() {}
    queue
}
