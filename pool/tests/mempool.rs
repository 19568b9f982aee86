//! Statement 25: fixed objects with caches for each core.
#![cfg(not(loom))]

use std::sync::mpsc;
use std::thread;

use pool::{Mempool, MempoolCache, MempoolConfig, MempoolStats, PoolError, SendObj};

fn mempool(objects: usize, caches: u32, cache_size: usize) -> Mempool<usize> {
    Mempool::new(MempoolConfig { objects, caches, cache_size }, |number| number).unwrap()
}

fn all<T>(cache: &MempoolCache<T>) -> Vec<pool::Obj<T>> {
    std::iter::from_fn(|| cache.get()).collect()
}

#[test]
fn s25_objects_are_fixed_and_each_is_handed_out_once() {
    let pool = mempool(10, 1, 4);
    let cache = pool.cache().unwrap();
    let out = all(&cache);
    let mut numbers: Vec<usize> = out.iter().map(|object| **object).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_eq!(pool.in_use(), 10);
}

#[test]
fn s25_sizes_that_cannot_work_are_refused_with_the_numbers() {
    let of = |objects, caches| Mempool::new(MempoolConfig { objects, caches, cache_size: 0 }, |_| ()).map(drop);
    for (objects, caches) in [(0, 1), (1, 0), (0, 0)] {
        assert_eq!(of(objects, caches), Err(PoolError::NoObjects { objects, caches }));
    }
    let too_many = |what, wanted, most| Err(PoolError::TooMany { what, wanted, most });
    assert_eq!((of(1, 65_536), of(1, 65_537)), (Ok(()), too_many("caches", 65_537, 65_536)));
    let most = u32::MAX as usize - 1;
    assert_eq!(of(most + 1, 1), too_many("objects", most + 1, most));
}

#[test]
fn s25_objects_out_is_an_answer() {
    let pool = mempool(2, 1, 1);
    let cache = pool.cache().unwrap();
    let (first, _second) = (cache.get().unwrap(), cache.get().unwrap());
    assert!(cache.get().is_none());
    assert_eq!(pool.stats().failures, 1);
    drop(first);
    assert!(cache.get().is_some());
}

#[test]
fn s25_the_object_returned_last_is_handed_out_first() {
    let pool = mempool(8, 1, 8);
    let cache = pool.cache().unwrap();
    let (mut first, second) = (cache.get().unwrap(), cache.get().unwrap());
    *first = 77;
    drop(second);
    drop(first);
    assert_eq!(*cache.get().unwrap(), 77, "the last one, as it was left");
}

#[test]
fn s25_an_empty_cache_refills_and_a_full_one_spills_half() {
    let pool = mempool(16, 1, 4);
    let cache = pool.cache().unwrap();
    let first = cache.get().unwrap();
    let MempoolStats { objects, in_use, shared, cached, hits, refills, spills, failures, .. } = pool.stats();
    assert_eq!((objects, in_use, shared, cached), (16, 1, 13, 2));
    assert_eq!((hits, refills, spills, failures), (0, 1, 0, 0));
    let out: Vec<_> = (0..5).map(|_| cache.get().unwrap()).collect();
    drop(out);
    drop(first);
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.cached, stats.shared), (0, 4, 12));
    assert_eq!((stats.hits, stats.refills, stats.spills), (4, 2, 1));
}

#[test]
fn s25_a_bulk_is_all_or_nothing() {
    let pool = mempool(10, 1, 4);
    let cache = pool.cache().unwrap();
    let mut bulk = cache.get_bulk::<8>().unwrap();
    bulk.iter_mut().for_each(|object| *object += 100);
    bulk[7] += 100;
    assert_eq!(bulk.iter().filter(|object| **object >= 100).count(), 8);
    assert_eq!(pool.in_use(), 8);
    assert!(cache.get_bulk::<3>().is_none());
    assert_eq!(pool.in_use(), 8, "nothing taken");
    assert!(cache.get_bulk::<2>().is_some());
    drop(bulk);
    assert_eq!(pool.in_use(), 0);
    assert_eq!(all(&cache).len(), 10);
}

#[test]
fn s25_a_bulk_comes_from_the_cache_and_the_rest_from_the_pool() {
    let pool = mempool(32, 1, 8);
    let cache = pool.cache().unwrap();
    drop(cache.get());
    let cached = pool.stats().cached;
    assert_eq!(cached, 5);
    let bulk = cache.get_bulk::<16>().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.cached, stats.hits), (16, 0, 5));
    let mut numbers: Vec<usize> = bulk.iter().copied().collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 16);
}

#[test]
fn s25_a_put_on_another_core_is_legal() {
    let pool = mempool(4, 2, 2);
    let cache = pool.cache().unwrap();
    let (to, from) = mpsc::channel::<SendObj<usize>>();
    thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            let there = pool.cache().unwrap();
            let first = from.recv().unwrap();
            assert_eq!(*first, 77);
            drop(first);
            // The second stays over there: in the other core's cache.
            let second = from.recv().unwrap().into_local(&there).unwrap();
            drop(second);
            assert_eq!((pool.stats().cached, pool.stats().shared), (1, 3));
        });
        let mut object = cache.get().unwrap().into_send();
        *object = 77;
        let second = cache.get().unwrap().into_send();
        to.send(object).unwrap();
        to.send(second).unwrap();
    });
    drop(cache);
    assert_eq!(pool.in_use(), 0);
    assert_eq!(all(&pool.cache().unwrap()).len(), 4);
}

#[test]
fn s25_an_object_of_another_pool_is_given_back() {
    let (one, other) = (mempool(1, 1, 1), mempool(1, 1, 1));
    let (cache, foreign) = (one.cache().unwrap(), other.cache().unwrap());
    let refused = cache.get().unwrap().into_send().into_local(&foreign).unwrap_err();
    drop(refused);
    assert_eq!((one.in_use(), other.in_use()), (0, 0));
}

#[test]
fn s25_a_dropped_cache_keeps_nothing_back() {
    let pool = mempool(8, 2, 8);
    let cache = pool.cache().unwrap();
    let out = cache.get().unwrap();
    drop(cache);
    assert_eq!((pool.stats().cached, pool.stats().shared), (0, 7));
    drop(out);
    assert_eq!((pool.stats().cached, pool.stats().shared), (0, 8));
}

#[test]
fn s25_a_forgotten_object_is_only_lost() {
    let pool = mempool(3, 1, 2);
    let cache = pool.cache().unwrap();
    let _ = std::mem::ManuallyDrop::new(cache.get().unwrap());
    assert_eq!(all(&cache).len(), 2);
    assert_eq!(pool.in_use(), 1);
}

#[test]
fn s25_memory_outlives_the_pool_until_the_last_object_is_home() {
    let alive = std::sync::Arc::new(());
    let pool = Mempool::new(MempoolConfig { objects: 2, caches: 1, cache_size: 1 }, |_| alive.clone()).unwrap();
    let cache = pool.cache().unwrap();
    let object = cache.get().unwrap();
    let sent = cache.get().unwrap().into_send();
    drop(cache);
    drop(pool);
    drop(object);
    assert_eq!(std::sync::Arc::strong_count(&alive), 3, "one is still out");
    thread::spawn(move || drop(sent)).join().unwrap();
    assert_eq!(std::sync::Arc::strong_count(&alive), 1);
}

#[test]
fn s25_nothing_is_lost_between_cores() {
    const OBJECTS: usize = 64;
    let pool = mempool(OBJECTS, 3, 8);
    let (to, from) = mpsc::sync_channel::<SendObj<usize>>(16);
    thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            let cache = pool.cache().unwrap();
            for object in from {
                // Every other one stays in this core's cache; its puts and the giver's refills meet
                // in the stack.
                if *object % 2 == 0 {
                    drop(object.into_local(&cache).unwrap());
                }
            }
        });
        for _ in 0..2 {
            let to = to.clone();
            scope.spawn(move || {
                let cache = pool.cache().unwrap();
                for round in 0..20_000 {
                    let bulk = cache.get_bulk::<4>();
                    if let Some(mut object) = cache.get() {
                        *object = round;
                        to.send(object.into_send()).unwrap();
                    }
                    drop(bulk);
                }
            });
        }
        drop(to);
    });
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.shared, stats.cached), (0, OBJECTS, 0));
    assert_eq!(all(&pool.cache().unwrap()).len(), OBJECTS);
}
