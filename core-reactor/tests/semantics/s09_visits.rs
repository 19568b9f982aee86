//! Statement 9: visits of all threads and all cores, in order, with word at the end, while threads
//! come, go, are stopped by force or have no room.

use core_reactor::sim::Sim;
use core_reactor::{CoreId, CpuSet, Cx, Polled, Reactor, ReactorOptions, Schedule, ThreadConfig, ThreadHandle, Turn};

use crate::record::{Hand, Record, at, ms};

type Names = Record<String>;

fn spawn(sim: &Sim, name: &str) -> ThreadHandle {
    sim.lib().spawn(ThreadConfig::new(name), |_| {}).expect("there are reactors")
}

fn turns(reactor: &mut Reactor, count: usize) {
    for _ in 0..count {
        reactor.turn();
    }
}

/// A visit from `origin` that notes the names of threads, and "done" with the name of the thread
/// that is told.
fn visit(origin: &ThreadHandle, seen: &Names) {
    let (note, end) = (seen.clone(), seen.clone());
    origin
        .send(move |cx| {
            cx.for_each_thread(
                move |cx: &mut Cx<'_>| note.note(cx.handle().name().into()),
                move |cx: &mut Cx<'_>| end.note(format!("done on {}", cx.handle().name())),
            );
        })
        .expect("the mailbox has room");
}

#[test]
fn s09_threads_are_visited_in_order_of_creation_the_caller_included() {
    for origin in 0..4 {
        let (mut sim, seen) = (Sim::new(3), Record::new());
        let threads = ["a", "b", "c", "d"].map(|name| spawn(&sim, name));
        visit(&threads[origin], &seen);
        sim.settle();
        let done = format!("done on {}", threads[origin].name());
        assert_eq!(seen.take(), ["a", "b", "c", "d", &done]);
    }
}

#[test]
fn s09_one_thread_alone_visits_itself() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    visit(&hand.thread.handle(), &seen);
    while !hand.turn().is_idle() {}
    assert_eq!(seen.take(), ["hand", "done on hand"]);
}

#[test]
fn s09_each_thread_is_visited_on_its_own_core() {
    let (mut sim, seen) = (Sim::new(3), Record::new());
    let threads = ["a", "b", "c", "d"].map(|name| spawn(&sim, name));
    let note = seen.clone();
    threads[3]
        .send(move |cx| cx.for_each_thread(move |cx: &mut Cx<'_>| note.note(cx.core()), |_: &mut Cx<'_>| {}))
        .expect("the mailbox has room");
    sim.settle();
    assert_eq!(seen.take(), [0, 1, 2, 0].map(CoreId));
}

#[test]
fn s09_threads_that_end_meanwhile_are_passed_over_and_new_ones_are_not_visited() {
    // In a turn of all, "a" is visited on core 0, then "c" ends on core 1, then "b" is visited on
    // core 2.
    let (mut sim, seen) = (Sim::new(3), Record::new());
    let threads = [("a", 0), ("b", 2), ("c", 1), ("d", 0)].map(|(name, core)| {
        let config = ThreadConfig::new(name).cpus(CpuSet::of(CoreId(core)));
        sim.lib().spawn(config, |_| {}).expect("there are reactors")
    });
    sim.settle();
    let (note, end, gone) = (seen.clone(), seen.clone(), threads[2].clone());
    threads[1]
        .send(move |cx| {
            let each = move |cx: &mut Cx<'_>| {
                let name = cx.handle().name().to_string();
                if name == "a" {
                    gone.exit();
                    cx.lib().spawn(ThreadConfig::new("new"), |_| {}).expect("there is a reactor");
                }
                note.note(name);
            };
            cx.for_each_thread(each, move |_: &mut Cx<'_>| end.note("done".into()));
        })
        .expect("the mailbox has room");
    sim.settle();
    assert_eq!(seen.take(), ["a", "b", "d", "done"]);
    assert_eq!(sim.lib().threads().iter().map(|t| t.name().to_string()).collect::<Vec<_>>(), ["a", "b", "d", "new"]);
}

#[test]
fn s09_a_thread_that_has_ended_and_is_kept_by_its_owner_is_passed_over() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let mut others = ["b", "c"].map(|name| hand.lib.create(ThreadConfig::new(name), CoreId(0)).expect("the machine has this core"));
    others[0].handle().exit();
    others[0].turn(at(0));
    visit(&hand.thread.handle(), &seen);
    for _ in 0..4 {
        hand.turn();
        others.iter_mut().for_each(|thread| assert_eq!(thread.turn(at(0)).pollers, 0));
    }
    assert_eq!(seen.take(), ["hand", "c", "done on hand"]);
}

#[test]
fn s09_a_caller_that_ends_meanwhile_does_not_keep_the_others_from_being_visited() {
    let (mut sim, seen) = (Sim::new(1), Record::new());
    let threads = ["a", "b", "c"].map(|name| spawn(&sim, name));
    visit(&threads[0], &seen);
    threads[0].exit();
    sim.settle();
    assert_eq!(seen.take(), ["a", "b", "c"], "the word at the end finds nobody");
}

#[test]
fn s09_two_visits_at_once_each_reach_everyone() {
    let (mut sim, first, second) = (Sim::new(2), Record::new(), Record::new());
    let threads = ["a", "b", "c"].map(|name| spawn(&sim, name));
    visit(&threads[0], &first);
    visit(&threads[2], &second);
    sim.settle();
    assert_eq!(first.take(), ["a", "b", "c", "done on a"]);
    assert_eq!(second.take(), ["a", "b", "c", "done on c"]);
}

/// Registers a poller that keeps the thread from ending.
fn stay(cx: &mut Cx<'_>) {
    cx.poller("stays", Schedule::Always, |_: &mut Cx<'_>| Polled::Idle);
}

/// Fills the mailbox of a thread on core 1 until its reactor turns.
fn fill(thread: &ThreadHandle) {
    while thread.send(|_| {}).is_ok() {}
}

#[test]
fn s09_a_full_mailbox_on_the_way_is_tried_again() {
    let (mut sim, seen) = (Sim::with(2, |o| o.threads.mailbox = 16), Record::new());
    let threads = ["a", "b", "c"].map(|name| spawn(&sim, name));
    sim.settle();
    fill(&threads[1]);
    visit(&threads[0], &seen);
    turns(&mut sim.reactors[0], 5);
    assert_eq!(seen.take(), ["a"], "core 1 has not turned");
    sim.settle();
    assert_eq!(seen.take(), ["b", "c", "done on a"]);
    assert_eq!(sim.turn(), Turn::default());
}

#[test]
fn s09_a_full_mailbox_at_the_end_is_tried_again() {
    let (mut sim, seen) = (Sim::with(2, |o| o.threads.mailbox = 16), Record::new());
    let threads = ["a", "b"].map(|name| spawn(&sim, name));
    sim.settle();
    visit(&threads[1], &seen);
    sim.turn();
    fill(&threads[1]);
    sim.reactors[0].turn();
    sim.settle();
    assert_eq!(seen.take(), ["a", "b", "done on b"]);
}

#[test]
fn s09_a_thread_stopped_by_force_with_the_visit_in_its_mailbox_passes_it_on() {
    let (mut sim, seen) = (Sim::with(3, |o| o.threads.exit_limit = ms(10)), Record::new());
    let threads = ["a", "b", "c"].map(|name| spawn(&sim, name));
    sim.settle();
    // "b" is stopped in a turn whose batch ends before the visit.
    threads[1].send(stay).expect("the mailbox has room");
    threads[1].exit();
    sim.settle();
    for _ in 0..16 {
        threads[1].send(|_| {}).expect("the mailbox has room");
    }
    visit(&threads[0], &seen);
    sim.reactors[0].turn();
    sim.reactors[0].turn();
    assert_eq!(seen.take(), ["a"]);
    sim.platform.advance(ms(10));
    sim.reactors[1].turn();
    assert_eq!(sim.lib().threads().len(), 2);
    sim.settle();
    assert_eq!(seen.take(), ["c", "done on a"]);
}

#[test]
fn s09_a_forced_stop_before_a_full_mailbox_loses_neither_the_rest_nor_the_word_at_the_end() {
    let set = |o: &mut ReactorOptions| {
        o.threads.exit_limit = ms(10);
        o.threads.mailbox = 16;
    };
    // Full is the next thread; or, if "b" is the last one, the one where the visit began.
    for names in [vec!["a", "b", "c"], vec!["a", "b"]] {
        let (mut sim, seen) = (Sim::with(3, set), Record::new());
        let threads: Vec<_> = names.iter().map(|name| spawn(&sim, name)).collect();
        sim.settle();
        threads[1].send(stay).expect("the mailbox has room");
        threads[1].exit();
        sim.settle();
        for _ in 0..12 {
            threads[1].send(|_| {}).expect("the mailbox has room");
        }
        visit(&threads[0], &seen);
        sim.reactors[0].turn();
        sim.reactors[0].turn();
        assert_eq!(seen.take(), ["a"]);
        fill(&threads[if names.len() == 3 { 2 } else { 0 }]);
        sim.platform.advance(ms(10));
        sim.reactors[1].turn();
        assert_eq!(sim.lib().threads().len(), names.len() - 1);
        // It is tried again by the reactor of the thread that it is for, which nobody else has to
        // wait for.
        let last = if names.len() == 3 { "c" } else { "done on a" };
        turns(&mut sim.reactors[if names.len() == 3 { 2 } else { 0 }], 5);
        assert_eq!(seen.take(), [last]);
        sim.settle();
        let expected = if names.len() == 3 { vec!["done on a"] } else { vec![] };
        assert_eq!(seen.take(), expected);
    }
}

#[test]
fn s09_cores_are_visited_lowest_first_and_the_caller_is_told() {
    for origin in 0..3 {
        let (mut sim, seen) = (Sim::new(3), Record::new());
        let threads = ["a", "b", "c"].map(|name| spawn(&sim, name));
        let (note, end) = (seen.clone(), seen.clone());
        threads[origin]
            .send(move |cx| {
                cx.for_each_core(
                    move |reactor: &Reactor| {
                        assert_eq!(reactor.stats().core, reactor.core());
                        note.note(format!("{} has {}", reactor.core(), reactor.thread_names()[0]));
                    },
                    move |cx: &mut Cx<'_>| end.note(format!("done on {}", cx.core())),
                );
            })
            .expect("the mailbox has room");
        sim.settle();
        let done = format!("done on {origin}");
        assert_eq!(seen.take(), ["0 has a", "1 has b", "2 has c", &done]);
        assert_eq!(sim.turn(), Turn::default(), "nothing is left of it");
    }
}

#[test]
fn s09_a_visit_of_cores_where_there_are_no_reactors_is_done_at_once() {
    let (mut hand, seen) = (Hand::new(), Record::new());
    let note = seen.clone();
    hand.send(move |cx| cx.for_each_core(|_: &Reactor| panic!("there is none"), move |_: &mut Cx<'_>| note.note("done")));
    while !hand.turn().is_idle() {}
    assert_eq!(seen.take(), ["done"]);
}

/// A visit of cores from `origin` that notes their numbers, and 99 at the end.
fn visit_cores(origin: &ThreadHandle, seen: &Record<u16>) {
    let (note, end) = (seen.clone(), seen.clone());
    origin
        .send(move |cx| cx.for_each_core(move |r: &Reactor| note.note(r.core().0), move |_: &mut Cx<'_>| end.note(99)))
        .expect("the mailbox has room");
}

#[test]
fn s09_full_rings_and_a_full_mailbox_on_the_way_of_a_visit_of_cores_are_tried_again() {
    let (mut sim, seen) = (Sim::with(3, |o| o.threads.mailbox = 16), Record::new());
    let origin = spawn(&sim, "origin");
    sim.settle();
    let on_1 = || ThreadConfig::new("t").cpus(CpuSet::of(CoreId(1)));
    while sim.lib().spawn(on_1(), |cx| cx.exit()).is_ok() {}
    visit_cores(&origin, &seen);
    turns(&mut sim.reactors[0], 4);
    sim.reactors[2].turn();
    assert_eq!(seen.take(), [0], "core 1 has more events than one turn handles");
    turns(&mut sim.reactors[1], 100);
    assert!(seen.take().is_empty(), "core 0 has not handed it on");
    sim.reactors[0].turn();
    fill(&origin);
    turns(&mut sim.reactors[1], 5);
    turns(&mut sim.reactors[2], 5);
    assert_eq!(seen.take(), [1, 2], "the origin is full");
    sim.settle();
    assert_eq!(seen.take(), [99]);
}

#[test]
fn s09_a_full_ring_of_the_first_core_is_tried_again() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let origin = sim.lib().spawn(ThreadConfig::new("origin").cpus(CpuSet::of(CoreId(1))), |_| {}).expect("there is a reactor");
    sim.settle();
    while sim.lib().spawn(ThreadConfig::new("t").cpus(CpuSet::of(CoreId(0))), |cx| cx.exit()).is_ok() {}
    visit_cores(&origin, &seen);
    turns(&mut sim.reactors[1], 5);
    assert!(seen.take().is_empty());
    sim.settle();
    assert_eq!(seen.take(), [0, 1, 99]);
}

#[test]
fn s09_a_visit_of_cores_goes_on_without_a_reactor_that_has_ended() {
    // The visit waits for the reactor, or finds it gone; the reactor is the first, one in the
    // middle or the last.
    for gone in 0..3 {
        for waits in [true, false] {
            let (mut sim, seen) = (Sim::new(4), Record::new());
            let origin = sim.lib().spawn(ThreadConfig::new("origin").cpus(CpuSet::of(CoreId(3))), |_| {}).expect("there is a reactor");
            sim.settle();
            let mut reactors: Vec<Option<_>> = sim.reactors.drain(..).map(Some).collect();
            if waits {
                visit_cores(&origin, &seen);
                reactors[3].iter_mut().for_each(|r| turns(r, 2));
                reactors[..gone].iter_mut().flatten().for_each(|r| turns(r, 1));
            }
            reactors[gone] = None;
            if !waits {
                visit_cores(&origin, &seen);
            }
            for _ in 0..20 {
                reactors.iter_mut().flatten().for_each(|r| turns(r, 1));
            }
            let others: Vec<u16> = (0..4).filter(|core| usize::from(*core) != gone).chain([99]).collect();
            assert_eq!(seen.take(), others, "without {gone}, waits: {waits}");
        }
    }
}

#[test]
fn s09_a_visit_does_not_keep_a_thread_that_exits_from_ending() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let threads = ["a", "b"].map(|name| spawn(&sim, name));
    visit(&threads[0], &seen);
    visit_cores(&threads[1], &Record::new());
    sim.lib().stop();
    sim.settle();
    assert_eq!(sim.lib().threads().len(), 0);
    assert!(sim.reactors.iter().all(|r| r.next_deadline().is_none_or(|d| d > at(0))));
}

/// As many threads as end in one turn of a large reactor. Each is passed over, without stack for
/// each.
#[test]
fn s09_a_visit_passes_over_any_number_of_threads_that_have_ended() {
    const COUNT: usize = 20_000;
    let platform = core_reactor::sim::SimPlatform::new(1);
    let options = core_reactor::ThreadLibOptions::default().mailbox(2);
    let lib = core_reactor::ThreadLib::new(platform.clone(), core_reactor::Platform::cores(&*platform), &options);
    let create = |name| lib.create(ThreadConfig::new(name), core_reactor::CoreId(0)).expect("the machine has this core");
    let mut first = create("first");
    let mut ended: Vec<_> = (0..COUNT).map(|_| create("ended")).collect();
    let mut last = create("last");
    for thread in &mut ended {
        thread.handle().exit();
        let _ = thread.turn(at(0));
        assert!(thread.is_exited());
    }
    let seen = Record::new();
    visit(&first.handle(), &seen);
    for _ in 0..3 {
        let _ = (first.turn(at(0)), last.turn(at(0)));
    }
    assert_eq!(seen.take(), ["first", "last", "done on first"]);
    // Thousands that go, in any order, leave the others there in order.
    let (odd, even): (Vec<_>, Vec<_>) = ended.into_iter().enumerate().partition(|(n, _)| n % 2 == 1);
    drop(odd);
    let names = || lib.threads().iter().map(|thread| thread.name().to_string()).collect::<Vec<_>>();
    assert_eq!(names().len(), COUNT / 2 + 2);
    assert!(lib.threads().is_sorted_by_key(core_reactor::ThreadHandle::id));
    drop(even);
    assert_eq!(names(), ["first", "last"]);
    visit(&last.handle(), &seen);
    for _ in 0..3 {
        let _ = (first.turn(at(0)), last.turn(at(0)));
    }
    assert_eq!(seen.take(), ["first", "last", "done on last"]);
}
