//! What goes wrong in user code stays there: panics and leaks leave everything usable, and each
//! thing is dropped exactly once.

use std::panic::{AssertUnwindSafe, catch_unwind};

use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{CoreId, CpuSet, Cx, MoveError, Polled, Reactor, Ring, Schedule, ThreadConfig, ThreadLibOptions, WaitSource};

use crate::platforms::Panicking;
use crate::record::{Hand, NoteDrop, Record, at, ms};

/// Notes that it is dropped, and panics in the middle of it.
struct PanicDrop {
    _note: NoteDrop<u32>,
}

impl Drop for PanicDrop {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

fn panics<R>(f: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "it panics on purpose");
}

#[test]
fn a_panic_in_a_message_drops_it_once_and_the_others_run_in_the_next_turn() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    for n in 0..5 {
        let note = NoteDrop(seen.clone(), n);
        hand.send(move |_| {
            let _note = note;
            assert_ne!(n, 2, "on purpose");
        });
    }
    panics(|| hand.turn());
    assert_eq!(seen.take(), [0, 1, 2]);
    assert_eq!(hand.turn().messages, 2);
    assert_eq!(seen.take(), [3, 4]);
}

#[test]
fn a_poller_that_panics_is_removed_and_the_others_go_on() {
    for schedule in [Schedule::Always, Schedule::WhenAwake, Schedule::Every(ms(1))] {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let ids = [0, 1, 2].map(|n| {
            let note = NoteDrop(seen.clone(), 10 + n);
            hand.cx(|cx| {
                cx.local_poller("p", schedule, move |_: &mut Cx<'_>| {
                    note.0.note(n);
                    assert_ne!(n, 1, "on purpose");
                    Polled::Idle
                })
            })
        });
        panics(|| hand.turn_at(1));
        assert_eq!(seen.take(), [0, 1, 11]);
        assert!(hand.cx(|cx| cx.remove(ids[1])).is_err());
        hand.turn_at(2);
        let mut rest = seen.take();
        rest.sort_unstable();
        assert_eq!(rest, [0, 2]);
        assert_eq!(hand.thread.stats().pollers.len(), 2);
        for id in [ids[0], ids[2]] {
            hand.cx(|cx| cx.remove(id)).expect("it is registered");
        }
        assert!(hand.thread.may_park() && hand.thread.next_deadline().is_none());
        hand.thread.handle().exit();
        hand.turn();
        assert!(hand.thread.is_exited(), "nothing of it keeps the thread from ending");
    }
}

#[test]
fn a_poller_that_removes_itself_or_changes_and_then_panics_is_gone() {
    for change in 0..3 {
        let (mut hand, own) = (Hand::new(), Record::new());
        let key = own.clone();
        let id = hand.cx(|cx| {
            cx.poller("p", Schedule::Every(ms(1)), move |cx: &mut Cx<'_>| {
                let id = key.take()[0];
                match change {
                    0 => cx.remove(id),
                    1 => cx.pause(id),
                    _ => cx.set_period(id, std::time::Duration::ZERO),
                }
                .expect("it is running");
                panic!("on purpose");
            })
        });
        own.note(id);
        panics(|| hand.turn_at(1));
        assert!(hand.thread.stats().pollers.is_empty() && hand.thread.may_park());
        assert_eq!((hand.thread.next_deadline(), hand.turn_at(9).is_idle()), (None, true));
    }
}

#[test]
fn a_panic_in_a_critical_message_leaves_room_for_the_next_one() {
    let mut hand = Hand::new();
    hand.thread.handle().send_critical(|_| panic!("on purpose")).expect("none is pending");
    panics(|| hand.turn());
    hand.thread.handle().send_critical(|_| {}).expect("it was taken");
    assert_eq!(hand.turn().messages, 1);
}

#[test]
fn a_reactor_goes_on_after_a_panic_in_a_thread_of_it() {
    let (mut sim, seen) = (Sim::new(1), Record::new());
    let threads = [0, 1, 2].map(|n| {
        let seen = seen.clone();
        let start = move |_: &mut Cx<'_>| {
            seen.note(n);
            assert_ne!(n, 1, "on purpose");
        };
        sim.lib().spawn(ThreadConfig::new("t"), start).expect("there is a reactor")
    });
    panics(|| sim.turn());
    sim.settle();
    assert_eq!(seen.take(), [0, 1, 2]);
    threads.iter().for_each(|thread| thread.exit());
    sim.settle();
    assert!(sim.lib().threads().is_empty());
}

#[test]
fn a_panic_in_a_visit_does_not_keep_the_others_from_being_visited() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let threads = ["a", "b", "c"].map(|name| sim.lib().spawn(ThreadConfig::new(name), |_| {}).expect("there are reactors"));
    sim.settle();
    let (note, end) = (seen.clone(), seen.clone());
    let each = move |cx: &mut Cx<'_>| {
        note.note(cx.handle().name().to_string());
        assert_ne!(cx.handle().name(), "b", "on purpose");
    };
    threads[0].send(move |cx| cx.for_each_thread(each, move |_: &mut Cx<'_>| end.note("done".into()))).expect("the mailbox has room");
    panics(|| sim.settle());
    sim.settle();
    assert_eq!(seen.take(), ["a", "b", "c", "done"]);
    let (note, end) = (seen.clone(), seen.clone());
    let each = move |reactor: &Reactor| {
        note.note(reactor.core().to_string());
        assert_ne!(reactor.core(), CoreId(0), "on purpose");
    };
    threads[0].send(move |cx| cx.for_each_core(each, move |_: &mut Cx<'_>| end.note("done".into()))).expect("the mailbox has room");
    panics(|| sim.settle());
    sim.settle();
    assert_eq!(seen.take(), ["0", "1", "done"]);
}

#[test]
fn a_thread_dropped_with_messages_and_pollers_drops_each_once() {
    for turns in 0..4 {
        let (mut hand, seen) = (Hand::with(&ThreadLibOptions::default().mailbox(16)), Record::new());
        for n in 0..16 {
            let note = NoteDrop(seen.clone(), n);
            hand.send(move |_| drop(note));
        }
        hand.turns_at([0; 4].into_iter().take(turns));
        for n in 16..20 {
            let note = NoteDrop(seen.clone(), n);
            let _ = hand.thread.handle().send(move |_| drop(note));
            let note = NoteDrop(seen.clone(), n + 10);
            hand.cx(|cx| {
                cx.poller("p", Schedule::Always, move |_: &mut Cx<'_>| {
                    let _ = &note;
                    Polled::Idle
                })
            });
        }
        let handle = hand.thread.handle();
        drop(hand);
        let mut dropped = seen.take();
        dropped.sort_unstable();
        assert_eq!(dropped, (0..20).chain(26..30).collect::<Vec<_>>(), "after {turns} turns");
        drop(handle);
        assert!(seen.take().is_empty());
    }
}

#[test]
fn a_panic_in_the_drop_of_a_message_that_waits_keeps_none_from_being_dropped_once() {
    for panicking in 0..5 {
        let (hand, seen) = (Hand::new(), Record::new());
        for n in 0..5 {
            let note = NoteDrop(seen.clone(), n);
            if n == panicking {
                let note = PanicDrop { _note: note };
                hand.send(move |_| drop(note));
            } else {
                hand.send(move |_| drop(note));
            }
        }
        panics(|| drop(hand));
        assert_eq!(seen.take(), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn a_panic_in_the_drop_of_a_poller_leaves_the_thread_usable() {
    for done in [true, false] {
        let (mut hand, seen) = (Hand::new(), Record::new());
        let note = PanicDrop { _note: NoteDrop(seen.clone(), 1) };
        let id = hand.cx(|cx| {
            cx.poller("p", Schedule::Always, move |_: &mut Cx<'_>| {
                let _ = &note;
                if done { Polled::Done } else { Polled::Idle }
            })
        });
        if !done {
            hand.send(move |cx| cx.remove(id).expect("it is registered"));
        }
        panics(|| hand.turn());
        assert_eq!(seen.take(), [1]);
        assert!(hand.turn().is_idle() && hand.thread.stats().pollers.is_empty());
        hand.thread.handle().exit();
        hand.turn();
        assert!(hand.thread.is_exited());
    }
}

#[test]
fn a_reactor_dropped_with_events_and_threads_waiting_drops_each_once() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    for n in 0..20 {
        let note = NoteDrop(seen.clone(), n);
        sim.lib().spawn(ThreadConfig::new("t"), move |_| drop(note)).expect("there is room");
    }
    sim.reactors[0].turn();
    assert_eq!(seen.take().len(), 8);
    sim.reactors.clear();
    assert_eq!(seen.take().len(), 12);
    assert!(sim.lib().threads().is_empty());
}

#[test]
fn a_receiver_dropped_with_items_waiting_drops_each_once_wherever_its_positions_are() {
    for before in 0..9 {
        let (seen, (ring, mut receiver)) = (Record::new(), Ring::new(4));
        for n in 0..before {
            ring.push(NoteDrop(Record::new(), n)).map_err(|r| r.why).expect("there is room");
            drop(receiver.pop());
            receiver.publish(1, 1);
        }
        for n in 0..4 {
            ring.push(NoteDrop(seen.clone(), n)).map_err(|r| r.why).expect("there is room");
        }
        // Taken and not told.
        drop(receiver.pop());
        drop(receiver);
        assert_eq!(seen.take(), [0, 1, 2, 3]);
        drop(ring);
        assert!(seen.take().is_empty());
    }
}

#[test]
#[allow(clippy::mem_forget, reason = "what a leak does is the question")]
fn leaked_holds_and_watches_pin_a_thread_and_do_no_other_harm() {
    let mut sim = Sim::with(2, |o| o.threads.exit_limit = ms(10));
    let start = |cx: &mut Cx<'_>| {
        std::mem::forget(cx.hold("leaked"));
        std::mem::forget(cx.watch(WaitSource(3)).expect("the platform takes it"));
        assert_eq!(cx.set_cpus(CpuSet::of(CoreId(1))), Err(MoveError::Pinned { core: CoreId(0) }));
    };
    let thread = sim.lib().spawn(ThreadConfig::new("t").cpus(CpuSet::of(CoreId(0))), start).expect("there is a reactor");
    sim.settle();
    thread.exit();
    sim.settle();
    assert_eq!(sim.lib().threads().len(), 1);
    assert_eq!(sim.reactors[0].next_deadline(), Some(at(10)));
    sim.advance(ms(10));
    assert!(sim.lib().threads().is_empty());
}

#[test]
#[allow(clippy::mem_forget, reason = "what a leak does is the question")]
fn a_leaked_receiver_leaves_a_ring_that_fills_up() {
    let (seen, (ring, receiver)) = (Record::new(), Ring::new(2));
    std::mem::forget(receiver);
    for n in 0..2 {
        ring.push(NoteDrop(seen.clone(), n)).map_err(|r| r.why).expect("there is room");
    }
    drop(ring.push(NoteDrop(seen.clone(), 2)));
    drop(ring);
    assert_eq!(seen.take(), [2], "the others are leaked with the receiver");
}

#[test]
fn two_watches_of_one_source_are_two() {
    let mut hand = Hand::new();
    let [first, second] = [(); 2].map(|()| hand.cx(|cx| cx.watch(WaitSource(5))).expect("the platform takes it"));
    drop(first);
    assert_eq!(hand.platform.watched(), [(CoreId(0), WaitSource(5))]);
    drop(second);
    assert_eq!(hand.platform.watched(), []);
}

#[test]
fn a_panic_in_the_drop_of_a_thread_that_has_ended_leaves_the_others_to_the_next_turn() {
    let (mut sim, drops) = (Sim::new(1), Record::new());
    for n in 0..4 {
        let note = NoteDrop(drops.clone(), n);
        let start = move |cx: &mut Cx<'_>| {
            // A timer ends with its thread.
            if n % 2 == 1 {
                let note = PanicDrop { _note: note };
                cx.poller(
                    "p",
                    Schedule::Every(ms(1)),
                    move |_: &mut Cx<'_>| if std::ptr::addr_eq(&note, &n) { Polled::Busy } else { Polled::Idle },
                );
            } else {
                cx.poller(
                    "p",
                    Schedule::Every(ms(1)),
                    move |_: &mut Cx<'_>| if std::ptr::addr_eq(&note, &n) { Polled::Busy } else { Polled::Idle },
                );
            }
        };
        sim.lib().spawn(ThreadConfig::new("t"), start).expect("there is a reactor");
    }
    sim.settle();
    sim.lib().stop();
    panics(|| sim.turn());
    assert_eq!(drops.take(), [0, 1]);
    assert_eq!(sim.reactors[0].stats().threads, 2);
    panics(|| sim.turn());
    assert_eq!(drops.take(), [2, 3]);
    assert!(sim.lib().threads().is_empty());
}

#[test]
fn a_watch_whose_platform_panics_at_its_end_holds_nothing_any_more() {
    let platform = Panicking::over(SimPlatform::new(1));
    let lib = core_reactor::ThreadLib::new(platform.clone(), CpuSet::of(CoreId(0)), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("t"), CoreId(0)).expect("the machine has this core");
    let watch = thread.with(|cx| cx.watch(WaitSource(5))).expect("the platform takes it");
    thread.handle().exit();
    platform.arm("unwatch", 0);
    panics(|| drop(watch));
    thread.turn(at(0));
    assert!(thread.is_exited());
}
