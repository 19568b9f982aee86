//! Groups on several OS threads, and queues that travel between them.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use core_reactor::transport::{Queue, QueueEvent, QueueId, QueueOptions, Token};

use super::Env;
use super::driver::{Driver, Setup};
use super::lot::pattern;
use super::world::{A, B, DEADLINE, World};

/// Messages of an exchange.
const MESSAGES: u64 = 300;

/// A listener's core hands a queue to another one, as a target's acceptor does.
pub fn s31_a_requested_queue_goes_to_another_cores_group(env: &Env) {
    let (give, take) = mpsc::channel::<Box<dyn Queue>>();
    let there = env.clone();
    let worker = thread::spawn(move || {
        let mut driver = Driver::new(&there, Setup::default());
        let queue = take.recv().expect("a queue is handed over");
        let id = driver.attach(queue, Token(5), b"from another core");
        echo(&mut driver, id);
    });
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    give.send(world.requested(B)).expect("the worker waits");
    assert_eq!(world.established(A, near)[..17], *b"from another core");
    exchange(&mut world, near);
    world.at(A).disconnect(near);
    assert_eq!(world.closed(A, near), None);
    worker.join().expect("the worker is content");
}

/// So may a queue that is to connect, and a rejection may come from anywhere.
pub fn s31_a_queue_may_be_used_where_it_was_not_made(env: &Env) {
    let mut world = World::new(env);
    let (_, at) = world.listen(B, &QueueOptions::default());
    let (to_reject, to_connect) =
        (env.transport.connect(at, &QueueOptions::default()), env.transport.connect(at, &QueueOptions::default()));
    let near = world.at(A).attach(to_reject.expect("a queue"), Token(1), &[]);
    let requested = world.requested(B);
    thread::spawn(move || drop(requested)).join().expect("dropping is harmless");
    assert!(world.closed(A, near).is_some());

    let there = env.clone();
    let worker = thread::spawn(move || {
        let mut driver = Driver::new(&there, Setup::default());
        let id = driver.attach(to_connect.expect("a queue"), Token(1), &[]);
        echo(&mut driver, id);
    });
    let queue = world.requested(B);
    let far = world.at(B).attach(queue, Token(2), &[]);
    world.established(B, far);
    world.drivers.swap(A, B);
    exchange(&mut world, far);
    world.at(A).disconnect(far);
    assert_eq!(world.closed(A, far), None);
    worker.join().expect("the worker is content");
}

/// Sends messages and compares what comes back, several under way.
fn exchange(world: &mut World, id: QueueId) {
    let (mut sent, mut heard) = (0, 0);
    world.until("every echo", |world| {
        while sent < MESSAGES && sent - heard < 8 {
            world.at(A).send(id, &pattern(sent, 500), sent);
            sent += 1;
        }
        while let Some(event) = world.at(A).take(Ok) {
            if let QueueEvent::Received { buf, .. } = event {
                assert_eq!(&buf[..], pattern(heard, 500));
                heard += 1;
            }
        }
        heard == MESSAGES
    });
}

/// Sends back what comes on a queue until its end.
fn echo(driver: &mut Driver, id: QueueId) {
    let end = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < end, "the end did not come");
        if driver.poll() == 0 {
            thread::yield_now();
        }
        while let Some(event) = driver.take(Ok) {
            match event {
                QueueEvent::Received { buf, .. } => {
                    // Refused only when the peer ended the connection, and then the next event says
                    // so.
                    let _ = driver.try_send(id, buf.into(), None, 1);
                }
                QueueEvent::Closed { why, .. } => return assert_eq!(why, None),
                _ => {}
            }
        }
    }
}
