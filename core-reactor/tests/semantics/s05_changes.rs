//! Statement 5: pollers registered, removed, paused and resumed from within callbacks.

use std::time::Duration;

use core_reactor::{Cx, Polled, PollerId, Schedule, StalePoller};

use crate::record::{Hand, NoteDrop, Record, at, ms};

const SCHEDULES: [Schedule; 3] = [Schedule::Always, Schedule::WhenAwake, Schedule::Every(Duration::from_millis(1))];

/// A poller that notes its name and is idle.
fn noting(seen: &Record<&'static str>, name: &'static str) -> impl FnMut(&mut Cx<'_>) -> Polled + Send + 'static {
    let seen = seen.clone();
    move |_| {
        seen.note(name);
        Polled::Idle
    }
}

#[test]
fn s05_a_poller_registered_by_a_message_or_a_poller_first_runs_in_the_next_turn() {
    for by in SCHEDULES {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let note = seen.clone();
        hand.send(move |cx| {
            cx.poller("by message", Schedule::Always, noting(&note, "by message"));
        });
        let note = seen.clone();
        hand.cx(|cx| {
            cx.poller("registers", by, move |cx: &mut Cx<'_>| {
                cx.poller("by poller", Schedule::Always, noting(&note, "by poller"));
                Polled::Done
            })
        });
        hand.turn_at(1);
        assert!(seen.take().is_empty());
        hand.turn();
        assert_eq!(seen.take(), ["by message", "by poller"]);
    }
}

#[test]
fn s05_a_poller_registered_in_the_place_of_a_removed_one_first_runs_in_the_next_turn() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let old = hand.cx(|cx| cx.poller("old", Schedule::Always, noting(&seen, "old")));
    let note = seen.clone();
    hand.send(move |cx| {
        cx.remove(old).expect("it is registered");
        let new = cx.poller("new", Schedule::Always, noting(&note, "new"));
        assert_ne!(old, new);
        assert_eq!(cx.remove(old), Err(StalePoller));
    });
    hand.turn();
    assert!(seen.take().is_empty());
    hand.turn();
    assert_eq!(seen.take(), ["new"]);
}

#[test]
fn s05_a_period_of_zero_is_every_turn_also_while_the_clock_stands_still() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    hand.cx(|cx| cx.poller("zero", Schedule::Every(Duration::ZERO), noting(&seen, "zero")));
    let turns: Vec<_> = (0..3).map(|_| hand.turn().timers).collect();
    assert_eq!((turns, seen.take().len()), (vec![0; 3], 3));
}

#[test]
fn s05_a_paused_poller_whose_period_becomes_zero_keeps_its_place() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let [first, _] = ["first", "second"].map(|name| hand.cx(|cx| cx.poller(name, Schedule::WhenAwake, noting(&seen, name))));
    hand.cx(|cx| {
        cx.pause(first).expect("it is registered");
        cx.set_period(first, Duration::ZERO).expect("it is registered");
    });
    hand.turn();
    assert_eq!((seen.take(), hand.thread.may_park()), (vec!["second"], true));
    hand.cx(|cx| cx.resume(first)).expect("it is registered");
    hand.turn();
    assert_eq!((seen.take(), hand.thread.may_park()), (vec!["first", "second"], false));
}

#[test]
fn s05_a_poller_removed_by_another_one_in_this_turn_does_not_run_in_it() {
    for schedule in SCHEDULES {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let victim = Record::new();
        let key = victim.clone();
        hand.cx(|cx| {
            cx.poller("removes", schedule, move |cx: &mut Cx<'_>| {
                key.take().into_iter().for_each(|id: PollerId| cx.remove(id).expect("it is registered"));
                Polled::Idle
            });
            let own = NoteDrop(seen.clone(), "dropped");
            let mut run = noting(&seen, "run");
            let id = cx.poller("victim", schedule, move |cx: &mut Cx<'_>| {
                let _ = &own;
                run(cx)
            });
            cx.poller("behind", schedule, noting(&seen, "behind"));
            victim.note(id);
        });
        hand.turn_at(1);
        assert_eq!(seen.take(), ["dropped", "behind"]);
        hand.turn_at(2);
        assert_eq!(seen.take(), ["behind"]);
    }
}

#[test]
fn s05_a_poller_that_has_run_is_removed_by_one_behind_it() {
    for schedule in SCHEDULES {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let victim = hand.cx(|cx| cx.poller("victim", schedule, noting(&seen, "victim")));
        hand.cx(|cx| {
            cx.poller("removes", schedule, move |cx: &mut Cx<'_>| {
                let _ = cx.remove(victim);
                Polled::Idle
            })
        });
        hand.turns_at(1..4);
        assert_eq!(seen.take(), ["victim"]);
    }
}

#[test]
fn s05_a_poller_may_remove_itself_and_is_dropped_when_its_run_ends() {
    for schedule in SCHEDULES {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let own = Record::new();
        let (key, note) = (own.clone(), NoteDrop(seen.clone(), "dropped"));
        let id = hand.cx(|cx| {
            cx.poller("removes itself", schedule, move |cx: &mut Cx<'_>| {
                let id = key.take()[0];
                assert_eq!(cx.remove(id), Ok(()));
                assert_eq!(cx.remove(id), Err(StalePoller));
                assert_eq!(cx.pause(id), Err(StalePoller));
                assert_eq!(cx.resume(id), Err(StalePoller));
                assert_eq!(cx.set_period(id, ms(1)), Err(StalePoller));
                note.0.note("ran");
                Polled::Busy
            })
        });
        own.note(id);
        hand.turn_at(1);
        assert_eq!(seen.take(), ["ran", "dropped"]);
        assert!(hand.turn_at(2).is_idle());
        assert!(hand.thread.stats().pollers.is_empty());
        assert!(hand.thread.may_park());
        assert_eq!(hand.thread.next_deadline(), None);
    }
}

#[test]
fn s05_a_poller_that_answers_done_is_removed() {
    for schedule in SCHEDULES {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let note = NoteDrop(seen.clone(), "dropped");
        let id = hand.cx(|cx| {
            cx.poller("done", schedule, move |_: &mut Cx<'_>| {
                note.0.note("ran");
                Polled::Done
            })
        });
        assert!(!hand.turn_at(1).is_idle());
        assert_eq!(seen.take(), ["ran", "dropped"]);
        assert!(hand.turn_at(2).is_idle());
        assert_eq!(hand.cx(|cx| cx.remove(id)), Err(StalePoller));
    }
}

#[test]
fn s05_removals_keep_the_order_of_the_others() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let ids = ["a", "b", "c", "d", "e"].map(|name| hand.cx(|cx| cx.poller(name, Schedule::Always, noting(&seen, name))));
    for gone in [1, 3] {
        hand.send(move |cx| cx.remove(ids[gone]).expect("it is registered"));
    }
    hand.turn();
    assert_eq!(seen.take(), ["a", "c", "e"]);
    hand.cx(|cx| cx.remove(ids[0])).expect("it is registered");
    hand.cx(|cx| cx.poller("f", Schedule::Always, noting(&seen, "f")));
    hand.turn();
    assert_eq!(seen.take(), ["c", "e", "f"]);
}

#[test]
fn s05_a_timed_poller_resumed_before_its_deadline_keeps_it() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let id = hand.cx(|cx| cx.poller("t", Schedule::Every(ms(10)), noting(&seen, "t")));
    hand.cx(|cx| cx.pause(id)).expect("it is registered");
    hand.turn_at(9);
    hand.cx(|cx| cx.resume(id)).expect("it is registered");
    hand.turn();
    assert!(seen.take().is_empty());
    hand.turn_at(10);
    assert_eq!(seen.take(), ["t"]);
}

#[test]
fn s05_a_timed_poller_resumed_at_its_deadline_or_later_starts_a_full_period() {
    // With and without a turn between the deadline and the resumption.
    for (resumed_at, turn_between) in [(10, false), (12, false), (12, true), (500, true)] {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let id = hand.cx(|cx| cx.poller("t", Schedule::Every(ms(10)), noting(&seen, "t")));
        hand.cx(|cx| cx.pause(id)).expect("it is registered");
        if turn_between {
            hand.turn_at(11);
        }
        hand.advance_to(resumed_at);
        hand.cx(|cx| cx.resume(id)).expect("it is registered");
        assert_eq!(hand.thread.next_deadline(), Some(at(resumed_at + 10)));
        hand.turn_at(resumed_at + 9);
        assert!(seen.take().is_empty());
        hand.turn_at(resumed_at + 10);
        assert_eq!(seen.take(), ["t"]);
    }
}

#[test]
fn s05_a_paused_poller_does_not_run_in_this_turn_either() {
    for schedule in SCHEDULES {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let id = hand.cx(|cx| cx.poller("p", schedule, noting(&seen, "p")));
        hand.send(move |cx| cx.pause(id).expect("it is registered"));
        (1..5).for_each(|t| assert_eq!(hand.turn_at(t).timers, 0));
        assert!(seen.take().is_empty());
        assert!(hand.thread.may_park());
        hand.cx(|cx| cx.resume(id)).expect("it is registered");
        hand.turn_at(10);
        assert_eq!(seen.take(), ["p"]);
    }
}

#[test]
fn s05_a_poller_may_pause_itself() {
    for schedule in SCHEDULES {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let own = Record::new();
        let (key, note) = (own.clone(), seen.clone());
        let id = hand.cx(|cx| {
            cx.poller("pauses", schedule, move |cx: &mut Cx<'_>| {
                note.note("ran");
                key.take().into_iter().for_each(|id| cx.pause(id).expect("it is running"));
                Polled::Busy
            })
        });
        own.note(id);
        hand.turns_at(1..5);
        assert_eq!(seen.take(), ["ran"]);
        hand.cx(|cx| cx.resume(id)).expect("it is registered");
        hand.turn_at(5);
        hand.turn_at(6);
        assert_eq!(seen.take().last(), Some(&"ran"));
    }
}

#[test]
fn s05_pause_and_resume_twice_are_as_once() {
    for schedule in SCHEDULES {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let id = hand.cx(|cx| cx.poller("p", schedule, noting(&seen, "p")));
        let wakes = hand.thread.may_park();
        for _ in 0..2 {
            hand.cx(|cx| cx.pause(id)).expect("it is registered");
        }
        for _ in 0..2 {
            hand.cx(|cx| cx.resume(id)).expect("it is registered");
        }
        assert_eq!(hand.thread.may_park(), wakes);
        hand.turn_at(1);
        assert_eq!(seen.take(), ["p"]);
    }
}

#[test]
fn s05_a_paused_poller_takes_a_new_period_and_stays_paused() {
    for period in [Duration::ZERO, ms(2)] {
        for schedule in SCHEDULES {
            let (mut hand, seen) = (Hand::new(), Record::new());
            let id = hand.cx(|cx| cx.poller("p", schedule, noting(&seen, "p")));
            hand.cx(|cx| cx.pause(id)).expect("it is registered");
            hand.cx(|cx| cx.set_period(id, period)).expect("it is registered");
            hand.turns_at(1..9);
            assert!(seen.take().is_empty());
            assert!(hand.thread.may_park());
            assert_eq!(hand.thread.next_deadline(), None);
            hand.cx(|cx| cx.resume(id)).expect("it is registered");
            assert_eq!(hand.thread.may_park(), !period.is_zero());
            hand.turn_at(8 + period.as_millis() as u64);
            assert_eq!(seen.take(), ["p"]);
        }
    }
}

#[test]
fn s05_a_paused_poller_can_be_removed() {
    for schedule in SCHEDULES {
        for turns in [0, 3] {
            let (mut hand, seen) = (Hand::new(), Record::new());
            let id = hand.cx(|cx| cx.poller("p", schedule, noting(&seen, "p")));
            hand.cx(|cx| cx.pause(id)).expect("it is registered");
            hand.turns_at(0..turns);
            hand.cx(|cx| cx.remove(id)).expect("it is registered");
            assert_eq!(hand.cx(|cx| cx.resume(id)), Err(StalePoller));
            assert_eq!(hand.thread.next_deadline(), None);
            assert!(hand.turn_at(9).is_idle());
            assert!(seen.take().is_empty());
        }
    }
}

#[test]
fn s05_a_period_of_zero_leaves_an_active_poller_in_its_place() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let ids = ["a", "b", "c"].map(|name| hand.cx(|cx| cx.poller(name, Schedule::WhenAwake, noting(&seen, name))));
    hand.send(move |cx| cx.set_period(ids[1], Duration::ZERO).expect("it is registered"));
    hand.turn();
    assert_eq!(seen.take(), ["a", "b", "c"]);
    assert!(!hand.thread.may_park(), "a period of zero is Schedule::Always");
}
