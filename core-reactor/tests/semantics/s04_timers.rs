//! Statement 4: timed pollers run by deadline, then by registration; a deadline is the turn's time
//! plus the period; removal is at once.

use std::time::Duration;

use core_reactor::sim::Sim;
use core_reactor::{Cx, Instant, Polled, PollerId, Schedule, StalePoller, ThreadConfig};

use crate::record::{Hand, Record, at, ms};

/// Registers a poller that notes `name` and is idle.
fn timed(cx: &mut Cx<'_>, seen: &Record<&'static str>, name: &'static str, period: Duration) -> PollerId {
    let seen = seen.clone();
    cx.poller(name, Schedule::Every(period), move |_: &mut Cx<'_>| {
        seen.note(name);
        Polled::Idle
    })
}

#[test]
fn s04_timed_pollers_run_in_order_of_their_deadlines() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    hand.cx(|cx| {
        for (name, period) in [("3 ms", 3), ("1 ms", 1), ("2 ms", 2), ("4 ms", 4)] {
            timed(cx, &seen, name, ms(period));
        }
    });
    assert_eq!(hand.turn().timers, 0);
    assert_eq!(hand.turn_at(3).timers, 3);
    assert_eq!(seen.take(), ["1 ms", "2 ms", "3 ms"]);
}

#[test]
fn s04_equal_deadlines_run_in_order_of_registration() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    // Different periods, registered at different times, with one deadline: 6 ms.
    hand.cx(|cx| timed(cx, &seen, "first", ms(6)));
    hand.turn_at(2);
    hand.cx(|cx| timed(cx, &seen, "second", ms(4)));
    hand.cx(|cx| timed(cx, &seen, "third", ms(4)));
    hand.turn_at(5);
    hand.cx(|cx| timed(cx, &seen, "fourth", ms(1)));
    hand.turn_at(6);
    assert_eq!(seen.take(), ["first", "second", "third", "fourth"]);
}

#[test]
fn s04_the_next_deadline_is_the_turns_time_plus_the_period() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    hand.cx(|cx| timed(cx, &seen, "t", ms(10)));
    assert_eq!(hand.thread.next_deadline(), Some(at(10)));
    hand.turn_at(9);
    assert!(seen.take().is_empty());
    hand.turn_at(13);
    assert_eq!(seen.take(), ["t"]);
    assert_eq!(hand.thread.next_deadline(), Some(at(23)));
    hand.turn_at(22);
    assert!(seen.take().is_empty());
    hand.turn_at(23);
    assert_eq!(seen.take(), ["t"]);
}

#[test]
fn s04_time_that_passes_within_a_turn_does_not_move_deadlines() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let platform = hand.platform.clone();
    hand.cx(|cx| {
        cx.poller("slow", Schedule::Every(ms(1)), move |cx: &mut Cx<'_>| {
            platform.advance(ms(5));
            assert_eq!((cx.now(), cx.clock()), (at(1), at(6)));
            Polled::Busy
        });
        timed(cx, &seen, "due meanwhile", ms(3));
    });
    hand.turn_at(1);
    assert!(seen.take().is_empty(), "it was not due when the turn began");
    assert_eq!(hand.thread.next_deadline(), Some(at(2)));
}

#[test]
fn s04_ten_missed_periods_give_one_run() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    hand.cx(|cx| timed(cx, &seen, "t", ms(1)));
    assert_eq!(hand.turn_at(10).timers, 1);
    assert_eq!(hand.turn().timers, 0);
    assert_eq!(seen.take(), ["t"]);
    assert_eq!(hand.thread.next_deadline(), Some(at(11)));
}

#[test]
fn s04_removal_takes_effect_at_once_and_leaves_no_deadline() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let ids: Vec<_> = [1, 2, 2, 7].map(|period| hand.cx(|cx| timed(cx, &seen, "t", ms(period)))).into();
    for (id, next) in ids.iter().zip([Some(at(2)), Some(at(2)), Some(at(7)), None]) {
        assert_eq!(hand.cx(|cx| cx.remove(*id)), Ok(()));
        assert_eq!(hand.thread.next_deadline(), next);
        assert_eq!(hand.cx(|cx| cx.remove(*id)), Err(StalePoller));
    }
    assert!(hand.turn_at(100).is_idle());
    assert!(seen.take().is_empty());
    assert!(hand.thread.stats().pollers.is_empty());
}

#[test]
fn s04_a_thread_does_not_linger_until_the_deadline_of_a_poller_that_was_removed() {
    let (mut sim, seen) = (Sim::new(1), Record::new());
    let thread = sim
        .lib()
        .spawn(ThreadConfig::new("t"), move |cx| {
            let id = timed(cx, &seen, "hourly", Duration::from_secs(3600));
            cx.handle().send(move |cx| cx.remove(id).expect("it is registered")).expect("the mailbox has room");
        })
        .expect("there is a reactor");
    sim.turn();
    assert_eq!(sim.reactors[0].next_deadline(), Some(Instant::ZERO + Duration::from_secs(3600)));
    thread.exit();
    sim.turn();
    assert_eq!(sim.reactors[0].next_deadline(), None);
    assert_eq!((sim.reactors[0].stats().threads, sim.lib().threads().len()), (0, 0));
}

#[test]
fn s04_a_new_period_starts_in_full_now() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let id = hand.cx(|cx| timed(cx, &seen, "t", ms(10)));
    hand.turn_at(9);
    hand.cx(|cx| cx.set_period(id, ms(4))).expect("it is registered");
    assert_eq!(hand.thread.next_deadline(), Some(at(13)));
    hand.turn_at(13);
    assert_eq!(hand.thread.next_deadline(), Some(at(17)));
    hand.cx(|cx| cx.set_period(id, ms(40))).expect("it is registered");
    assert_eq!(hand.thread.next_deadline(), Some(at(53)));
    assert_eq!(seen.take(), ["t"]);
}

#[test]
fn s04_a_poller_may_change_its_own_period_while_it_runs() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let id = Record::new();
    let own = id.clone();
    let note = seen.clone();
    let key = hand.cx(|cx| {
        cx.poller("slower", Schedule::Every(ms(1)), move |cx: &mut Cx<'_>| {
            note.note(cx.now());
            for key in own.take() {
                cx.set_period(key, ms(5)).expect("it is running");
            }
            Polled::Busy
        })
    });
    id.note(key);
    hand.turns_at(1..=11);
    assert_eq!(seen.take(), [at(1), at(6), at(11)]);
}

#[test]
fn s04_a_period_of_zero_makes_a_poller_active_and_another_one_makes_it_timed() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let id = hand.cx(|cx| timed(cx, &seen, "t", ms(5)));
    assert!(hand.thread.may_park());
    hand.cx(|cx| cx.set_period(id, Duration::ZERO)).expect("it is registered");
    assert_eq!(hand.thread.next_deadline(), None);
    assert!(!hand.thread.may_park());
    hand.turns_at([0; 3]);
    assert_eq!(seen.take().len(), 3);
    hand.cx(|cx| cx.set_period(id, ms(5))).expect("it is registered");
    assert!(hand.thread.may_park());
    hand.turns_at([0; 3]);
    assert!(seen.take().is_empty());
    hand.turn_at(5);
    assert_eq!(seen.take(), ["t"]);
}

#[test]
fn s04_a_period_without_end_never_runs() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    hand.turn_at(1);
    hand.cx(|cx| timed(cx, &seen, "never", Duration::MAX));
    assert_eq!(hand.thread.next_deadline(), Some(Instant::MAX));
    assert_eq!(hand.turn_at(1_000_000_000).timers, 0);
    assert!(seen.take().is_empty());
}
