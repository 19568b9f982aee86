//! Wakers that panic: they do so where a buffer goes home, when everything is done. No buffer is
//! lost, and nobody else waits for ever.
#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Wake, Waker};

use pool::{Buf, BufGroup, Class, ClassConfig, DataPool, DataPoolConfig, Request, ReserveConfig};

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

/// Panics when the last of its wakers is dropped.
struct PanicsWhenDropped;

impl Wake for PanicsWhenDropped {
    fn wake(self: Arc<Self>) {}
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn panics<R>(f: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "it panics on purpose");
}

fn data_pool(small: usize, large: usize) -> DataPool {
    let of = |count| ClassConfig { count, size: 64 };
    DataPool::on_heap(DataPoolConfig::DEFAULT.small(of(small)).large(of(large)).control(of(0)).waiters(8)).unwrap()
}

fn group(pool: &DataPool, small: usize) -> BufGroup {
    pool.group(ReserveConfig { small, large: 0, control: 0 }).unwrap()
}

fn all(group: &BufGroup, class: Class) -> Vec<Buf> {
    std::iter::from_fn(|| group.get_class(class)).collect()
}

fn request(group: &BufGroup, class: Class, count: usize, waker: &Waker) -> Request {
    group.request(class, count, 0, waker).unwrap()
}

/// Everything is home, nobody waits, and each buffer is there once.
fn is_whole(pool: &DataPool) {
    for class in Class::ALL {
        let stats = pool.stats(class);
        assert_eq!((stats.in_use, stats.waiting), (0, 0), "{class:?}");
        let group = group(pool, 0);
        let out = all(&group, class);
        assert_eq!(out.len(), stats.count - stats.reserved, "{class:?}: what is not reserved can be had");
    }
}

#[test]
fn s28_a_waker_that_panics_keeps_neither_buffers_nor_the_others_that_wait() {
    // Home on its own core, on another, out of a reserve, and as what is left of a grant.
    for way in 0..4 {
        let pool = data_pool(3, 0);
        let (holder, waiters) = (group(&pool, 0), [(); 3].map(|()| group(&pool, 0)));
        let woken = Arc::new(Woken::default());
        let held: Vec<_> = match way {
            3 => request(&holder, Class::Small, 3, Waker::noop()).poll(0).unwrap().collect(),
            _ => all(&holder, Class::Small),
        };
        let wakers = [Arc::new(Panics).into(), Waker::from(woken.clone()), Waker::from(woken.clone())];
        let mut requests = [(0, 1), (1, 1), (2, 1)].map(|(n, count)| request(&waiters[n], Class::Small, count, &wakers[n]));
        match way {
            0 => held.into_iter().for_each(|buf| drop(catch_unwind(AssertUnwindSafe(|| drop(buf))))),
            1 => panics(|| drop(held)),
            2 => panics(|| drop(held.into_iter().map(Buf::into_send).collect::<Vec<_>>())),
            _ => panics(|| drop(held)),
        }
        assert_eq!(woken.0.load(SeqCst), 2, "way {way}: the others are woken");
        assert!(requests.iter_mut().all(|request| request.poll(0).is_some_and(|granted| granted.len() == 1)), "way {way}");
        drop(requests);
        is_whole(&pool);
    }
}

#[test]
fn s28_a_waker_that_panics_wakes_the_others_that_one_return_serves() {
    let pool = data_pool(4, 0);
    let (holder, one, other) = (group(&pool, 0), group(&pool, 0), group(&pool, 0));
    let mut grant = request(&holder, Class::Small, 4, Waker::noop()).poll(0).unwrap();
    let kept = grant.next();
    let woken = Arc::new(Woken::default());
    // Three buffers come home at once, for two who wait.
    let mut first = request(&one, Class::Small, 2, &Arc::new(Panics).into());
    let mut second = request(&other, Class::Small, 1, &woken.clone().into());
    panics(|| drop(grant));
    assert_eq!(woken.0.load(SeqCst), 1);
    assert_eq!((first.poll(0).unwrap().len(), second.poll(0).unwrap().len()), (2, 1));
    drop((kept, first, second));
    is_whole(&pool);
}

#[test]
fn s26_a_group_that_ends_gives_back_all_classes_also_when_a_waker_panics() {
    let pool = data_pool(2, 2);
    let ending = pool.group(ReserveConfig { small: 1, large: 1, control: 0 }).unwrap();
    let holder = group(&pool, 0);
    let held = [Class::Small, Class::Large].map(|class| all(&holder, class));
    let (one, other) = (group(&pool, 0), group(&pool, 0));
    let woken = Arc::new(Woken::default());
    let mut first = request(&one, Class::Small, 1, &Arc::new(Panics).into());
    let mut second = request(&other, Class::Large, 1, &woken.clone().into());
    panics(|| drop(ending));
    assert_eq!(woken.0.load(SeqCst), 1, "who waits for another class is woken, too");
    assert!(first.poll(0).is_some() && second.poll(0).is_some());
    drop((held, first, second));
    assert_eq!(Class::ALL.map(|class| pool.stats(class).reserved), [0; 3]);
    is_whole(&pool);
}

#[test]
fn s28_a_request_is_withdrawn_in_full_also_when_the_next_ones_waker_panics() {
    let pool = data_pool(2, 0);
    let (holder, one, other) = (group(&pool, 0), group(&pool, 0), group(&pool, 0));
    let mut held = all(&holder, Class::Small);
    let blocks = request(&one, Class::Small, 2, Waker::noop());
    let mut next = request(&other, Class::Small, 1, &Arc::new(Panics).into());
    held.pop();
    assert!(next.poll(0).is_none(), "the first comes first");
    panics(|| drop(blocks));
    assert_eq!(next.poll(0).unwrap().len(), 1);
    drop(held);
    is_whole(&pool);
}

#[test]
fn s28_a_waker_whose_drop_panics_keeps_nobody_waiting() {
    let pool = data_pool(2, 0);
    let (holder, one, other) = (group(&pool, 0), group(&pool, 0), group(&pool, 0));
    let mut held = all(&holder, Class::Small);
    let blocks = request(&one, Class::Small, 2, &Arc::new(PanicsWhenDropped).into());
    let woken = Arc::new(Woken::default());
    let mut next = request(&other, Class::Small, 1, &woken.clone().into());
    held.pop();
    panics(|| drop(blocks));
    assert_eq!(woken.0.load(SeqCst), 1);
    assert_eq!(next.poll(0).unwrap().len(), 1);
    drop(held);
    is_whole(&pool);
}

#[test]
fn a_buffer_that_changes_its_home_is_not_lost_when_that_wakes_somebody_who_panics() {
    // The last buffer of its core keeps the group; sent off, it ends it, and the reserve goes to
    // who waits.
    let pool = data_pool(3, 0);
    let (ending, holder, waiter) = (group(&pool, 2), group(&pool, 0), group(&pool, 0));
    let held = all(&holder, Class::Small);
    let buf = ending.get().unwrap();
    drop(ending);
    let mut request = request(&waiter, Class::Small, 1, &Arc::new(Panics).into());
    panics(|| buf.into_send());
    assert_eq!(request.poll(0).unwrap().len(), 1);
    drop((held, request));
    is_whole(&pool);
}
