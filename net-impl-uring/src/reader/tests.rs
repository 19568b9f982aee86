//! What a reader asks for, step by step.

use core_reactor::net::SockOptions;
use net_sockets::Kind;
use pool::BufGroup;

use super::*;

fn reader() -> Reader {
    Reader::new(&Kind::Stream, &Kept::of(&SockOptions::default()), VecDeque::new())
}

const RECEIVE: Step = Step::Start(Request::Receive { wait: false });
const WAIT_AND_RECEIVE: Step = Step::Start(Request::Receive { wait: true });

#[test]
fn s17_what_is_read_by_calls_is_asked_for_again_when_there_is_no_more() {
    let mut reader = reader();
    assert_eq!(reader.step(true, false), WAIT_AND_RECEIVE, "nothing is there yet");
    assert_eq!(reader.step(true, false), Step::Nothing);
    reader.end();
    assert_eq!(reader.step(true, false), RECEIVE, "its buffer was full, or the kernel's were out");
    reader.end();
    reader.go_direct();
    assert!(reader.is_direct() && reader.step(true, false) == Step::Nothing);
    assert!(!reader.read_short(), "there is no more");
    assert_eq!(reader.step(true, false), WAIT_AND_RECEIVE);
    // Down to the end a short read says nothing.
    reader.end();
    reader.drain();
    assert!(reader.read_short() && reader.is_direct());
    reader.read_end();
    reader.go_direct();
    assert!(!reader.is_direct() && reader.step(true, false) == Step::Nothing, "nothing more comes");
}

#[test]
fn s73_while_buffers_are_low_it_is_only_told_that_there_is_something() {
    let mut reader = reader();
    assert_eq!(reader.step(true, true), Step::Start(Request::Readable));
    assert_eq!(reader.step(true, false), Step::Nothing, "that tells soon enough");
    reader.end();
    assert_eq!(reader.step(true, false), RECEIVE);
    assert_eq!([(); 2].map(|()| reader.step(true, true)), [Step::Stop(Op::Recv), Step::Nothing], "it is given up once");
    reader.end();
    reader.wait_for_room();
    assert!(reader.waits_for_room());
    assert_eq!(reader.step(true, true), Step::Start(Request::Writable));
    reader.end();
    reader.go_direct();
    assert!(!reader.waits_for_room());
}

#[test]
fn s17_while_something_is_kept_nothing_is_asked_for() {
    let bufs = BufGroup::new(2, 8);
    let mut reader = reader();
    let keep = |reader: &mut Reader| reader.keep(bufs.get().expect("a buffer"));
    assert!(!keep(&mut reader), "the first");
    assert!(keep(&mut reader) && reader.step(true, false) == Step::Nothing);
    let next = |reader: &mut Reader| reader.next().map(|(_, more)| more);
    assert_eq!([(); 3].map(|()| next(&mut reader)), [Some(true), Some(false), None]);
    assert_eq!(reader.step(true, false), WAIT_AND_RECEIVE);
    reader.end();
    reader.go_direct();
    keep(&mut reader);
    assert_eq!(next(&mut reader), Some(true), "calls may find more");
}

#[test]
fn s61_what_the_machine_is_short_of_is_asked_for_again_when_it_is_tried() {
    let mut reader = reader();
    reader.fall_short();
    assert_eq!(reader.step(true, false), Step::Nothing);
    reader.retry();
    assert_eq!(reader.step(true, false), WAIT_AND_RECEIVE);
    reader.end();
    reader.go_direct();
    reader.retry();
    assert!(reader.is_direct(), "it was short of nothing");
}
