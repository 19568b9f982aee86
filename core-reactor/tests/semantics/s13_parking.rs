//! Statement 13: an idle reactor spins for a short time, then parks until something happens, and
//! loses no wake-up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use core_reactor::sim::SimPlatform;
use core_reactor::{
    CoreId, CpuSet, Cx, Idle, Instant, Msg, Platform, PlatformError, Polled, ReactorOptions, Reactors, Schedule, ThreadConfig,
    ThreadHandle, ThreadLib, WaitSource,
};

use crate::machine::{Machine, within_a_minute};
use crate::record::{Record, at, ms};

const CORE: CoreId = CoreId(0);

type OnPark = Box<dyn FnMut(usize, Option<Instant>) + Send>;

/// A simulated machine whose clock moves 1 µs with each reading, and on which something happens in
/// each park.
struct Scripted {
    sim: Arc<SimPlatform>,
    on_park: Mutex<OnPark>,
}

impl Platform for Scripted {
    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn cores(&self) -> CpuSet {
        self.sim.cores()
    }

    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.sim.start(core, entry)
    }

    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        self.sim.join(core)
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.sim.adopt(core)
    }

    fn release(&self, core: CoreId) {
        self.sim.release(core);
    }

    fn park(&self, core: CoreId, until: Option<Instant>) {
        self.sim.park(core, until);
        let parks = self.sim.parks(core).len();
        (self.on_park.lock().expect("poisoned by no test"))(parks, until);
    }

    fn unpark(&self, core: CoreId) {
        self.sim.unpark(core);
    }

    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.sim.watch(core, source)
    }

    fn unwatch(&self, core: CoreId, source: WaitSource) {
        self.sim.unwatch(core, source);
    }
}

/// Runs one reactor with one thread until `on_park` (which gets the number of the park, from 1) or
/// the thread stops it.
fn run(
    idle: Idle,
    start: impl FnOnce(&mut Cx<'_>) + Send + 'static,
    script: impl FnOnce(Arc<SimPlatform>, ThreadLib, ThreadHandle) -> OnPark,
) -> Arc<SimPlatform> {
    let sim = SimPlatform::new(1);
    sim.tick(Duration::from_micros(1));
    let platform = Arc::new(Scripted { sim: sim.clone(), on_park: Mutex::new(Box::new(|_, _| {})) });
    let set = Reactors::new(platform.clone(), &ReactorOptions::new(sim.cores()).idle(idle)).expect("it has this core");
    let thread = set.lib().spawn(ThreadConfig::new("t"), start).expect("there is a reactor");
    *platform.on_park.lock().expect("poisoned by no test") = script(sim.clone(), set.lib().clone(), thread);
    set.run().expect("one core needs no start");
    // The script holds handles, and they the platform.
    *platform.on_park.lock().expect("poisoned by no test") = Box::new(|_, _| {});
    sim
}

#[test]
fn s13_a_reactor_parks_after_twenty_microseconds_without_work_unless_told_otherwise() {
    for (idle, spell) in [(Idle::default(), 20), (Idle::ParkAfter(Duration::from_micros(300)), 300), (Idle::ParkAfter(Duration::ZERO), 0)] {
        let busy_until = Record::new();
        let note = busy_until.clone();
        let start = move |cx: &mut Cx<'_>| note.note(cx.clock());
        let parked_at = Record::new();
        let note = parked_at.clone();
        run(idle, start, |sim, lib, _| {
            Box::new(move |_, until| {
                note.note((sim.now(), until));
                lib.stop();
            })
        });
        let (parked_at, until) = parked_at.take()[0];
        let spun = parked_at.since(busy_until.take()[0]);
        assert!((spell..spell + 10).contains(&(spun.as_micros() as u64)), "{spun:?} for {spell} µs");
        assert_eq!(until, None);
    }
}

#[test]
fn s13_a_reactor_parks_until_the_next_deadline_and_is_there_in_time() {
    let runs = Record::new();
    let note = runs.clone();
    let start = move |cx: &mut Cx<'_>| {
        for period in [5, 7] {
            let note = note.clone();
            cx.poller("timed", Schedule::Every(ms(period)), move |cx: &mut Cx<'_>| {
                note.note((period, cx.now()));
                if cx.now() >= at(20) {
                    cx.lib().stop();
                }
                Polled::Done
            });
        }
    };
    let untils = Record::new();
    let note = untils.clone();
    run(Idle::default(), start, |sim, lib, _| {
        Box::new(move |_, until| {
            note.note(until);
            match until {
                // Sleeps for exactly as long as it may.
                Some(until) => sim.advance(until.since(sim.now())),
                None => lib.stop(),
            }
        })
    });
    let runs = runs.take();
    let untils = untils.take();
    assert_eq!(runs.iter().map(|r| r.0).collect::<Vec<_>>(), [5, 7]);
    assert_eq!(untils.len(), 3);
    for ((_, ran_at), until) in runs.iter().zip(untils) {
        let late = ran_at.since(until.expect("a timer was ahead"));
        assert!(*ran_at >= until.expect("as above") && late < Duration::from_micros(10), "{late:?}");
    }
}

#[test]
fn s13_a_reactor_never_parks_when_told_to_poll_or_while_a_poller_is_always_active() {
    let busy_poll = (Idle::Poll, Schedule::WhenAwake);
    let always = (Idle::ParkAfter(Duration::ZERO), Schedule::Always);
    let zero = (Idle::ParkAfter(Duration::ZERO), Schedule::Every(Duration::ZERO));
    for (idle, schedule) in [busy_poll, always, zero] {
        let start = move |cx: &mut Cx<'_>| {
            let mut runs = 0;
            cx.poller("p", schedule, move |cx: &mut Cx<'_>| {
                runs += 1;
                if runs < 1000 {
                    return Polled::Idle;
                }
                cx.lib().stop();
                Polled::Done
            });
        };
        let sim = run(idle, start, |_, _, _| Box::new(|_, _| {}));
        // Stopped, and with the poller gone, it may; before it may not.
        let always_parks = sim.parks(CORE).len();
        assert_eq!(always_parks, 0, "{idle:?} {schedule:?}");
    }
}

#[test]
fn s13_a_reactor_parks_beside_pollers_that_are_paused_or_run_when_awake() {
    let start = |cx: &mut Cx<'_>| {
        cx.poller("when awake", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle);
        let id = cx.poller("always", Schedule::Always, |_: &mut Cx<'_>| Polled::Idle);
        cx.pause(id).expect("it is registered");
    };
    let sim = run(Idle::default(), start, |sim, lib, _| {
        Box::new(move |park, until| match until {
            Some(until) => sim.advance(until.since(sim.now())),
            None if park == 3 => lib.stop(),
            None => assert!(park < 3, "stopped, it sleeps until the limit of the exit"),
        })
    });
    let parks = sim.parks(CORE);
    assert_eq!(parks.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, false, true]);
}

#[test]
fn s13_a_message_that_waits_keeps_a_reactor_awake() {
    // The second thread says that it is idle and has sent to the first one, whose turn was before.
    let (ran, parked) = (Record::new(), Record::new());
    let (note, note_park) = (ran.clone(), parked.clone());
    let start = move |cx: &mut Cx<'_>| {
        let first = cx.handle();
        let relay = move |cx: &mut Cx<'_>| {
            let mut sent = false;
            cx.poller("relays", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
                if sent {
                    return Polled::Done;
                }
                if cx.now() < at(1) {
                    return Polled::Idle;
                }
                sent = true;
                let note = note.clone();
                first.send(move |cx| note.note(cx.now())).expect("the mailbox has room");
                Polled::Idle
            });
        };
        cx.lib().spawn(ThreadConfig::new("second"), relay).expect("there is a reactor");
    };
    let waiting = ran.clone();
    run(Idle::ParkAfter(Duration::ZERO), start, |sim, lib, first| {
        Box::new(move |_, _| {
            note_park.note((sim.now(), first.mailbox_depth()));
            if waiting.take().len() == 1 {
                lib.stop();
            }
        })
    });
    let parks = parked.take();
    assert!(parks.len() > 1);
    assert!(parks.iter().all(|(_, depth)| *depth == 0), "{parks:?}");
}

/// What may happen while a reactor sleeps.
type Happening = fn(&ThreadLib, &ThreadHandle);

#[test]
fn s13_whatever_gives_a_sleeping_reactor_work_wakes_it_once() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    fn ran(_: &mut Cx<'_>) {
        RAN.fetch_add(1, Ordering::SeqCst);
    }
    let happenings: [(&str, Happening); 6] = [
        ("message", |_, thread| drop(thread.send(ran))),
        ("bulk", |_, thread| assert_eq!(thread.send_bulk(&mut [Msg::new(ran)].into()), Ok(1))),
        ("critical message", |_, thread| thread.send_critical(ran).expect("none is pending")),
        ("placement", |lib, _| drop(lib.spawn(ThreadConfig::new("new"), ran))),
        ("three messages", |_, thread| (0..3).for_each(|_| drop(thread.send(ran)))),
        ("exit", |_, thread| {
            thread.exit();
            RAN.fetch_add(1, Ordering::SeqCst);
        }),
    ];
    for (what, happening) in happenings {
        RAN.store(0, Ordering::SeqCst);
        let sim = run(
            Idle::default(),
            |_| {},
            |sim, lib, thread| {
                Box::new(move |park, _| match park {
                    1 => {
                        assert_eq!(sim.unparks(CORE), 0);
                        happening(&lib, &thread);
                        assert_eq!(sim.unparks(CORE), 1, "{what}");
                    }
                    2 => {
                        assert!(RAN.load(Ordering::SeqCst) > 0, "{what} was done before it sleeps again");
                        if what == "exit" {
                            assert!(lib.threads().is_empty());
                        }
                        lib.stop();
                        assert_eq!(sim.unparks(CORE), 2, "stop wakes too");
                    }
                    _ => panic!("asleep after {what} and stop"),
                })
            },
        );
        assert_eq!(sim.parks(CORE).len(), 2, "{what}");
    }
}

#[test]
fn s13_stop_wakes_a_reactor_without_threads() {
    let sim = run(
        Idle::default(),
        |cx| cx.exit(),
        |_, lib, _| {
            Box::new(move |_, _| {
                assert!(lib.threads().is_empty());
                lib.stop();
            })
        },
    );
    assert_eq!((sim.parks(CORE).len(), sim.unparks(CORE)), (1, 1));
}

#[test]
fn s13_a_reactor_that_is_awake_is_not_woken() {
    let sim = run(
        Idle::default(),
        |cx| {
            (0..5).for_each(|_| cx.handle().send(|_| {}).expect("the mailbox has room"));
            cx.handle().send(|cx| cx.lib().stop()).expect("the mailbox has room");
        },
        |_, _, _| Box::new(|_, _| {}),
    );
    assert_eq!((sim.parks(CORE).len(), sim.unparks(CORE)), (0, 0));
}

/// A set on real threads that sleeps whenever it can.
fn sleepy(machine: &Arc<Machine>) -> Reactors {
    let options = ReactorOptions::new(machine.cores()).idle(Idle::ParkAfter(Duration::ZERO));
    Reactors::new(machine.clone(), &options).expect("the machine has these cores")
}

/// One message that goes to and fro `left` times.
fn ping(cx: &mut Cx<'_>, to: ThreadHandle, left: usize) {
    if left == 0 {
        cx.lib().stop();
        return;
    }
    let from = cx.handle();
    to.send(move |cx| ping(cx, from, left - 1)).expect("the mailbox has room");
}

#[test]
fn s13_two_cores_that_sleep_between_messages_lose_no_wake_up() {
    let stats = within_a_minute(|| {
        let set = sleepy(&Machine::new(2));
        let threads = [0, 1].map(|core| {
            let config = ThreadConfig::new("t").cpus(CpuSet::of(CoreId(core)));
            set.lib().spawn(config, |_| {}).expect("there is a reactor")
        });
        let to = threads[1].clone();
        threads[0].send(move |cx| ping(cx, to, 20_000)).expect("the mailbox has room");
        set.run().expect("the machine starts its cores")
    });
    assert_eq!(stats.iter().map(|s| s.messages).sum::<u64>(), 20_001 + 2);
    assert!(stats.iter().all(|s| s.parks > 0), "{stats:?}");
}

#[test]
fn s13_a_thread_that_moves_to_and_fro_between_sleeping_cores_loses_neither_messages_nor_wake_ups() {
    const COUNT: usize = 20_000;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    within_a_minute(|| {
        let set = sleepy(&Machine::new(2));
        let mover = set.lib().spawn(ThreadConfig::new("mover").cpus(CpuSet::of(CoreId(0))), |_| {}).expect("there is a reactor");
        let sender = std::thread::spawn(move || {
            for n in 0..COUNT {
                let mut msg = Msg::new(move |cx: &mut Cx<'_>| {
                    assert_eq!(NEXT.fetch_add(1, Ordering::SeqCst), n);
                    if n % 3 == 0 {
                        let other = CpuSet::of(CoreId(1 - cx.core().0));
                        cx.set_cpus(other).expect("there is a reactor");
                    }
                    if n == COUNT - 1 {
                        cx.lib().stop();
                    }
                });
                while let Err(refused) = mover.send_msg(msg) {
                    msg = refused.item;
                    std::thread::yield_now();
                }
                if n % 16 == 0 {
                    // Gives the cores time to fall asleep.
                    while NEXT.load(Ordering::SeqCst) <= n {
                        std::thread::yield_now();
                    }
                }
            }
        });
        let stats = set.run().expect("the machine starts its cores");
        sender.join().expect("the sender does not panic");
        assert!(stats.iter().all(|s| s.messages > 0), "it was on both cores: {stats:?}");
    });
    assert_eq!(NEXT.load(Ordering::SeqCst), COUNT);
}
