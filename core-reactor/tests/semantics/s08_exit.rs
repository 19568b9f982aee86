//! Statement 8: exit drains; a limit ends what does not; what was left is named in the log; an
//! exited thread is gone within one turn.

use std::sync::{Mutex, Once};

use core_reactor::sim::Sim;
use core_reactor::{Cx, Polled, PushError, Schedule, ThreadConfig, ThreadLibOptions};

use crate::record::{Hand, NoteDrop, Record, at, ms};

/// What was logged by all tests of this program.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.lock().expect("nobody panics while it logs").push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

/// Starts to listen to the log.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Logger).expect("no other logger is in this program");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// The lines in which `thread` is named.
pub(crate) fn logged_about(thread: &str) -> Vec<String> {
    let lines = LOGGED.lock().expect("nobody panics while it logs");
    lines.iter().filter(|line| line.contains(thread)).cloned().collect()
}

#[test]
fn s08_an_idle_thread_is_reclaimed_within_one_turn() {
    let mut sim = Sim::new(1);
    let thread = sim.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is a reactor");
    sim.settle();
    thread.exit();
    sim.turn();
    assert_eq!((sim.reactors[0].stats().threads, sim.lib().threads().len()), (0, 0));
    assert_eq!(thread.send(|_| {}).map_err(|r| r.why), Err(PushError::Closed));
}

#[test]
fn s08_a_thread_asked_to_exit_before_it_arrived_runs_its_first_message_and_ends() {
    let (mut sim, seen) = (Sim::new(1), Record::new());
    let note = seen.clone();
    let thread = sim.lib().spawn(ThreadConfig::new("t"), move |cx| note.note(cx.is_exiting())).expect("there is a reactor");
    thread.exit();
    sim.turn();
    assert_eq!(seen.take(), [true]);
    assert_eq!(sim.lib().threads().len(), 0);
}

#[test]
fn s08_messages_are_taken_and_run_until_none_waits() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    for n in 0..20 {
        let seen = seen.clone();
        hand.send(move |cx| {
            seen.note(n);
            if n == 19 {
                cx.handle().send(move |_| seen.note(20)).expect("an exiting thread takes messages");
            }
        });
    }
    hand.thread.handle().exit();
    for (turn, exited) in [(0, false), (1, false), (2, false), (3, true)] {
        hand.turn();
        assert_eq!(hand.thread.is_exited(), exited, "turn {turn}");
    }
    assert_eq!(seen.take(), (0..=20).collect::<Vec<_>>());
    assert!(hand.turn().is_idle());
    assert!(!hand.thread.has_work());
}

#[test]
fn s08_pollers_run_on_until_they_are_done() {
    for schedule in [Schedule::Always, Schedule::WhenAwake, Schedule::Every(ms(1))] {
        let mut hand = Hand::new();
        let mut left = 3;
        hand.cx(|cx| {
            let id = cx.poller("drains", schedule, move |_: &mut Cx<'_>| {
                left -= 1;
                if left == 0 { Polled::Done } else { Polled::Busy }
            });
            cx.hold_exit(id).expect("it is registered");
        });
        hand.cx(|cx| cx.exit());
        for turn in 1..=3 {
            assert!(!hand.thread.is_exited());
            hand.turn_at(turn);
        }
        assert!(hand.thread.is_exited());
    }
}

#[test]
fn s08_a_timed_poller_does_not_hold_up_an_exit_unless_asked_to() {
    listen();
    let (mut hand, drops) = (Hand::new(), Record::new());
    let ids = [Schedule::Every(ms(3_600_000)), Schedule::Every(ms(1)), Schedule::WhenAwake].map(|schedule| {
        let note = NoteDrop(drops.clone(), schedule);
        let poller = move |_: &mut Cx<'_>| {
            let _ = &note;
            Polled::Idle
        };
        hand.cx(|cx| cx.poller("forgetful", schedule, poller))
    });
    // One is paused and one was active once: neither makes a difference.
    hand.cx(|cx| (cx.pause(ids[0]), cx.set_period(ids[2], ms(7_000)))).1.expect("it is registered");
    let held = hand.cx(|cx| cx.hold("what drains"));
    hand.thread.handle().exit();
    hand.turn_at(1);
    assert!(!hand.thread.is_exited(), "something drains, and timers run meanwhile");
    drop(held);
    hand.turn_at(2);
    assert!(hand.thread.is_exited() && drops.take().is_empty());
    drop(hand);
    assert_eq!(drops.take().len(), 3);
    assert_eq!(logged_about("forgetful"), Vec::<String>::new(), "an orderly end");
}

#[test]
fn s08_a_timed_poller_that_was_asked_to_holds_up_an_exit_until_it_is_gone() {
    for how in 0..4 {
        let mut hand = Hand::new();
        let id = hand.cx(|cx| {
            cx.poller("drains", Schedule::Every(ms(10)), |cx: &mut Cx<'_>| if cx.now() < at(30) { Polled::Busy } else { Polled::Done })
        });
        match how {
            0 => hand.cx(|cx| cx.hold_exit(id)),
            1 => hand.cx(|cx| cx.hold_exit(id).and_then(|()| cx.hold_exit(id))),
            2 => hand.cx(|cx| cx.hold_exit(id).and_then(|()| cx.set_period(id, ms(10)))),
            // Active by now, it is waited for anyway.
            _ => hand.cx(|cx| cx.set_period(id, ms(0))),
        }
        .expect("it is registered");
        hand.thread.handle().exit();
        for (ms, exited) in [(10, false), (20, false), (29, false), (30, true)] {
            hand.turn_at(ms);
            assert_eq!(hand.thread.is_exited(), exited, "{how}: at {ms} ms");
        }
    }
    let mut hand = Hand::new();
    let id = hand.cx(|cx| cx.poller("drains", Schedule::Every(ms(10)), |_: &mut Cx<'_>| Polled::Idle));
    hand.cx(|cx| cx.hold_exit(id).and_then(|()| cx.remove(id))).expect("it is registered");
    assert!(hand.cx(|cx| cx.hold_exit(id)).is_err());
    hand.thread.handle().exit();
    hand.turn();
    assert!(hand.thread.is_exited(), "removed, it holds up nothing");
    // Timers come and go in every state, and an active poller is waited for all the same.
    let mut hand = Hand::new();
    let active = hand.cx(|cx| cx.poller("active", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle));
    for state in 0..3 {
        let id = hand.cx(|cx| cx.poller("timer", Schedule::Every(ms(1)), |_: &mut Cx<'_>| Polled::Idle));
        hand.cx(|cx| match state {
            0 => Ok(()),
            1 => cx.pause(id),
            _ => cx.pause(id).and_then(|()| cx.set_period(id, ms(2))),
        })
        .expect("it is registered");
        hand.cx(|cx| cx.remove(id)).expect("it is registered");
    }
    hand.thread.handle().exit();
    hand.turn();
    assert!(!hand.thread.is_exited());
    hand.cx(|cx| cx.remove(active)).expect("it is registered");
    hand.turn();
    assert!(hand.thread.is_exited());
}

#[test]
fn s08_a_hold_keeps_a_thread_until_it_is_dropped() {
    let mut hand = Hand::new();
    let hold = hand.cx(|cx| cx.hold("group"));
    hand.thread.handle().exit();
    hand.turn_at(100);
    assert!(!hand.thread.is_exited());
    drop(hold);
    hand.turn_at(101);
    assert!(hand.thread.is_exited());
}

#[test]
fn s08_channels_are_found_by_their_type_and_keep_a_thread_until_they_are_closed() {
    let mut hand = Hand::new();
    hand.cx(|cx| {
        assert_eq!(cx.channel::<u32>(), None);
        assert_eq!((cx.open_channel(1u32), cx.open_channel("text"), cx.open_channel(2u32)), (None, None, Some(1)));
        *cx.channel::<u32>().expect("it is open") += 5;
        assert!(!cx.is_exiting());
    });
    hand.thread.handle().exit();
    hand.send(|cx| assert_eq!((cx.channel::<u32>().copied(), cx.is_exiting()), (Some(7), true)));
    hand.turn();
    hand.cx(|cx| assert_eq!((cx.close_channel::<u32>(), cx.close_channel::<u32>()), (Some(7), None)));
    hand.turn();
    assert!(!hand.thread.is_exited());
    hand.cx(|cx| assert_eq!(cx.close_channel(), Some("text")));
    hand.turn();
    assert!(hand.thread.is_exited());
}

#[test]
fn s08_a_critical_message_is_run_before_the_end() {
    fn send(cx: &mut Cx<'_>) {
        cx.handle().send(|cx| cx.handle().exit()).expect("an exiting thread takes messages");
    }
    let mut hand = Hand::new();
    hand.thread.handle().exit();
    hand.thread.handle().send_critical(send).expect("none is pending");
    hand.turn();
    assert!(!hand.thread.is_exited());
    hand.turn();
    assert!(hand.thread.is_exited());
    assert_eq!(hand.thread.stats().messages, 2);
}

#[test]
fn s08_the_limit_is_five_seconds_and_runs_from_the_turn_that_sees_the_request() {
    let mut hand = Hand::new();
    hand.cx(|cx| {
        let id = cx.poller("stays", Schedule::Every(ms(60_000)), |_: &mut Cx<'_>| Polled::Idle);
        cx.hold_exit(id).expect("it is registered");
    });
    hand.thread.handle().exit();
    hand.turn_at(100);
    assert_eq!(hand.thread.next_deadline(), Some(at(5_100)));
    hand.thread.handle().exit();
    hand.turn_at(5_099);
    assert!(!hand.thread.is_exited());
    hand.turn_at(5_100);
    assert!(hand.thread.is_exited());
    assert_eq!(hand.thread.next_deadline(), None);
}

#[test]
fn s08_force_names_what_was_left_and_drops_each_thing_once() {
    listen();
    let drops = Record::new();
    let platform = core_reactor::sim::SimPlatform::new(1);
    let options = ThreadLibOptions::default().exit_limit(ms(30));
    let lib = core_reactor::ThreadLib::new(platform.clone(), core_reactor::Platform::cores(&*platform), &options);
    let mut thread = lib.create(ThreadConfig::new("forced one"), core_reactor::CoreId(0)).expect("the machine has this core");
    let hold = thread.with(|cx| {
        for name in ["endless", "paused"] {
            let note = NoteDrop(drops.clone(), name);
            let id = cx.poller(name, Schedule::Always, move |cx: &mut Cx<'_>| {
                let note = NoteDrop(note.0.clone(), "message");
                // In every turn another nine, of which eight are run.
                let note = std::sync::Arc::new(note);
                (0..9).for_each(|_| {
                    let note = note.clone();
                    let _ = cx.handle().send(move |_| drop(note));
                });
                Polled::Busy
            });
            if name == "paused" {
                cx.pause(id).expect("it is registered");
            }
        }
        // Nobody waits for these.
        cx.poller("hourly", Schedule::Every(ms(3_600_000)), |_: &mut Cx<'_>| Polled::Idle);
        let gone = cx.poller("gone", Schedule::Always, |_: &mut Cx<'_>| Polled::Idle);
        cx.remove(gone).expect("it is registered");
        assert!(cx.open_channel(7u8).is_none());
        cx.hold("qpair 7")
    });
    thread.handle().exit();
    for t in 0..=3 {
        thread.turn(at(t * 10));
    }
    assert!(thread.is_exited());
    assert!(!drops.take().contains(&"endless"));
    let left = thread.handle().mailbox_depth();
    assert!(left > 0);
    drop(thread);
    let dropped = drops.take();
    for name in ["endless", "paused"] {
        assert_eq!(dropped.iter().filter(|d| **d == name).count(), 1);
    }
    drop(hold);
    let lines = logged_about("forced one");
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].starts_with("WARN") && lines[0].contains("30 ms") && lines[0].contains(&format!("{left} messages")), "{lines:?}");
    for (line, what) in lines[1..].iter().zip(["endless", "paused", "qpair 7", "channel u8"]) {
        assert!(line.contains(what), "{line}");
    }
}

#[test]
fn s08_an_orderly_end_logs_nothing() {
    listen();
    let mut sim = Sim::new(1);
    let thread = sim.lib().spawn(ThreadConfig::new("orderly one"), |_| {}).expect("there is a reactor");
    thread.exit();
    sim.settle();
    assert_eq!(sim.lib().threads().len(), 0);
    assert_eq!(logged_about("orderly one"), Vec::<String>::new());
}

#[test]
fn s08_a_reactor_drops_a_thread_that_was_stopped_by_force_in_the_same_turn() {
    let (mut sim, drops) = (Sim::with(1, |o| o.threads.exit_limit = ms(10)), Record::new());
    let note = NoteDrop(drops.clone(), ());
    let thread = sim
        .lib()
        .spawn(ThreadConfig::new("t"), move |cx| {
            let id = cx.poller("stays", Schedule::Every(ms(1000)), move |_: &mut Cx<'_>| {
                let _ = &note;
                Polled::Idle
            });
            cx.hold_exit(id).expect("it is registered");
        })
        .expect("there is a reactor");
    thread.exit();
    sim.settle();
    assert_eq!(sim.reactors[0].next_deadline(), Some(at(10)));
    assert_eq!(drops.take().len(), 0);
    sim.platform.advance(ms(10));
    sim.turn();
    assert_eq!(drops.take().len(), 1);
    assert_eq!((sim.reactors[0].stats().threads, sim.lib().threads().len()), (0, 0));
}
