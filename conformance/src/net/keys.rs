//! Statement 21: close and detach at any time; keys that are stale; sockets that change their
//! group.

use std::io::Write;
use std::net::SocketAddr;

use core_reactor::net::{Frame, NetError, NetEvent, Placement, SockId, SockOptions, Socket, Token};

use super::driver::Setup;
use super::{Driver, Env, peer};

/// Among the events of one poll, the first closes the sockets of all others.
pub fn s21_any_socket_may_be_closed_while_events_are_handled(env: &Env) {
    let mut driver = Driver::new(env);
    let mut pairs: Vec<_> = (0..10).map(|n| driver.pair(Token(n))).collect();
    pairs.iter_mut().for_each(|(_, far)| far.write_all(b"hello").expect("sent"));
    let mut closed = Vec::new();
    let mut after_close = 0;
    driver.until("all are closed", |driver| {
        while let Some(event) = driver.next_seen() {
            match event {
                NetEvent::Received { .. } if after_close == 0 => {
                    for (id, _) in &pairs {
                        driver.group().close(*id).expect("it is there");
                    }
                    after_close = 1;
                }
                // Of the same poll as the first: it had happened by then.
                NetEvent::Received { id, .. } => assert!(!closed.contains(&id), "Closed is the last event"),
                NetEvent::Closed { id, why, .. } => {
                    assert_eq!(why, None);
                    closed.push(id);
                }
                other => panic!("{}", super::driver::name(&other)),
            }
        }
        closed.len() == 10
    });
    driver.turns(10);
    assert_eq!(driver.seen().count(), 0);
    closed.dedup();
    assert_eq!(closed.len(), 10, "each once");
}

/// A key whose socket is gone is an error in every call, and harms nobody who has its place now.
pub fn s21_a_stale_key_is_an_error_and_never_another_socket(env: &Env) {
    let mut driver = Driver::with(env, Setup { sockets: 2, ..Setup::default() });
    let mut stale = Vec::new();
    for round in 0..50 {
        let (id, _far) = driver.pair(Token(round));
        driver.group().close(id).expect("it is there");
        assert_all_stale(&mut driver, id);
        assert_eq!(driver.closed(id), None);
        stale.push(id);
    }
    let (living, mut far) = driver.pair(Token(99));
    for id in stale {
        assert_ne!(id, living);
        assert_all_stale(&mut driver, id);
    }
    driver.send(living, b"unharmed");
    driver.turns(1);
    assert_eq!(peer::read(&mut far, 8), b"unharmed");
}

/// A key of one group is a stale one in another, and so is a number that nobody gave out.
pub fn s21_a_key_of_another_group_is_stale(env: &Env) {
    let (mut one, mut other) = (Driver::new(env), Driver::new(env));
    let (mine, _far) = one.pair(Token(1));
    let (theirs, _other_far) = other.pair(Token(1));
    assert_ne!(mine, theirs);
    assert_all_stale(&mut other, mine);
    assert_all_stale(&mut one, theirs);
    for raw in [0, 1, u64::MAX, u64::MAX - 1, mine.raw() ^ 1, mine.raw() ^ 1 << 24, mine.raw() ^ 1 << 48] {
        assert_all_stale(&mut one, SockId::from_raw(raw));
    }
}

/// A group that is gone does not leave its keys to the next.
pub fn s21_a_key_of_a_group_that_is_gone_is_stale(env: &Env) {
    let mut one = Driver::new(env);
    let (old, _far) = one.pair(Token(1));
    drop(one);
    let mut next = Driver::new(env);
    let (new, _other_far) = next.pair(Token(1));
    assert_ne!(old, new);
    assert_all_stale(&mut next, old);
}

/// A socket moves between groups in the middle of a stream, again and again, and nothing is lost or
/// repeated.
pub fn s21_detach_and_attach_elsewhere_mid_stream(env: &Env) {
    const BYTES: usize = 2 << 20;
    let mut drivers = [Driver::new(env), Driver::new(env)];
    let (mut id, mut far) = drivers[0].pair(Token(1));
    let writer = std::thread::spawn(move || {
        far.write_all(&peer::pattern(6, 0, BYTES)).expect("sent");
        far
    });
    let (mut at, mut got, mut moves) = (0, 0, 0);
    while got < BYTES {
        let buf = drivers[at].wait("bytes", |event| match event {
            NetEvent::Received { id: of, buf, .. } => {
                assert_eq!(of, id);
                Ok(buf)
            }
            other => Err(other),
        });
        assert!(*buf == peer::pattern(6, got, buf.len())[..], "the stream differs after byte {got}");
        got += buf.len();
        if drivers[at].seen().count() == 0 && got < BYTES {
            let socket = drivers[at].group().detach(id).expect("it is there");
            assert_all_stale(&mut drivers[at], id);
            at = 1 - at;
            id = drivers[at].attach(socket, Token(1));
            moves += 1;
        }
    }
    assert!(moves > 10, "{moves} moves");
    drop(writer.join().expect("the peer is content"));
    drivers[at].peer_closed(id);
}

/// Detach gives back what was not sent, and tells how much of it was; the rest can be sent from
/// elsewhere.
pub fn s21_detach_gives_back_what_was_not_sent(env: &Env) {
    let setup = Setup { bufs: 200, send_limit: 1 << 30, send_frames: 200, ..Setup::default() };
    let (mut one, mut other) = (Driver::with(env, setup), Driver::new(env));
    let (id, mut far) = one.narrow_pair(Token(1));
    for n in 0..200 {
        one.send(id, &peer::pattern(2, n * 4096, 4096));
    }
    one.group().flush();
    let socket = one.group().detach(id).expect("it is there");
    let done = one.group().stats().bytes_out as usize;
    assert!(done < 200 * 4096, "the system cannot take it all");
    let mut rest = Vec::new();
    one.until("all that was not sent", |one| {
        while let Some(event) = one.next_seen() {
            let NetEvent::Sent { id: of, frame, written, error, .. } = event else { panic!("only reports") };
            assert_eq!((of, error), (id, Some(NetError::Cancelled)));
            assert!(written == 0 || rest.is_empty(), "only the first can be half sent");
            rest.extend_from_slice(&frame.parts()[0][written..]);
        }
        done + rest.len() == 200 * 4096
    });
    let id = other.attach(socket, Token(2));
    let reader = std::thread::spawn(move || peer::read_to_end(&mut far));
    for piece in rest.chunks(4096) {
        let mut frame = other.frame(piece);
        while let Err(refused) = other.group().send(id, frame) {
            frame = refused.item;
            other.turns(1);
        }
    }
    other.group().shutdown(id).expect("it is there");
    assert_eq!(other.closed(id), None);
    assert!(reader.join().expect("the peer is content") == peer::pattern(2, 0, 200 * 4096), "the stream is whole");
}

/// A peer's end belongs to the socket, not to the group that was told of it; ours stays what it is.
pub fn s21_ends_move_with_their_socket(env: &Env) {
    let (mut one, mut other) = (Driver::new(env), Driver::new(env));
    let (id, mut far) = one.pair(Token(1));
    far.shutdown().expect("allowed");
    one.peer_closed(id);
    let socket = one.group().detach(id).expect("it is there");
    let id = other.attach(socket, Token(1));
    other.peer_closed(id);
    other.send(id, b"still here");
    other.group().shutdown(id).expect("it is there");
    assert_eq!(other.closed(id), None);
    assert_eq!(peer::read_to_end(&mut far), b"still here");

    let (id, mut far) = one.pair(Token(2));
    one.group().shutdown(id).expect("it is there");
    assert_eq!(peer::read_to_end(&mut far), b"");
    let socket = one.group().detach(id).expect("it is there");
    let id = other.attach(socket, Token(2));
    let frame = other.frame(b"too late");
    assert_eq!(other.group().send(id, frame).expect_err("FIN is out").why, NetError::NotConnected);
    far.write_all(b"last").expect("sent");
    assert_eq!(other.receive(id, 4), b"last");
    drop(far);
    assert_eq!(other.closed(id), None);
}

/// A socket in no group may cross cores.
pub fn s21_an_accepted_socket_may_cross_cores(env: &Env) {
    let mut driver = Driver::new(env);
    let (_, at) = driver.listen();
    let mut far = env.peers.connect(at).expect("it waits");
    let socket = driver.wait("a connection", |event| match event {
        NetEvent::Accepted { socket, .. } => Ok(socket),
        other => Err(other),
    });
    far.write_all(b"early").expect("sent");
    let there = env.clone();
    let other = std::thread::spawn(move || {
        let mut driver = Driver::new(&there);
        let id = driver.attach(socket, Token(3));
        let heard = driver.receive(id, 5);
        driver.send(id, &heard);
        driver.turns(1);
        driver.peer_closed(id);
    });
    assert_eq!(peer::read(&mut far, 5), b"early");
    drop(far);
    other.join().expect("the other core is content");
}

/// A full group gives the socket back, and so does one of another backend's.
pub fn s21_a_socket_that_is_refused_comes_back(env: &Env) {
    let mut driver = Driver::with(env, Setup { sockets: 1, ..Setup::default() });
    let (id, _) = driver.listen();
    let extra = env.backend.listen((env.host, 0).into(), &SockOptions::default()).expect("a free port");
    let at = extra.local_addr();
    let refused = driver.group().attach(extra, Token(2)).expect_err("one is all it was made for");
    assert_eq!(refused.why, NetError::GroupFull(1));
    assert_eq!(refused.item.local_addr(), at);
    driver.group().close(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    let refused = driver.group().attach(Box::new(Stranger), Token(3)).expect_err("of another backend");
    assert_eq!(refused.why, NetError::WrongBackend { socket: "stranger", group: env.backend.name() });
    assert_eq!(refused.item.backend(), "stranger");
    driver.attach(env.backend.listen((env.host, 0).into(), &SockOptions::default()).expect("a free port"), Token(4));
}

fn assert_all_stale(driver: &mut Driver, id: SockId) {
    let frame = Frame::new().tagged(5);
    let group = driver.group();
    let refused = group.send(id, frame).expect_err("stale");
    assert_eq!((refused.why, refused.item.tag()), (NetError::Stale, Some(5)));
    assert_eq!(group.shutdown(id), Err(NetError::Stale));
    assert_eq!(group.close(id), Err(NetError::Stale));
    assert_eq!(group.abort(id), Err(NetError::Stale));
    assert_eq!(group.pause(id), Err(NetError::Stale));
    assert_eq!(group.resume(id), Err(NetError::Stale));
    assert_eq!(group.addresses(id), Err(NetError::Stale));
    assert_eq!(group.options(id), Err(NetError::Stale));
    assert_eq!(group.detach(id).err(), Some(NetError::Stale));
}

/// A socket of a backend that there is not.
struct Stranger;

impl Socket for Stranger {
    fn local_addr(&self) -> Result<SocketAddr, NetError> {
        Err(NetError::Stale)
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn options(&self) -> Result<SockOptions, NetError> {
        Err(NetError::Stale)
    }

    fn placement(&self) -> Placement {
        Placement::default()
    }

    fn backend(&self) -> &'static str {
        "stranger"
    }
}
