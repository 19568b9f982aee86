//! Statement 17: bytes arrive in order, each once; who is slow holds back only itself.

use std::io::Write;

use core_reactor::net::{NetError, NetEvent, SockId, Token};
use pool::Buf;
use socket2::SockRef;

use super::driver::Setup;
use super::{Driver, Env, peer};

/// The first thing that a network is for.
pub fn s17_an_echo_comes_back(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    for round in 0..100 {
        let bytes = peer::pattern(round, 0, 64);
        far.write_all(&bytes).expect("sent");
        let heard = driver.receive(id, 64);
        driver.send(id, &heard);
        driver.turns(1);
        assert_eq!(peer::read(&mut far, 64), bytes);
    }
}

/// Many buffers in a row, of a stream that never rests.
pub fn s17_bytes_arrive_in_order_each_once(env: &Env) {
    const BYTES: usize = 8 << 20;
    let mut driver = Driver::with(env, Setup { bufs: 16, room: 8, ..Setup::default() });
    let (id, mut far) = driver.pair(Token(1));
    let writer = std::thread::spawn(move || {
        far.write_all(&peer::pattern(3, 0, BYTES)).expect("sent");
        far
    });
    let mut got = 0;
    driver.until("the whole stream", |driver| {
        while let Some(event) = driver.next_seen() {
            got += stream_bytes(event, id, 3, got);
        }
        got == BYTES
    });
    assert_eq!(driver.group().stats().bytes_in, BYTES as u64);
    drop(writer.join().expect("the peer is content"));
    driver.peer_closed(id);
}

/// A paused socket's bytes wait in the system; its neighbour does not notice.
pub fn s17_a_slow_consumer_holds_back_only_its_own_socket(env: &Env) {
    let mut driver = Driver::new(env);
    let (slow, mut slow_far) = driver.pair(Token(1));
    let (quick, mut quick_far) = driver.pair(Token(2));
    driver.group().pause(slow).expect("it is there");
    let sent = peer::write_until_full(&mut slow_far);
    for round in 0..50 {
        let bytes = peer::pattern(round, 0, 500);
        quick_far.write_all(&bytes).expect("sent");
        let heard = driver.receive(quick, 500);
        driver.send(quick, &heard);
        driver.turns(1);
        assert_eq!(peer::read(&mut quick_far, 500), bytes);
    }
    assert_eq!(driver.seen().count(), 0, "nothing of a paused socket");
    driver.group().resume(slow).expect("it is there");
    let mut got = 0;
    driver.until("what had waited", |driver| {
        while let Some(event) = driver.next_seen() {
            got += stream_bytes(event, slow, 0, got);
        }
        got == sent
    });
}

/// A pause that comes while a socket is being read stops it at once, again and again, and nothing
/// is lost between.
pub fn s17_pause_and_resume_lose_nothing(env: &Env) {
    const BYTES: usize = 1 << 20;
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    let writer = std::thread::spawn(move || {
        far.write_all(&peer::pattern(9, 0, BYTES)).expect("sent");
        far
    });
    let (mut got, mut round) = (0, 0);
    driver.until("the whole stream", |driver| {
        while let Some(event) = driver.next_seen() {
            got += stream_bytes(event, id, 9, got);
        }
        round += 1;
        if round % 3 == 0 {
            driver.group().pause(id).expect("it is there");
            driver.turns(2);
            assert_eq!(driver.seen().count(), 0, "nothing after a pause");
            driver.group().resume(id).expect("it is there");
        }
        got == BYTES
    });
    drop(writer.join().expect("the peer is content"));
}

/// The pool is the back-pressure: no buffer, no reading, nothing lost.
pub fn s17_without_buffers_sockets_wait_and_lose_nothing(env: &Env) {
    let mut driver = Driver::with(env, Setup { bufs: 8, ..Setup::default() });
    let mut pairs: Vec<_> = (0..3).map(|n| driver.pair(Token(n))).collect();
    let taken = driver.take_buffers();
    assert_eq!(taken.len(), 8);
    for (n, (_, far)) in pairs.iter_mut().enumerate() {
        far.write_all(&peer::pattern(n as u64, 0, 20_000)).expect("sent");
    }
    driver.until("each waits for a buffer", |driver| driver.group().stats().buffer_waits >= 3);
    driver.turns(20);
    assert_eq!(driver.seen().count(), 0, "nothing can be received without a buffer");
    drop(taken);
    let mut got = [0; 3];
    driver.until("all bytes of all", |driver| {
        while let Some(event) = driver.next_seen() {
            let NetEvent::Received { id, token, .. } = &event else { panic!("only bytes") };
            let (id, n) = (*id, token.0 as usize);
            got[n] += stream_bytes(event, id, n as u64, got[n]);
        }
        got == [20_000; 3]
    });
}

/// Of those that wait for a buffer, the first is served first.
pub fn s17_sockets_wait_for_buffers_in_order(env: &Env) {
    let mut driver = Driver::with(env, Setup { bufs: 1, ..Setup::default() });
    let mut pairs: Vec<_> = (0..5).map(|n| driver.pair(Token(n))).collect();
    let taken = driver.take_buffers();
    for place in [3, 0, 4, 1, 2] {
        let waits = driver.group().stats().buffer_waits;
        // One byte, which no system hands out in two pieces.
        pairs[place].1.write_all(b"!").expect("sent");
        driver.until("it waits", |driver| driver.group().stats().buffer_waits > waits);
    }
    drop(taken);
    let mut order = Vec::new();
    driver.until("each is served", |driver| {
        while let Some(event) = driver.next_seen() {
            let NetEvent::Received { token, buf, .. } = event else { panic!("only bytes") };
            assert_eq!(&*buf, b"!");
            order.push(token.0);
        }
        order.len() == 5
    });
    assert_eq!(order, [3, 0, 4, 1, 2]);
}

/// Who has no bytes does not stand in the way of those that have: it waits for no buffer, also
/// behind one that it has filled to the last byte.
pub fn s64_who_has_no_bytes_waits_for_no_buffer(env: &Env) {
    let mut driver = Driver::with(env, Setup { bufs: 1, ..Setup::default() });
    let (id, mut far) = driver.pair(Token(1));
    far.write_all(&[1; 4096]).expect("sent");
    driver.until("the buffer", |driver| driver.seen().count() > 0);
    driver.turns(20);
    // A system may hand them out in pieces, so that there are some left.
    let is_whole = matches!(driver.seen().next(), Some(NetEvent::Received { buf, .. }) if buf.len() == 4096);
    assert!(!is_whole || driver.group().stats().buffer_waits == 0, "nothing is left to wait for");
    driver.receive(id, 4096);
}

/// While others wait for a buffer, who has bytes takes its place behind them, though there is one:
/// that is theirs. They have it though the group has no room for the events of all at once.
pub fn s64_nobody_receives_past_those_that_wait(env: &Env) {
    const BUFS: usize = 64;
    let mut driver = Driver::with(env, Setup { bufs: BUFS, room: 1, ..Setup::default() });
    let mut pairs: Vec<_> = (0..5).map(|n| driver.pair(Token(n))).collect();
    let mut taken = driver.take_buffers();
    assert_eq!(taken.len(), BUFS);
    for (waiting, (_, far)) in pairs[..3].iter_mut().enumerate() {
        // One byte, which no system hands out in two pieces.
        far.write_all(b"!").expect("sent");
        driver.until("it waits", |driver| driver.group().stats().buffer_waits > waiting as u64);
    }
    // One for each that waits, and none for who comes now.
    taken.truncate(BUFS - 3);
    pairs[3..].iter_mut().for_each(|(_, far)| far.write_all(b"!").expect("sent"));
    let next = |driver: &mut Driver| {
        driver.wait("bytes", |event| match event {
            NetEvent::Received { token, buf, .. } => Ok((token.0, buf)),
            other => Err(other),
        })
    };
    let served: Vec<_> = (0..3).map(|_| next(&mut driver)).collect();
    assert_eq!(served.iter().map(|(who, _)| *who).collect::<Vec<_>>(), [0, 1, 2]);
    driver.turns(20);
    assert_eq!(driver.seen().count(), 0, "all buffers are out");
    drop(served);
    let others = [next(&mut driver).0, next(&mut driver).0];
    assert!(matches!(others, [3, 4] | [4, 3]));
}

/// Nor does an end wait for one, or a reset.
pub fn s64_an_end_waits_for_no_buffer(env: &Env) {
    let mut driver = Driver::new(env);
    let [(ended, far), (reset, resetting)] = [driver.pair(Token(1)), driver.pair(Token(2))];
    let taken = driver.take_buffers();
    drop(far);
    driver.peer_closed(ended);
    peer::reset(resetting);
    assert_eq!(driver.closed(reset), Some(NetError::Reset));
    assert_eq!(driver.group().stats().buffer_waits, 0);
    drop(taken);
}

/// Buffers that another core gives back serve who waits for them.
pub fn s17_s27_buffers_from_another_core_end_the_wait(env: &Env) {
    let mut driver = Driver::with(env, Setup { bufs: 4, ..Setup::default() });
    let (id, mut far) = driver.pair(Token(1));
    let taken: Vec<_> = driver.take_buffers().into_iter().map(Buf::into_send).collect();
    far.write_all(&peer::pattern(1, 0, 50_000)).expect("sent");
    driver.until("it waits", |driver| driver.group().stats().buffer_waits > 0);
    driver.turns(20);
    assert_eq!(driver.seen().count(), 0);
    std::thread::spawn(move || drop(taken)).join().expect("dropping is all it does");
    let mut got = 0;
    driver.until("all bytes", |driver| {
        while let Some(event) = driver.next_seen() {
            got += stream_bytes(event, id, 1, got);
        }
        got == 50_000
    });
}

/// Urgent data splits a stream into reads that end early (RFC 6093); what is behind it must not be
/// forgotten.
pub fn s17_urgent_data_holds_nothing_up(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    for _ in 0..20 {
        driver.group().pause(id).expect("it is there");
        far.write_all(b"before").expect("sent");
        SockRef::from(far.plain().expect("the peer is a kernel's")).send_out_of_band(b"!").expect("sent");
        far.write_all(b"behind").expect("sent");
        driver.turns(2);
        driver.group().resume(id).expect("it is there");
        assert_eq!(driver.receive(id, 12), b"beforebehind");
    }
}

/// The bytes of an event of this stream, checked against its pattern.
fn stream_bytes(event: NetEvent, of: SockId, seed: u64, from: usize) -> usize {
    let NetEvent::Received { id, buf, .. } = event else { panic!("bytes, not {}", super::driver::name(&event)) };
    assert_eq!(id, of);
    assert!(*buf == peer::pattern(seed, from, buf.len())[..], "the stream differs after byte {from}");
    buf.len()
}
