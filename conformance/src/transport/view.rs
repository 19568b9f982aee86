//! What is seen of a group from outside of the poller that owns it.

use core_reactor::transport::QueueGroupStats;
use pool::Class;

use super::Env;
use super::world::{A, World};

/// Told in the poll that follows a question.
pub fn s232_a_queue_group_tells_who_looks_what_it_has(env: &Env) {
    let mut world = World::new(env);
    let (near, _) = world.connect();
    let view = world.at(A).view().expect("a group is listed with its thread");
    world.at(A).send(near, b"seen", 1);
    world.until("the message is done", |world| world.at(A).group().stats().sends == 1);
    assert_eq!(view.seen().stats, QueueGroupStats::default(), "nobody has asked");

    view.ask(0);
    world.until("the figures", |_| view.seen().stats.polls > 0);
    let seen = view.seen();
    let own = seen.stats;
    assert_eq!((view.backend(), own.queues, own.sends, own.bytes_out), (env.transport.name(), 1, 1, 4));
    let small = seen.bufs[Class::ALL.iter().position(|class| *class == Class::Small).expect("it is a class")];
    assert!(small.in_use > 0 && small.from_reserve > 0, "buffers are there to be received into: {small:?}");
    drop(world);
    assert_eq!(std::sync::Arc::strong_count(&view), 1, "it goes with its group");
}
