//! Statement 19: the ends of streams and connections.

use std::io::{ErrorKind, Read, Write};

use core_reactor::net::{NetError, NetEvent, SockId, SockOptions, Token};

use super::driver::Setup;
use super::limits::{need_descriptors, open_descriptors};
use super::{Driver, Env, Peer, peer};

/// What was sent before the end is delivered before it is told.
pub fn s19_data_before_fin_comes_before_the_end(env: &Env) {
    let mut driver = Driver::with(env, Setup { room: 3, ..Setup::default() });
    let (id, mut far) = driver.pair(Token(1));
    driver.group().pause(id).expect("it is there");
    far.write_all(&peer::pattern(1, 0, 100_000)).expect("sent");
    drop(far);
    driver.turns(3);
    driver.group().resume(id).expect("it is there");
    let mut got = Vec::new();
    driver.wait("the peer's end", |event| match event {
        NetEvent::Received { buf, .. } => {
            got.extend_from_slice(&buf);
            Err(NetEvent::Received { id, token: Token(1), buf })
        }
        NetEvent::PeerClosed { id: of, token: Token(1) } if of == id => Ok(()),
        other => panic!("{}", super::driver::name(&other)),
    });
    assert!(got == peer::pattern(1, 0, 100_000));
    driver.group().shutdown(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
}

/// Our end is one thing, the peer's another: it may go on sending.
pub fn s19_after_our_fin_the_peer_may_go_on_sending(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    driver.send(id, b"last words");
    driver.group().shutdown(id).expect("it is there");
    let frame = driver.frame(b"more");
    let refused = driver.group().send(id, frame).expect_err("after shutdown nothing is sent");
    assert_eq!(refused.why, NetError::NotConnected);
    assert_eq!(&refused.item.parts()[0][..], b"more");
    driver.turns(1);
    assert_eq!(peer::read_to_end(&mut far), b"last words");
    for round in 0..10 {
        far.write_all(&[round; 100]).expect("sent");
        assert_eq!(driver.receive(id, 100), [round; 100]);
    }
    drop(far);
    driver.peer_closed(id);
    assert_eq!(driver.closed(id), None);
    assert_nothing_follows(&mut driver, id);
}

/// And the other way round.
pub fn s19_after_the_peers_fin_we_may_go_on_sending(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    far.shutdown().expect("allowed");
    driver.peer_closed(id);
    for round in 0..10 {
        driver.send(id, &[round; 100]);
        driver.turns(1);
        assert_eq!(peer::read(&mut far, 100), [round; 100]);
    }
    driver.send(id, b"bye");
    driver.group().shutdown(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    assert_eq!(peer::read_to_end(&mut far), b"bye");
    assert_nothing_follows(&mut driver, id);
}

/// FIN goes out behind all that was queued before it, however long that takes.
pub fn s19_fin_goes_out_behind_the_queue(env: &Env) {
    const FRAMES: usize = 500;
    let setup = Setup { bufs: FRAMES, send_limit: FRAMES * 4096, send_frames: FRAMES, ..Setup::default() };
    let mut driver = Driver::with(env, setup);
    let (id, mut far) = driver.pair(Token(1));
    for n in 0..FRAMES {
        driver.send(id, &peer::pattern(4, n * 4096, 4096));
    }
    driver.group().shutdown(id).expect("it is there");
    let reader = std::thread::spawn(move || peer::read_to_end(&mut far));
    assert_eq!(driver.closed(id), None);
    assert!(reader.join().expect("the peer is content") == peer::pattern(4, 0, FRAMES * 4096));
}

/// A reset is told as one.
pub fn s19_a_reset_closes_with_the_error(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, far) = driver.pair(Token(3));
    peer::reset(far);
    let (of, token, why) = driver.wait("Closed", |event| match event {
        NetEvent::Closed { id, token, why } => Ok((id, token, why)),
        other => Err(other),
    });
    assert_eq!((of, token, why), (id, Token(3), Some(NetError::Reset)));
    assert_nothing_follows(&mut driver, id);
}

/// Also after the peer had ended its sending side in good order.
pub fn s19_a_reset_after_fin_closes_with_the_error(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, far) = driver.pair(Token(3));
    far.shutdown().expect("allowed");
    driver.peer_closed(id);
    peer::reset(far);
    assert_eq!(driver.closed(id), Some(NetError::Reset));
    assert_nothing_follows(&mut driver, id);
}

/// Frames that a reset overtakes come back as cancelled, in order, before `Closed`.
pub fn s19_a_reset_gives_queued_frames_back(env: &Env) {
    let mut driver = Driver::with(env, Setup { bufs: 600, send_limit: 1 << 30, send_frames: 600, ..Setup::default() });
    let (id, far) = driver.narrow_pair(Token(3));
    let queued = fill_up(&mut driver, id);
    peer::reset(far);
    assert_all_come_back(&mut driver, id, queued, Some(NetError::Reset));
    assert_nothing_follows(&mut driver, id);
}

/// The application's own close gives its frames back, in order.
pub fn s19_a_closed_sockets_sends_come_back_cancelled_in_order(env: &Env) {
    let mut driver = Driver::with(env, Setup { bufs: 600, send_limit: 1 << 30, send_frames: 600, ..Setup::default() });
    let (id, mut far) = driver.narrow_pair(Token(3));
    let queued = fill_up(&mut driver, id);
    driver.group().close(id).expect("it is there");
    let reader = std::thread::spawn(move || peer::read_to_end(&mut far));
    let written = assert_all_come_back(&mut driver, id, queued, None);
    assert!(reader.join().expect("an orderly end") == peer::pattern(8, 0, written), "what was written arrives, and no more");
}

/// Close is an orderly end for the peer: it reads all that was written, then the end.
pub fn s19_close_is_an_orderly_end(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    driver.send(id, b"all of it");
    driver.group().flush();
    driver.group().close(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    assert_eq!(peer::read_to_end(&mut far), b"all of it");
    assert_nothing_follows(&mut driver, id);
}

/// Bytes that nobody will read do not turn an orderly end into a reset, which would destroy what
/// the peer has not read yet.
pub fn s19_close_with_unread_bytes_is_still_orderly(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    driver.group().pause(id).expect("it is there");
    far.write_all(&[1; 50_000]).expect("sent");
    driver.turns(2);
    driver.send(id, b"enough");
    driver.group().flush();
    driver.group().close(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    assert_eq!(peer::read_to_end(&mut far), b"enough");
}

/// Abort is a reset for the peer.
pub fn s19_abort_resets(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    driver.group().abort(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    let why = far.read(&mut [0; 1]).expect_err("a reset is no end of a stream");
    assert_eq!(why.kind(), ErrorKind::ConnectionReset);
    assert_nothing_follows(&mut driver, id);
}

/// Dropping a group closes what is in it and brings its buffers home.
pub fn s19_dropping_a_group_closes_its_sockets(env: &Env) {
    let mut driver = Driver::with(env, Setup { bufs: 600, send_limit: 1 << 30, send_frames: 600, ..Setup::default() });
    let (_, mut idle) = driver.pair(Token(1));
    let (full, mut busy) = driver.narrow_pair(Token(2));
    let (_, at) = driver.listen();
    fill_up(&mut driver, full);
    idle.write_all(b"unread").expect("sent");
    driver.drop_group();
    assert_eq!(peer::read_to_end(&mut idle), b"");
    let got = peer::read_to_end(&mut busy);
    assert!(got == peer::pattern(8, 0, got.len()));
    let refused = env.peers.connect(at).err().expect("nobody listens there any more");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// A thousand connections, half of them reset in the middle of an exchange: each ends once, and
/// nothing stays behind.
pub fn s19_a_thousand_connections_half_reset_leave_nothing(env: &Env) {
    const COUNT: usize = 1000;
    need_descriptors(2 * COUNT as u64 + 100);
    let before = open_descriptors();
    let mut driver = Driver::with(env, Setup { sockets: COUNT + 1, bufs: 4 * COUNT, buf_size: 128, ..Setup::default() });
    let empty = open_descriptors();
    let (listener, at) = driver.listen();
    let mut peers: Vec<_> = (0..COUNT).map(|n| driver.accept_from(at, Token(n as u64))).collect();
    for (_, far) in &mut peers {
        far.write_all(&[7; 100]).expect("sent");
    }
    for (n, (id, far)) in peers.into_iter().enumerate() {
        assert_eq!(driver.receive(id, 100), [7; 100]);
        driver.send(id, &[8; 100]);
        if n % 2 == 0 { peer::reset(far) } else { drop(far) }
    }
    let mut ends = vec![None; COUNT];
    driver.until("each has ended", |driver| {
        while let Some(event) = driver.next_seen() {
            match event {
                // It may have been reset by now: what we sent met a closed socket.
                NetEvent::PeerClosed { id, .. } => drop(driver.group().shutdown(id)),
                NetEvent::Closed { token, why, .. } => {
                    let before = ends[token.0 as usize].replace(why);
                    assert!(before.is_none(), "{token:?} ended twice");
                }
                NetEvent::Sent { error, .. } => assert_eq!(error, Some(NetError::Cancelled)),
                other => panic!("{}", super::driver::name(&other)),
            }
        }
        ends.iter().all(Option::is_some)
    });
    let resets = ends.iter().step_by(2).filter(|end| **end == Some(Some(NetError::Reset))).count();
    assert_eq!(resets, COUNT / 2, "each reset is told");
    assert_eq!(driver.group().stats().sockets, 1, "the listener");
    driver.group().close(listener).expect("it is there");
    assert_eq!(driver.closed(listener), None);
    assert_eq!(open_descriptors(), empty, "a closed socket has no descriptor");
    drop(driver);
    assert_eq!(open_descriptors(), before, "a group that is gone has none either");
}

/// How a peer of the tests below ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Reset,
    Close,
    HalfClose,
    ResetAfterFin,
}

/// Where in the life of a connection its end comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeAccept,
    BeforeAttach,
    /// With reads under way, and no poll between bytes and end.
    WhileReading,
    /// As before, and the answer to earlier bytes meets the end.
    DuringASend,
    Paused,
    /// Behind so few buffers that reads wait for one.
    Starved,
}

/// All but the first: a stack may take a connection back that is reset before it is accepted.
const WHENS: [When; 5] = [When::BeforeAttach, When::WhileReading, When::DuringASend, When::Paused, When::Starved];
const ENDS: [End; 4] = [End::Reset, End::Close, End::HalfClose, End::ResetAfterFin];
const SIZES: [usize; 4] = [0, 1, 5, 100_000];

/// An end right behind the last bytes is told like any other, whenever it comes: once, behind what
/// had arrived, and nothing stays of the socket. Nothing happens on such a connection any more that
/// could remind anybody.
pub fn s19_s60_an_end_right_behind_the_bytes_is_told(env: &Env) {
    for when in WHENS {
        for end in ENDS {
            for size in SIZES {
                end_behind_bytes(env, when, end, size, &SockOptions::default());
            }
        }
    }
}

/// Also before the connection is accepted.
pub fn s19_s60_an_end_before_the_accept_is_told(env: &Env) {
    for low_water in [None, Some(1000)] {
        for end in ENDS {
            for size in SIZES {
                end_behind_bytes(env, When::BeforeAccept, end, size, &SockOptions::default().low_water(low_water));
            }
        }
    }
}

/// The same for sockets that are not read below a low-water mark, which what comes last need not
/// reach.
pub fn s19_s60_an_end_below_the_low_water_mark_is_told(env: &Env) {
    let options = SockOptions::default().low_water(1000);
    for when in WHENS {
        for end in ENDS {
            for size in SIZES {
                end_behind_bytes(env, when, end, size, &options);
            }
        }
    }
}

/// Connections whose peers send some bytes and end: several at once, since some systems tell of the
/// last one whatever is done.
fn end_behind_bytes(env: &Env, when: When, end: End, size: usize, options: &SockOptions) {
    const COUNT: usize = 5;
    let bufs = if when == When::Starved { 2 } else { 128 };
    // Many buffers full at once, of which no system hands out all in one go.
    let mut driver = Driver::with(env, Setup { bufs, buf_size: 1024, ..Setup::default() });
    let (_, at) = driver.listen_with(options);
    let mut far: Vec<_> = (0..COUNT).map(|_| env.peers.connect(at).expect("the listener lets it wait")).collect();
    let mut kept = Vec::new();
    let mut finish = |far: &mut Vec<Peer>| {
        for mut peer in far.drain(..) {
            // More than the window takes: the rest would wait for a reader who is not there yet.
            peer::write_some(&mut peer, size);
            match end {
                End::Reset => peer::reset(peer),
                End::Close => drop(peer),
                End::HalfClose => {
                    peer.shutdown().expect("allowed");
                    kept.push(peer);
                }
                End::ResetAfterFin => {
                    peer.shutdown().expect("allowed");
                    peer::reset(peer);
                }
            }
        }
    };
    if when == When::BeforeAccept {
        finish(&mut far);
    }
    let mut sockets = Vec::new();
    while sockets.len() < COUNT {
        sockets.push(driver.wait("a connection", |event| match event {
            NetEvent::Accepted { socket, .. } => Ok(socket),
            other => Err(other),
        }));
    }
    if when == When::BeforeAttach {
        finish(&mut far);
    }
    let ids: Vec<_> = sockets.into_iter().enumerate().map(|(n, socket)| driver.attach(socket, Token(n as u64))).collect();
    driver.turns(3);
    match when {
        When::BeforeAccept | When::BeforeAttach => {}
        When::WhileReading => finish(&mut far),
        When::DuringASend => {
            for (id, peer) in ids.iter().zip(&mut far) {
                // As much as the low-water mark, in one segment.
                peer.write_all(&[7; 1000]).expect("sent");
                assert_eq!(driver.receive(*id, 1000), [7; 1000]);
                driver.send(*id, &[8; 1000]);
            }
            finish(&mut far);
        }
        When::Paused => {
            ids.iter().for_each(|id| driver.group().pause(*id).expect("it is there"));
            driver.turns(3);
            finish(&mut far);
            driver.turns(3);
            ids.iter().for_each(|id| driver.group().resume(*id).expect("it is there"));
        }
        When::Starved => {
            let all = driver.take_buffers();
            finish(&mut far);
            driver.turns(3);
            drop(all);
        }
    }
    let case = format!("{when:?} {end:?} {size} {:?}", options.low_water);
    // A peer that has not read all that came ends by a reset, and a reset destroys what it
    // overtakes.
    let reset = matches!(end, End::Reset | End::ResetAfterFin) || (when, end) == (When::DuringASend, End::Close);
    for (bytes, why) in ends_told(&mut driver, &ids, &case) {
        assert!(bytes == size || reset && bytes < size, "{case}: {bytes} bytes came");
        assert!(why.is_none() || reset && why == Some(NetError::Reset), "{case}: {why:?}");
        assert!(why.is_some() || end != End::Reset, "{case}: the reset is told as one");
    }
}

/// Polls until each of these sockets has ended, and checks the order of what is told of each. Tells
/// how many bytes came of each, and what it ended of.
fn ends_told(driver: &mut Driver, ids: &[SockId], case: &str) -> Vec<(usize, Option<NetError>)> {
    let mut told = vec![(0, false, None); ids.len()];
    driver.until(case, |driver| {
        while let Some(event) = driver.next_seen() {
            let Some(place) = event_id(&event).and_then(|id| ids.iter().position(|of| *of == id)) else { continue };
            let (bytes, eof, end) = &mut told[place];
            assert!(end.is_none(), "{case}: nothing follows Closed: {}", super::driver::name(&event));
            match event {
                NetEvent::Received { buf, .. } => {
                    assert!(!*eof, "{case}: bytes behind the end of the stream");
                    *bytes += buf.len();
                }
                NetEvent::PeerClosed { id, .. } => {
                    assert!(!std::mem::replace(eof, true), "{case}: a stream ends once");
                    // The connection may have ended since.
                    drop(driver.group().shutdown(id));
                }
                NetEvent::Sent { error, .. } => assert_eq!(error, Some(NetError::Cancelled)),
                NetEvent::Closed { why, .. } => *end = Some(why),
                other => panic!("{case}: {}", super::driver::name(&other)),
            }
        }
        told.iter().all(|(.., end)| end.is_some())
    });
    assert_eq!(driver.group().stats().sockets, 1, "{case}: the listener");
    driver.turns(5);
    assert!(!driver.seen().any(|event| event_id(event).is_some_and(|id| ids.contains(&id))), "{case}: Closed is the last event");
    told.into_iter().map(|(bytes, _, end)| (bytes, end.flatten())).collect()
}

/// Two thousand of them in a row, a few at a time: each end is told, and no descriptor stays.
pub fn s19_s60_of_thousands_that_send_and_reset_nothing_stays(env: &Env) {
    const COUNT: usize = 2000;
    let mut driver = Driver::with(env, Setup { sockets: COUNT + 1, ..Setup::default() });
    let (_, at) = driver.listen();
    driver.turns(2);
    let empty = open_descriptors();
    let to = env.clone();
    let peers = std::thread::spawn(move || {
        for n in 0..COUNT {
            let mut far = to.peers.connect(at).expect("the listener lets it wait");
            far.write_all(&[7; 5][..1 + n % 5]).expect("sent");
            peer::reset(far);
        }
    });
    let (mut accepted, mut closed) = (0, 0);
    driver.until("every end", |driver| {
        while let Some(event) = driver.next_seen() {
            match event {
                NetEvent::Accepted { socket, .. } => {
                    accepted += 1;
                    driver.attach(socket, Token(1));
                }
                NetEvent::Received { id, buf, .. } => drop(driver.group().send(id, buf.into())),
                NetEvent::PeerClosed { id, .. } => drop(driver.group().shutdown(id)),
                NetEvent::Closed { token: Token(1), .. } => closed += 1,
                NetEvent::Sent { error, .. } => assert_eq!(error, Some(NetError::Cancelled)),
                other => panic!("{}", super::driver::name(&other)),
            }
        }
        (accepted, closed) == (COUNT, COUNT)
    });
    peers.join().expect("the peers are content");
    assert_eq!(driver.group().stats().sockets, 1, "the listener");
    assert_eq!(open_descriptors(), empty, "a closed socket has no descriptor");
}

/// Sends tagged frames of 4096 bytes, a pattern of seed 8, until the system takes no more. Tells
/// how many.
fn fill_up(driver: &mut Driver, id: SockId) -> u32 {
    let mut sent = 0;
    while let Some(mut buf) = driver.group().buffer() {
        buf.append(&peer::pattern(8, sent as usize * 4096, 4096));
        driver.send_frame(id, core_reactor::net::Frame::from(buf).tagged(sent));
        driver.group().flush();
        sent += 1;
    }
    assert!(driver.group().stats().bytes_out < u64::from(sent) * 4096, "the system cannot take it all");
    sent
}

/// The frames come back, in order: those that were sent, then the others as cancelled, then the
/// socket's end with `why`. Tells how many bytes of all were written.
fn assert_all_come_back(driver: &mut Driver, id: SockId, count: u32, why: Option<NetError>) -> usize {
    let (mut next, mut written, mut cancelled) = (0, 0, 0);
    let end = loop {
        let event = driver.wait("the next report", |event| if event_id(&event) == Some(id) { Ok(event) } else { Err(event) });
        match event {
            NetEvent::Sent { frame, written: some, error, .. } => {
                assert_eq!(frame.tag(), Some(next), "in order");
                let wanted = if cancelled == 0 && error.is_none() { None } else { Some(NetError::Cancelled) };
                assert_eq!(error, wanted, "none is sent behind one that was cancelled");
                assert!(if error.is_none() { some == 4096 } else { some == 0 || cancelled == 0 && some < 4096 });
                cancelled += usize::from(error.is_some());
                written += some;
                next += 1;
            }
            NetEvent::Closed { why, .. } => break why,
            other => panic!("{}", super::driver::name(&other)),
        }
    };
    assert_eq!((next, end), (count, why), "all of them, before the end");
    assert!(cancelled > 0);
    written
}

fn assert_nothing_follows(driver: &mut Driver, id: SockId) {
    driver.turns(20);
    let more = driver.seen().any(|event| event_id(event) == Some(id));
    assert!(!more, "Closed is a socket's last event");
}

fn event_id(event: &NetEvent) -> Option<SockId> {
    match event {
        NetEvent::Accepted { id, .. }
        | NetEvent::Connected { id, .. }
        | NetEvent::Received { id, .. }
        | NetEvent::Sent { id, .. }
        | NetEvent::Writable { id, .. }
        | NetEvent::PeerClosed { id, .. }
        | NetEvent::Closed { id, .. } => Some(*id),
        _ => None,
    }
}
