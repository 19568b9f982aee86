//! Many queues in one group (statement 20, for queues).

use core_reactor::transport::{QueueEvent, QueueId, QueueOptions, Token};

use super::Env;
use super::driver::Setup;
use super::world::{A, B, World};

/// With little room in each poll and something on every queue: each has had its turn before one has
/// had many more.
pub fn s20_queues_of_a_group_are_served_in_rotation(env: &Env) {
    const QUEUES: usize = 32;
    const EACH: u64 = 20;
    // A buffer for each: which messages take those that are short is an RDMA device's choice, and
    // not the group's.
    let all = 1024;
    let mut world =
        World::with(env, &[Setup { bufs: all, ..Setup::default() }, Setup { room: 8, bufs: all, receives: 700, ..Setup::default() }]);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let pairs: Vec<_> = (0..QUEUES).map(|n| world.connect_at(A, B, at, &QueueOptions::default(), Token(n as u64))).collect();
    for tag in 0..EACH {
        pairs.iter().for_each(|(near, _)| world.at(A).send(*near, b"one of many", tag));
        // In rounds, since what an RDMA device has first arrives first.
        world.at(A).group().flush();
    }
    let mut heard = vec![0; QUEUES];
    world.until("every message", |world| {
        while let Some(token) = world.at(B).take(a_message) {
            heard[token.0 as usize] += 1;
        }
        let (least, most) = (*heard.iter().min().expect("there are some"), *heard.iter().max().expect("there are some"));
        assert!(most < EACH || least > 0, "one queue was served to its end before another was served at all: {heard:?}");
        least == EACH
    });
}

/// One queue that never stops sending; the others say one thing each, and are heard.
pub fn s20_a_flood_on_one_queue_starves_no_other(env: &Env) {
    const QUIET: usize = 31;
    let mut world = World::with(env, &[Setup { bufs: 512, ..Setup::default() }, Setup { room: 4, ..Setup::default() }]);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let (flood, _) = world.connect_at(A, B, at, &QueueOptions::default(), Token(999));
    let quiet: Vec<_> = (0..QUIET).map(|n| world.connect_at(A, B, at, &QueueOptions::default(), Token(n as u64)).0).collect();
    let (mut floods, mut heard) = (0, 0);
    keep_flooding(&mut world, flood);
    world.until("the flood", |world| world.at(B).take(a_message).is_some());
    quiet.iter().for_each(|id| world.at(A).send(*id, b"a word", 1));
    world.until("a word of each", |world| {
        keep_flooding(world, flood);
        while let Some(token) = world.at(B).take(a_message) {
            if token == Token(999) { floods += 1 } else { heard += 1 }
        }
        heard == QUIET
    });
    assert!(floods < 5_000, "{floods} messages of one queue came before one of each other");
}

fn a_message(event: QueueEvent) -> Result<Token, QueueEvent> {
    match event {
        QueueEvent::Received { token, .. } => Ok(token),
        other => Err(other),
    }
}

/// As much as the depth allows.
fn keep_flooding(world: &mut World, flood: QueueId) {
    let done = |event| match event {
        QueueEvent::Done { .. } => Ok(()),
        other => Err(other),
    };
    while world.at(A).take(done).is_some() {}
    while let Some(mut buf) = world.at(A).group().buffer() {
        buf.append(b"flood");
        if world.at(A).try_send(flood, buf.into(), None, 0).is_err() {
            return;
        }
    }
}
