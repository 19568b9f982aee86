//! From a request to a connection, or not (statement 31).

use std::net::SocketAddr;
use std::time::Duration;

use core_reactor::transport::{ACCEPT_DATA, Access, QueueOptions, REJECT_DATA, REQUEST_DATA, Token, TransportError};

use super::lot::pattern;
use super::world::{A, B, LISTENER, World};
use super::{Env, begins_with};

/// Both ends hear of it, each with its own token, and know each other's address.
pub fn s31_a_connect_is_accepted(env: &Env) {
    let mut world = World::new(env);
    let (listener, at) = world.listen(B, &QueueOptions::default());
    assert_ne!(at.port(), 0, "the port that was given is told");
    assert_eq!(world.at(B).group().addresses(listener), Ok((at, None)));
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(7));
    let queue = world.requested(B);
    assert_eq!(queue.peer_addr().ip(), env.host);
    assert_eq!(queue.transport(), env.transport.name());
    let far = world.at(B).attach(queue, Token(8), &[]);
    world.established(A, near);
    assert!(world.established(B, far).is_empty(), "nothing came with an acceptance of one's own");
    assert_eq!(world.at(A).group().addresses(near).expect("it is there").1, Some(at));
    let (own, peer) = world.at(B).group().addresses(far).expect("it is there");
    assert_eq!((own.port(), peer.map(|peer| peer.ip())), (at.port(), Some(env.host)));
    assert_eq!(world.at(B).group().stats().queues, 2);
}

/// As much as the limits allow; a transport may add zeros.
pub fn s31_private_data_goes_both_ways(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    for (asked, accepted) in [(0, 0), (1, 5), (REQUEST_DATA, ACCEPT_DATA)] {
        let (asked, accepted) = (pattern(1, asked), pattern(2, accepted));
        let queue = env.transport.connect(at, &QueueOptions::default()).expect("a queue");
        assert_eq!((queue.peer_addr(), queue.private_data()), (at, &[][..]));
        let near = world.at(A).attach(queue, Token(1), &asked);
        let queue = world.requested(B);
        begins_with(queue.private_data(), &asked, REQUEST_DATA);
        let far = world.at(B).attach(queue, Token(2), &accepted);
        begins_with(&world.established(A, near), &accepted, ACCEPT_DATA);
        world.established(B, far);
    }
}

/// It is no reason to lose the queue.
pub fn s31_private_data_past_its_limit_is_refused(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let too_long = |why: TransportError, most: usize| {
        assert!(matches!(why, TransportError::Limit { asked, limit, .. } if (asked, limit) == (most as u64 + 1, most as u64)), "{why}");
    };
    let queue = env.transport.connect(at, &QueueOptions::default()).expect("a queue");
    let refused = world.at(A).try_attach(queue, Token(1), &[0; REQUEST_DATA + 1]).expect_err("too much for a request");
    too_long(refused.why, REQUEST_DATA);
    let near = world.at(A).attach(refused.item, Token(1), &[]);
    let refused = world.requested(B).reject(&[0; REJECT_DATA + 1]).expect_err("too much for a rejection");
    too_long(refused.why, REJECT_DATA);
    let refused = world.at(B).try_attach(refused.item, Token(2), &[0; ACCEPT_DATA + 1]).expect_err("too much for an acceptance");
    too_long(refused.why, ACCEPT_DATA);
    let far = world.at(B).attach(refused.item, Token(2), &[]);
    world.established(A, near);
    world.established(B, far);
}

/// The reason for a rejection arrives with it.
pub fn s31_a_rejection_brings_private_data(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    for bytes in [0, 4, REJECT_DATA] {
        let data = pattern(3, bytes);
        let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
        world.requested(B).reject(&data).map_err(|refused| refused.why).expect("it fits");
        match world.closed(A, near) {
            Some(TransportError::Rejected(came)) => begins_with(&came, &data, REJECT_DATA),
            other => panic!("{other:?} in place of a rejection"),
        }
    }
}

/// Who forgets a request has answered it.
pub fn s31_a_dropped_request_is_rejected(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    drop(world.requested(B));
    assert!(matches!(world.closed(A, near), Some(TransportError::Rejected(_))));
}

/// A port where nobody listens.
pub fn s31_without_a_listener_a_connect_is_refused(env: &Env) {
    let mut world = World::new(env);
    let (listener, at) = world.listen(B, &QueueOptions::default());
    world.at(B).disconnect(listener);
    assert_eq!(world.closed(B, listener), None);
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    assert_eq!(world.closed(A, near), Some(TransportError::ConnectRefused(at)));
}

/// An address that nobody has.
pub fn s31_an_unreachable_connect_arrives_as_closed(env: &Env) {
    let mut world = World::new(env);
    let options = QueueOptions::default().connect_timeout(Duration::from_secs(2));
    let near = world.at(A).dial(env.nowhere, &options, Token(1));
    let why = world.closed(A, near);
    assert!(matches!(why, Some(TransportError::Unreachable(to)) if to == env.nowhere) || why == Some(TransportError::TimedOut), "{why:?}");
}

/// A request that is let lie. Its queue, accepted too late, ends as well.
pub fn s31_an_unanswered_connect_times_out(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let options = QueueOptions::default().connect_timeout(Duration::from_millis(100));
    let near = world.at(A).dial(at, &options, Token(1));
    let queue = world.requested(B);
    assert_eq!(world.closed(A, near), Some(TransportError::TimedOut));
    let far = world.at(B).attach(queue, Token(2), &[]);
    let why = world.closed(B, far);
    assert!(why.is_some(), "a connection that never stood ends with an error");
}

/// `disconnect` in the middle of a connect: no error, and the other end is not left waiting.
pub fn s31_a_connect_under_way_can_be_ended(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    let queue = world.requested(B);
    world.at(A).disconnect(near);
    assert_eq!(world.closed(A, near), None);
    let far = world.at(B).attach(queue, Token(2), &[]);
    world.closed(B, far);
}

/// Requests that nobody has seen are rejected, and the address can be had again.
pub fn s31_a_listener_that_ends_rejects_what_waits(env: &Env) {
    let mut world = World::new(env);
    let listener = env.transport.listen(SocketAddr::new(env.host, 0), &QueueOptions::default()).expect("a free port");
    let at = listener.local_addr();
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    world.turns(64);
    drop(listener);
    let why = world.closed(A, near);
    assert!(matches!(why, Some(TransportError::Rejected(_) | TransportError::ConnectRefused(_))), "{why:?}");
    let again = env.transport.listen(at, &QueueOptions::default()).expect("the address is free");
    assert_eq!(again.local_addr(), at);
}

/// From `listen` on requests wait, whenever the listener comes to a group.
pub fn s31_requests_wait_for_the_listener_to_be_attached(env: &Env) {
    let mut world = World::new(env);
    let listener = env.transport.listen(SocketAddr::new(env.host, 0), &QueueOptions::default()).expect("a free port");
    let at = listener.local_addr();
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    world.turns(64);
    world.at(B).listen(listener, LISTENER);
    let queue = world.requested(B);
    let far = world.at(B).attach(queue, Token(2), &[]);
    world.established(A, near);
    world.established(B, far);
}

/// Twice the same address, and one of another machine.
pub fn s31_an_address_that_cannot_be_had_is_an_error(env: &Env) {
    let listener = env.transport.listen(SocketAddr::new(env.host, 0), &QueueOptions::default()).expect("a free port");
    let at = listener.local_addr();
    let twice = env.transport.listen(at, &QueueOptions::default()).err();
    assert_eq!(twice, Some(TransportError::AddressInUse(at)));
    let elsewhere = env.transport.listen(env.nowhere, &QueueOptions::default()).err();
    assert_eq!(elsewhere, Some(TransportError::AddressUnavailable(env.nowhere)));
}

/// What is asked of a queue too early comes back, and so does what is asked of a listener.
pub fn s31_before_established_nothing_is_taken(env: &Env) {
    let mut world = World::new(env);
    let (listener, at) = world.listen(B, &QueueOptions::default());
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    for (who, id) in [(A, near), (B, listener)] {
        let frame = world.at(who).fill(b"early").into();
        let refused = world.at(who).try_send(id, frame, None, 1).expect_err("it is not connected");
        assert_eq!((refused.why, &refused.item.parts()[0][..]), (TransportError::NotConnected, &b"early"[..]));
        let buf = world.at(who).fill(b"early");
        let refused = world.at(who).try_expose(id, buf, Access::Read).expect_err("it is not connected");
        assert_eq!((refused.why, &refused.item[..]), (TransportError::NotConnected, &b"early"[..]));
        assert_eq!(world.at(who).group().limits(id), Err(TransportError::NotConnected));
    }
}

/// A listener's queues, each answered by itself, in the order that suits the acceptor.
pub fn s31_many_connects_at_once(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let near: Vec<_> = (0..24).map(|n| world.at(A).dial(at, &QueueOptions::default(), Token(n))).collect();
    let mut queues: Vec<_> = near.iter().map(|_| world.requested(B)).collect();
    queues.reverse();
    let far: Vec<_> = queues.into_iter().map(|queue| world.at(B).attach(queue, Token(99), &[])).collect();
    near.iter().for_each(|id| drop(world.established(A, *id)));
    far.iter().for_each(|id| drop(world.established(B, *id)));
    assert_eq!(world.at(A).group().stats().queues, 24);
}
