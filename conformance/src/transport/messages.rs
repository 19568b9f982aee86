//! Messages (statement 32), and what becomes of them when the receiver is not ready (statement 31).

use std::collections::VecDeque;

use core_reactor::transport::{Access, Frame, Op, QueueEvent, QueueId, QueueOptions, Token, TransportError};
use pool::Buf;

use super::Env;
use super::driver::Setup;
use super::lot::{Lot, bytes_of, pattern};
use super::world::{A, B, World};

/// Both ways at once, in frames of any shape.
pub fn s32_messages_arrive_in_order_and_whole(env: &Env) {
    for seed in 1..=4 {
        let (mut world, mut lot) = (World::new(env), Lot(seed));
        let (near, far) = world.connect();
        let ends = [(A, near, 100), (B, far, 200)];
        let (mut sent, mut heard) = ([0; 2], [0; 2]);
        world.until("400 messages each way", |world| {
            for (way, (who, id, from)) in ends.into_iter().enumerate() {
                if sent[way] < 400 && lot.once_in(2) {
                    sent[way] += u64::from(send_shaped(world, who, id, from + sent[way], &mut lot));
                }
                let (_, _, theirs) = ends[1 - way];
                while let Some(buf) = world.at(who).take(message_of(id)) {
                    assert_eq!(&buf[..], pattern(theirs + heard[way], buf.len()), "seed {seed}, message {}", heard[way]);
                    heard[way] += 1;
                }
                let _ = world.at(who).take(done_of(id));
            }
            heard == [400; 2]
        });
    }
}

/// Sends a message with this pattern in a frame of one to four buffers, each filled somewhere;
/// false if there was no room.
fn send_shaped(world: &mut World, who: usize, id: QueueId, seed: u64, lot: &mut Lot) -> bool {
    let len = lot.below(4096);
    let bytes = pattern(seed, len);
    let mut rest = &bytes[..];
    let mut frame = Frame::new();
    for part in (0..1 + lot.below(Frame::PARTS)).rev() {
        let taken = if part == 0 { rest.len() } else { lot.below(rest.len() + 1) };
        let Some(mut buf) = world.at(who).group().buffer() else { return false };
        // Not all begin where their memory begins.
        let skip = lot.below(buf.spare_capacity() - taken + 1);
        buf.grow(skip);
        buf.advance(skip);
        buf.append(&rest[..taken]);
        rest = &rest[taken..];
        frame.push(buf).expect("a frame has room for its parts");
    }
    match world.at(who).try_send(id, frame, None, seed) {
        Ok(()) => true,
        Err(refused) => {
            assert!(matches!(refused.why, TransportError::QueueFull { .. }), "{}", refused.why);
            assert_eq!(bytes_of(&refused.item), bytes, "a refused frame comes back as it was");
            false
        }
    }
}

fn message_of(of: QueueId) -> impl FnMut(QueueEvent) -> Result<Buf, QueueEvent> {
    move |event| match event {
        QueueEvent::Received { id, buf, .. } if id == of => Ok(buf),
        other => Err(other),
    }
}

fn done_of(of: QueueId) -> impl FnMut(QueueEvent) -> Result<u64, QueueEvent> {
    move |event| match event {
        QueueEvent::Done { id, tag, error, .. } if id == of => {
            assert_eq!(error, None);
            Ok(tag)
        }
        other => Err(other),
    }
}

/// A message without bytes is one.
pub fn s32_a_message_may_be_empty(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    world.at(A).try_send(near, Frame::new(), None, 1).map_err(|refused| refused.why).expect("an empty frame is taken");
    let empty = world.at(A).fill(&[]).into();
    world.at(A).try_send(near, empty, Some(9), 2).map_err(|refused| refused.why).expect("a frame of an empty buffer is taken");
    world.at(A).send(near, b"after", 3);
    assert!(world.message(B, far).is_empty());
    let (buf, imm) = world.received(B, far);
    assert_eq!((buf.len(), imm), (0, Some(9)));
    assert_eq!(world.message(B, far), b"after");
}

/// 32 bits beside a message, each of them, or none.
pub fn s32_immediate_data_comes_beside_a_message(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    for (tag, imm) in [None, Some(0), Some(0x0102_0304), Some(u32::MAX), None].into_iter().enumerate() {
        let frame = world.at(A).fill(&[tag as u8]).into();
        world.at(A).try_send(near, frame, imm, tag as u64).map_err(|refused| refused.why).expect("it is taken");
        let (buf, came) = world.received(B, far);
        assert_eq!((&buf[..], came), (&[tag as u8][..], imm));
    }
}

/// A gather list goes out as one message, and comes back as the list that it was.
pub fn s32_a_frame_of_many_buffers_is_one_message(env: &Env) {
    let mut world = World::new(env);
    let (near, far) = world.connect();
    let parts: [&[u8]; Frame::PARTS] = [b"header", b"", b"payload", b"digest"];
    let gather = world.at(A).group().limits(near).expect("it is established").gather as usize;
    let parts = &parts[..gather.min(Frame::PARTS)];
    let mut frame = Frame::new().tagged(77);
    for part in parts {
        frame.push(world.at(A).fill(part)).expect("a frame has room for its parts");
    }
    world.at(A).try_send(near, frame, None, 5).map_err(|refused| refused.why).expect("it is taken");
    assert_eq!(world.message(B, far), parts.concat());
    let done = world.well_done(A, near);
    assert_eq!((done.tag, done.op, done.frame.tag()), (5, Op::Message, Some(77)));
    let back: Vec<_> = done.frame.parts().iter().map(|buf| buf.to_vec()).collect();
    assert_eq!(back, parts);
}

/// A small number of receive buffers, all of them held: the messages wait, and come when buffers
/// come home.
pub fn s31_messages_wait_for_a_receiver_that_is_not_ready(env: &Env) {
    const MESSAGES: u64 = 40;
    let mut world = World::with(env, &[Setup::default(), Setup { bufs: 4, receives: 4, ..Setup::default() }]);
    let (near, far) = world.connect();
    for n in 0..MESSAGES {
        world.at(A).send(near, &pattern(n, 1000), n);
    }
    let mut held = Vec::new();
    for n in 0..MESSAGES {
        let (buf, _) = world.received(B, far);
        assert_eq!(&buf[..], pattern(n, 1000));
        held.push(buf);
        if held.len() == 4 {
            // All that there are. Nothing else can arrive, nor be lost, however long that lasts.
            world.turns(32);
            assert!(world.at(B).group().buffer().is_none());
            held.clear();
        }
    }
    for n in 0..MESSAGES {
        assert_eq!(world.well_done(A, near).tag, n);
    }
    assert!(world.at(B).group().stats().buffer_waits > 0, "that buffers were short is counted");
}

/// Each end sends more than the other can receive, and holds back what it has received until as
/// much of its own was `Done`: what was received must be acknowledged past what has to wait.
pub fn s31_two_ends_that_are_not_ready_do_not_block_each_other(env: &Env) {
    const EACH: u64 = 200;
    const UNDER_WAY: u64 = 4;
    const HELD: usize = 2;
    // All others are held or under way when the receiver is not ready.
    let few = Setup { bufs: HELD + UNDER_WAY as usize, receives: 2, ..Setup::default() };
    let mut world = World::with(env, &[few, few]);
    let (near, far) = world.connect();
    let ends = [(A, near), (B, far)];
    let (mut sent, mut done, mut heard) = ([0; 2], [0; 2], [0; 2]);
    let mut held = [VecDeque::new(), VecDeque::new()];
    world.until("all messages each way", |world| {
        for (way, (who, id)) in ends.into_iter().enumerate() {
            while sent[way] < EACH && sent[way] - done[way] < UNDER_WAY {
                let Some(mut buf) = world.at(who).group().buffer() else { break };
                buf.append(&pattern(sent[way], 64));
                world.at(who).try_send(id, buf.into(), None, sent[way]).map_err(|refused| refused.why).expect("there is room");
                sent[way] += 1;
            }
            if let Some(buf) = world.at(who).take(message_of(id)) {
                assert_eq!(&buf[..], pattern(heard[way], 64));
                heard[way] += 1;
                held[way].push_back(buf);
            }
            done[way] += u64::from(world.at(who).take(done_of(id)).is_some());
            let ahead = heard[way].saturating_sub(done[way]).min(HELD as u64);
            held[way].truncate(ahead as usize);
        }
        heard == [EACH; 2] && done == [EACH; 2]
    });
}

/// What waits for a receive buffer holds up its own queue only.
pub fn s31_a_message_that_waits_holds_up_no_other_queue(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { bufs: 3, receives: 2, ..Setup::default() }]);
    let (blocked, far) = world.connect();
    let (free, other) = world.connect();
    let (memory, key) = world.at(B).expose(other, &[0; 8], Access::Write);
    for n in 0..3 {
        world.at(A).send(blocked, b"wait", n);
    }
    let held = [world.received(B, far), world.received(B, far)];
    for n in 0..20u64 {
        world.at(A).write(free, &n.to_le_bytes(), memory, None, n);
        assert_eq!(world.well_done(A, free).tag, n);
    }
    drop(held);
    assert_eq!(world.message(B, far), b"wait");
    world.at(B).group().withdraw(key).expect("it is exposed");
    assert_eq!(&world.withdrawn(B, key)[..], 19u64.to_le_bytes());
}

/// A write that tells waits for a receive buffer as a message does, and keeps none.
pub fn s31_a_telling_write_waits_for_a_receiver_that_is_not_ready(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { bufs: 3, receives: 2, ..Setup::default() }]);
    let (near, far) = world.connect();
    let (memory, _) = world.at(B).expose(far, &[0; 8], Access::Write);
    world.at(A).send(near, b"first", 1);
    world.at(A).send(near, b"second", 2);
    world.at(A).write(near, b"written", memory, Some(3), 3);
    let held = [world.received(B, far), world.received(B, far)];
    let mut told = |event| match event {
        QueueEvent::Written { imm, bytes, .. } => Ok((imm, bytes)),
        other => Err(other),
    };
    world.turns(32);
    assert!(world.at(B).take(&mut told).is_none(), "there is no receive buffer for it");
    drop(held);
    assert_eq!(world.wait(B, "Written", told), (3, 7));
    (0..3).for_each(|_| drop(world.well_done(A, near)));
}

/// With an end to its patience a connection fails, and says of which message.
pub fn s31_a_receiver_that_is_never_ready_ends_the_connection(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { bufs: 2, receives: 2, ..Setup::default() }]);
    let options = QueueOptions::default().rnr_retry(2);
    let (near, far) = world.connect_with(A, B, &options, Token(1));
    for n in 0..5 {
        world.at(A).send(near, b"too many", n);
    }
    let held = [world.received(B, far), world.received(B, far)];
    let ends: Vec<_> = (0..5).map(|_| world.done(A, near).error).collect();
    assert_eq!(&ends[..3], [None, None, Some(TransportError::ReceiverNotReady)]);
    assert_eq!(&ends[3..], [Some(TransportError::Flushed), Some(TransportError::Flushed)]);
    assert_eq!(world.closed(A, near), Some(TransportError::ReceiverNotReady));
    world.closed(B, far);
    drop(held);
}

/// Neither end survives it, and nothing beside the connection is harmed.
pub fn s31_a_message_longer_than_a_receive_buffer_ends_the_connection(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), Setup { buf_size: 512, ..Setup::default() }]);
    let (near, far) = world.connect();
    let (other, beside) = world.connect();
    world.at(A).send(near, &pattern(1, 512), 1);
    world.at(A).send(near, &pattern(2, 513), 2);
    world.at(A).send(near, &pattern(3, 1), 3);
    assert_eq!(world.message(B, far), pattern(1, 512));
    let ends: Vec<_> = (0..3).map(|_| world.done(A, near).error).collect();
    assert_eq!(ends, [None, Some(TransportError::RemoteInvalid), Some(TransportError::Flushed)]);
    assert_eq!(world.closed(A, near), Some(TransportError::RemoteInvalid));
    assert_eq!(world.closed(B, far), Some(TransportError::Overrun { buf_size: 512 }));
    world.at(A).send(other, b"still here", 4);
    assert_eq!(world.message(B, beside), b"still here");
}
