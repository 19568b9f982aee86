//! Statement 10: threads are placed on allowed cores in turn, and move when their cpu set changes,
//! with all they have.

use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{
    CoreId, CpuSet, Cx, MoveError, Platform, Polled, Schedule, SpawnError, ThreadConfig, ThreadHandle, ThreadLib, ThreadLibOptions,
    WaitSource,
};

use crate::record::{Record, at, ms};

fn cpus(text: &str) -> CpuSet {
    text.parse().expect("a set of cores")
}

/// A thread on these cores, and the core on which it starts.
fn spawn(sim: &mut Sim, allowed: &str) -> (ThreadHandle, u16) {
    let seen = Record::new();
    let note = seen.clone();
    let config = ThreadConfig::new("t").cpus(cpus(allowed));
    let thread = sim.lib().spawn(config, move |cx| note.note(cx.core().0)).expect("there are reactors");
    sim.settle();
    (thread, seen.take()[0])
}

/// Runs `f` on the thread, to the end.
fn on<R: Send + 'static>(sim: &mut Sim, thread: &ThreadHandle, f: impl FnOnce(&mut Cx<'_>) -> R + Send + 'static) -> R {
    let seen = Record::new();
    let note = seen.clone();
    let f = Box::new(f);
    thread.send(move |cx| note.note(f(cx))).expect("the mailbox has room");
    sim.settle();
    seen.take().remove(0)
}

fn core_of(sim: &mut Sim, thread: &ThreadHandle) -> u16 {
    on(sim, thread, |cx| cx.core().0)
}

#[test]
fn s10_threads_are_placed_in_turn() {
    let mut sim = Sim::new(3);
    let cores: Vec<u16> = (0..7).map(|_| spawn(&mut sim, "0x7").1).collect();
    assert_eq!(cores, [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(sim.reactors.iter().map(|r| r.stats().threads).collect::<Vec<_>>(), [3, 2, 2]);
}

#[test]
fn s10_threads_are_placed_on_allowed_cores_only_and_in_turn_among_them() {
    let mut sim = Sim::new(4);
    let cores: Vec<u16> = (0..5).map(|_| spawn(&mut sim, "[1,3,900]").1).collect();
    assert_eq!(cores, [1, 3, 1, 3, 1]);
}

#[test]
fn s10_placements_of_others_do_not_disturb_whose_turn_it_is() {
    let mut sim = Sim::new(3);
    let mut cores = Vec::new();
    for _ in 0..4 {
        cores.push(spawn(&mut sim, "[0-1]").1);
        assert_eq!(spawn(&mut sim, "[2]").1, 2);
    }
    assert_eq!(cores, [0, 1, 0, 1]);
}

#[test]
fn s10_the_placement_is_an_event_that_the_reactor_handles_in_its_turn() {
    let mut sim = Sim::new(2);
    let thread = sim.lib().spawn(ThreadConfig::new("t").cpus(cpus("[1]")), |_| {}).expect("there is a reactor");
    assert_eq!(sim.reactors[0].turn().events, 0);
    assert_eq!(sim.reactors[1].stats().threads, 0);
    let turn = sim.reactors[1].turn();
    assert_eq!((turn.events, turn.messages), (1, 1));
    assert_eq!(sim.reactors[1].thread_names(), ["t"]);
    assert_eq!(sim.lib().threads()[0].id(), thread.id());
}

#[test]
fn s10_no_allowed_core_with_a_reactor_is_an_error_that_names_both_sets() {
    let sim = Sim::new(2);
    let error = sim.lib().spawn(ThreadConfig::new("t").cpus(cpus("[2-5]")), |_| {}).map(|_| ());
    assert_eq!(error, Err(SpawnError::NoReactor { wanted: cpus("[2-5]"), reactors: cpus("[0-1]") }));
    let text = error.expect_err("looked at above").to_string();
    assert!(text.contains("[2-5]") && text.contains("[0-1]"), "{text}");
    assert!(sim.lib().threads().is_empty());
}

#[test]
fn s10_without_reactors_there_is_no_core_to_be_placed_on() {
    let platform = SimPlatform::new(2);
    let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default());
    let error = lib.spawn(ThreadConfig::new("t"), |_| {}).map(|_| ());
    assert_eq!(error, Err(SpawnError::NoReactor { wanted: CpuSet::ALL, reactors: CpuSet::EMPTY }));
    assert!(lib.create(ThreadConfig::new("t"), CoreId(2)).is_none());
}

#[test]
fn s10_a_thread_moves_when_its_cpu_set_leaves_its_core_and_stays_otherwise() {
    let mut sim = Sim::new(3);
    let (thread, core) = spawn(&mut sim, "[0]");
    assert_eq!(core, 0);
    on(&mut sim, &thread, |cx| cx.set_cpus(cpus("[0,2]"))).expect("there are reactors");
    assert_eq!(core_of(&mut sim, &thread), 0);
    on(&mut sim, &thread, |cx| cx.set_cpus(cpus("[2]"))).expect("there is a reactor");
    assert_eq!(core_of(&mut sim, &thread), 2);
    assert_eq!(sim.reactors.iter().map(|r| r.stats().threads).collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn s10_the_last_change_wins() {
    let mut sim = Sim::new(3);
    let (thread, _) = spawn(&mut sim, "[0]");
    let changes = |texts: &'static [&'static str]| {
        move |cx: &mut Cx<'_>| texts.iter().for_each(|t| cx.set_cpus(cpus(t)).expect("there is a reactor"))
    };
    on(&mut sim, &thread, changes(&["[1]", "[2]"]));
    assert_eq!(core_of(&mut sim, &thread), 2);
    on(&mut sim, &thread, changes(&["[1]", "[0]", "[2]"]));
    assert_eq!(core_of(&mut sim, &thread), 2);
}

#[test]
fn s10_a_change_that_waits_while_the_thread_moves_wins_over_the_one_that_moved_it() {
    let mut sim = Sim::with(3, |o| o.threads.batch = 1);
    let (thread, _) = spawn(&mut sim, "[0]");
    for text in ["[1]", "[2]"] {
        thread.send(move |cx| cx.set_cpus(cpus(text)).expect("there is a reactor")).expect("the mailbox has room");
    }
    assert_eq!(sim.turn().messages, 2, "one on core 0, one on core 1");
    assert_eq!(core_of(&mut sim, &thread), 2);
}

#[test]
fn s10_a_move_to_where_no_reactor_is_is_refused_and_changes_nothing() {
    let mut sim = Sim::new(2);
    let (thread, _) = spawn(&mut sim, "[1]");
    for wanted in [cpus("[7]"), CpuSet::EMPTY] {
        let error = on(&mut sim, &thread, move |cx| cx.set_cpus(wanted));
        assert_eq!(error, Err(MoveError::NoReactor { wanted, reactors: cpus("[0-1]") }));
    }
    assert_eq!(core_of(&mut sim, &thread), 1);
}

#[test]
fn s10_a_thread_moves_to_the_core_that_it_names() {
    let mut sim = Sim::new(4);
    let (thread, _) = spawn(&mut sim, "[0-3]");
    for core in [3, 1, 2, 2, 0, 3, 0] {
        on(&mut sim, &thread, move |cx| cx.move_to(CoreId(core))).expect("it may run there");
        assert_eq!(core_of(&mut sim, &thread), core);
    }
}

#[test]
fn s10_a_pinned_thread_moves_nowhere_and_may_stay() {
    let mut sim = Sim::new(2);
    let (thread, _) = spawn(&mut sim, "[0]");
    let moves = on(&mut sim, &thread, |cx| {
        let (hold, all) = (cx.hold("the test"), cx.set_cpus(cpus("[0-1]")));
        assert_eq!(all, Ok(()), "it may stay where it is");
        let moves = [cx.move_to(CoreId(1)), cx.move_to(CoreId(0)), cx.set_cpus(cpus("[1]"))];
        drop(hold);
        moves
    });
    let pinned = MoveError::Pinned { core: CoreId(0) };
    assert_eq!(moves, [Err(pinned), Ok(()), Err(pinned)]);
    assert_eq!(core_of(&mut sim, &thread), 0);
}

#[test]
fn s10_messages_sent_before_during_and_after_a_move_arrive_in_order() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let (thread, _) = spawn(&mut sim, "[0]");
    let mut next = 0;
    let mut send = |count: u32| {
        for n in next..next + count {
            let seen = seen.clone();
            thread.send(move |cx| seen.note((n, cx.core().0))).expect("the mailbox has room");
        }
        next += count;
    };
    send(3);
    thread.send(|cx| cx.set_cpus(cpus("[1]")).expect("there is a reactor")).expect("the mailbox has room");
    send(20);
    sim.reactors[0].turn();
    assert_eq!(sim.reactors[0].stats().threads, 0, "it is on its way");
    send(5);
    sim.reactors[1].turn();
    send(5);
    sim.settle();
    let (order, cores): (Vec<u32>, Vec<u16>) = seen.take().into_iter().unzip();
    assert_eq!(order, (0..33).collect::<Vec<_>>());
    // A batch of eight: three, the change itself, four more; the rest on the other core.
    assert_eq!((cores.iter().filter(|c| **c == 0).count(), cores.is_sorted()), (7, true));
}

#[test]
fn s10_a_critical_message_and_an_exit_reach_a_thread_on_its_way() {
    thread_local!(static SEEN: Record<u16> = Record::new());
    let mut sim = Sim::new(2);
    let (thread, _) = spawn(&mut sim, "[0]");
    thread.send(|cx| cx.set_cpus(cpus("[1]")).expect("there is a reactor")).expect("the mailbox has room");
    sim.reactors[0].turn();
    thread.send_critical(|cx| SEEN.with(|seen| seen.note(cx.core().0))).expect("none is pending");
    thread.exit();
    assert_eq!(sim.lib().threads().len(), 1);
    sim.settle();
    assert_eq!(SEEN.with(Record::take), [1]);
    assert!(sim.lib().threads().is_empty());
}

#[test]
fn s10_timers_keep_their_deadlines_and_their_order_in_a_move() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let (thread, _) = spawn(&mut sim, "[0]");
    let note = seen.clone();
    on(&mut sim, &thread, move |cx| {
        for (name, period) in [("first", 10), ("second", 4), ("third", 10)] {
            let note = note.clone();
            cx.poller(name, Schedule::Every(ms(period)), move |cx: &mut Cx<'_>| {
                note.note((name, cx.core().0, cx.now()));
                Polled::Idle
            });
        }
    });
    sim.advance(ms(3));
    on(&mut sim, &thread, |cx| cx.set_cpus(cpus("[1]"))).expect("there is a reactor");
    assert_eq!((sim.reactors[0].next_deadline(), sim.reactors[1].next_deadline()), (None, Some(at(4))));
    sim.advance(ms(1));
    sim.advance(ms(6));
    let expected = [("second", 4), ("second", 10), ("first", 10), ("third", 10)];
    let mut seen = seen.take();
    seen[1..].sort_by_key(|(name, ..)| ["second", "first", "third"].iter().position(|n| n == name));
    assert_eq!(seen, expected.map(|(name, t)| (name, 1, at(t))));
}

#[test]
fn s10_what_a_thread_has_done_moves_with_it() {
    let mut sim = Sim::new(2);
    let (thread, _) = spawn(&mut sim, "[0]");
    on(&mut sim, &thread, |cx| cx.set_cpus(cpus("[1]"))).expect("there is a reactor");
    let stats = on(&mut sim, &thread, |cx| cx.stats());
    assert_eq!((stats.messages, stats.mailbox_depth), (2, 1), "this one runs and is not told yet");
}

/// Something that keeps a thread on its core while it lives.
type Pin = fn(&mut Cx<'_>) -> Box<dyn std::any::Any>;

#[test]
fn s10_a_thread_that_holds_something_of_its_core_is_pinned_until_that_is_gone() {
    let pins: [Pin; 3] = [
        |cx| Box::new(cx.hold("group")),
        |cx| Box::new(cx.watch(WaitSource(7)).expect("the platform takes it")),
        |cx| Box::new(cx.local_poller("local", Schedule::Every(ms(1)), |_: &mut Cx<'_>| Polled::Idle)),
    ];
    thread_local!(static PIN: std::cell::RefCell<Option<Box<dyn std::any::Any>>> = const { std::cell::RefCell::new(None) });
    for pin in pins {
        let mut sim = Sim::new(2);
        let (thread, _) = spawn(&mut sim, "[0]");
        on(&mut sim, &thread, move |cx| PIN.set(Some(pin(cx))));
        let refused = on(&mut sim, &thread, |cx| cx.set_cpus(cpus("[1]")));
        assert_eq!(refused, Err(MoveError::Pinned { core: CoreId(0) }));
        assert_eq!(on(&mut sim, &thread, |cx| cx.set_cpus(cpus("[0-1]"))), Ok(()), "it may stay where it is");
        on(&mut sim, &thread, |cx| {
            let pin = PIN.take().expect("it was put there");
            if let Ok(id) = pin.downcast::<core_reactor::PollerId>() {
                cx.remove(*id).expect("it is registered");
            }
        });
        assert_eq!(sim.platform.watched(), []);
        assert_eq!(on(&mut sim, &thread, |cx| cx.set_cpus(cpus("[1]"))), Ok(()));
        assert_eq!(core_of(&mut sim, &thread), 1);
    }
}

#[test]
fn s10_a_thread_pinned_after_it_changed_its_cores_moves_when_it_is_free_again() {
    let mut sim = Sim::new(2);
    let (thread, _) = spawn(&mut sim, "[0]");
    thread_local!(static HOLD: std::cell::RefCell<Option<core_reactor::Hold>> = const { std::cell::RefCell::new(None) });
    on(&mut sim, &thread, |cx| {
        cx.set_cpus(cpus("[1]")).expect("there is a reactor");
        HOLD.set(Some(cx.hold("group")));
    });
    assert_eq!(core_of(&mut sim, &thread), 0);
    // Waiting for it is nobody's turn.
    assert_eq!((spawn(&mut sim, "[0-1]").1, spawn(&mut sim, "[0-1]").1), (1, 0));
    HOLD.take();
    assert_eq!(core_of(&mut sim, &thread), 0, "it goes after this turn");
    assert_eq!(core_of(&mut sim, &thread), 1);
}

#[test]
fn s10_a_thread_that_cannot_go_because_that_reactor_has_ended_ends_where_it_is() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let (thread, _) = spawn(&mut sim, "[0]");
    let note = seen.clone();
    on(&mut sim, &thread, move |cx| {
        let id = cx.poller("drains", Schedule::Every(ms(1)), move |cx: &mut Cx<'_>| {
            if cx.now() == at(1) {
                cx.set_cpus(cpus("[1]")).expect("there was a reactor");
                return Polled::Busy;
            }
            note.note(cx.core().0);
            if cx.now() == at(3) { Polled::Done } else { Polled::Busy }
        });
        cx.hold_exit(id).expect("it is registered");
    });
    sim.lib().stop();
    sim.settle();
    // Core 1 has nothing left to do, and ends; core 0 does not.
    assert_eq!(sim.reactors.remove(1).run().threads, 0);
    (0..3).for_each(|_| sim.advance(ms(1)));
    assert_eq!(seen.take(), [0, 0]);
    assert_eq!(sim.reactors.remove(0).run().threads, 0);
    assert!(sim.lib().threads().is_empty());
    assert_eq!(thread.send(|_| {}).map_err(|r| r.why), Err(core_reactor::PushError::Closed));
}
