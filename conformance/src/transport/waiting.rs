//! Both ways of waiting (statement 30). These tests need a platform that really sleeps.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use core_reactor::transport::{QueueEvent, QueueId, QueueOptions, Token, Wait};

use super::Env;
use super::driver::{Driver, Setup};
use super::world::{A, B, DEADLINE, LISTENER, World};

fn sleepy() -> Setup {
    Setup { wait: Wait::Events, ..Setup::default() }
}

/// A group that is polled has nothing that could wake anybody.
pub fn s30_a_polled_group_has_nothing_to_wait_for(env: &Env) {
    let mut world = World::with(env, &[Setup::default(), sleepy()]);
    assert_eq!(world.at(A).group().wait_source(), None);
    assert!(world.at(B).group().wait_source().is_some());
    let (near, far) = world.connect();
    world.at(A).send(near, b"from polled to events", 1);
    assert_eq!(world.message(B, far), b"from polled to events");
    world.at(B).send(far, b"and back", 1);
    assert_eq!(world.message(A, near), b"and back");
}

/// With a connection that stands and is silent, a core sleeps as long as it wants.
pub fn s30_nothing_to_do_does_not_wake_a_core(env: &Env) {
    const SLEEP: Duration = Duration::from_millis(20);
    let mut world = World::with(env, &[Setup::default(), sleepy()]);
    let (near, far) = world.connect();
    world.at(A).send(near, b"and then silence", 1);
    world.message(B, far);
    world.well_done(A, near);
    // A park may end early for no reason, so one of several has to last.
    let slept = (0..50).any(|_| {
        world.turns(1);
        let asleep = world.at(B).poll() == 0;
        let until = env.platform.now() + SLEEP;
        env.platform.park(env.core(), Some(until));
        asleep && env.platform.now() >= until
    });
    assert!(slept, "the platform does not sleep, or something keeps the group's source ready");
}

/// A core that sleeps after each poll that finds nothing: requests, messages, completions and ends
/// wake it, whatever the moment at which they come.
pub fn s30_an_event_driven_group_misses_nothing(env: &Env) {
    const ROUNDS: u64 = 1_500;
    const IDLE: usize = 24;
    let (tell, told) = mpsc::channel();
    let there = env.clone();
    let sleeper = thread::spawn(move || {
        let mut driver = Driver::new(&there, sleepy());
        let listener = there.transport.listen((there.host, 0).into(), &QueueOptions::default()).expect("a free port");
        tell.send(listener.local_addr()).expect("the other thread waits");
        let listener = driver.listen(listener, LISTENER);
        serve_asleep(&there, &mut driver, listener);
    });
    let at = told.recv().expect("the sleeper listens");
    let mut world = World::with(env, &[Setup::default()]);
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    world.established(A, near);
    // Silent ones, which keep the sleeper from its last look to its sleep for longer.
    for _ in 0..IDLE {
        let idle = world.at(A).dial(at, &QueueOptions::default(), Token(2));
        world.established(A, idle);
    }
    for round in 0..ROUNDS {
        world.at(A).send(near, b"one", 2 * round);
        world.at(A).group().flush();
        // The second one comes now earlier and now later, seen from a core that has served the
        // first and is about to sleep.
        (0..round % 997).for_each(|_| std::hint::spin_loop());
        world.at(A).send(near, b"two", 2 * round + 1);
        world.at(A).group().flush();
        assert_eq!((world.message(A, near), world.message(A, near)), (b"one".to_vec(), b"two".to_vec()));
        (0..2).for_each(|_| drop(world.well_done(A, near)));
    }
    world.at(A).disconnect(near);
    assert_eq!(world.closed(A, near), None);
    sleeper.join().expect("the sleeper is content");
}

/// Echoes until its connection ends, asleep whenever there is nothing to do.
fn serve_asleep(env: &Env, driver: &mut Driver, listener: QueueId) {
    // A busy computer may take long for all of it, but not from one wake-up to the next.
    let mut end = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < end, "something did not wake the core");
        if driver.poll() > 0 {
            end = Instant::now() + DEADLINE;
        } else {
            // Longer than the test may take: a wake-up that is missed is a failure, not a delay.
            env.platform.park(env.core(), Some(env.platform.now() + 2 * DEADLINE));
        }
        while let Some(event) = driver.take(Ok) {
            match event {
                QueueEvent::Requested { queue, .. } => drop(driver.attach(queue, Token(2), &[])),
                QueueEvent::Received { id, buf, .. } => {
                    driver.try_send(id, buf.into(), None, 1).map_err(|refused| refused.why).expect("it is connected");
                }
                QueueEvent::Closed { id, .. } if id == listener => return,
                QueueEvent::Closed { .. } => driver.disconnect(listener),
                _ => {}
            }
        }
    }
}
