//! Statement 28: requests that wait.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use pool::{Buf, BufGroup, Class, ClassConfig, DataPool, DataPoolConfig, Granted, PoolError, Request, ReserveConfig};

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Unparks the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn data_pool(large: usize, waiters: usize) -> DataPool {
    let none = ClassConfig { count: 0, size: 0 };
    DataPool::on_heap(DataPoolConfig::DEFAULT.small(none).large(ClassConfig { count: large, size: 64 }).control(none).waiters(waiters))
        .unwrap()
}

fn group(pool: &DataPool, reserve: usize) -> BufGroup {
    pool.group(ReserveConfig { small: 0, large: reserve, control: 0 }).unwrap()
}

fn request(group: &BufGroup, count: usize) -> Request {
    group.request(Class::Large, count, 0, Waker::noop()).unwrap()
}

fn all(group: &BufGroup) -> Vec<Buf> {
    std::iter::from_fn(|| group.get_large()).collect()
}

/// Parks until the request is served.
fn wait(request: &mut Request) -> Granted {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(granted) = request.poll(0) {
            return granted;
        }
        assert!(Instant::now() < deadline, "a wake-up was lost");
        thread::park_timeout(Duration::from_secs(20));
    }
}

#[test]
fn s28_what_is_there_is_granted_at_once() {
    let pool = data_pool(8, 4);
    let group = group(&pool, 2);
    let granted = request(&group, 6).poll(0).unwrap();
    assert_eq!(granted.len(), 6);
    let bufs: Vec<_> = granted.collect();
    let stats = group.stats(Class::Large);
    assert_eq!((stats.from_reserve, stats.from_shared, stats.waits, stats.in_use), (2, 4, 0, 6));
    drop(bufs);
    assert_eq!(pool.stats(Class::Large).in_use, 0);
    assert_eq!(request(&group, 0).poll(0).unwrap().len(), 0);
}

#[test]
fn s28_requests_are_served_in_the_order_of_their_coming_across_groups() {
    let pool = data_pool(4, 4);
    let (holder, one, two) = (group(&pool, 0), group(&pool, 0), group(&pool, 0));
    let mut held = all(&holder);
    let mut requests = [request(&one, 1), request(&two, 1), request(&one, 1), request(&two, 1)];
    for served in 0..4 {
        held.pop();
        let now: Vec<_> = requests.iter_mut().map(|request| request.poll(0)).collect();
        let places: Vec<_> = now.iter().enumerate().filter(|(_, granted)| granted.is_some()).map(|(place, _)| place).collect();
        assert_eq!(places, [served]);
        // Kept out, so that the next one comes from the holder.
        held.splice(0..0, now.into_iter().flatten().flatten());
        held.rotate_left(1);
    }
}

#[test]
fn s28_a_newcomer_does_not_overtake() {
    let pool = data_pool(4, 4);
    let (holder, waiter, newcomer) = (group(&pool, 0), group(&pool, 0), group(&pool, 1));
    let mut held = all(&holder);
    assert_eq!(held.len(), 3);
    let mut first = request(&waiter, 2);
    let own = newcomer.get_large().expect("its reserve is its own");
    held.pop();
    assert_eq!(pool.stats(Class::Large).free, 1);
    assert!(newcomer.get_large().is_none(), "one is free, and somebody waits for it");
    assert!(holder.get_large().is_none());
    let mut second = request(&newcomer, 1);
    assert!(second.poll(0).is_none());
    held.pop();
    assert_eq!(first.poll(0).unwrap().count(), 2);
    // `count` dropped them, so it is the newcomer's turn.
    assert_eq!(second.poll(0).unwrap().len(), 1);
    drop(own);
}

#[test]
fn s28_several_buffers_come_all_or_none() {
    let pool = data_pool(4, 4);
    let (holder, waiter) = (group(&pool, 0), group(&pool, 1));
    let mut held = all(&holder);
    let mut three = request(&waiter, 3);
    held.pop();
    assert!(three.poll(0).is_none());
    assert_eq!((pool.stats(Class::Large).free, waiter.stats(Class::Large).in_use), (1, 0), "nothing is held while waiting");
    held.pop();
    assert_eq!(three.poll(0).unwrap().len(), 3);
    assert!(three.poll(0).is_none(), "and once only");
}

#[test]
fn s28_two_groups_that_want_eight_of_ten_do_not_deadlock() {
    let pool = data_pool(10, 4);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let group = group(&pool, 1);
                let waker = Waker::from(Arc::new(Unpark(thread::current())));
                for _ in 0..500 {
                    let mut request = group.request(Class::Large, 8, 0, &waker).unwrap();
                    let granted = wait(&mut request);
                    assert_eq!(granted.len(), 8);
                }
            });
        }
    });
    let stats = pool.stats(Class::Large);
    assert_eq!((stats.free, stats.in_use, stats.waiting), (10, 0, 0));
}

#[test]
fn s28_a_buffer_returned_by_another_thread_wakes_the_waiter() {
    let pool = data_pool(1, 4);
    let (to, from) = mpsc::channel();
    thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            let holder = group(pool, 0);
            let held = all(&holder);
            to.send(held.into_iter().map(Buf::into_send).collect::<Vec<_>>()).unwrap();
        });
        let held = from.recv().unwrap();
        let waiter = group(pool, 0);
        let woken = Arc::new(Woken::default());
        let mut request = waiter.request(Class::Large, 1, 0, &Waker::from(woken.clone())).unwrap();
        assert!(request.poll(0).is_none());
        scope.spawn(move || drop(held)).join().unwrap();
        assert_eq!(woken.0.load(SeqCst), 1);
        assert_eq!(request.poll(0).unwrap().len(), 1);
    });
}

#[test]
fn s28_what_comes_home_to_the_own_reserve_serves_also_when_others_came_first() {
    let pool = data_pool(4, 4);
    let (holder, waiter) = (group(&pool, 0), group(&pool, 2));
    let _held = all(&holder);
    let mut out = all(&waiter);
    let mut blocked = request(&holder, 1);
    let mut two = request(&waiter, 2);
    out.pop();
    assert!(two.poll(0).is_none());
    let last = out.pop().unwrap().into_send();
    thread::spawn(move || drop(last)).join().unwrap();
    assert_eq!(two.poll(0).unwrap().len(), 2);
    assert!(blocked.poll(0).is_none(), "a reserve is nobody else's");
}

#[test]
fn s28_a_reserve_is_not_lent_past_the_groups_own_waiter() {
    let pool = data_pool(2, 4);
    let (holder, waiter) = (group(&pool, 0), group(&pool, 1));
    let mut held = all(&holder);
    let mut two = request(&waiter, 2);
    assert!(waiter.get_large().is_none(), "one is free in the reserve, and an earlier request waits for it");
    held.pop();
    assert_eq!(two.poll(0).unwrap().len(), 2);
    assert!(waiter.get_large().is_some());
}

#[test]
fn s28_what_is_borrowed_and_comes_home_serves_who_waits_elsewhere() {
    let pool = data_pool(4, 4);
    let (holder, waiter) = (group(&pool, 2), group(&pool, 0));
    let mut held = all(&holder);
    let mut one = request(&waiter, 1);
    let mut two = request(&waiter, 1);
    held.remove(0);
    assert_eq!(one.poll(0).unwrap().collect::<Vec<_>>().len(), 1);
    // Returned again, it served the second request.
    assert_eq!(two.poll(0).unwrap().len(), 1);
    assert_eq!(holder.stats(Class::Large).in_use, 3);
}

#[test]
fn s28_a_dropped_request_passes_its_turn_and_its_buffers_on() {
    let pool = data_pool(2, 4);
    let (holder, one, two) = (group(&pool, 0), group(&pool, 0), group(&pool, 0));
    let mut held = all(&holder);
    let waiting = request(&one, 2);
    let mut next = request(&two, 1);
    held.pop();
    assert!(next.poll(0).is_none());
    drop(waiting);
    let buf = next.poll(0).unwrap();
    let served = request(&one, 1);
    let mut last = request(&two, 1);
    held.pop();
    assert!(last.poll(0).is_none());
    drop(served);
    assert_eq!(last.poll(0).unwrap().len(), 1);
    drop((buf, last));
    let stats = pool.stats(Class::Large);
    assert_eq!((stats.free, stats.in_use, stats.waiting), (2, 0, 0));
}

#[test]
fn s28_a_group_made_while_others_wait_takes_nothing_from_them() {
    let pool = data_pool(3, 4);
    let (holder, waiter) = (group(&pool, 0), group(&pool, 0));
    let mut held = all(&holder);
    let mut three = request(&waiter, 3);
    held.pop();
    let reserve = |large| ReserveConfig { small: 0, large, control: 0 };
    let refused = pool.group(reserve(1)).unwrap_err();
    assert_eq!(refused, PoolError::ReserveUnfilled { wanted: reserve(1), available: reserve(0) });
    drop(held);
    assert!(three.poll(0).is_some());
}

#[test]
fn s28_requests_that_can_never_be_served_are_refused() {
    let pool = data_pool(10, 2);
    let (one, other) = (group(&pool, 3), group(&pool, 2));
    let refused = one.request(Class::Large, 9, 0, Waker::noop()).unwrap_err();
    assert_eq!(refused, PoolError::RequestTooLarge { class: Class::Large, wanted: 9, most: 8 });
    assert_eq!(request(&one, 8).poll(0).unwrap().len(), 8);
    let _held = all(&other);
    let waiting = [request(&one, 8), request(&one, 1)];
    assert_eq!(other.request(Class::Large, 1, 0, Waker::noop()).unwrap_err(), PoolError::QueueFull { waiters: 2 });
    drop(waiting);
    assert!(request(&one, 1).poll(0).is_some());
}

#[test]
fn s28_waits_are_counted_and_the_longest_is_known() {
    let pool = data_pool(1, 4);
    let (holder, waiter) = (group(&pool, 0), group(&pool, 0));
    for (asked, polled) in [(1_000, 6_000), (7_000, 9_000)] {
        let held = all(&holder);
        let mut request = waiter.request(Class::Large, 1, asked, Waker::noop()).unwrap();
        assert!(request.poll(asked + 1).is_none());
        assert_eq!(pool.stats(Class::Large).waiting, 1);
        drop(held);
        assert!(request.poll(polled).is_some());
    }
    let stats = waiter.stats(Class::Large);
    assert_eq!((stats.waits, stats.longest_wait_ns), (2, 5_000));
    drop(waiter);
    let stats = pool.stats(Class::Large);
    assert_eq!((stats.waits, stats.longest_wait_ns, stats.waiting), (2, 5_000, 0), "also when the group is gone");
}

#[test]
fn s28_what_a_request_was_given_is_counted_by_where_it_came_from() {
    let pool = data_pool(5, 4);
    let (holder, waiter) = (group(&pool, 0), group(&pool, 2));
    let (held, own) = (all(&holder), all(&waiter));
    let mut request = request(&waiter, 4);
    drop((held, own));
    assert_eq!(request.poll(0).map(|granted| granted.len()), Some(4));
    let stats = waiter.stats(Class::Large);
    assert_eq!((stats.from_reserve, stats.from_shared, stats.high_water), (3, 3, 4));
}

#[test]
fn s28_a_waker_may_come_back_into_the_pool() {
    struct Probe(DataPool);
    impl Wake for Probe {
        fn wake(self: Arc<Self>) {
            // Takes the lock, and a group: nothing of the pool is held while this runs.
            assert_eq!(self.0.stats(Class::Large).waiting, 0);
            drop(self.0.group(ReserveConfig { small: 0, large: 0, control: 0 }).unwrap());
        }
    }
    let pool = data_pool(1, 4);
    let (holder, waiter) = (group(&pool, 0), group(&pool, 0));
    let held = all(&holder);
    let mut request = waiter.request(Class::Large, 1, 0, &Waker::from(Arc::new(Probe(pool.clone())))).unwrap();
    drop(held);
    assert!(request.poll(0).is_some());
}
