//! Data buffers that return on another core while their home, or somebody who waits, looks for
//! them.
//!
//! Under loom each buffer carries a cell that only its holder may touch, so unordered holders fail
//! every one of these.

use std::task::Waker;

use crate::Toss;
use loom::model::Builder;
use loom::thread;
use pool::{BufGroup, Class, ClassConfig, DataPool, DataPoolConfig, PoolStats, ReserveConfig, SendBuf};

fn data_pool(count: usize) -> DataPool {
    let none = ClassConfig { count: 0, size: 0 };
    DataPool::on_heap(DataPoolConfig::DEFAULT.small(ClassConfig { count, size: 1 }).large(none).control(none).waiters(2)).unwrap()
}

fn group(pool: &DataPool, reserve: usize) -> BufGroup {
    pool.group(ReserveConfig { small: reserve, large: 0, control: 0 }).unwrap()
}

fn take(group: &BufGroup) -> SendBuf {
    group.get().unwrap().into_send()
}

/// Everything is where it began once all groups are gone.
fn assert_all_home(pool: &DataPool) {
    let PoolStats { count, free, in_use, reserved, waiting, .. } = pool.stats(Class::Small);
    assert_eq!((free, in_use, reserved, waiting), (count, 0, 0, 0));
}

fn model(preemptions: usize, check: impl Fn(Toss) + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || check(Toss::new()));
}

/// Seeded: a stack that is pushed to with `Relaxed` fails here.
#[test]
fn s27_a_remote_return_meets_a_get() {
    model(3, |toss| {
        let there_toss = toss.clone();
        let pool = data_pool(2);
        let (to, from) = loom::sync::mpsc::channel();
        let there = pool.clone();
        let thread = thread::spawn(move || {
            let home = group(&there, 2);
            to.send((take(&home), take(&home))).unwrap();
            there_toss.up();
            let early = home.get();
            drop(early);
        });
        let (first, second) = from.recv().unwrap();
        toss.up();
        drop(first);
        toss.up();
        drop(second);
        thread.join().unwrap();
        assert_all_home(&pool);
    });
}

/// Seeded: fails without the fence in `GroupShared::put_down`, and without the look at `closed`
/// after it.
#[test]
fn s27_a_remote_return_meets_the_end_of_its_group() {
    model(3, |toss| {
        let there_toss = toss.clone();
        let pool = data_pool(2);
        let home = group(&pool, 2);
        let first = take(&home);
        let thread = thread::spawn(move || {
            there_toss.up();
            drop(first);
        });
        toss.up();
        drop(home);
        thread.join().unwrap();
        assert_all_home(&pool);
    });
}

/// The same with the parts of the threads exchanged, because loom sees other schedules then.
#[test]
fn s27_the_end_of_a_group_meets_a_remote_return() {
    model(3, |toss| {
        let there_toss = toss.clone();
        let pool = data_pool(1);
        let (to, from) = loom::sync::mpsc::channel();
        let there = pool.clone();
        let thread = thread::spawn(move || {
            let home = group(&there, 1);
            to.send(take(&home)).unwrap();
            there_toss.up();
            drop(home);
        });
        let sent = from.recv().unwrap();
        toss.up();
        drop(sent);
        thread.join().unwrap();
        assert_all_home(&pool);
    });
}

/// Seeded: fails without the fence in `GroupShared::put_down`, and without the one in
/// `Request::new`.
#[test]
fn s28_a_waiter_meets_a_return_to_the_shared_pool() {
    model(3, |toss| {
        let there_toss = toss.clone();
        let pool = data_pool(1);
        let (holder, waiter) = (group(&pool, 0), group(&pool, 0));
        let held = take(&holder);
        let thread = thread::spawn(move || {
            there_toss.up();
            drop(held);
        });
        toss.up();
        let mut request = waiter.request(Class::Small, 1, 0, Waker::noop()).unwrap();
        thread.join().unwrap();
        assert!(request.poll(0).is_some(), "the wake-up was lost");
        drop((request, holder, waiter));
        assert_all_home(&pool);
    });
}

/// Seeded: fails without the fence in `GroupShared::put_down`.
#[test]
fn s28_a_waiter_meets_a_return_to_its_own_reserve() {
    model(3, |toss| {
        let there_toss = toss.clone();
        let pool = data_pool(2);
        let waiter = group(&pool, 2);
        let held = take(&waiter);
        let thread = thread::spawn(move || {
            there_toss.up();
            drop(held);
        });
        toss.up();
        let mut request = waiter.request(Class::Small, 2, 0, Waker::noop()).unwrap();
        thread.join().unwrap();
        assert_eq!(request.poll(0).unwrap().len(), 2);
        drop((request, waiter));
        assert_all_home(&pool);
    });
}

/// One buffer comes home to a group that just borrows another: one of them is owed to the shared
/// pool, where somebody waits for it.
///
/// Seeded: fails without the fence in `GroupLocal::gather`, without the look at `came_home` after
/// it, and without the sweep in `ClassPool::serve_one`.
#[test]
fn s28_a_waiter_gets_what_a_group_no_longer_needs() {
    model(2, |toss| {
        let there_toss = toss.clone();
        let pool = data_pool(2);
        let borrower = group(&pool, 1);
        let sent = take(&borrower);
        let returner = thread::spawn(move || {
            there_toss.up();
            drop(sent);
        });
        let (there, (to, all_done)) = (pool.clone(), loom::sync::mpsc::channel());
        let waiter = thread::spawn(move || {
            let waiter = group(&there, 0);
            let mut request = waiter.request(Class::Small, 1, 0, Waker::noop()).unwrap();
            all_done.recv().unwrap();
            assert!(request.poll(0).is_some(), "of two buffers the borrower has one at most");
        });
        toss.up();
        let got = borrower.get();
        returner.join().unwrap();
        to.send(()).unwrap();
        waiter.join().unwrap();
        drop((got, borrower));
        assert_all_home(&pool);
    });
}

/// A buffer comes home on its own core while another core serves its group's request: either it
/// serves the request, or it is owed to the shared pool, where somebody else waits.
///
/// Seeded: fails if `GroupLocal::put` looks at `borrowed` before `queued`.
#[test]
fn s28_a_return_at_home_meets_a_loan() {
    model(3, |toss| {
        let there_toss = toss.clone();
        let pool = data_pool(2);
        let (one, other) = (group(&pool, 1), group(&pool, 0));
        let own = one.get().unwrap();
        let shared = take(&other);
        let thread = thread::spawn(move || {
            there_toss.up();
            drop(shared);
        });
        toss.up();
        let mut first = one.request(Class::Small, 1, 0, Waker::noop()).unwrap();
        let mut second = other.request(Class::Small, 1, 0, Waker::noop()).unwrap();
        toss.up();
        drop(own);
        thread.join().unwrap();
        let granted = (first.poll(0), second.poll(0));
        assert!(granted.0.is_some() && granted.1.is_some());
        drop((granted, first, second, one, other));
        assert_all_home(&pool);
    });
}

/// Seeded: fails if a request that was served and is withdrawn keeps its buffers.
#[test]
fn s28_a_request_withdrawn_meets_a_return() {
    model(3, |toss| {
        let there_toss = toss.clone();
        let pool = data_pool(1);
        let holder = group(&pool, 0);
        let held = take(&holder);
        let thread = thread::spawn(move || {
            there_toss.up();
            drop(held);
        });
        toss.up();
        let request = holder.request(Class::Small, 1, 0, Waker::noop()).unwrap();
        toss.up();
        drop(request);
        thread.join().unwrap();
        drop(holder);
        assert_all_home(&pool);
    });
}
