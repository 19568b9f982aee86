//! Limits are told, and kept by refusing (statement 32).

use std::time::Duration;

use core_reactor::transport::{Access, Frame, QueueOptions, RemoteMemory, Token, TransportError};

use super::Env;
use super::driver::{Driver, Setup};
use super::lot::bytes_of;
use super::world::{A, B, World};

/// No more than was asked for, and no less than what makes a queue.
pub fn s32_a_queue_tells_its_limits(env: &Env) {
    let mut world = World::new(env);
    let options = QueueOptions::default().send_depth(5).reads(2).gather(2);
    let (near, far) = world.connect_with(A, B, &options, Token(1));
    for (who, id) in [(A, near), (B, far)] {
        let limits = world.at(who).group().limits(id).expect("it is established");
        assert_eq!((limits.sends, limits.gather), (5, 2), "{limits:?}");
        assert!((1..=2).contains(&limits.reads), "{limits:?}");
        assert!(limits.message >= 4096, "{limits:?}");
        assert_eq!((limits.receives, limits.receive_size), (32, 4096), "{limits:?}");
    }
}

/// A read needs both ends: what the one starts, the other has to answer.
pub fn s32_the_smaller_number_of_reads_counts(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default().reads(2));
    let (near, far) = world.connect_at(A, B, at, &QueueOptions::default().reads(8), Token(1));
    assert!(world.at(A).group().limits(near).expect("it is established").reads <= 2);
    assert!(world.at(B).group().limits(far).expect("it is established").reads <= 2);
}

/// The frame comes back, and a `Done` that was delivered makes room for another.
pub fn s32_past_the_send_depth_a_post_is_refused(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect_with(A, B, &QueueOptions::default().send_depth(8), Token(1));
    let memory = RemoteMemory { addr: 0, key: 0, len: 0 };
    for n in 0..8 {
        world.at(A).send(near, b"fits", n);
    }
    for round in 0..3 {
        let frame: Frame = world.at(A).fill(b"too many").into();
        let refused = match round {
            0 => world.at(A).try_send(near, frame, None, 9),
            1 => world.at(A).try_write(near, frame, RemoteMemory { len: 8, ..memory }, None, 9),
            _ => world.at(A).try_read(near, frame, memory, 9),
        };
        let refused = refused.expect_err("the depth is used up");
        assert!(matches!(refused.why, TransportError::QueueFull { limit: 8, .. }), "{}", refused.why);
        assert_eq!(bytes_of(&refused.item), b"too many");
    }
    world.well_done(A, near);
    let room = 8 - world.at(A).outstanding(near) as u64;
    for n in 0..room {
        world.at(A).send(near, b"fits", 10 + n);
    }
    for _ in 0..8 + room {
        assert_eq!(world.message(B, far), b"fits");
    }
}

/// Reads have a smaller depth of their own; other operations go on.
pub fn s32_past_the_number_of_reads_a_read_is_refused(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect_with(A, B, &QueueOptions::default().reads(2), Token(1));
    let (memory, _) = world.at(B).expose(far, b"read me", Access::Read);
    let reads = u64::from(world.at(A).group().limits(near).expect("it is established").reads);
    for n in 0..reads {
        world.at(A).read(near, memory, n);
    }
    let into = world.at(A).fill(&[]).into();
    let refused = world.at(A).try_read(near, into, memory, 9).expect_err("as many as may be are under way");
    assert_eq!(refused.why, TransportError::QueueFull { what: "reads", limit: reads as u32 });
    world.at(A).send(near, b"goes on", 10);
    for _ in 0..reads {
        assert_eq!(world.well_done(A, near).bytes(), b"read me");
    }
    world.at(A).read(near, memory, 11);
    assert_eq!(world.message(B, far), b"goes on");
}

/// What can never work is another error than what can work later.
pub fn s32_what_is_too_large_for_ever_is_refused_as_that(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect_with(A, B, &QueueOptions::default().gather(2), Token(1));
    let too_much = |why: TransportError, asked: u64, limit: u64| {
        assert!(matches!(why, TransportError::Limit { asked: a, limit: l, .. } if (a, l) == (asked, limit)), "{why}");
    };
    let mut frame = Frame::new();
    for part in [b"a", b"b", b"c"] {
        frame.push(world.at(A).fill(part)).expect("a frame has room for three");
    }
    let refused = world.at(A).try_send(near, frame, None, 1).expect_err("three buffers");
    too_much(refused.why, 3, 2);
    assert_eq!(bytes_of(&refused.item), b"abc");

    let memory = RemoteMemory { addr: 0, key: 0, len: 4000 };
    let into = world.at(A).fill(&[0; 97]).into();
    too_much(world.at(A).try_read(near, into, memory, 2).expect_err("no room").why, 4000, 3999);
    let frame = world.at(A).fill(&[0; 4001]).into();
    too_much(world.at(A).try_write(near, frame, memory, None, 3).expect_err("no room").why, 4001, 4000);
    let empty = world.at(A).fill(&[]);
    let refused = world.at(A).try_expose(near, empty, Access::Read).expect_err("nothing to expose");
    assert!(matches!(refused.why, TransportError::Limit { .. }), "{}", refused.why);

    world.at(A).send(near, b"no harm done", 4);
    assert_eq!(world.message(B, far), b"no harm done");
}

/// A completion queue has room for what its queues may post: one queue too many is refused, and
/// comes in when another has left.
pub fn s32_a_group_takes_no_more_depth_than_it_has_operations(env: &Env) {
    let mut world = World::with(env, &[Setup { operations: 100, ..Setup::default() }, Setup::default()]);
    let options = QueueOptions::default().send_depth(50);
    let (_, at) = world.listen(B, &options);
    let (first, far) = world.connect_at(A, B, at, &options, Token(1));
    world.connect_at(A, B, at, &options, Token(2));
    let queue = env.transport.connect(at, &options).expect("a queue");
    let refused = world.at(A).try_attach(queue, Token(3), &[]).expect_err("no operations are left");
    assert!(matches!(refused.why, TransportError::Limit { asked: 150, limit: 100, .. }), "{}", refused.why);
    world.at(A).disconnect(first);
    assert_eq!((world.closed(A, first), world.closed(B, far)), (None, None));
    let id = world.at(A).attach(refused.item, Token(3), &[]);
    let queue = world.requested(B);
    world.at(B).attach(queue, Token(3), &[]);
    world.established(A, id);
}

/// Queues and listeners are counted together.
pub fn s32_a_full_group_refuses_queues_and_listeners(env: &Env) {
    let mut world = World::with(env, &[Setup { queues: 2, ..Setup::default() }, Setup::default()]);
    let (_, at) = world.listen(B, &QueueOptions::default());
    world.listen(A, &QueueOptions::default());
    let (near, far) = world.connect_at(A, B, at, &QueueOptions::default(), Token(1));
    let queue = env.transport.connect(at, &QueueOptions::default()).expect("a queue");
    let refused = world.at(A).try_attach(queue, Token(2), &[]).expect_err("the group is full");
    assert_eq!(refused.why, TransportError::GroupFull(2));
    let listener = env.transport.listen((env.host, 0).into(), &QueueOptions::default()).expect("a free port");
    let refused = world.at(A).group().listen(listener, Token(3)).expect_err("the group is full");
    assert_eq!(refused.why, TransportError::GroupFull(2));
    assert_ne!(refused.item.local_addr().port(), 0, "it came back whole");
    world.at(A).send(near, b"no harm done", 4);
    assert_eq!(world.message(B, far), b"no harm done");
}

/// So are exposures; one that came back makes room.
pub fn s32_exposures_have_a_limit(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { exposures: 3, ..Setup::default() }]);
    let (_, far) = world.connect();
    let keys: Vec<_> = (0..3).map(|n| world.at(B).expose(far, &[n], Access::Read).1).collect();
    let buf = world.at(B).fill(b"fourth");
    let refused = world.at(B).try_expose(far, buf, Access::Read).expect_err("three is the limit");
    assert!(matches!(refused.why, TransportError::QueueFull { limit: 3, .. }), "{}", refused.why);
    assert_eq!(&refused.item[..], b"fourth");
    world.at(B).group().withdraw(keys[1]).expect("it is exposed");
    assert_eq!(&world.withdrawn(B, keys[1])[..], [1]);
    world.at(B).try_expose(far, refused.item, Access::Read).map_err(|refused| refused.why).expect("there is room again");
}

/// What no device can do is an error at the first moment at which the device is known, and never a
/// queue that fails later.
pub fn s32_options_beyond_the_device_are_an_error(env: &Env) {
    let beyond = [
        QueueOptions::default().send_depth(u32::MAX),
        QueueOptions::default().reads(u32::MAX),
        QueueOptions::default().gather(u32::MAX),
        QueueOptions::default().inline(u32::MAX),
    ];
    let mut world = World::with(env, &[Setup::default(), Setup::default()]);
    let (_, at) = world.listen(B, &QueueOptions::default());
    for options in beyond {
        let why = match env.transport.connect(at, &options) {
            Err(why) => Some(why),
            Ok(queue) => match world.at(A).try_attach(queue, Token(1), &[]) {
                Err(refused) => Some(refused.why),
                Ok(id) => world.closed(A, id),
            },
        };
        assert!(matches!(why, Some(TransportError::Limit { .. })), "{options:?}: {why:?}");
        let why = env.transport.listen((env.host, 0).into(), &options).err();
        assert!(matches!(why, Some(TransportError::Limit { .. })), "{options:?}: {why:?}");
    }
    let odd = [
        QueueOptions::default().send_depth(0),
        QueueOptions::default().gather(0),
        QueueOptions::default().rnr_retry(7),
        QueueOptions::default().connect_timeout(Duration::ZERO),
        QueueOptions::default().backlog(0),
    ];
    for options in odd {
        let why = env.transport.connect(at, &options).err();
        assert!(matches!(why, Some(TransportError::Option { .. })), "{options:?}: {why:?}");
        let why = env.transport.listen((env.host, 0).into(), &options).err();
        assert!(matches!(why, Some(TransportError::Option { .. })), "{options:?}: {why:?}");
    }
    // More than a frame can have is not cut down in silence.
    let options = QueueOptions::default().gather(Frame::PARTS as u32 + 1);
    let why = env.transport.connect(at, &options).err();
    assert!(matches!(why, Some(TransportError::Limit { asked: 5, limit: 4, .. })), "{why:?}");
}

/// A limit of 0 is none that a `Done` makes room under.
pub fn s88_what_there_is_no_room_for_ever_is_refused_as_that(env: &Env) {
    let mut world = World::with(env, &[Setup { exposures: 0, ..Setup::default() }, Setup::default()]);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let (near, far) = world.connect_at(A, B, at, &QueueOptions::default().reads(0), Token(1));
    for (who, id) in [(A, near), (B, far)] {
        assert_eq!(world.at(who).group().limits(id).expect("it is established").reads, 0);
        let into = world.at(who).fill(&[]).into();
        let memory = RemoteMemory { addr: 0, key: 0, len: 1 };
        let refused = world.at(who).try_read(id, into, memory, 1).expect_err("the peer answers none");
        assert!(matches!(refused.why, TransportError::Limit { asked: 1, limit: 0, .. }), "{}", refused.why);
    }
    let buf = world.at(A).fill(b"exposed");
    let refused = world.at(A).try_expose(near, buf, Access::Read).expect_err("the group has no place for one");
    assert!(matches!(refused.why, TransportError::Limit { asked: 1, limit: 0, .. }), "{}", refused.why);
    world.at(A).send(near, b"no harm done", 4);
    assert_eq!(world.message(B, far), b"no harm done");
}

/// A group that could serve nobody is none.
pub fn s89_a_group_that_cannot_work_is_an_error(env: &Env) {
    for (setup, option) in [
        (Setup { queues: 0, ..Setup::default() }, "queues"),
        (Setup { operations: 0, ..Setup::default() }, "operations"),
        (Setup { receives: 0, ..Setup::default() }, "receives"),
    ] {
        let why = Driver::try_new(env, setup).err();
        let Some(TransportError::Option { option: said, why }) = why else { panic!("{option}: {why:?}") };
        assert!(said.ends_with(option) && why.contains('0'), "{said}: {why}");
    }
}

/// The same for a group.
pub fn s32_a_group_beyond_the_device_is_an_error(env: &Env) {
    let why = Driver::try_new(env, Setup { queues: u32::MAX, ..Setup::default() }).err();
    assert!(matches!(why, Some(TransportError::Limit { .. })), "{why:?}");
}
