//! Statements 72 to 74: what one socket may have of a group's buffers, and what becomes of those
//! whose peers take nothing.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use core_reactor::net::{NetError, NetEvent, SockOptions, Token};

use super::driver::{Setup, name};
use super::limits::need_descriptors;
use super::{Driver, Env, Peer, peer};
use crate::platform::self_driven_ahead;

/// Whatever the sizes of buffers and limits are: who answers each buffer by a frame of its own is
/// never refused, and no byte is lost.
pub fn s72_an_answer_to_each_buffer_is_taken_whatever_the_limits_are(env: &Env) {
    for size in [1, 7, 4096, 100_000, 256 << 10, 1 << 20] {
        for (send_limit, hold_reads_at) in [(1, 1), (size, 1 << 20), (size + 1, size / 2), (4 * size, size), (1 << 20, 256 << 10)] {
            for send_frames in [1, 64] {
                let bufs = if size > 4096 { 24 } else { 256 };
                let setup = Setup { bufs, buf_size: size, send_limit, send_frames, hold_reads_at, room: 128, ..Setup::default() };
                echo_all(env, setup, (8 * size).clamp(500, 1 << 20));
            }
        }
    }
}

/// Sends back what comes in each poll until this many bytes have come back. The peer reads nothing
/// before the way there and back is full.
fn echo_all(env: &Env, setup: Setup, bytes: usize) {
    println!("{bytes} bytes; {}", describe(&setup));
    let mut driver = Driver::with(env, setup);
    let (id, far) = driver.narrow_pair(Token(1));
    driver.group().pause(id).expect("it is there");
    let (mut out, mut back) = (far.clone(), far);
    let writer = std::thread::spawn(move || out.write_all(&peer::pattern(4, 0, bytes)).expect("sent"));
    driver.turns(20);
    driver.group().resume(id).expect("it is there");
    let mut reader = None;
    let mut quiet = 0;
    driver.until("the whole echo", |driver| {
        quiet += 1;
        while let Some(event) = driver.next_seen() {
            quiet = 0;
            let NetEvent::Received { id, buf, .. } = event else { panic!("only bytes, not {}", name(&event)) };
            let sent = driver.group().send(id, buf.into());
            assert!(sent.is_ok(), "{}: {}", sent.map_err(|refused| refused.why).expect_err("looked at"), describe(&setup));
        }
        if quiet > 50 && reader.is_none() {
            let mut back = back.clone();
            reader = Some(std::thread::spawn(move || peer::read(&mut back, bytes)));
        }
        reader.as_ref().is_some_and(JoinHandle::is_finished)
    });
    writer.join().expect("the peer is content");
    let whole = reader.map(|reader| reader.join().expect("the peer is content"));
    assert!(whole == Some(peer::pattern(4, 0, bytes)), "the echo is whole: {}", describe(&setup));
    back.flush().expect("it has no buffer of its own");
}

fn describe(setup: &Setup) -> String {
    let Setup { buf_size, send_limit, send_frames, hold_reads_at, .. } = setup;
    format!("buffers of {buf_size}, at most {send_limit} bytes and {send_frames} frames, reads held at {hold_reads_at}")
}

/// Peers that send and do not read, as many as there are sockets or a few: the others are served,
/// old and new, although nobody is ended.
pub fn s73_peers_that_do_not_read_do_not_stop_the_others(env: &Env) {
    // One buffer for each would leave none.
    const BUFS: usize = 64;
    const DEAF: usize = BUFS;
    need_descriptors(2 * DEAF as u64 + 100);
    for hold_reads_at in [1, 256 << 10] {
        let setup = Setup { bufs: BUFS, sockets: DEAF + 3, hold_reads_at, ..Setup::default() };
        let mut driver = Driver::with(env, setup);
        let (_, at) = driver.listen_with(&narrow());
        let mut old = driver.accept_from(at, Token(0)).1;
        let deaf = Deaf::connect(&mut driver, at, DEAF);
        served(&mut driver, &mut old);
        let mut new = driver.accept_from(at, Token(0)).1;
        for _ in 0..5 {
            served(&mut driver, &mut old);
            served(&mut driver, &mut new);
        }
        let stats = driver.group().stats();
        assert_eq!((stats.stalled, stats.sockets), (0, DEAF + 3), "nobody was ended for it");
        // Now and then what was just read of many is on its way through the group; what they do
        // not take stays with it for good.
        let mut left = Vec::new();
        while left.len() < 100 && left.last().is_none_or(|left| *left < BUFS / 8) {
            served(&mut driver, &mut old);
            left.push(driver.take_buffers().len());
        }
        assert!(left.last() >= Some(&(BUFS / 8)), "the last buffers are not theirs: {left:?} were left");
        drop(deaf);
    }
}

/// More of them than there are buffers, so that not even one for each is left: those that have
/// taken nothing for the stall limit are reset, which is told and counted. Whoever reads is served,
/// and stays.
pub fn s74_when_buffers_are_short_who_takes_nothing_is_reset(env: &Env) {
    let limit = Duration::from_millis(100);
    // Reads are not held up, as with a proxy, so that the queues take all there is.
    let setup = Setup { bufs: 32, sockets: 128, stall_limit: Some(limit), hold_reads_at: usize::MAX, ..Setup::default() };
    let mut driver = Driver::with(env, setup);
    let (_, at) = driver.listen_with(&narrow());
    let mut old = driver.accept_from(at, Token(0)).1;
    let deaf = Deaf::connect(&mut driver, at, 60);
    let mut ended = 0;
    driver.until("the end of those that do not read", |driver| {
        for event in echo(driver) {
            let NetEvent::Closed { token, why: Some(NetError::Stalled { queued, for_ms, free, of: 32 }), .. } = event else {
                panic!("{}", name(&event))
            };
            assert_eq!(token, Token(1), "not who reads");
            assert!(queued > 0 && for_ms >= 100 && free < 8, "{queued} bytes for {for_ms} ms, {free} left");
            ended += 1;
        }
        ended > 0
    });
    for _ in 0..5 {
        served(&mut driver, &mut old);
    }
    assert!(driver.group().stats().stalled >= ended);
    drop(deaf);
}

/// Who takes something now and then is never stalled, however short buffers are and for however
/// long. Who takes nothing beside it is.
pub fn s74_who_reads_slowly_is_not_reset(env: &Env) {
    // What passes by itself does not count beside it.
    const LIMIT: Duration = Duration::from_secs(3600);
    let time = Arc::new(AtomicU64::new(0));
    let env = Env { platform: self_driven_ahead(time.clone()), ..env.clone() };
    let setup = Setup { bufs: 64, buf_size: 128 << 10, send_limit: usize::MAX, stall_limit: Some(LIMIT), ..Setup::default() };
    let mut driver = Driver::with(&env, setup);
    let (_, at) = driver.listen_with(&narrow());
    let (slow, mut far) = driver.accept_from(at, Token(0));
    let (deaf, _far) = driver.accept_from(at, Token(1));
    for id in [slow, deaf] {
        (0..32).for_each(|_| driver.send(id, &[3; 128 << 10]));
    }
    let mut held = vec![];
    // Three limits, and as many more as a system that took of the other's queue late asks for.
    for quarter in 0..60 {
        if quarter >= 12 && driver.group().stats().stalled > 0 {
            break;
        }
        // The test has whatever comes home, so that buffers stay short.
        held.extend(driver.take_buffers());
        time.fetch_add(LIMIT.as_nanos() as u64 / 4, Ordering::Relaxed);
        driver.turns(10);
        take_some(&mut driver, &mut far);
    }
    assert!(driver.group().addresses(slow).is_ok(), "who takes something is not ended");
    assert!(matches!(driver.closed(deaf), Some(NetError::Stalled { .. })), "who takes nothing is");
    assert_eq!(driver.group().stats().stalled, 1);
}

/// The peer reads until the system has taken more of the queue.
fn take_some(driver: &mut Driver, far: &mut Peer) {
    let before = driver.group().stats().unsent;
    while driver.group().stats().unsent == before {
        let mut ear = far.clone();
        let reader = std::thread::spawn(move || peer::read(&mut ear, 16 << 10));
        driver.until("some bytes", |_| reader.is_finished());
        reader.join().expect("the peer is not reset");
        driver.turns(10);
    }
}

/// While buffers are plenty nobody is ended, however long its peer takes nothing.
pub fn s74_while_buffers_are_plenty_nobody_is_reset(env: &Env) {
    let setup = Setup { bufs: 256, stall_limit: Some(Duration::from_millis(1)), hold_reads_at: 16 << 10, ..Setup::default() };
    let mut driver = Driver::with(env, setup);
    let (_, at) = driver.listen_with(&narrow());
    let mut old = driver.accept_from(at, Token(0)).1;
    let deaf = Deaf::connect(&mut driver, at, 2);
    for _ in 0..100 {
        served(&mut driver, &mut old);
    }
    assert_eq!(driver.group().stats().stalled, 0);
    drop(deaf);
}

/// The systems on both sides take little, so that few bytes fill the way there and back.
fn narrow() -> SockOptions {
    SockOptions::default().send_buf(16 << 10).recv_buf(16 << 10)
}

/// Peers (token 1) that send as much as is taken of them, and read nothing.
struct Deaf {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Deaf {
    /// So many, all connected and each having sent all that was taken of it.
    fn connect(driver: &mut Driver, at: std::net::SocketAddr, count: usize) -> Self {
        let peers: Vec<_> = (0..count).map(|_| driver.accept_from(at, Token(1)).1).collect();
        let (stop, full) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (stop, full) = (stop.clone(), full.clone());
            move || fill(&peers, &stop, &full)
        });
        driver.until("all are full, twice", |driver| {
            let others: Vec<_> = echo(driver).iter().map(name).collect();
            assert!(others.is_empty(), "{others:?}");
            full.load(Ordering::Relaxed) >= 2 || driver.group().stats().buffer_waits > 0
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let done = thread.join();
            assert!(done.is_ok() || std::thread::panicking(), "the peers only write");
        }
    }
}

/// Writes what is taken, to one after the other; counts the rounds in which nothing was.
fn fill(peers: &[Peer], stop: &AtomicBool, full: &AtomicUsize) {
    let bytes = vec![1; 64 << 10];
    peers.iter().for_each(|peer| peer.set_patience(Duration::from_millis(2)));
    while !stop.load(Ordering::Relaxed) {
        let mut taken = 0;
        for peer in peers {
            match peer.clone().write(&bytes) {
                Ok(n) => taken += n,
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                // It was reset, which is what some are for.
                Err(_) => {}
            }
        }
        full.fetch_add(usize::from(taken == 0), Ordering::Relaxed);
    }
}

/// Sends back what has come. The other events.
fn echo(driver: &mut Driver) -> Vec<NetEvent> {
    let mut others = vec![];
    while let Some(event) = driver.next_seen() {
        match event {
            // What is refused of a peer that reads nothing nobody misses.
            NetEvent::Received { id, buf, .. } => drop(driver.group().send(id, buf.into())),
            NetEvent::Accepted { .. } | NetEvent::Sent { .. } | NetEvent::Writable { .. } | NetEvent::PeerClosed { .. } => {}
            event => others.push(event),
        }
    }
    others
}

/// Has a message of this peer's echoed, while the others' are.
fn served(driver: &mut Driver, far: &mut Peer) {
    far.write_all(b"a question").expect("sent");
    let mut ear = far.clone();
    let reader = std::thread::spawn(move || peer::read(&mut ear, 10));
    driver.until("an echo", |driver| {
        drop(echo(driver));
        reader.is_finished()
    });
    assert_eq!(reader.join().expect("the peer is content"), b"a question");
}
