//! A ring as its members use it.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU8;

use core_reactor::Bell;
use core_uring::io_uring::squeue::Flags;
use core_uring::io_uring::{opcode, types};
use core_uring::{BufRing, Completion, Inbox, Io, Key, Member, Ring, RingError, Sizes};
use pool::{BufGroup, Class};

/// The fewest entries that the kernel makes.
const TINY: Sizes = Sizes { submissions: 2, completions: 4 };

const NOP: u8 = 1;
const READABLE: u8 = 2;
const RECEIVE: u8 = 3;

fn nop(io: &mut Io, member: Member, number: u64) {
    // SAFETY: names no memory.
    unsafe { io.push(Key::new(member, NOP, number), opcode::Nop::new().build()) };
}

fn readable(io: &mut Io, key: Key, of: &UnixStream) {
    let entry = opcode::PollAdd::new(types::Fd(of.as_raw_fd()), libc::POLLIN as u32).build();
    // SAFETY: names no memory.
    unsafe { io.push(key, entry) };
}

/// What a member hears in one poll.
fn poll(io: &mut Io, member: Member, inbox: &mut Inbox) -> Vec<Completion> {
    if io.wants_entry() {
        io.enter(member);
    }
    let mut heard = Vec::new();
    while inbox.refill(io, 3) {
        heard.extend(std::iter::from_fn(|| inbox.next()));
    }
    heard
}

fn numbers(heard: &[Completion]) -> Vec<u64> {
    heard.iter().map(|completion| completion.key.number()).collect()
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("two descriptors")
}

#[test]
fn more_requests_than_there_is_room_for_all_complete_in_their_order() {
    for others in [0, 1] {
        let ring = Ring::new(TINY).expect("a ring");
        let io = &mut *ring.io();
        let member = io.join(0).expect("the first");
        // With others the way of a completion is another one.
        (0..others).for_each(|_| _ = io.join(0).expect("room"));
        let mut inbox = Inbox::new(member);
        (0..100).for_each(|n| nop(io, member, n));
        // In one poll, though the kernel keeps those that find no room.
        let heard = poll(io, member, &mut inbox);
        assert!(heard.iter().all(|completion| (completion.key.op(), completion.result()) == (NOP, 0) && completion.is_plain()));
        assert_eq!((numbers(&heard), io.waiting()), ((0..100).collect(), 0));
        assert!(poll(io, member, &mut inbox).is_empty());
    }
}

#[test]
fn each_member_hears_of_its_own_requests_in_their_order_and_none_sleeps_on_the_others() {
    let ring = Ring::new(Sizes::USUAL).expect("a ring");
    let [one, other] = std::array::from_fn(|_| ring.io().join(8).expect("room"));
    let [mut of_one, mut of_other] = [one, other].map(Inbox::new);
    assert_ne!(one, other);
    for n in 0..6 {
        nop(&mut ring.io(), if n % 2 == 0 { one } else { other }, n);
    }
    assert_eq!(numbers(&poll(&mut ring.io(), one, &mut of_one)), [0, 2, 4]);
    assert!(!ring.arm(), "something was put by for the other");
    ring.disarm();
    assert_eq!(numbers(&poll(&mut ring.io(), other, &mut of_other)), [1, 3, 5]);
    ring.io().set_restless(one, true);
    assert!(!ring.arm(), "it has something to tell");
    ring.disarm();
    ring.io().set_restless(one, false);
    assert!(ring.arm());
    ring.disarm();
}

#[test]
fn what_comes_for_a_member_that_is_gone_is_heard_by_nobody_and_its_name_is_given_again() {
    let ring = Ring::new(Sizes::USUAL).expect("a ring");
    let io = &mut *ring.io();
    let (gone, stays) = (io.join(1).expect("the first"), io.join(1).expect("the second"));
    nop(io, gone, 1);
    io.submit();
    io.leave(gone);
    assert!(poll(io, stays, &mut Inbox::new(stays)).is_empty());
    assert_eq!(io.join(1), Ok(gone));
    while io.join(0).is_ok() {}
    assert_eq!(io.join(0), Err(RingError::Members));
    io.leave(stays);
    assert_eq!(io.join(0), Ok(stays));
}

#[test]
fn a_request_that_is_given_up_completes_and_its_cancellation_does_not() {
    let ring = Ring::new(Sizes::USUAL).expect("a ring");
    let io = &mut *ring.io();
    let member = io.join(1).expect("the first");
    let mut inbox = Inbox::new(member);
    let (near, _far) = pair();
    let key = Key::new(member, READABLE, 7);
    readable(io, key, &near);
    assert!(poll(io, member, &mut inbox).is_empty());
    io.cancel(key);
    let heard = std::iter::repeat_with(|| poll(io, member, &mut inbox)).find(|heard| !heard.is_empty());
    let [last] = heard.expect("it does not end")[..] else { panic!("of the request only") };
    assert_eq!((last.key, last.result()), (key, -libc::ECANCELED));
    io.enter_for_events();
    assert!(poll(io, member, &mut inbox).is_empty());
}

/// Whether an eventfd has been told something, or is within so many milliseconds: a kernel may tell
/// it from elsewhere, and later.
fn is_told(bell: &OwnedFd, within: i32) -> bool {
    let mut told = libc::pollfd { fd: bell.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: it reads and writes the one that it is given.
    unsafe { libc::poll(&raw mut told, 1, within) == 1 }
}

#[test]
fn the_bell_tells_of_news_while_it_is_armed() {
    let ring = Ring::new(Sizes::USUAL).expect("a ring");
    let bell = ring.bell().expect("a descriptor");
    let member = ring.io().join(1).expect("the first");
    let mut inbox = Inbox::new(member);
    let (near, mut far) = pair();
    readable(&mut ring.io(), Key::new(member, READABLE, 1), &near);
    assert!(ring.arm(), "it is waited for, and has not come");
    assert!(!is_told(&bell, 0));
    far.write_all(b"news").expect("room");
    assert!(is_told(&bell, 30_000));
    ring.disarm();
    assert!(!is_told(&bell, 0), "what it told is over");
    assert_eq!(numbers(&poll(&mut ring.io(), member, &mut inbox)), [1]);
    readable(&mut ring.io(), Key::new(member, READABLE, 3), &near);
    assert!(!ring.arm(), "it is so already");
    ring.disarm();
    assert_eq!(numbers(&poll(&mut ring.io(), member, &mut inbox)), [3]);
}

#[test]
fn a_bell_that_is_not_armed_tells_nothing() {
    static TIME: types::Timespec = types::Timespec::new().nsec(1);
    let ring = Ring::new(Sizes::USUAL).expect("a ring");
    let bell = ring.bell().expect("a descriptor");
    let member = ring.io().join(1).expect("the first");
    let mut inbox = Inbox::new(member);
    ring.io().timer(Key::new(member, READABLE, 2), &TIME);
    ring.io().submit();
    let heard = std::iter::repeat_with(|| poll(&mut ring.io(), member, &mut inbox)).find(|heard| !heard.is_empty());
    assert_eq!(heard.map(|heard| heard[0].result()), Some(-libc::ETIME));
    assert!(!is_told(&bell, 0));
}

/// An entry runs a part of what there is to run, and that may come to nothing. A core does not
/// sleep over the rest.
#[test]
fn s13_what_an_entry_has_left_to_run_keeps_a_core_awake() {
    static BYTES: [AtomicU8; 100] = [const { AtomicU8::new(0) }; 100];
    let ring = Ring::new(Sizes::USUAL).expect("a ring");
    let member = ring.io().join(1).expect("the first");
    let mut inbox = Inbox::new(member);
    let mut pairs = BYTES.each_ref().map(|_| pair());
    for (n, (near, _)) in pairs.iter().enumerate() {
        let entry = opcode::Recv::new(types::Fd(near.as_raw_fd()), BYTES[n].as_ptr(), 1).build();
        // SAFETY: the byte lives for ever.
        unsafe { ring.io().push(Key::new(member, RECEIVE, n as u64), entry) };
    }
    assert!(poll(&mut ring.io(), member, &mut inbox).is_empty(), "all wait for a byte");
    pairs.iter_mut().for_each(|(_, far)| far.write_all(b"x").expect("room"));
    // Somebody else takes them, so that there is nothing for any but the last.
    pairs[..99].iter_mut().for_each(|(near, _)| near.read_exact(&mut [0]).expect("it has come"));
    assert!(!ring.arm(), "nobody would be told of what came last");
    ring.disarm();
    let heard = std::iter::repeat_with(|| poll(&mut ring.io(), member, &mut inbox)).find(|heard| !heard.is_empty());
    assert_eq!(heard.map(|heard| numbers(&heard)), Some(vec![99]));
}

#[test]
fn a_ring_is_shared_by_those_who_ask_for_its_sizes_and_goes_with_the_last() {
    let ring = Ring::here(Sizes::USUAL).expect("a ring");
    let again = Ring::here(Sizes::USUAL).expect("the same");
    assert!(std::rc::Rc::ptr_eq(&ring, &again));
    assert!(!std::rc::Rc::ptr_eq(&ring, &Ring::here(TINY).expect("another")));
    let there = std::rc::Rc::downgrade(&ring);
    drop((ring, again));
    assert!(there.upgrade().is_none());
}

/// What is received into buffers that lie ready, again and again.
fn receive(io: &mut Io, key: Key, fd: &UnixStream, ready: &BufRing) {
    let entry = opcode::RecvMulti::new(types::Fd(fd.as_raw_fd()), ready.group()).build();
    // SAFETY: the memory is the buffer ring's.
    unsafe { io.push(key, entry.flags(Flags::BUFFER_SELECT)) };
}

#[test]
fn bytes_come_in_the_buffers_that_lay_ready_and_what_lies_there_comes_back() {
    let ring = Ring::new(Sizes::USUAL).expect("a ring");
    let io = &mut *ring.io();
    let member = io.join(4).expect("the first");
    let mut inbox = Inbox::new(member);
    let mut ready = BufRing::open(io, member, 4).expect("a ring of buffers");
    assert!(BufRing::open(io, member, 4).is_err(), "a member has one");
    let bufs = BufGroup::new(8, 64);
    let free = || bufs.available(Class::Small);
    let (near, mut far) = pair();
    let key = Key::new(member, RECEIVE, 0);
    // The numbers of buffers are used again, and the kernel's own count of entries goes on.
    for round in 0..3 {
        ready.provide(io, std::iter::from_fn(|| bufs.get()));
        // The fifth found no room, and is free again.
        assert_eq!((ready.lying(), free()), (4, 4));
        receive(io, key, &near, &ready);
        for word in ["one", "two"] {
            far.write_all(word.as_bytes()).expect("room");
            let heard = std::iter::repeat_with(|| poll(io, member, &mut inbox)).find(|heard| !heard.is_empty());
            let [completion] = heard.expect("it comes")[..] else { panic!("one completion") };
            assert!(completion.more());
            let number = completion.buffer().expect("into a buffer");
            // SAFETY: a completion has told so, once.
            let buf = unsafe { ready.take(number, completion.result() as usize) };
            assert_eq!(buf.as_deref(), Some(word.as_bytes()), "round {round}");
        }
        assert_eq!((ready.lying(), free()), (2, 6));
        io.cancel(key);
        let heard = std::iter::repeat_with(|| poll(io, member, &mut inbox)).find(|heard| !heard.is_empty());
        assert_eq!(heard.map(|heard| heard[0].result()), Some(-libc::ECANCELED));
        // SAFETY: nothing receives any more, and its completions were handled.
        unsafe { ready.renew(io) };
        assert_eq!((ready.lying(), free()), (0, 8));
    }
    ready.provide(io, bufs.get().into_iter());
    // SAFETY: nothing receives.
    unsafe { ready.close(io) };
    ready.provide(io, bufs.get().into_iter());
    assert_eq!((ready.lying(), free()), (0, 8), "it is closed");
}

#[test]
fn what_the_ring_cannot_have_is_said_in_a_sentence() {
    let why = RingError::LockedMemory { doing: "io_uring_setup", needs: 24, limit: 16 };
    assert_eq!(why.to_string(), "io_uring_setup: a ring of 24 KiB is locked memory, of which 16 KiB are allowed (ulimit -l)");
    let why = RingError::Os { doing: "dup", code: libc::EMFILE };
    assert_eq!(why.to_string(), "dup: Too many open files (os error 24)");
}
