//! Reads and writes of memory that the peer has exposed (statement 32), and those that it has not
//! (statement 31).

use core_reactor::transport::{Access, Frame, Op, QueueEvent, RemoteMemory, TransportError};

use super::Env;
use super::lot::pattern;
use super::world::{A, B, World};

/// A write needs no help of the peer's application, and is there before the message that speaks of
/// it.
pub fn s32_a_write_is_in_place_before_the_message_behind_it(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let (memory, key) = world.at(B).expose(far, &[0xEE; 4000], Access::Write);
    assert_eq!(memory.len, 4000);
    let bytes = pattern(1, 3000);
    world.at(A).write(near, &bytes[..2000], memory, None, 1);
    let behind = memory.part(2000, 2000).expect("it lies inside");
    world.at(A).write(near, &bytes[2000..], behind, None, 2);
    world.at(A).send(near, b"written", 3);
    assert_eq!(world.message(B, far), b"written");
    world.at(B).group().withdraw(key).expect("it is exposed");
    let buf = world.withdrawn(B, key);
    assert_eq!(&buf[..3000], &bytes[..]);
    assert_eq!(&buf[3000..], &[0xEE; 1000], "no more than what was written");
    let ops: Vec<_> = (0..3).map(|_| world.well_done(A, near).op).collect();
    assert_eq!(ops, [Op::Write, Op::Write, Op::Message]);
}

/// The peer hears of it when all is there, and loses no receive buffer by it.
pub fn s32_a_write_with_immediate_tells_the_peer(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let (memory, key) = world.at(B).expose(far, &[0; 100], Access::Write);
    // More often than there are buffers to lose.
    for n in 0..300u32 {
        let bytes = pattern(u64::from(n), 1 + n as usize % 100);
        world.at(A).write(near, &bytes, memory, Some(n), u64::from(n));
        let told = world.wait(B, "Written", |event| match event {
            QueueEvent::Written { id, imm, bytes, .. } if id == far => Ok((imm, bytes as usize)),
            other => Err(other),
        });
        assert_eq!(told, (n, bytes.len()));
        world.well_done(A, near);
    }
    world.at(A).send(near, b"and a message", 300);
    assert_eq!(world.message(B, far), b"and a message");
    world.at(B).group().withdraw(key).expect("it is exposed");
    assert_eq!(&world.withdrawn(B, key)[..100], pattern(299, 100));
}

/// A scatter list: behind what its buffers hold already, the first one first.
pub fn s32_a_read_fills_the_spare_room(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let there = pattern(5, 4096);
    let (memory, _) = world.at(B).expose(far, &there, Access::Read);
    let mut into = Frame::new();
    let mut held = Vec::new();
    for (n, keep) in [4000, 0, 3096].into_iter().enumerate() {
        held.push(pattern(n as u64, keep));
        into.push(world.at(A).fill(&held[n])).expect("a frame has room for three");
    }
    let from = memory.part(500, 2096).expect("it lies inside");
    world.at(A).try_read(near, into, from, 1).map_err(|refused| refused.why).expect("it is taken");
    let done = world.well_done(A, near);
    assert_eq!((done.op, done.tag), (Op::Read, 1));
    let parts = done.frame.parts();
    let read = [&there[500..596], &there[596..2596], &[]];
    for n in 0..3 {
        assert_eq!(&parts[n][..], [&held[n], read[n]].concat(), "buffer {n}");
    }
}

/// On one queue a read comes behind the writes before it.
pub fn s32_a_read_sees_what_was_written_before_it(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let (memory, _) = world.at(B).expose(far, &[0; 1024], Access::ReadWrite);
    for round in 0..20 {
        let bytes = pattern(round, 1024);
        world.at(A).write(near, &bytes, memory, None, 2 * round);
        world.at(A).read(near, memory, 2 * round + 1);
        world.well_done(A, near);
        assert_eq!(world.well_done(A, near).bytes(), bytes, "round {round}");
    }
}

/// Each end reaches the other's memory while its own is reached.
pub fn s32_both_ends_reach_each_other(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let (at_a, _) = world.at(A).expose(near, &pattern(1, 2048), Access::Read);
    let (at_b, _) = world.at(B).expose(far, &pattern(2, 2048), Access::Read);
    for n in 0..10 {
        world.at(A).read(near, at_b, n);
        world.at(B).read(far, at_a, n);
    }
    for _ in 0..10 {
        assert_eq!(world.well_done(A, near).bytes(), pattern(2, 2048));
        assert_eq!(world.well_done(B, far).bytes(), pattern(1, 2048));
    }
}

/// Nothing is reached, so nothing is checked.
pub fn s32_an_access_of_no_bytes_is_not_checked(env: &Env) {
    let mut world = World::new(env);
    let (near, _) = world.connect();
    let nothing = RemoteMemory { addr: 0, key: 0, len: 0 };
    world.at(A).read(near, nothing, 1);
    world.at(A).write(near, &[], nothing, None, 2);
    assert!(world.well_done(A, near).bytes().is_empty());
    world.well_done(A, near);
}

/// What is exposed when a queue ends comes back before its `Closed`, with what was written to it.
pub fn s32_exposed_buffers_come_back_at_the_end(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let (memory, written) = world.at(B).expose(far, &[0; 16], Access::Write);
    let (_, idle) = world.at(B).expose(far, b"idle", Access::Read);
    world.at(A).write(near, b"sixteen bytes it", memory, None, 1);
    world.well_done(A, near);
    world.at(A).disconnect(near);
    assert_eq!(&world.withdrawn(B, written)[..], b"sixteen bytes it");
    assert_eq!(&world.withdrawn(B, idle)[..], b"idle");
    assert_eq!(world.closed(B, far), None);
    assert_eq!(world.at(B).group().withdraw(idle), Err(TransportError::Stale));
}

/// Every way to reach what is not exposed: the operation says so, the connection ends at both
/// sides, and the memory around is as it was.
pub fn s31_an_access_that_is_not_exposed_ends_the_connection(env: &Env) {
    type Change = fn(RemoteMemory) -> RemoteMemory;
    let ways: [(&str, Access, Change); 9] = [
        ("before it", Access::ReadWrite, |m| RemoteMemory { addr: m.addr - 1, ..m }),
        ("past its end", Access::ReadWrite, |m| RemoteMemory { len: m.len + 1, ..m }),
        ("behind it", Access::ReadWrite, |m| RemoteMemory { addr: m.addr + u64::from(m.len), ..m }),
        ("far from it", Access::ReadWrite, |m| RemoteMemory { addr: 0, ..m }),
        ("round the end of all addresses", Access::ReadWrite, |m| RemoteMemory { addr: u64::MAX, ..m }),
        ("by another key", Access::ReadWrite, |m| RemoteMemory { key: m.key ^ 0x0001_0000, ..m }),
        ("by no key", Access::ReadWrite, |m| RemoteMemory { key: !m.key, ..m }),
        ("a read of what may be written", Access::Write, |m| m),
        ("a write to what may be read", Access::Read, |m| m),
    ];
    for (what, access, change) in ways {
        for op in [Op::Read, Op::Write] {
            if (op == Op::Read && access == Access::Read) || (op == Op::Write && access == Access::Write) {
                continue;
            }
            violate(env, &format!("{op:?} {what}"), op, access, change);
        }
    }
}

fn violate(env: &Env, what: &str, op: Op, access: Access, change: fn(RemoteMemory) -> RemoteMemory) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    // The exposed part has bytes of its own buffer on both sides.
    let mut buf = world.at(B).fill(&[0xAA; 300]);
    buf.advance(100);
    buf.truncate(100);
    let (memory, key) = world.at(B).try_expose(far, buf, access).map_err(|refused| refused.why).expect("it is taken");
    let memory = change(memory);
    match op {
        Op::Read => world.at(A).read(near, memory, 1),
        _ => world.at(A).write(near, &vec![0x55; memory.len as usize], memory, None, 1),
    }
    world.at(A).send(near, b"behind", 2);
    let done = world.done(A, near);
    assert_eq!(done.error, Some(TransportError::RemoteAccess), "{what}");
    let expected = if op == Op::Read { 0 } else { memory.len as usize };
    assert_eq!(done.frame.bytes(), expected, "{what}: the buffers are as they were");
    assert_eq!(world.done(A, near).error, Some(TransportError::Flushed), "{what}");
    assert_eq!(world.closed(A, near), Some(TransportError::RemoteAccess), "{what}");
    let mut buf = world.withdrawn(B, key);
    assert_eq!(buf.len(), 100, "{what}");
    buf.grow(100);
    assert_eq!(&buf[..], [0xAA; 200], "{what}: nothing was written, there or behind it");
    let why = world.closed(B, far);
    assert!(matches!(why, None | Some(TransportError::AccessViolation)), "{what}: {why:?}");
}

/// After `Withdrawn` a buffer is out of the peer's reach, also where another one has taken its
/// place.
pub fn s31_a_withdrawn_buffer_is_out_of_reach(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let (memory, key) = world.at(B).expose(far, &[1; 64], Access::ReadWrite);
    world.at(B).group().withdraw(key).expect("it is exposed");
    drop(world.withdrawn(B, key));
    let (_, next) = world.at(B).expose(far, &[2; 64], Access::ReadWrite);
    world.at(A).write(near, &[3; 64], memory, None, 1);
    assert_eq!(world.done(A, near).error, Some(TransportError::RemoteAccess));
    assert_eq!(&world.withdrawn(B, next)[..], [2; 64]);
    world.closed(A, near);
    world.closed(B, far);
}

/// A violation on one connection is nothing to the others of the group.
pub fn s31_a_violation_harms_no_other_queue(env: &Env) {
    let mut world = World::new(env);
    let (bad, victim) = world.connect();
    let (good, other) = world.connect();
    let (memory, _) = world.at(B).expose(other, &pattern(8, 100), Access::Read);
    world.at(A).read(bad, RemoteMemory { addr: 1, key: 1, len: 1 }, 1);
    assert_eq!(world.done(A, bad).error, Some(TransportError::RemoteAccess));
    world.closed(A, bad);
    world.closed(B, victim);
    world.at(A).read(good, memory, 2);
    assert_eq!(world.well_done(A, good).bytes(), pattern(8, 100));
}
