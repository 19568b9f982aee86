//! Statement 16: listeners.

use std::io::Write;

use core_reactor::net::{NetError, NetEvent, SockOptions, Socket, Token};

use super::driver::{LISTENER, Setup};
use super::limits::Descriptors;
use super::{Driver, Env, peer};

/// Many at once, in events that have little room.
pub fn s16_accept_drains_in_batches(env: &Env) {
    let mut driver = Driver::with(env, Setup { room: 7, ..Setup::default() });
    let (listener, at) = driver.listen();
    let peers: Vec<_> = (0..100).map(|_| env.peers.connect(at).expect("it waits")).collect();
    let mut accepted = Vec::new();
    let mut most = 0;
    driver.until("all connections", |driver| {
        let before = accepted.len();
        while let Some(event) = driver.next_seen() {
            let NetEvent::Accepted { id, token, socket } = event else { panic!("only connections") };
            assert_eq!((id, token), (listener, LISTENER));
            accepted.push(socket.peer_addr().expect("a connection has one"));
        }
        most = most.max(accepted.len() - before);
        accepted.len() == peers.len()
    });
    assert!(most > 1, "more than one in a poll");
    let mut wanted: Vec<_> = peers.iter().map(|peer| peer.local_addr().expect("its address")).collect();
    accepted.sort();
    wanted.sort();
    assert_eq!(accepted, wanted, "each once");
    assert_eq!(driver.group().stats().accepted, 100);
}

/// A connection that the application does not want is closed by dropping it.
pub fn s16_an_accepted_socket_that_is_dropped_is_closed(env: &Env) {
    let mut driver = Driver::new(env);
    let (_, at) = driver.listen();
    let mut far = env.peers.connect(at).expect("it waits");
    drop(accepted(&mut driver));
    assert_eq!(peer::read_to_end(&mut far), b"");
}

/// A paused listener accepts nothing, and forgets nobody.
pub fn s16_a_paused_listener_lets_wait(env: &Env) {
    let mut driver = Driver::new(env);
    let (listener, at) = driver.listen();
    driver.group().pause(listener).expect("it is there");
    let far = env.peers.connect(at).expect("it waits");
    driver.turns(20);
    assert_eq!(driver.seen().count(), 0);
    driver.group().resume(listener).expect("it is there");
    assert_eq!(accepted(&mut driver).peer_addr(), far.local_addr().ok());
}

/// A listener sends nothing, so it has no sending side to end.
pub fn s16_a_listener_sends_nothing(env: &Env) {
    let mut driver = Driver::new(env);
    let (listener, _) = driver.listen();
    let frame = driver.frame(b"to whom");
    assert_eq!(driver.group().send(listener, frame).expect_err("to nobody").why, NetError::NotConnected);
    assert_eq!(driver.group().shutdown(listener), Err(NetError::NotConnected));
}

/// A listener is a socket like others: it can be closed, and moved.
pub fn s16_a_listener_can_change_its_group(env: &Env) {
    let (mut one, mut other) = (Driver::new(env), Driver::new(env));
    let (listener, at) = one.listen();
    let first = env.peers.connect(at).expect("it waits");
    let socket = one.group().detach(listener).expect("it is there");
    let second = env.peers.connect(at).expect("it waits");
    other.attach(socket, LISTENER);
    assert_eq!(accepted(&mut other).peer_addr(), first.local_addr().ok());
    assert_eq!(accepted(&mut other).peer_addr(), second.local_addr().ok());
    one.turns(3);
    assert_eq!(one.seen().count(), 0);
}

/// Out of descriptors the listener pauses, says so once, and goes on when some are free; nobody is
/// turned away.
pub fn s16_out_of_descriptors_pauses_and_goes_on(env: &Env) {
    const COUNT: usize = 12;
    let mut taken = Descriptors::few();
    let mut driver = Driver::new(env);
    let (_, at) = driver.listen();
    let (resident, resident_far) = driver.accept_from(at, Token(99));
    let mut peers: Vec<_> = (0..COUNT).map(|_| env.peers.connect(at).expect("it waits")).collect();
    peers.iter_mut().for_each(|far| far.write_all(b"before").expect("sent"));
    taken.exhaust();
    driver.until("the pause", |driver| driver.group().stats().accept_pauses == 1);
    driver.turns(50);
    assert_eq!(driver.seen().count(), 0);
    let mut accepted = Vec::new();
    let mut take = |driver: &mut Driver, count| {
        driver.until("as many as there are descriptors", |driver| {
            while let Some(event) = driver.next_seen() {
                match event {
                    NetEvent::Accepted { socket, .. } => accepted.push(socket),
                    NetEvent::Closed { id, .. } => assert_eq!(id, resident),
                    other => panic!("{}", super::driver::name(&other)),
                }
            }
            accepted.len() == count
        });
    };
    // Freed by others: nothing tells the group.
    taken.free(3);
    take(&mut driver, 3);
    // Freed by the group itself.
    driver.group().close(resident).expect("it is there");
    take(&mut driver, 4);
    driver.turns(50);
    assert_eq!(driver.seen().count(), 0, "no more than there are descriptors");
    assert_eq!(driver.group().stats().accept_pauses, 1, "one shortage is told once");
    drop(taken);
    take(&mut driver, COUNT);
    for socket in accepted {
        let id = driver.attach(socket, Token(1));
        assert_eq!(driver.receive(id, 6), b"before");
    }
    drop(resident_far);
}

/// Two listeners share an address if both want to.
pub fn s16_listeners_may_share_an_address(env: &Env) {
    let options = SockOptions::default().reuse_port(true);
    let mut driver = Driver::new(env);
    let (_, at) = driver.listen_with(&options);
    let second = env.backend.listen(at, &options).expect("shared");
    driver.attach(second, LISTENER);
    for _ in 0..20 {
        let far = env.peers.connect(at).expect("it waits");
        assert_eq!(accepted(&mut driver).peer_addr(), far.local_addr().ok());
    }
}

fn accepted(driver: &mut Driver) -> Box<dyn Socket> {
    driver.wait("a connection", |event| match event {
        NetEvent::Accepted { socket, .. } => Ok(socket),
        other => Err(other),
    })
}
