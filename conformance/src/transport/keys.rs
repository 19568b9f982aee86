//! Keys whose queue is gone (statements 21 and 31).

use core_reactor::transport::{Access, ExposedKey, QueueId, QueueOptions, Token, TransportError};

use super::Env;
use super::driver::Setup;
use super::ends::refused;
use super::world::{A, B, World};

/// Also when another queue has its place.
pub fn s31_a_stale_key_is_an_error_and_never_another_queue(env: &Env) {
    // With room for one queue the next one has its place.
    let mut world = World::with(env, &[Setup { queues: 1, ..Setup::default() }, Setup::default()]);
    let mut before = Vec::new();
    for _ in 0..10 {
        let (near, far) = world.connect();
        assert!(!before.contains(&near));
        for stale in &before {
            refused(&mut world, A, *stale, TransportError::Stale);
            assert_eq!(world.at(A).group().disconnect(*stale), Err(TransportError::Stale));
            assert_eq!(world.at(A).group().limits(*stale), Err(TransportError::Stale));
            assert_eq!(world.at(A).group().addresses(*stale), Err(TransportError::Stale));
        }
        world.at(A).send(near, b"untouched", 1);
        assert_eq!(world.message(B, far), b"untouched");
        world.at(A).disconnect(near);
        assert_eq!((world.closed(A, near), world.closed(B, far)), (None, None));
        before.push(near);
    }
}

/// Groups number their queues alike and tell their keys apart all the same.
pub fn s31_a_key_of_another_group_is_stale(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    refused(&mut world, A, far, TransportError::Stale);
    refused(&mut world, B, near, TransportError::Stale);
    assert_eq!(world.at(A).group().disconnect(far), Err(TransportError::Stale));
    let (_, key) = world.at(B).expose(far, b"memory", Access::Read);
    assert_eq!(world.at(A).group().withdraw(key), Err(TransportError::Stale));
    for raw in [0, u64::MAX] {
        assert_eq!(world.at(A).group().disconnect(QueueId::from_raw(raw)), Err(TransportError::Stale));
        assert_eq!(world.at(A).group().withdraw(ExposedKey::from_raw(raw)), Err(TransportError::Stale));
    }
    assert_eq!(world.at(A).group().limits(near).map(|_| ()), Ok(()));
}

/// Withdrawing twice is an error, and never another buffer's end.
pub fn s32_an_exposed_key_is_stale_when_its_buffer_is_back(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { exposures: 1, ..Setup::default() }]);
    let (_, far) = world.connect();
    let mut before = Vec::new();
    for n in 0..5 {
        let (_, key) = world.at(B).expose(far, &[n], Access::Read);
        for stale in &before {
            assert_eq!(world.at(B).group().withdraw(*stale), Err(TransportError::Stale));
        }
        world.at(B).group().withdraw(key).expect("it is exposed");
        assert_eq!(&world.withdrawn(B, key)[..], [n]);
        before.push(key);
    }
}

/// All queues may be ended while the events of any are handled.
pub fn s21_any_queue_may_be_ended_while_events_are_handled(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let pairs: Vec<_> = (0..10).map(|n| world.connect_at(A, B, at, &QueueOptions::default(), Token(n))).collect();
    for (near, _) in &pairs {
        world.at(A).send(*near, b"message", 1);
    }
    world.message(B, pairs[0].1);
    for (_, far) in &pairs {
        world.at(B).disconnect(*far);
    }
    for (near, far) in &pairs {
        assert_eq!((world.closed(A, *near), world.closed(B, *far)), (None, None));
    }
}
