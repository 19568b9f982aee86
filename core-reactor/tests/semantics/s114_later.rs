//! Statements 114 to 116: once and later, at the exit, and at a fixed rate.

use std::time::Duration;

use core_reactor::sim::Sim;
use core_reactor::{Cx, Polled, Schedule, StalePoller, ThreadConfig};

use crate::record::{Hand, NoteDrop, Record, at, ms};

#[test]
fn s114_what_is_to_come_later_runs_once_after_its_delay() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let (note, local) = (seen.clone(), std::rc::Rc::new(seen.clone()));
    hand.cx(|cx| {
        cx.after(ms(20), move |cx| note.note(("sent", cx.now())));
        cx.local_after(ms(10), move |cx| local.note(("local", cx.now())));
    });
    assert_eq!(hand.thread.next_deadline(), Some(at(10)));
    hand.turns_at([0, 9, 10, 15, 19, 23, 43, 100]);
    assert_eq!(seen.take(), [("local", at(10)), ("sent", at(23))]);
    assert_eq!((hand.thread.next_deadline(), hand.thread.stats().pollers.len()), (None, 0), "nothing is left of them");
}

#[test]
fn s114_without_a_delay_it_runs_in_the_next_turn() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = seen.clone();
    hand.send(move |cx| {
        let again = note.clone();
        note.note(1);
        cx.after(Duration::ZERO, move |_| again.note(2));
    });
    hand.turn();
    assert_eq!(seen.take(), [1]);
    hand.turns_at([0, 0, 5]);
    assert_eq!(seen.take(), [2]);
}

#[test]
fn s114_it_can_be_cancelled_until_it_has_run() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let (note, dropped) = (seen.clone(), NoteDrop(seen.clone(), "dropped"));
    let (cancelled, run) = hand.cx(|cx| (cx.after(ms(5), move |_| drop(dropped)), cx.after(ms(5), move |_| note.note("ran"))));
    assert_eq!(hand.cx(|cx| cx.remove(cancelled)), Ok(()));
    assert_eq!(seen.take(), ["dropped"]);
    hand.turn_at(5);
    assert_eq!(seen.take(), ["ran"]);
    assert_eq!(hand.cx(|cx| (cx.remove(cancelled), cx.remove(run))), (Err(StalePoller), Err(StalePoller)));
}

#[test]
fn s114_an_exit_waits_for_it_only_where_that_is_asked_for() {
    for holds in [false, true] {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let note = seen.clone();
        hand.cx(|cx| {
            let id = cx.after(ms(50), move |_| note.note("ran"));
            if holds {
                cx.hold_exit(id).expect("it is there");
            }
            cx.exit();
        });
        hand.turn();
        assert_eq!(hand.thread.is_exited(), !holds);
        hand.turns_at([49, 50]);
        assert_eq!((seen.take().len(), hand.thread.is_exited()), (usize::from(holds), true));
    }
}

#[test]
fn s115_what_waits_for_the_exit_runs_once_before_the_thread_ends_the_last_first() {
    let (mut sim, seen) = (Sim::new(1), Record::new());
    let note = seen.clone();
    let thread = sim.lib().spawn(ThreadConfig::new("t"), move |cx| {
        for n in 0..3 {
            let note = note.clone();
            cx.on_exit(move |cx| note.note((n, cx.is_exiting())));
        }
    });
    sim.settle();
    assert_eq!(seen.take(), []);
    thread.expect("there is a reactor").exit();
    let turn = sim.turn();
    assert!(!turn.is_idle());
    assert_eq!(seen.take(), [(2, true), (1, true), (0, true)]);
    assert!(sim.lib().threads().is_empty(), "and the same turn was its last");
}

#[test]
fn s115_the_exit_waits_for_what_it_begins() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = seen.clone();
    hand.cx(|cx| {
        cx.on_exit(move |cx| {
            let (said, again) = (note.clone(), note.clone());
            note.note("exit");
            cx.handle().send(move |_| said.note("message")).expect("there is room");
            cx.on_exit(move |_| again.note("exit, too"));
        });
        cx.exit();
    });
    hand.turn();
    assert_eq!((seen.take(), hand.thread.is_exited()), (vec!["exit"], false));
    hand.turn();
    assert_eq!((seen.take(), hand.thread.is_exited()), (vec!["message", "exit, too"], true));
}

#[test]
fn s115_it_ends_what_would_hold_the_exit_up() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = seen.clone();
    hand.cx(|cx| {
        cx.open_channel(5_u32);
        let endless = cx.poller("endless", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle);
        cx.on_exit(move |cx| {
            note.note((cx.close_channel::<u32>(), cx.remove(endless)));
        });
    });
    hand.turn();
    hand.thread.handle().exit();
    hand.turn();
    assert_eq!((seen.take(), hand.thread.is_exited()), (vec![(Some(5), Ok(()))], true));
}

#[test]
fn s115_it_can_be_cancelled_and_nothing_else_changes_it() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let notes = [(); 3].map(|()| seen.clone());
    let mut n = 0;
    hand.cx(|cx| {
        let [first, second, third] = notes.map(|note| {
            n += 1;
            let n = n;
            cx.on_exit(move |_| note.note(n))
        });
        cx.remove(second).expect("it is there");
        assert_eq!(cx.remove(second), Err(StalePoller));
        // It gets the place of what was cancelled, and nothing else of it.
        let note = seen.clone();
        cx.after(ms(1_000), move |_| note.note(9));
        cx.pause(first).expect("it is there");
        cx.set_period(third, ms(1)).expect("it is there");
    });
    hand.turns_at([0, 5, 10]);
    assert_eq!((seen.take(), hand.thread.may_park()), (vec![], true));
    hand.cx(|cx| cx.exit());
    hand.turn();
    assert_eq!((seen.take(), hand.thread.is_exited()), (vec![3, 1], true));
}

/// At which milliseconds a poller of this schedule runs, of turns at `turns`.
fn runs(schedule: Schedule, turns: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = seen.clone();
    hand.cx(|cx| {
        cx.poller("timed", schedule, move |cx: &mut Cx<'_>| {
            note.note(cx.now().as_nanos() / 1_000_000);
            Polled::Busy
        });
    });
    hand.turns_at(turns);
    seen.take()
}

#[test]
fn s116_a_fixed_rate_does_not_drift_and_a_period_does() {
    // A turn every three milliseconds: a period of ten is twelve then.
    assert_eq!(runs(Schedule::Every(ms(10)), (0..65).step_by(3)), [12, 24, 36, 48, 60]);
    assert_eq!(runs(Schedule::FixedRate(ms(10)), (0..65).step_by(3)), [12, 21, 30, 42, 51, 60]);
    let late = [10, 24, 30, 34, 40, 44, 50, 54];
    assert_eq!(runs(Schedule::FixedRate(ms(10)), late), [10, 24, 30, 40, 50]);
    assert_eq!(runs(Schedule::Every(ms(10)), late), [10, 24, 34, 44, 54]);
}

#[test]
fn s116_periods_that_were_missed_are_one_run_and_the_next_is_at_a_whole_one() {
    assert_eq!(runs(Schedule::FixedRate(ms(10)), [10, 57, 58, 59, 60, 69, 70]), [10, 57, 60, 70]);
    assert_eq!(runs(Schedule::FixedRate(ms(10)), [60, 61, 69, 70]), [60, 70], "a turn at a whole period is that period's");
}

#[test]
fn s116_timers_of_one_period_keep_their_order_whatever_their_rate() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    // Of one period all, begun at different moments: those of a fixed rate overtake each other
    // after a pause.
    for (begin, name, fixed) in [(0, "a", true), (2, "b", true), (4, "drifts", false), (7, "c", true)] {
        hand.advance_to(begin);
        let note = seen.clone();
        let schedule = if fixed { Schedule::FixedRate(ms(10)) } else { Schedule::Every(ms(10)) };
        hand.cx(|cx| {
            cx.poller(name, schedule, move |cx: &mut Cx<'_>| {
                note.note((cx.now().as_nanos() / 1_000_000, name));
                Polled::Busy
            })
        });
    }
    hand.turns_at([21]);
    assert_eq!(seen.take(), [(21, "a"), (21, "b"), (21, "drifts"), (21, "c")], "by their deadlines");
    hand.turns_at(22..=42);
    let order = [(22, "b"), (27, "c"), (30, "a"), (31, "drifts"), (32, "b"), (37, "c"), (40, "a"), (41, "drifts"), (42, "b")];
    assert_eq!(seen.take(), order);
}

#[test]
fn s116_a_change_of_period_begins_a_new_rate_and_a_pause_of_a_deadline_does() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = seen.clone();
    let id = hand.cx(|cx| {
        cx.poller("timed", Schedule::FixedRate(ms(10)), move |cx: &mut Cx<'_>| {
            note.note(cx.now().as_nanos() / 1_000_000);
            Polled::Busy
        })
    });
    hand.turn_at(13);
    hand.cx(|cx| cx.set_period(id, ms(5))).expect("it is there");
    hand.turns_at(14..=24);
    assert_eq!(seen.take(), [13, 18, 23]);
    hand.cx(|cx| cx.pause(id)).expect("it is there");
    hand.turns_at(25..=31);
    hand.cx(|cx| cx.resume(id)).expect("it is there");
    hand.turns_at([35, 38, 41]);
    assert_eq!(seen.take(), [38, 41]);
}
