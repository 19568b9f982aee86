//! What becomes of requests, with an engine that does as it is told.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bdev::{Bdev, BdevError, BdevEvent, Channel, Frame, Request, Token};
use bdev_conformance::{Bench, Subject};
use bdev_file::{Call, Config, Disk, Engine, Module, Op, create};
use core_reactor::Cx;
use pool::Class;

/// What a call is to answer.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// So many bytes at most are done.
    Some(usize),
    /// All is done, and so many bytes are told of.
    Says(i32),
    Errno(i32),
    /// It stays under way until it is given up, or waited for.
    Held,
}

#[derive(Default)]
struct World {
    script: VecDeque<Answer>,
    calls: Vec<(Op, u64, u64)>,
    disk: Option<Arc<Disk>>,
    /// Does not listen to who wants calls given up.
    is_deaf: bool,
    bdev: Option<Bdev>,
    /// When it was waited for: the calls that were held, and the channels of the device.
    waits: Vec<(usize, usize)>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

fn script(answers: &[Answer]) {
    WORLD.with_borrow_mut(|world| world.script.extend(answers));
}

/// The calls that were made since this was asked.
fn calls() -> Vec<(Op, u64, u64)> {
    WORLD.with_borrow_mut(|world| std::mem::take(&mut world.calls))
}

fn disk() -> Arc<Disk> {
    WORLD.with_borrow(|world| world.disk.clone()).expect("a channel was made")
}

struct Told;

struct Puppet {
    disk: Arc<Disk>,
    back: Vec<(usize, i32)>,
    held: Vec<usize>,
}

impl Module for Told {
    type Engine = Puppet;

    const PRODUCT: &'static str = "Puppet";
    const STEM: &'static str = "Puppet";
    const METHOD: (&'static str, &'static str) = ("puppet", "bdev_puppet_create");

    fn engine(&self, _: &mut Cx<'_>, disk: &Arc<Disk>, _: usize) -> Result<Puppet, BdevError> {
        WORLD.with_borrow_mut(|world| world.disk = Some(disk.clone()));
        Ok(Puppet { disk: disk.clone(), back: Vec::new(), held: Vec::new() })
    }
}

impl Engine for Puppet {
    unsafe fn start(&mut self, slot: usize, call: Call<'_>) {
        let answer = WORLD.with_borrow_mut(|world| {
            world.calls.push((call.op, call.at, call.len));
            world.script.pop_front().unwrap_or(Answer::Some(usize::MAX))
        });
        match answer {
            // SAFETY: the caller's promise, of which no more is needed than the length of this
            // call.
            Answer::Some(most) => self.back.push((slot, unsafe { make(&self.disk, &call, most) })),
            Answer::Says(n) => {
                // SAFETY: the same.
                unsafe { make(&self.disk, &call, usize::MAX) };
                self.back.push((slot, n));
            }
            Answer::Errno(errno) => self.back.push((slot, -errno)),
            Answer::Held => self.held.push(slot),
        }
    }

    fn cancel(&mut self, slot: usize) {
        let is_deaf = WORLD.with_borrow(|world| world.is_deaf);
        if !is_deaf && let Some(at) = self.held.iter().position(|held| *held == slot) {
            self.held.remove(at);
            self.back.push((slot, -libc::ECANCELED));
        }
    }

    fn poll(&mut self, back: &mut Vec<(usize, i32)>) {
        back.append(&mut self.back);
    }

    fn wait(&mut self, _: Duration) {
        WORLD.with_borrow_mut(|world| {
            let channels = world.bdev.as_ref().map_or(0, |bdev| bdev.channel_stats().len());
            world.waits.push((self.held.len(), channels));
        });
        self.back.extend(self.held.drain(..).map(|slot| (slot, 0)));
    }
}

/// Makes a call, with `most` bytes of its memory.
///
/// # Safety
/// The memory that it names is there.
unsafe fn make(disk: &Disk, call: &Call<'_>, most: usize) -> i32 {
    let mut left = most;
    let cut = |piece: &libc::iovec| {
        let len = piece.iov_len.min(left);
        left -= len;
        libc::iovec { iov_len: len, ..*piece }
    };
    let pieces: Vec<_> = call.pieces.iter().map(cut).collect();
    let (fd, at, count) = (disk.fd(), call.at as libc::off_t, pieces.len() as libc::c_int);
    // SAFETY: the caller's promise.
    let result = unsafe {
        match call.op {
            Op::Read => libc::preadv(fd, pieces.as_ptr(), count, at),
            Op::Write { .. } => libc::pwritev(fd, pieces.as_ptr(), count, at),
            Op::Sync => 0,
            Op::Allocate(mode) => libc::fallocate(fd, mode, at, call.len as libc::off_t) as isize,
        }
    };
    assert!(result >= 0, "{:?}: {}", call.op, std::io::Error::last_os_error());
    result as i32
}

const BLOCKS: u64 = 400;

fn puppet(bdevs: &bdev::Bdevs, change: fn(Config) -> Config) -> Result<Bdev, BdevError> {
    let file = tempfile::NamedTempFile::new_in("/tmp").expect("a file");
    file.as_file().set_len(BLOCKS * 512).expect("as many bytes");
    create(bdevs, &change(Config::new(file.path()).name("p").block_size(512)), Told)
}

const CACHED: Subject = Subject { make: |bdevs| puppet(bdevs, Config::buffered), keeps: true, resizes: false, fails: false };
const DIRECT: Subject = Subject { make: |bdevs| puppet(bdevs, |config| config), ..CACHED };

fn bench(subject: &Subject, depth: usize) -> (Bench, Channel) {
    let mut bench = Bench::new(subject);
    let channel = bench.channel(0, depth);
    (bench, channel)
}

fn submit(bench: &Bench, channel: &mut Channel, request: Request) {
    channel.submit(bench.now(), request).map_err(|refused| refused.why).expect("it is taken");
}

/// What there is on the device.
fn read(bench: &mut Bench, channel: &mut Channel, block: u64, blocks: u64) -> Vec<u8> {
    let done = bench.run(channel, Request::read(block, blocks, bench.empty()));
    assert_eq!(done.result, Ok(()));
    done.request.data.parts()[0].to_vec()
}

/// A request in pieces of one block each.
fn pieces(bench: &Bench, seeds: std::ops::Range<u64>) -> Frame {
    let mut frame = Frame::new();
    seeds.for_each(|seed| frame.push(bench.filled(1, seed)).expect("room"));
    frame
}

#[test]
fn s291_what_is_done_in_part_is_gone_on_with() {
    let (mut bench, mut channel) = bench(&CACHED, 4);
    script(&[Answer::Some(700), Answer::Errno(libc::EINTR), Answer::Some(1), Answer::Errno(libc::EAGAIN), Answer::Some(1200)]);
    let written = bench.run(&mut channel, Request::write(3, 4, pieces(&bench, 1..5)));
    assert_eq!((written.result, written.request.data.bytes()), (Ok(()), 2048));
    let write = Op::Write { lasts: false };
    let at = 3 * 512;
    assert_eq!(
        calls(),
        [(at, 2048), (at + 700, 1348), (at + 700, 1348), (at + 701, 1347), (at + 701, 1347), (at + 1901, 147)]
            .map(|(at, len)| (write, at, len))
    );
    script(&[Answer::Some(513), Answer::Some(10), Answer::Errno(libc::EINTR)]);
    let mut room = Frame::new();
    for _ in 0..2 {
        room.push(bench.bufs.get().expect("a buffer")).expect("room");
    }
    let back = bench.run(&mut channel, Request::read(3, 4, room));
    assert_eq!((back.result, back.request.data.bytes()), (Ok(()), 2048));
    let there: Vec<u8> = back.request.data.parts().iter().flat_map(|part| part.to_vec()).collect();
    let wanted: Vec<u8> = (1..5).flat_map(|seed| bench.filled(1, seed).to_vec()).collect();
    assert!(there == wanted);
    assert_eq!(calls().iter().map(|call| call.1 - at).collect::<Vec<_>>(), [0, 513, 523, 523]);
}

#[test]
fn s291_past_the_cache_it_goes_on_at_a_place_that_the_file_takes() {
    let (mut bench, mut channel) = bench(&DIRECT, 4);
    assert!(disk().is_direct(), "this test wants a file system with O_DIRECT under /tmp");
    let wrote = bench.run(&mut channel, Request::write(0, 4, bench.filled(4, 9)));
    assert_eq!(wrote.result, Ok(()));
    calls();
    script(&[Answer::Says(1100)]);
    assert!(read(&mut bench, &mut channel, 0, 4) == *bench.filled(4, 9));
    assert_eq!(calls(), [(Op::Read, 0, 2048), (Op::Read, 1024, 1024)]);
    // Nor does it go on for ever with nothing.
    script(&[Answer::Says(100)]);
    let done = bench.run(&mut channel, Request::read(0, 4, bench.empty()));
    assert!(matches!(done.result, Err(BdevError::Io(why)) if why.contains("it was truncated")), "{:?}", done.result);
}

#[test]
fn s292_errors_of_files_say_what_to_do() {
    for (errno, says) in [
        (libc::ENOSPC, "no space is left where the file is; make room there"),
        (libc::EDQUOT, "no space is left"),
        (libc::EFBIG, "ulimit -f"),
        (libc::EROFS, "cannot be written to any more"),
        (libc::EIO, "has failed (EIO)"),
        (libc::ENODEV, "the disk under the file is gone"),
        (libc::ENOMEM, "short of memory"),
        (libc::EBADMSG, "the system has refused it"),
    ] {
        let (mut bench, mut channel) = bench(&CACHED, 1);
        script(&[Answer::Some(100), Answer::Errno(errno)]);
        let done = bench.run(&mut channel, Request::write(0, 2, bench.filled(2, 1)));
        let Err(why @ BdevError::Io(_)) = done.result else { panic!("{:?}", done.result) };
        assert!(why.to_string().contains(says), "{why}");
        // A read that fails half way shows nothing, and the next one is well.
        script(&[Answer::Some(600), Answer::Errno(errno)]);
        let done = bench.run(&mut channel, Request::read(0, 2, bench.empty()));
        assert_eq!((done.result, done.request.data.bytes()), (Err(why), 0));
        assert_eq!(read(&mut bench, &mut channel, 0, 1).len(), 512);
    }
}

#[test]
fn s292_a_file_that_ends_early_says_so() {
    let (mut bench, mut channel) = bench(&CACHED, 1);
    script(&[Answer::Some(512), Answer::Some(0)]);
    let done = bench.run(&mut channel, Request::read(0, 2, bench.empty()));
    assert!(matches!(done.result, Err(BdevError::Io(why)) if why.contains("it was truncated while it was open")), "{:?}", done.result);
}

#[test]
fn s293_what_is_to_last_is_asked_for_as_that() {
    let (mut bench, mut channel) = bench(&CACHED, 1);
    let bytes = |bench: &Bench| bench.filled(1, 1);
    let lasts = Op::Write { lasts: true };
    bench.run(&mut channel, Request::write(0, 1, bytes(&bench)).fua());
    assert_eq!(calls(), [(lasts, 0, 512)]);
    bench.run(&mut channel, Request::flush());
    assert_eq!(calls(), [(Op::Sync, 0, 0)]);
    bench.run(&mut channel, Request::write_zeroes(1, 2).fua());
    assert_eq!(calls(), [(Op::Allocate(libc::FALLOC_FL_ZERO_RANGE), 512, 1024), (Op::Sync, 512, 0)]);
    let mut both = bytes(&bench);
    both.append(&bench.filled(1, 2));
    assert_eq!(bench.run(&mut channel, Request::compare_and_write(0, 1, both).fua()).result, Ok(()));
    assert_eq!(calls(), [(Op::Read, 0, 512), (lasts, 0, 512)]);
    assert!(read(&mut bench, &mut channel, 0, 1) == *bench.filled(1, 2));
    // Without, nothing waits for the medium.
    calls();
    bench.run(&mut channel, Request::write(0, 1, bytes(&bench)));
    bench.run(&mut channel, Request::write_zeroes(0, 1));
    assert!(calls().iter().all(|(op, ..)| *op != lasts && *op != Op::Sync));
}

#[test]
fn s294_memory_that_lies_elsewhere_is_copied_and_counted() {
    let (mut bench, mut channel) = bench(&DIRECT, 16);
    let odd = |bench: &Bench, blocks: u64, seed: u64| {
        let mut buf = bench.bufs.get().expect("a buffer");
        buf.append(&[0; 24]);
        buf.append(&bench.filled(blocks, seed));
        buf.advance(24);
        buf
    };
    let written = bench.run(&mut channel, Request::write(5, 3, odd(&bench, 3, 7)));
    assert_eq!(written.result, Ok(()));
    assert_eq!(disk().bounced(), 1);
    assert!(read(&mut bench, &mut channel, 5, 3) == *bench.filled(3, 7));
    assert_eq!(disk().bounced(), 1, "what lies well is not copied");
    // Pieces that begin well, and are no whole blocks.
    let whole = bench.filled(2, 8);
    let mut frame = Frame::new();
    for half in [&whole[..100], &whole[100..]] {
        let mut buf = bench.bufs.get().expect("a buffer");
        buf.append(half);
        frame.push(buf).expect("room");
    }
    assert_eq!(bench.run(&mut channel, Request::write(9, 2, frame)).result, Ok(()));
    assert!(disk().bounced() == 2 && read(&mut bench, &mut channel, 9, 2) == *whole);
    // More at a time than there are buffers for it: the others wait.
    script(&[Answer::Held; 8]);
    for n in 0..12 {
        submit(&bench, &mut channel, Request::write(20 + n, 1, odd(&bench, 1, n)).token(Token(n)));
    }
    assert!((0..10).all(|_| bench.poll(&mut channel).is_empty()));
    (0..8).for_each(|n| channel.abort(Token(n)));
    let done = bench.settle(&mut channel);
    assert_eq!((done.len(), done.iter().filter(|done| done.result.is_ok()).count()), (12, 4));
    for n in 8..12 {
        assert!(read(&mut bench, &mut channel, 20 + n, 1) == *bench.filled(1, n));
    }
}

#[test]
fn s295_nothing_comes_between_a_compare_and_its_write() {
    let (mut bench, mut channel) = bench(&DIRECT, 4);
    let mut other = bench.channel(1, 4);
    bench.run(&mut channel, Request::write(0, 2, bench.filled(2, 1)));
    let mut both = bench.filled(2, 1);
    both.append(&bench.filled(2, 2));
    script(&[Answer::Held]);
    submit(&bench, &mut channel, Request::compare_and_write(0, 2, both).token(Token(1)));
    calls();
    // On the other core, into its second block.
    submit(&bench, &mut other, Request::write(1, 1, bench.filled(1, 3)).token(Token(2)));
    submit(&bench, &mut other, Request::write(100, 1, bench.filled(1, 4)).token(Token(3)));
    let done = bench.poll(&mut other);
    assert!(matches!(&done[..], [BdevEvent::Done(done)] if done.request.token == Token(3)), "elsewhere it goes on: {done:?}");
    assert!((0..100).all(|_| bench.poll(&mut other).is_empty()));
    channel.abort(Token(1));
    let done = bench.settle(&mut channel);
    assert_eq!(done[0].result, Err(BdevError::Aborted));
    assert_eq!(bench.settle(&mut other).len(), 1);
    let there = read(&mut bench, &mut channel, 0, 2);
    assert!(there[..512] == bench.filled(2, 1)[..512] && there[512..] == *bench.filled(1, 3), "nothing of what was given up");
    // A write that is under way holds up a compare as well.
    script(&[Answer::Held]);
    submit(&bench, &mut other, Request::write(0, 1, bench.filled(1, 5)).token(Token(5)));
    let mut both = bench.bufs.get().expect("a buffer");
    both.append(&there[..512]);
    both.append(&bench.filled(1, 6));
    submit(&bench, &mut channel, Request::compare_and_write(0, 1, both));
    assert!((0..100).all(|_| bench.poll(&mut channel).is_empty()));
    other.abort(Token(5));
    bench.settle(&mut other);
    assert_eq!(bench.settle(&mut channel)[0].result, Ok(()));
    assert!(read(&mut bench, &mut channel, 0, 1) == *bench.filled(1, 6));
}

#[test]
fn s295_what_the_kernel_would_tear_is_kept_apart_and_who_waits_can_be_given_up() {
    let (mut bench, mut channel) = bench(&CACHED, 4);
    let mut other = bench.channel(1, 4);
    script(&[Answer::Held]);
    submit(&bench, &mut channel, Request::write(0, 1, bench.filled(1, 1)).token(Token(1)));
    for token in [2, 3] {
        submit(&bench, &mut other, Request::read(0, 1, bench.empty()).token(Token(token)));
    }
    calls();
    assert!((0..100).all(|_| bench.poll(&mut other).is_empty()) && calls().is_empty(), "they wait for the write");
    other.abort(Token(2));
    let given_up = bench.poll(&mut other);
    let [BdevEvent::Done(done)] = &given_up[..] else { panic!("{given_up:?}") };
    assert_eq!((done.request.token, &done.result), (Token(2), &Err(BdevError::Aborted)));
    channel.abort(Token(1));
    bench.settle(&mut channel);
    let read = bench.settle(&mut other);
    assert_eq!((read.len(), &read[0].result), (1, &Ok(())));
    // Two that read do so at a time; a write waits for both, and then goes.
    script(&[Answer::Held, Answer::Held]);
    for token in [4, 5] {
        submit(&bench, &mut other, Request::read(0, 1, bench.empty()).token(Token(token)));
    }
    calls();
    submit(&bench, &mut channel, Request::write(1, 1, bench.filled(1, 2)));
    assert!((0..100).all(|_| bench.poll(&mut channel).is_empty()) && calls().is_empty());
    other.abort(Token(4));
    bench.poll(&mut other);
    assert!(bench.poll(&mut channel).is_empty());
    other.abort(Token(5));
    bench.settle(&mut other);
    assert_eq!(bench.settle(&mut channel)[0].result, Ok(()));
}

#[test]
fn s296_what_a_file_system_does_not_have_is_done_otherwise() {
    let (mut bench, mut channel) = bench(&CACHED, 1);
    bench.run(&mut channel, Request::write(0, 8, bench.filled(8, 1)));
    calls();
    script(&[Answer::Errno(libc::EOPNOTSUPP), Answer::Some(600)]);
    assert_eq!(bench.run(&mut channel, Request::write_zeroes(1, 6).fua()).result, Ok(()));
    let lasts = Op::Write { lasts: true };
    assert_eq!(calls(), [(Op::Allocate(libc::FALLOC_FL_ZERO_RANGE), 512, 3072), (lasts, 512, 3072), (lasts, 1112, 2472)]);
    let there = read(&mut bench, &mut channel, 0, 8);
    let kept = bench.filled(8, 1);
    assert!(there[512..3584].iter().all(|byte| *byte == 0) && there[..512] == kept[..512] && there[3584..] == kept[3584..]);
    calls();
    // All of it: more than one call has room for.
    assert_eq!(bench.run(&mut channel, Request::write_zeroes(0, BLOCKS)).result, Ok(()));
    let made = calls();
    assert!(made.iter().all(|(op, ..)| *op == Op::Write { lasts: false }), "it is not asked again: {made:?}");
    script(&[Answer::Errno(libc::EOPNOTSUPP)]);
    assert_eq!(bench.run(&mut channel, Request::unmap(0, 8)).result, Ok(()));
    assert_eq!(calls().len(), 1);
    assert_eq!(bench.run(&mut channel, Request::unmap(0, 8)).result, Ok(()));
    assert_eq!((calls().len(), bench.bdev.stats().errors), (0, 0));
}

/// Its calls end when they are waited for, and no earlier; until then it has not left its device.
#[test]
fn s298_a_channel_that_ends_waits_for_its_calls() {
    let (bench, mut channel) = bench(&CACHED, 4);
    let free = bench.bufs.at_hand(Class::Small);
    WORLD.with_borrow_mut(|world| (world.is_deaf, world.bdev) = (true, Some(bench.bdev.clone())));
    script(&[Answer::Held, Answer::Held]);
    submit(&bench, &mut channel, Request::read(0, 1, bench.empty()));
    submit(&bench, &mut channel, Request::write(8, 1, bench.filled(1, 1)));
    drop(channel);
    assert_eq!(bench.bufs.at_hand(Class::Small), free);
    assert_eq!(WORLD.with_borrow(|world| world.waits.clone()), [(2, 1)]);
    assert_eq!(bench.bdev.channel_stats().len(), 0);
}
