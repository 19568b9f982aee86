//! Statement 2: messages are first in, first out for each pair of sender and receiver, whoever
//! sends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use core_reactor::sim::Sim;
use core_reactor::{CriticalError, Cx, Msg, PushError, ThreadConfig, ThreadHandle, ThreadLibOptions};

use crate::record::{Hand, Record};

#[test]
fn s02_messages_of_two_threads_each_arrive_in_order() {
    let (mut sim, seen) = (Sim::new(3), Record::new());
    let [to, a, b] = ["to", "a", "b"].map(|name| sim.lib().spawn(ThreadConfig::new(name), |_| {}).expect("there are reactors"));
    for from in [&a, &b] {
        for n in 0..50 {
            let (to, seen) = (to.clone(), seen.clone());
            let from_a = from.id() == a.id();
            let relay = move |_: &mut Cx<'_>| to.send(move |_| seen.note((from_a, n))).expect("the mailbox has room");
            from.send(relay).expect("the mailbox has room");
        }
    }
    sim.settle();
    let seen = seen.take();
    for from_a in [true, false] {
        let order: Vec<u32> = seen.iter().filter(|s| s.0 == from_a).map(|s| s.1).collect();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}

#[test]
fn s02_bulk_and_single_messages_keep_their_order() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = |n: u32| {
        let seen = seen.clone();
        Msg::new(move |_: &mut Cx<'_>| seen.note(n))
    };
    let to = hand.thread.handle();
    to.send_msg(note(0)).expect("the mailbox has room");
    let mut bulk: VecDeque<Msg> = (1..10).map(note).collect();
    assert_eq!(to.send_bulk(&mut bulk), Ok(9));
    assert!(bulk.is_empty());
    to.send_msg(note(10)).expect("the mailbox has room");
    while !hand.turn().is_idle() {}
    assert_eq!(seen.take(), (0..=10).collect::<Vec<_>>());
}

/// Sends, and tries again while the mailbox is full.
fn send_all(to: &ThreadHandle, count: usize, message: impl Fn(usize) -> Msg) {
    for n in 0..count {
        let mut msg = message(n);
        while let Err(refused) = to.send_msg(msg) {
            assert_eq!(refused.why, PushError::Full);
            msg = refused.item;
            std::thread::yield_now();
        }
    }
}

#[test]
fn s02_foreign_threads_that_hammer_one_mailbox_are_each_received_in_order_and_completely() {
    const SENDERS: usize = 4;
    const COUNT: usize = 5_000;
    // A small mailbox, so that it is full again and again and its positions go round.
    let mut hand = Hand::with(&ThreadLibOptions::default().mailbox(16).batch(5));
    static NEXT: [AtomicUsize; SENDERS] = [const { AtomicUsize::new(0) }; SENDERS];
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        for next in &NEXT {
            let to = hand.thread.handle();
            scope.spawn(move || {
                send_all(&to, COUNT, |n| Msg::new(move |_| assert_eq!(next.fetch_add(1, Ordering::Relaxed), n)));
            });
        }
        while NEXT.iter().any(|next| next.load(Ordering::Relaxed) < COUNT) {
            assert!(Instant::now() < deadline, "messages were lost: {NEXT:?}");
            hand.turn();
        }
    });
    assert!(hand.turn().is_idle());
    assert_eq!(hand.thread.stats().messages, (SENDERS * COUNT) as u64);
}

#[test]
fn s02_bulks_from_foreign_threads_are_received_in_order_and_completely() {
    const SENDERS: usize = 3;
    const COUNT: usize = 5_000;
    let mut hand = Hand::with(&ThreadLibOptions::default().mailbox(8));
    static NEXT: [AtomicUsize; SENDERS] = [const { AtomicUsize::new(0) }; SENDERS];
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        for next in &NEXT {
            let to = hand.thread.handle();
            scope.spawn(move || {
                let message = |n| Msg::new(move |_: &mut Cx<'_>| assert_eq!(next.fetch_add(1, Ordering::Relaxed), n));
                let mut waiting: VecDeque<Msg> = (0..COUNT).map(message).collect();
                while !waiting.is_empty() {
                    match to.send_bulk(&mut waiting) {
                        Ok(sent) => assert!(sent > 0),
                        Err(why) => {
                            assert_eq!(why, PushError::Full);
                            std::thread::yield_now();
                        }
                    }
                }
            });
        }
        while NEXT.iter().any(|next| next.load(Ordering::Relaxed) < COUNT) {
            assert!(Instant::now() < deadline, "messages were lost: {NEXT:?}");
            hand.turn();
        }
    });
    assert!(hand.turn().is_idle());
}

#[test]
fn s02_one_critical_message_can_be_pending_and_the_first_one_wins() {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    fn first(_: &mut Cx<'_>) {
        RUN.fetch_add(1, Ordering::Relaxed);
    }
    fn second(_: &mut Cx<'_>) {
        RUN.fetch_add(10, Ordering::Relaxed);
    }
    let mut hand = Hand::new();
    let to = hand.thread.handle();
    assert_eq!(to.send_critical(first), Ok(()));
    assert_eq!(to.send_critical(second), Err(CriticalError::Pending));
    hand.turn();
    assert_eq!(RUN.load(Ordering::Relaxed), 1);
    assert_eq!(to.send_critical(second), Ok(()));
    hand.turn();
    assert_eq!(RUN.load(Ordering::Relaxed), 11);
    assert!(hand.turn().is_idle());
}

#[test]
fn s02_a_critical_message_can_send_another_one() {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    fn again(cx: &mut Cx<'_>) {
        if RUN.fetch_add(1, Ordering::Relaxed) < 2 {
            cx.handle().send_critical(again).expect("this one is not pending any more");
        }
    }
    let mut hand = Hand::new();
    hand.thread.handle().send_critical(again).expect("none is pending");
    for runs in 1..=3 {
        hand.turn();
        assert_eq!(RUN.load(Ordering::Relaxed), runs);
    }
}
