//! Statements 14 and 15: addresses, and connects that never block.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use core_reactor::net::{NetError, NetEvent, SockOptions, Token};

use super::driver::Setup;
use super::{Driver, Env, peer};

/// Port 0 asks for a free port, and both sides are told the real one.
pub fn s14_port_0_takes_a_free_port_and_tells_it(env: &Env) {
    let mut driver = Driver::new(env);
    let (listener, at) = driver.listen();
    assert_eq!(at.ip(), env.host);
    assert_ne!(at.port(), 0);
    assert_eq!(driver.group().addresses(listener), Ok((at, None)));
    let (id, far) = driver.accept_from(at, Token(1));
    let here = far.local_addr().expect("its address");
    assert_eq!(driver.group().addresses(id), Ok((at, Some(here))));
}

/// The addresses as people write them.
pub fn s14_a_written_address_can_be_listened_to(env: &Env) {
    let bracketed = format!("[{}]", env.host);
    let text = if env.host.is_ipv6() { &bracketed } else { &env.host.to_string() };
    let at = core_reactor::net::parse_address(text, 0).expect("an address");
    let listener = env.backend.listen(at, &SockOptions::default()).expect("a free port");
    assert_eq!(listener.local_addr().expect("its address").ip(), env.host);
    assert_eq!(listener.peer_addr(), None);
}

/// What is taken, foreign or not allowed is told as such.
pub fn s14_an_address_that_cannot_be_had_is_an_error(env: &Env) {
    let taken = env.backend.listen((env.host, 0).into(), &SockOptions::default()).expect("a free port");
    let at = taken.local_addr().expect("its address");
    let why = env.backend.listen(at, &SockOptions::default()).err();
    assert_eq!(why, Some(NetError::AddressInUse(at)));
    // Those of many machines at once are nobody's; the kernel would let a socket listen where no
    // connection comes.
    let of_many: [IpAddr; 2] = match env.host {
        IpAddr::V4(_) => [Ipv4Addr::BROADCAST.into(), Ipv4Addr::new(224, 0, 0, 1).into()],
        IpAddr::V6(_) => [Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(), Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 1).into()],
    };
    for foreign in of_many.into_iter().chain([no_address_of_ours(env)]) {
        let foreign = SocketAddr::new(foreign, 0);
        let why = env.backend.listen(foreign, &SockOptions::default()).err();
        assert_eq!(why, Some(NetError::AddressUnavailable(foreign)));
    }
}

/// Both sides in one group.
pub fn s15_a_connect_connects(env: &Env) {
    let mut driver = Driver::new(env);
    let (_, at) = driver.listen();
    let id = driver.connect(&[at], Token(5));
    driver.connected(id);
    let far = driver.wait("a connection", |event| match event {
        NetEvent::Accepted { socket, .. } => Ok(socket),
        other => Err(other),
    });
    let (here, there) = driver.group().addresses(id).expect("it is there");
    assert_eq!((there, far.peer_addr()), (Some(at), Some(here)));
    let far = driver.attach(far, Token(6));
    driver.send(id, b"ping");
    assert_eq!(driver.receive(far, 4), b"ping");
    driver.send(far, b"pong");
    assert_eq!(driver.receive(id, 4), b"pong");
    driver.group().close(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    driver.peer_closed(far);
}

/// Until it is connected a socket takes no frame; afterwards bytes that had come at once are not
/// forgotten.
pub fn s15_before_connected_nothing_is_sent(env: &Env) {
    let far = env.peers.listen(env.peer).expect("a free port");
    let mut driver = Driver::new(env);
    let id = driver.connect(&[far.local_addr().expect("its address")], Token(5));
    let frame = driver.frame(b"early");
    let refused = driver.group().send(id, frame).expect_err("it is not connected");
    assert_eq!(refused.why, NetError::NotConnected);
    let mut peer = far.accept().expect("a connection");
    peer.write_all(b"banner").expect("sent");
    driver.connected(id);
    driver.send_frame(id, refused.item);
    assert_eq!(driver.receive(id, 6), b"banner");
    assert_eq!(peer::read(&mut peer, 5), b"early");
}

/// FIN that was asked for before there was a connection goes out with it.
pub fn s15_shutdown_while_connecting_waits_for_the_connection(env: &Env) {
    let far = env.peers.listen(env.peer).expect("a free port");
    let mut driver = Driver::new(env);
    let id = driver.connect(&[far.local_addr().expect("its address")], Token(5));
    driver.group().shutdown(id).expect("it is there");
    driver.connected(id);
    let mut peer = far.accept().expect("a connection");
    assert_eq!(peer::read_to_end(&mut peer), b"");
    drop(peer);
    assert_eq!(driver.closed(id), None);
}

/// A pause that was asked for before there was a connection holds from its first byte on.
pub fn s15_who_is_paused_while_connecting_is_not_read(env: &Env) {
    let far = env.peers.listen(env.peer).expect("a free port");
    let mut driver = Driver::new(env);
    let id = driver.connect(&[far.local_addr().expect("its address")], Token(5));
    driver.group().pause(id).expect("it is there");
    driver.connected(id);
    let mut peer = far.accept().expect("a connection");
    peer.write_all(b"banner").expect("sent");
    driver.turns(20);
    assert_eq!(driver.seen().count(), 0, "nothing of a paused socket");
    assert_eq!(driver.take_buffers().len(), Setup::default().bufs, "nor a buffer for it");
    driver.group().resume(id).expect("it is there");
    assert_eq!(driver.receive(id, 6), b"banner");
}

/// Refused is an event, not an answer of `attach` or `connect`.
pub fn s15_a_refused_connect_arrives_as_closed(env: &Env) {
    let mut driver = Driver::new(env);
    let nobody = env.peers.nobody(env.peer);
    let id = driver.connect(&[nobody], Token(5));
    assert_eq!(driver.closed(id), Some(NetError::ConnectRefused(nobody)));
    driver.turns(5);
    assert_eq!(driver.seen().count(), 0, "Closed is the only event");
    assert_eq!(driver.group().stats().sockets, 0);
}

/// So is unreachable: nobody can connect to a multicast group.
pub fn s15_an_unreachable_connect_arrives_as_closed(env: &Env) {
    let group = match env.host {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1)),
    };
    let nowhere = SocketAddr::new(group, 9);
    let mut driver = Driver::new(env);
    let id = driver.connect(&[nowhere], Token(5));
    assert_eq!(driver.closed(id), Some(NetError::Unreachable(nowhere)));
}

/// All addresses are tried in turn, of either family, and the one that answers is told.
pub fn s15_all_addresses_are_tried(env: &Env) {
    let mut driver = Driver::new(env);
    let (_, at) = driver.listen();
    let other = match env.host {
        IpAddr::V4(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let elsewhere = env.peers.nobody(other);
    let id = driver.connect(&[env.peers.nobody(env.peer), elsewhere, env.peers.nobody(env.peer), at], Token(5));
    driver.connected(id);
    assert_eq!(driver.group().addresses(id).expect("it is there").1, Some(at));
    let last = env.peers.nobody(env.peer);
    let id = driver.connect(&[env.peers.nobody(env.peer), last], Token(6));
    assert_eq!(driver.closed(id), Some(NetError::ConnectRefused(last)), "the last one's error is told");
}

/// Where a connect comes from can be asked for: both sides see it.
pub fn s450_a_connect_comes_from_its_source(env: &Env) {
    let mut driver = Driver::new(env);
    let (_, at) = driver.listen();
    for port in [0, free_port(env)] {
        let source = SocketAddr::new(env.host, port);
        let options = SockOptions::default().source(source);
        // Addresses of the other family are passed over.
        let socket = env.backend.connect(&[another_family(env), at], &options).expect("a socket");
        let id = driver.attach(socket, Token(5));
        driver.connected(id);
        let here = driver.group().addresses(id).expect("it is there").0;
        assert!(here.ip() == env.host && here.port() != 0 && (port == 0 || here.port() == port), "{here}");
        assert_eq!(driver.group().options(id).expect("told").source, Some(source));
        let far = driver.wait("a connection", |event| match event {
            NetEvent::Accepted { socket, .. } => Ok(socket),
            other => Err(other),
        });
        assert_eq!((far.peer_addr(), far.options().expect("told").source), (Some(here), None));
    }
}

/// A source that cannot be had is an error at once, and names it.
pub fn s450_a_source_that_cannot_be_had_is_an_error(env: &Env) {
    let mut driver = Driver::new(env);
    let (listener, at) = driver.listen();
    let from = |source: SocketAddr, to| env.backend.connect(&[to], &SockOptions::default().source(source)).err();
    assert_eq!(from(at, at), Some(NetError::AddressInUse(at)));
    let foreign = SocketAddr::new(no_address_of_ours(env), 0);
    assert_eq!(from(foreign, at), Some(NetError::AddressUnavailable(foreign)));
    let other = another_family(env);
    assert_eq!(from((env.host, 0).into(), other), Some(NetError::Unreachable(other)));
    assert_eq!(driver.group().options(listener).expect("told").source, None);
}

/// A port that nobody has at this moment.
fn free_port(env: &Env) -> u16 {
    let listener = env.backend.listen((env.host, 0).into(), &SockOptions::default()).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// An address of the family that the host's is not of.
fn another_family(env: &Env) -> SocketAddr {
    let ip = if env.host.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    SocketAddr::new(ip, 9)
}

/// An empty list is an error at once.
pub fn s15_no_address_is_an_error(env: &Env) {
    assert_eq!(env.backend.connect(&[], &SockOptions::default()).err(), Some(NetError::NoAddress));
}

/// A peer that says nothing does not stop a core, and ends the connect after the time that was
/// allowed.
pub fn s15_an_unanswered_connect_times_out_and_blocks_nobody(env: &Env) {
    let (silent, _silent) = env.peers.silent(env.peer);
    let mut driver = Driver::new(env);
    let (quick, mut far) = driver.pair(Token(2));
    let options = SockOptions::default().user_timeout(Duration::from_millis(500));
    let socket = env.backend.connect(&[silent], &options).expect("a socket");
    let id = driver.attach(socket, Token(1));
    for round in 0..20 {
        driver.send(quick, &[round]);
        driver.turns(1);
        assert_eq!(peer::read(&mut far, 1), [round]);
    }
    assert_eq!(driver.closed(id), Some(NetError::TimedOut));
}

/// A connect can be given up.
pub fn s15_a_connect_under_way_can_be_closed(env: &Env) {
    let (silent, _silent) = env.peers.silent(env.peer);
    let mut driver = Driver::new(env);
    let id = driver.connect(&[silent], Token(1));
    driver.turns(3);
    driver.group().close(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    assert_eq!(driver.group().close(id), Err(NetError::Stale));
}

/// A connect that is under way can change its group.
pub fn s15_a_connect_under_way_can_be_detached(env: &Env) {
    let far = env.peers.listen(env.peer).expect("a free port");
    let (mut one, mut other) = (Driver::new(env), Driver::new(env));
    let id = one.connect(&[far.local_addr().expect("its address")], Token(1));
    let socket = one.group().detach(id).expect("it is there");
    one.turns(3);
    assert_eq!(one.seen().count(), 0, "no event after detach");
    let id = other.attach(socket, Token(2));
    other.connected(id);
    let mut peer = far.accept().expect("a connection");
    peer.write_all(b"hello").expect("sent");
    assert_eq!(other.receive(id, 5), b"hello");
}

/// A connect that succeeds while its socket is in no group, or in one that is not polled, is told
/// of where that is: once, before anything else, and not again where it goes from there.
pub fn s131_a_connect_that_succeeds_unseen_is_told_once(env: &Env) {
    let (mut one, mut other) = (Driver::new(env), Driver::new(env));
    let (_, at) = one.listen();
    let mut id = other.connect(&[at], Token(1));
    let mut socket = other.group().detach(id).expect("it is there");
    let far = one.wait("a connection", |event| match event {
        NetEvent::Accepted { socket, .. } => Ok(socket),
        other => Err(other),
    });
    let far = one.attach(far, Token(2));
    one.send(far, b"hello");
    one.turns(20);
    for _ in 0..3 {
        id = other.attach(socket, Token(3));
        socket = other.group().detach(id).expect("it is there");
    }
    id = other.attach(socket, Token(4));
    let first = other.wait("the first event", Ok);
    assert!(matches!(first, NetEvent::Connected { id: of, token: Token(4) } if of == id));
    assert_eq!(other.receive(id, 5), b"hello");
    socket = other.group().detach(id).expect("it is there");
    id = one.attach(socket, Token(5));
    one.send(id, b"and on");
    assert_eq!(one.receive(far, 6), b"and on");
    one.turns(5);
    assert_eq!((one.seen().count(), other.seen().count()), (0, 0), "it was told before");
}

/// An address of the ranges for documentation (RFC 5737, RFC 3849).
fn no_address_of_ours(env: &Env) -> IpAddr {
    match env.host {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    }
}
