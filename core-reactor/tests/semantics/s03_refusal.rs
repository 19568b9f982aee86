//! Statement 3: a send never aborts and never blocks; what is refused comes back, with the reason;
//! depths and high-water marks can be read.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use core_reactor::sim::Sim;
use core_reactor::{CoreId, CriticalError, Cx, Msg, PushError, Refused, Ring, SpawnError, ThreadConfig, ThreadLibOptions};

use crate::record::{Hand, NoteDrop, Record};

fn small() -> Hand {
    Hand::with(&ThreadLibOptions::default().mailbox(4))
}

#[test]
fn s03_a_full_mailbox_gives_the_message_back_and_it_can_be_sent_later() {
    let (mut hand, seen) = (small(), Record::new());
    let to = hand.thread.handle();
    for n in 0..4 {
        let seen = seen.clone();
        hand.send(move |_| seen.note(n));
    }
    let late = seen.clone();
    let Refused { item, why } = to.send(move |_| late.note(4)).expect_err("four messages fill it");
    assert_eq!(why, PushError::Full);
    hand.turn();
    assert_eq!(seen.take(), [0, 1, 2, 3]);
    to.send_msg(item).expect("there is room again");
    hand.turn();
    assert_eq!(seen.take(), [4]);
}

#[test]
fn s03_bulk_takes_what_fits_and_leaves_the_rest_in_order() {
    let (mut hand, seen) = (small(), Record::new());
    let to = hand.thread.handle();
    let note = |n: u32| {
        let seen = seen.clone();
        Msg::new(move |_: &mut Cx<'_>| seen.note(n))
    };
    let mut bulk: VecDeque<Msg> = (0..6).map(note).collect();
    assert_eq!(to.send_bulk(&mut bulk), Ok(4));
    assert_eq!(bulk.len(), 2);
    assert_eq!(to.send_bulk(&mut bulk), Err(PushError::Full));
    assert_eq!(bulk.len(), 2);
    hand.turn();
    assert_eq!(to.send_bulk(&mut bulk), Ok(2));
    assert_eq!(to.send_bulk(&mut bulk), Ok(0));
    hand.turn();
    assert_eq!(seen.take(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn s03_an_exited_thread_gives_messages_back() {
    let (mut hand, seen) = (small(), Record::new());
    let to = hand.thread.handle();
    to.exit();
    hand.turn();
    assert!(hand.thread.is_exited());
    let note = seen.clone();
    let Refused { item, why } = to.send(move |_| note.note(())).expect_err("the thread has ended");
    assert_eq!(why, PushError::Closed);
    assert_eq!(to.send_bulk(&mut VecDeque::from([item])), Err(PushError::Closed));
    assert_eq!(to.send_critical(|_| {}), Err(CriticalError::Closed));
    hand.turn();
    assert!(seen.take().is_empty());
}

#[test]
fn s03_a_thread_stopped_by_force_or_dropped_gives_messages_back() {
    let force = Hand::with(&ThreadLibOptions::default().exit_limit(std::time::Duration::ZERO));
    for (mut hand, forced) in [(force, true), (small(), false)] {
        let to = hand.thread.handle();
        if forced {
            let _kept = hand.cx(|cx| cx.hold("kept"));
            to.exit();
            hand.turn();
            assert!(hand.thread.is_exited());
            assert_eq!(to.send(|_| {}).map_err(|r| r.why), Err(PushError::Closed));
            assert_eq!(to.send_critical(|_| {}), Err(CriticalError::Closed));
        }
        drop(hand);
        assert_eq!(to.send(|_| {}).map_err(|r| r.why), Err(PushError::Closed));
        assert_eq!(to.send_critical(|_| {}), Err(CriticalError::Closed));
    }
}

#[test]
fn s03_a_refused_message_is_dropped_once_and_only_when_its_owner_drops_it() {
    let (hand, drops) = (small(), Record::new());
    let to = hand.thread.handle();
    (0..4).for_each(|_| hand.send(|_| {}));
    let note = NoteDrop(drops.clone(), ());
    let refused = to.send(move |_| drop(note)).expect_err("it is full");
    assert_eq!(drops.take().len(), 0);
    drop(refused);
    assert_eq!(drops.take().len(), 1);
    drop(hand);
    assert_eq!(drops.take().len(), 0);
}

#[test]
fn s03_a_panic_in_a_full_mailbox_does_not_keep_it_full() {
    let mut hand = Hand::with(&ThreadLibOptions::default().mailbox(2));
    hand.send(|_| {});
    hand.send(|_| panic!("on purpose"));
    catch_unwind(AssertUnwindSafe(|| hand.turn())).expect_err("the message panics");
    hand.turn();
    let to = hand.thread.handle();
    assert_eq!(to.mailbox_depth(), 0);
    assert!(to.send(|_| {}).is_ok());
    assert!(to.send(|_| {}).is_ok());
}

#[test]
fn s03_depth_and_high_water_of_a_mailbox_can_be_read() {
    let mut hand = Hand::with(&ThreadLibOptions::default().mailbox(32));
    let to = hand.thread.handle();
    let read = |hand: &Hand| {
        let (to, stats) = (hand.thread.handle(), hand.thread.stats());
        assert_eq!((to.mailbox_depth(), to.mailbox_high_water()), (stats.mailbox_depth, stats.mailbox_high_water));
        (stats.mailbox_depth, stats.mailbox_high_water)
    };
    assert_eq!(to.mailbox_capacity(), 32);
    assert_eq!(hand.thread.stats().mailbox_capacity, 32);
    assert_eq!(read(&hand), (0, 0));
    (0..3).for_each(|_| hand.send(|_| {}));
    assert_eq!(read(&hand).0, 3);
    hand.turn();
    assert_eq!(read(&hand), (0, 3));
    (0..20).for_each(|_| hand.send(|_| {}));
    hand.turn();
    assert_eq!(read(&hand), (12, 20));
    (0..20).for_each(|_| hand.send(|_| {}));
    to.send(|_| {}).expect_err("32 wait");
    assert_eq!(read(&hand), (32, 32));
    while !hand.turn().is_idle() {}
    assert_eq!(read(&hand), (0, 32));
}

#[test]
fn s03_depth_and_high_water_of_a_reactors_events_can_be_read() {
    let mut sim = Sim::new(1);
    let capacity = sim.reactors[0].stats().events_capacity;
    for _ in 0..20 {
        sim.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is room");
    }
    assert_eq!(sim.reactors[0].stats().events_depth, 20);
    sim.turn();
    let stats = sim.reactors[0].stats();
    assert_eq!((stats.events_depth, stats.events_high_water, stats.threads), (12, 20, 8));
    sim.settle();
    let stats = sim.reactors[0].stats();
    assert_eq!((stats.events_depth, stats.events_high_water, stats.threads), (0, 20, 20));
    assert!(capacity >= 20);
}

#[test]
fn s03_a_reactor_with_too_many_events_refuses_a_thread_and_leaves_no_trace_of_it() {
    let (mut sim, drops) = (Sim::new(1), Record::new());
    let capacity = sim.reactors[0].stats().events_capacity;
    for _ in 0..capacity {
        sim.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is room");
    }
    let note = NoteDrop(drops.clone(), ());
    let refused = sim.lib().spawn(ThreadConfig::new("too many"), move |_| drop(note)).map(|_| ());
    assert_eq!(refused, Err(SpawnError::Busy(CoreId(0))));
    assert_eq!(drops.take().len(), 1);
    assert_eq!(sim.lib().threads().len(), capacity);
    sim.settle();
    sim.lib().spawn(ThreadConfig::new("later"), |_| {}).expect("there is room again");
}

#[test]
fn s03_a_ring_keeps_its_items_and_tells_why_it_refuses() {
    let (ring, mut receiver) = Ring::new(3);
    assert_eq!(ring.capacity(), 4);
    (0..4).for_each(|n| ring.push(n).expect("there is room"));
    let refused = ring.push(4).expect_err("it is full");
    assert_eq!((refused.item, refused.why), (4, PushError::Full));
    assert_eq!((receiver.ready(2), receiver.ready(9), receiver.is_empty()), (2, 4, false));
    assert!(!receiver.close_if_empty());
    assert_eq!(receiver.pop(), Some(0));
    assert_eq!(ring.push(4).map_err(|r| r.why), Err(PushError::Full), "the room shows when it is published");
    receiver.publish(1, 1);
    ring.push(4).expect("there is room");
    receiver.close();
    assert_eq!(ring.push(5).map_err(|r| r.why), Err(PushError::Closed));
    assert_eq!(std::iter::from_fn(|| receiver.pop()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(receiver.close_if_empty(), "it is closed and empty already");
}
