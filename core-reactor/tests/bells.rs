//! Bells: sources that are armed before a sleep (statement 13).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use core_reactor::sim::Sim;
use core_reactor::{Bell, CoreId, Idle, Instant, Polled, Schedule, ThreadConfig, WaitSource};

#[derive(Default)]
struct Record {
    /// What the next arm answers.
    quiet: bool,
    armed: usize,
    disarmed: usize,
    due: Option<Instant>,
}

struct Noted(Rc<RefCell<Record>>);

impl Bell for Noted {
    fn arm(&self) -> bool {
        let mut record = self.0.borrow_mut();
        record.armed += 1;
        record.quiet
    }

    fn disarm(&self) {
        self.0.borrow_mut().disarmed += 1;
    }

    fn due(&self) -> Option<Instant> {
        self.0.borrow().due
    }
}

/// Two bells, and both orders: the core is there for the first that is due.
#[test]
fn s13_of_several_bells_the_one_that_is_due_first_ends_the_sleep() {
    for (dues, first) in [([5, 9], 5), ([9, 5], 5), ([0, 7], 7), ([7, 0], 7)] {
        let mut sim = Sim::new(1);
        let lib = sim.lib().clone();
        lib.spawn(ThreadConfig::new("bells"), move |cx| {
            let watches = dues.map(|due| {
                let due = (due > 0).then_some(Instant::from_nanos(due));
                cx.bell(Rc::new(Noted(Rc::new(RefCell::new(Record { due, ..Record::default() })))))
            });
            cx.local_poller("holds", Schedule::WhenAwake, move |_: &mut core_reactor::Cx<'_>| {
                let _ = &watches;
                Polled::Idle
            });
        })
        .expect("a reactor is there");
        sim.settle();
        assert_eq!(sim.reactors[0].next_deadline(), Some(Instant::from_nanos(first)), "{dues:?}");
    }
}

/// Runs a reactor by itself until `turns` turns have passed; a poller keeps it from ending before.
fn run(turns: usize, quiet: bool) -> (Record, usize) {
    let (record, parks) = run_until(turns, quiet, None);
    (record, parks.len())
}

/// As [`run`], with a bell that says when it is due. Tells until when each park was to last.
fn run_until(turns: usize, quiet: bool, due: Option<Instant>) -> (Record, Vec<Option<Instant>>) {
    let mut sim = Sim::with(1, |options| options.idle = Idle::ParkAfter(Duration::ZERO));
    let platform = sim.platform.clone();
    let lib = sim.lib().clone();
    let reactor = sim.reactors.remove(0);
    let (send, receive) = std::sync::mpsc::channel();
    lib.spawn(ThreadConfig::new("bell"), move |cx| {
        let record = Rc::new(RefCell::new(Record { quiet, due, ..Record::default() }));
        let mut watch = Some(cx.watch_bell(WaitSource(7), Rc::new(Noted(record.clone()))).expect("simulated"));
        let mut left = turns;
        cx.local_poller("count", Schedule::WhenAwake, move |cx: &mut core_reactor::Cx<'_>| {
            left -= 1;
            if left > 0 {
                return Polled::Idle;
            }
            drop(watch.take());
            send.send(record.take()).expect("the test waits");
            cx.lib().stop();
            Polled::Done
        });
    })
    .expect("a reactor is there");
    reactor.run();
    (receive.recv().expect("it was sent"), platform.parks(CoreId(0)))
}

#[test]
fn s13_bells_are_armed_before_each_sleep_and_disarmed_after() {
    let (record, parks) = run(10, true);
    assert!(parks >= 8, "{parks} parks");
    assert!(record.armed >= 8 && record.disarmed == record.armed, "{} and {}", record.armed, record.disarmed);
}

#[test]
fn s13_a_bell_that_has_something_to_tell_keeps_the_core_awake() {
    let (record, parks) = run(10, false);
    assert!(record.armed >= 8 && record.disarmed == record.armed);
    assert!(parks <= 1, "only after the watch has gone, and it parked {parks} times");
}

#[test]
fn s13_a_core_sleeps_no_longer_than_until_a_bell_is_due() {
    let due = Some(Instant::from_nanos(5_000));
    let (_, parks) = run_until(10, true, due);
    assert!(parks.iter().filter(|until| **until == due).count() >= 8, "{parks:?}");
}
