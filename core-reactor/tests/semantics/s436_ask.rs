//! Statements 436 and 437: a question to a thread has one answer, whatever becomes of who was
//! asked; answers, and what visits have to say, are never refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use core_reactor::sim::SimPlatform;
use core_reactor::{
    CoreId, CpuSet, Cx, Gone, Idle, Msg, Platform, PushError, ReactorOptions, Reactors, Refused, Thread, ThreadConfig, ThreadHandle,
    ThreadLib, ThreadLibOptions,
};

use crate::machine::Machine;
use crate::record::{NoteDrop, Record, at, ms};

type Answers = Record<(u32, Result<String, Gone>)>;

/// Threads that the test turns itself, each of which has room for two messages and runs one in a
/// turn.
fn threads() -> [Thread; 3] {
    threads_with(1)
}

fn threads_with(batch: usize) -> [Thread; 3] {
    let platform = SimPlatform::new(1);
    let options = ThreadLibOptions::default().mailbox(2).batch(batch).exit_limit(ms(10));
    let lib = ThreadLib::new(platform.clone(), platform.cores(), &options);
    ["a", "b", "c"].map(|name| lib.create(ThreadConfig::new(name), CoreId(0)).expect("the machine has this core"))
}

fn turn(thread: &mut Thread) {
    thread.turn(at(0));
}

fn settle(threads: &mut [&mut Thread]) {
    while threads.iter().any(|thread| thread.has_work()) {
        threads.iter_mut().for_each(|thread| turn(thread));
    }
}

/// Asks a thread for its name. The answer is noted under this number.
fn ask(from: &mut Thread, to: &Thread, number: u32, answers: &Answers) -> Result<(), Refused<Msg, PushError>> {
    let (to, note) = (to.handle(), answers.clone());
    let asks = from.handle();
    from.with(|cx| {
        to.ask(
            cx,
            move |cx| cx.handle().name().to_owned(),
            // In a box, with the number and who asked.
            Box::new(move |cx: &mut Cx<'_>, answer: Result<String, Gone>| {
                assert_eq!(cx.handle(), asks);
                note.note((number, answer));
            }),
        )
    })
}

/// Fills a mailbox.
fn fill(thread: &Thread) {
    while thread.handle().send(|_| {}).is_ok() {}
}

#[test]
fn s436_a_question_is_put_to_a_thread_and_its_answer_comes_back() {
    let ([mut a, mut b, _], answers) = (threads(), Record::new());
    ask(&mut a, &b, 1, &answers).expect("there is room");
    assert!(answers.take().is_empty() && b.has_work() && !a.has_work());
    turn(&mut b);
    assert!(answers.take().is_empty() && a.has_work(), "it is told in a message");
    turn(&mut a);
    assert_eq!(answers.take(), [(1, Ok("b".into()))]);
    let itself = a.handle();
    a.with(|cx| {
        let note = answers.clone();
        let answered = move |_: &mut Cx<'_>, answer: Result<u32, Gone>| note.note((answer.expect("it is there"), Ok(String::new())));
        itself.ask(cx, |_| 5, answered)
    })
    .expect("there is room");
    settle(&mut [&mut a]);
    assert_eq!(answers.take(), [(5, Ok(String::new()))]);
}

#[test]
fn s436_the_answer_is_gone_where_the_thread_ends_first_or_has_ended() {
    let ([mut a, b, mut c], answers) = (threads(), Record::new());
    ask(&mut a, &b, 1, &answers).expect("there is room");
    ask(&mut a, &b, 2, &answers).expect("there is room");
    drop(b);
    settle(&mut [&mut a]);
    assert_eq!(answers.take(), [(1, Err(Gone)), (2, Err(Gone))]);
    c.handle().exit();
    turn(&mut c);
    let refused = ask(&mut a, &c, 3, &answers).expect_err("it has ended");
    assert_eq!(refused.why, PushError::Closed);
    assert!(!a.has_work(), "the question is here");
    drop(refused);
    settle(&mut [&mut a]);
    assert_eq!(answers.take(), [(3, Err(Gone))]);
}

#[test]
fn s436_a_question_that_was_refused_can_be_sent_again() {
    let ([mut a, mut b, _], answers) = (threads(), Record::new());
    fill(&b);
    let refused = ask(&mut a, &b, 1, &answers).expect_err("there is no room");
    assert_eq!(refused.why, PushError::Full);
    settle(&mut [&mut b]);
    b.handle().send_msg(refused.item).expect("there is room");
    settle(&mut [&mut a, &mut b]);
    assert_eq!(answers.take(), [(1, Ok("b".into()))]);
}

#[test]
fn s436_the_answer_is_gone_where_the_question_panics() {
    let ([mut a, mut b, _], answers) = (threads(), Record::new());
    let (to, note) = (b.handle(), answers.clone());
    a.with(|cx| {
        let answered = move |_: &mut Cx<'_>, answer: Result<u32, Gone>| note.note((1, answer.map(|_| String::new())));
        to.ask(cx, |_| panic!("on purpose"), answered)
    })
    .expect("there is room");
    assert!(catch_unwind(AssertUnwindSafe(|| turn(&mut b))).is_err());
    settle(&mut [&mut a, &mut b]);
    assert_eq!(answers.take(), [(1, Err(Gone))]);
}

#[test]
fn s436_an_answer_to_a_thread_that_has_ended_is_dropped_once() {
    for asked_first in [true, false] {
        let ([mut a, mut b, _], drops) = (threads(), Record::new());
        let (to, question, answer) = (b.handle(), NoteDrop(drops.clone(), "question"), NoteDrop(drops.clone(), "answer"));
        let note = NoteDrop(drops.clone(), "who waits for it");
        let answered = Box::new(move |_: &mut Cx<'_>, _: Result<NoteDrop<&'static str>, Gone>| {
            let _note = note;
            panic!("nobody is there");
        });
        let ask = Box::new(move |_: &mut Cx<'_>| {
            drop(question);
            answer
        });
        a.with(|cx| to.ask(cx, ask, answered)).expect("there is room");
        if asked_first {
            turn(&mut b);
        }
        let _known = a.handle();
        drop(a);
        settle(&mut [&mut b]);
        let mut dropped = drops.take();
        dropped.sort_unstable();
        assert_eq!(dropped, ["answer", "question", "who waits for it"]);
    }
}

#[test]
fn s437_answers_to_a_thread_without_room_wait_beside_its_mailbox_in_order() {
    let ([mut a, mut b, _], answers) = (threads(), Record::new());
    for number in 0..6 {
        ask(&mut a, &b, number, &answers).expect("there is room");
        if number == 0 {
            fill(&a);
        }
        turn(&mut b);
    }
    // One is run in a turn, and lets one in: later answers do not go past those that wait.
    turn(&mut a);
    for number in 6..9 {
        ask(&mut a, &b, number, &answers).expect("there is room");
        turn(&mut b);
        turn(&mut a);
    }
    assert!(a.has_work());
    settle(&mut [&mut a]);
    assert_eq!(answers.take(), (0..9).map(|number| (number, Ok("b".into()))).collect::<Vec<_>>());
    assert!(a.turn(at(0)).is_idle());
}

#[test]
fn s437_a_thread_does_not_end_before_what_waits_beside_its_mailbox() {
    let ([mut a, mut b, _], answers) = (threads(), Record::new());
    for number in 0..2 {
        ask(&mut a, &b, number, &answers).expect("there is room");
    }
    fill(&a);
    (0..2).for_each(|_| turn(&mut b));
    a.handle().exit();
    for turns in 0..3 {
        assert!(!a.is_exited(), "after {turns} turns");
        turn(&mut a);
    }
    assert!(!a.is_exited());
    turn(&mut a);
    assert!(a.is_exited());
    assert_eq!(answers.take().len(), 2);
}

#[test]
fn s437_a_thread_does_not_end_before_what_came_in_its_last_turn() {
    let ([mut a, ..], answers) = (threads_with(2), Record::new());
    let note = answers.clone();
    let asks = move |cx: &mut Cx<'_>| {
        let answered = move |_: &mut Cx<'_>, answer| note.note((1, answer));
        // What is being run has its place until the turn is over.
        let refused = cx.handle().ask(cx, |_| String::new(), answered).expect_err("there is no room");
        assert_eq!(refused.why, PushError::Full);
    };
    a.handle().send(asks).expect("there is room");
    fill(&a);
    a.handle().exit();
    turn(&mut a);
    assert!(!a.is_exited() && answers.take().is_empty());
    turn(&mut a);
    assert!(a.is_exited());
    assert_eq!(answers.take(), [(1, Err(Gone))]);
}

#[test]
fn s437_what_waits_beside_a_mailbox_is_dropped_with_its_thread_and_a_visit_goes_on() {
    let ([mut a, b, mut c], seen) = (threads(), Record::new());
    fill(&b);
    let (note, end) = (seen.clone(), seen.clone());
    let visit = move |cx: &mut Cx<'_>| note.note(cx.handle().name().to_owned());
    a.with(|cx| cx.for_each_thread(visit, move |_: &mut Cx<'_>| end.note("done".into())));
    turn(&mut a);
    assert_eq!(seen.take(), ["a"]);
    drop(b);
    settle(&mut [&mut a, &mut c]);
    assert_eq!(seen.take(), ["c", "done"]);
}

#[test]
fn s437_a_visit_that_found_no_room_does_not_need_the_thread_that_it_came_from() {
    let ([a, mut b, mut c], seen) = (threads(), Record::new());
    let (note, end, mut first) = (seen.clone(), seen.clone(), Some(a));
    let visit = move |cx: &mut Cx<'_>| note.note(cx.handle().name().to_owned());
    c.with(|cx| cx.for_each_thread(visit, move |_: &mut Cx<'_>| end.note("done".into())));
    fill(&b);
    first.iter_mut().for_each(turn);
    assert_eq!(seen.take(), ["a"]);
    fill(&c);
    first.take();
    settle(&mut [&mut b, &mut c]);
    assert_eq!(seen.take(), ["b", "c", "done"]);
}

#[test]
fn s436_s437_each_question_between_real_threads_is_answered() {
    /// Asks once more when an answer has come; the last answer ends it all.
    fn go(cx: &mut Cx<'_>, to: ThreadHandle, left: Arc<AtomicUsize>) {
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Err(_) => {}
            Ok(1) => cx.lib().stop(),
            Ok(_) => {
                let asked = to.clone();
                let answered = Box::new(move |cx: &mut Cx<'_>, _: Result<u32, Gone>| go(cx, to, left));
                // Where there is no room that is the answer.
                drop(asked.ask(cx, |_| 5, answered));
            }
        }
    }
    let mut options = ReactorOptions::new((0..3).map(CoreId).collect());
    (options.threads.mailbox, options.idle) = (4, Idle::ParkAfter(Duration::ZERO));
    let set = Reactors::new(Machine::new(3), &options).expect("the machine has them");
    let threads = [0, 1, 2].map(|core| {
        let config = ThreadConfig::new("t").cpus(CpuSet::of(CoreId(core)));
        set.lib().spawn(config, |_| {}).expect("there is a reactor")
    });
    let left = Arc::new(AtomicUsize::new(10_000));
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        // Seven answers for each are on their way, and there is room for four.
        let (to, left) = (threads[to].clone(), left.clone());
        threads[from].send(move |cx| (0..7).for_each(|_| go(cx, to.clone(), left.clone()))).expect("there is room");
    }
    set.run().expect("they run");
    assert_eq!(left.load(Ordering::Relaxed), 0);
}
