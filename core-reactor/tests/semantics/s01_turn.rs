//! Statement 1: what a turn runs, in which order, and how much of it.

use std::cell::RefCell;

use core_reactor::{Cx, Polled, Schedule, ThreadLibOptions};

use crate::record::{Hand, Record, ms};

thread_local! {
    /// What critical messages saw; they are plain functions and capture nothing.
    static SEEN: RefCell<Option<Record<&'static str>>> = const { RefCell::new(None) };
}

fn critical(_: &mut Cx<'_>) {
    SEEN.with_borrow(|seen| seen.as_ref().expect("the test has set it").note("critical"));
}

#[test]
fn s01_a_turn_runs_critical_then_messages_then_active_then_timed_pollers() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    SEEN.set(Some(seen.clone()));
    hand.cx(|cx| {
        for (name, schedule) in [("timed", Schedule::Every(ms(1))), ("active 1", Schedule::Always), ("active 2", Schedule::WhenAwake)] {
            let seen = seen.clone();
            cx.poller(name, schedule, move |_: &mut Cx<'_>| {
                seen.note(name);
                Polled::Idle
            });
        }
    });
    for name in ["message 1", "message 2"] {
        let seen = seen.clone();
        hand.send(move |_| seen.note(name));
    }
    hand.thread.handle().send_critical(critical).expect("none is pending");
    let turn = hand.turn_at(1);
    assert_eq!(seen.take(), ["critical", "message 1", "message 2", "active 1", "active 2", "timed"]);
    assert_eq!((turn.messages, turn.pollers, turn.timers), (3, 0, 1));
}

#[test]
fn s01_a_batch_is_eight_messages_unless_told_otherwise() {
    for (options, expected) in [
        (ThreadLibOptions::default(), vec![8, 8, 4, 0]),
        (ThreadLibOptions::default().batch(3), vec![3, 3, 3, 3, 3, 3, 2, 0]),
        (ThreadLibOptions::default().batch(0), vec![1; 20]),
        (ThreadLibOptions::default().batch(usize::MAX), vec![20, 0]),
    ] {
        let (mut hand, seen) = (Hand::with(&options), Record::new());
        for n in 0..20 {
            let seen = seen.clone();
            hand.send(move |_| seen.note(n));
        }
        let batches: Vec<u32> = (0..expected.len()).map(|_| hand.turn().messages).collect();
        assert_eq!(batches, expected);
        assert_eq!(seen.take(), (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn s01_a_critical_message_is_not_part_of_the_batch() {
    let mut hand = Hand::new();
    SEEN.set(Some(Record::new()));
    (0..9).for_each(|_| hand.send(|_| {}));
    hand.thread.handle().send_critical(critical).expect("none is pending");
    assert_eq!(hand.turn().messages, 9);
    assert_eq!(hand.turn().messages, 1);
}

/// Sends itself to its own thread again and again.
fn again(cx: &mut Cx<'_>, seen: Record<&'static str>) {
    seen.note("message");
    cx.handle().send(move |cx| again(cx, seen)).expect("the mailbox has room");
}

#[test]
fn s01_a_message_to_the_own_thread_runs_in_the_next_turn_and_starves_nobody() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = seen.clone();
    hand.send(move |cx| again(cx, note));
    let note = seen.clone();
    hand.cx(|cx| {
        cx.poller("active", Schedule::Always, move |_: &mut Cx<'_>| {
            note.note("poller");
            Polled::Idle
        });
    });
    for _ in 0..5 {
        assert_eq!(hand.turn().messages, 1);
        assert_eq!(seen.take(), ["message", "poller"]);
    }
}

#[test]
fn s01_what_a_critical_message_sends_to_its_own_thread_runs_in_the_next_turn() {
    fn send_on(cx: &mut Cx<'_>) {
        critical(cx);
        let seen = SEEN.with_borrow(|seen| seen.clone()).expect("the test has set it");
        cx.handle().send(move |_| seen.note("sent")).expect("the mailbox has room");
    }
    let (mut hand, seen) = (Hand::new(), Record::new());
    SEEN.set(Some(seen.clone()));
    hand.thread.handle().send_critical(send_on).expect("none is pending");
    hand.turn();
    assert_eq!(seen.take(), ["critical"]);
    hand.turn();
    assert_eq!(seen.take(), ["sent"]);
}

#[test]
fn s01_what_a_poller_sends_to_its_own_thread_runs_in_the_next_turn() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = seen.clone();
    hand.cx(|cx| {
        cx.poller("sends", Schedule::Always, move |cx: &mut Cx<'_>| {
            note.note("poller");
            let note = note.clone();
            cx.handle().send(move |_| note.note("message")).expect("the mailbox has room");
            Polled::Busy
        });
    });
    hand.turn();
    assert_eq!(seen.take(), ["poller"]);
    hand.turn();
    assert_eq!(seen.take(), ["message", "poller"]);
}
