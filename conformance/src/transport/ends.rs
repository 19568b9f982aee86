//! How connections end (statement 31).

use core_reactor::transport::{Access, Frame, QueueEvent, QueueId, QueueOptions, RemoteMemory, Token, TransportError};

use super::Env;
use super::driver::Setup;
use super::lot::pattern;
use super::world::{A, B, World};

/// From the end that asked for the connection, and from the one that accepted.
pub fn s31_either_side_may_disconnect(env: &Env) {
    for who in [A, B] {
        let mut world = World::new(env);
        let (near, far) = world.connect();
        world.at(who).disconnect([near, far][who]);
        assert_eq!(world.closed(A, near), None, "an orderly end is no error");
        assert_eq!(world.closed(B, far), None, "an orderly end is no error");
        assert_eq!(world.at(A).group().stats().queues, 0);
    }
}

/// Both at the same time is an orderly end, too.
pub fn s31_both_sides_may_disconnect_at_once(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    world.at(A).disconnect(near);
    world.at(B).disconnect(far);
    world.at(A).disconnect(near);
    assert_eq!((world.closed(A, near), world.closed(B, far)), (None, None));
}

/// A `Done` is a promise.
pub fn s31_what_was_done_before_a_disconnect_is_received(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    for n in 0..20 {
        world.at(A).send(near, &pattern(n, 100), n);
    }
    (0..20).for_each(|_| drop(world.well_done(A, near)));
    world.at(A).disconnect(near);
    for n in 0..20 {
        assert_eq!(world.message(B, far), pattern(n, 100));
    }
    assert_eq!(world.closed(B, far), None);
}

/// What the receiver had no buffer for comes back when the sender ends the connection, in order,
/// and then the end.
pub fn s31_what_is_posted_comes_back_flushed_in_order(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { bufs: 2, receives: 2, ..Setup::default() }]);
    let (near, far) = world.connect();
    for n in 0..10 {
        world.at(A).send(near, &pattern(n, 100), n);
    }
    let held = [world.received(B, far), world.received(B, far)];
    (0..2).for_each(|_| drop(world.well_done(A, near)));
    world.at(A).disconnect(near);
    for n in 2..10 {
        let done = world.done(A, near);
        assert_eq!((done.tag, done.error.as_ref()), (n, Some(&TransportError::Flushed)));
        assert_eq!(done.bytes(), pattern(n, 100), "its bytes are its owner's again");
    }
    assert_eq!((world.closed(A, near), world.closed(B, far)), (None, None));
    drop(held);
}

/// The same when it is the receiver who ends it. What was read into comes back, too.
pub fn s31_what_is_posted_comes_back_when_the_peer_disconnects(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { bufs: 3, receives: 2, ..Setup::default() }]);
    let (near, far) = world.connect();
    let (memory, _) = world.at(B).expose(far, b"memory", Access::Read);
    for n in 0..6 {
        world.at(A).send(near, b"message", n);
    }
    world.at(A).read(near, memory, 6);
    let held = [world.received(B, far), world.received(B, far)];
    world.at(B).disconnect(far);
    assert_eq!(world.closed(A, near), None);
    let ends: Vec<_> = (0..7).map(|_| world.done(A, near)).collect();
    assert!(ends.iter().enumerate().all(|(n, done)| done.tag == n as u64));
    assert!(ends[2..].iter().all(|done| done.error == Some(TransportError::Flushed)));
    assert_eq!(ends[6].frame.bytes(), 0, "nothing was read");
    drop(held);
}

/// The peer's group is gone, without a word: the survivor gets back all that it had posted and
/// exposed.
pub fn s31_the_peers_death_ends_a_queue(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { bufs: 3, receives: 2, ..Setup::default() }]);
    let (near, far) = world.connect();
    let (memory, _) = world.at(B).expose(far, b"memory", Access::Read);
    let (_, key) = world.at(A).expose(near, b"exposed", Access::ReadWrite);
    for n in 0..6 {
        world.at(A).send(near, b"message", n);
    }
    world.at(A).read(near, memory, 6);
    drop([world.received(B, far), world.received(B, far)]);
    world.drivers.truncate(1);
    let why = world.closed(A, near);
    assert!(matches!(why, None | Some(TransportError::PeerGone | TransportError::TimedOut)), "{why:?}");
    let ends: Vec<_> = (0..7).map(|_| world.done(A, near)).collect();
    assert!(ends[6].error.is_some(), "nobody was there to be read from");
    assert_eq!(&world.withdrawn(A, key)[..], b"exposed");
}

/// In the middle of large transfers: a write half done, reads unanswered. The server serves on.
pub fn s31_a_client_that_dies_in_mid_transfer_harms_nobody_else(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup::default(), Setup::default()]);
    let (dying, victim) = world.connect();
    let (living, other) = world.connect_with(2, B, &QueueOptions::default(), Token(1));
    let (memory, key) = world.at(B).expose(victim, &[0; 4096], Access::ReadWrite);
    for n in 0..30 {
        world.at(A).write(dying, &pattern(n, 4096), memory, None, n);
        world.at(A).send(dying, &pattern(n, 4096), n);
    }
    world.at(A).group().flush();
    world.at(B).poll();
    world.at(A).drop_group();
    world.drivers.swap_remove(0);
    // Of those that are left, the third has taken the first's place.
    let (living_at, b) = (0, 1);
    let buf = world.withdrawn(b, key);
    assert_eq!(buf.len(), 4096);
    world.closed(b, victim);
    let _ = world.at(b).take(|event| match event {
        QueueEvent::Received { .. } => Ok(()),
        other => Err(other),
    });
    world.at(living_at).send(living, b"still served", 1);
    assert_eq!(world.message(b, other), b"still served");
    world.at(b).send(other, b"indeed", 2);
    assert_eq!(world.message(living_at, living), b"indeed");
}

/// Everything is under way when the group is dropped. Its driver counts the buffers.
pub fn s31_a_dropped_group_gives_every_buffer_back(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let (memory, _) = world.at(B).expose(far, &[0; 1000], Access::ReadWrite);
    for n in 0..10 {
        world.at(A).send(near, b"message", 3 * n);
        world.at(A).write(near, &[1; 1000], memory, Some(1), 3 * n + 1);
        world.at(A).read(near, memory, 3 * n + 2);
        world.at(A).expose(near, b"exposed", Access::Write);
    }
    world.turns(2);
    // Both ends are dropped as they are, here with events that nobody has asked for.
}

/// From `disconnect` on a queue takes nothing, until its key is stale.
pub fn s31_after_disconnect_nothing_is_taken(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let (memory, key) = world.at(B).expose(far, b"memory", Access::Read);
    world.at(A).disconnect(near);
    world.at(B).disconnect(far);
    refused(&mut world, A, near, TransportError::NotConnected);
    assert_eq!((world.closed(A, near), world.closed(B, far)), (None, None));
    refused(&mut world, A, near, TransportError::Stale);
    let into = world.at(A).fill(&[]).into();
    assert_eq!(world.at(A).try_read(near, into, memory, 1).map_err(|refused| refused.why), Err(TransportError::Stale));
    assert_eq!(world.at(B).group().withdraw(key), Err(TransportError::Stale));
}

/// An application that learns of a failure by its `Done` may disconnect at once; the queue has
/// ended for that reason all the same.
pub fn s87_a_disconnect_after_a_failure_does_not_hide_it(env: &Env) {
    let mut world = World::with(env, &[Setup { room: 1, ..Setup::default() }, Setup::default()]);
    let (near, far) = world.connect();
    world.at(A).write(near, b"x", RemoteMemory { addr: 4096, key: 1, len: 1 }, None, 1);
    assert_eq!(world.done(A, near).error, Some(TransportError::RemoteAccess));
    world.at(A).disconnect(near);
    assert_eq!(world.closed(A, near), Some(TransportError::RemoteAccess));
    world.closed(B, far);
}

/// What is asked of `id` comes back, for this reason.
pub(super) fn refused(world: &mut World, who: usize, id: QueueId, why: TransportError) {
    let frame: Frame = world.at(who).fill(b"refused").into();
    let refused = world.at(who).try_send(id, frame, None, 1).expect_err("it is not connected");
    assert_eq!((refused.why, &refused.item.parts()[0][..]), (why.clone(), &b"refused"[..]));
    let buf = world.at(who).fill(b"refused");
    assert_eq!(world.at(who).try_expose(id, buf, Access::Read).expect_err("it is not connected").why, why);
}
