//! Sets of reactors: independent of each other, started and stopped again and again, undone when a
//! start fails or a reactor panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{CoreId, CpuSet, Idle, Platform, PlatformError, PushError, ReactorOptions, Reactors, SpawnError, ThreadConfig};

use crate::machine::{Machine, within_a_minute};
use crate::platforms::Panicking;
use crate::record::Record;

fn set(machine: &Arc<Machine>) -> Reactors {
    Reactors::new(machine.clone(), &ReactorOptions::new(machine.cores())).expect("the machine has these cores")
}

/// A thread on one core that does this first.
fn on(core: u16) -> ThreadConfig {
    ThreadConfig::new("t").cpus(CpuSet::of(CoreId(core)))
}

#[test]
fn two_sets_in_one_process_know_nothing_of_each_other() {
    let (mut one, mut two, seen) = (Sim::new(2), Sim::new(2), Record::new());
    let threads =
        [(&one, "one"), (&two, "two")].map(|(sim, name)| sim.lib().spawn(ThreadConfig::new(name), |_| {}).expect("there are reactors"));
    assert_eq!(threads[0].id(), threads[1].id(), "each counts for itself");
    let note = seen.clone();
    threads[0]
        .send(move |cx| {
            cx.for_each_thread(
                move |cx: &mut core_reactor::Cx<'_>| note.note(cx.handle().name().to_string()),
                |_: &mut core_reactor::Cx<'_>| {},
            )
        })
        .expect("the mailbox has room");
    one.settle();
    two.settle();
    assert_eq!(seen.take(), ["one"]);
    // A message may go from one to the other.
    let (note, other) = (seen.clone(), threads[1].clone());
    threads[0]
        .send(move |_| other.send(move |cx| note.note(cx.handle().name().to_string())).expect("the mailbox has room"))
        .expect("the mailbox has room");
    one.settle();
    two.settle();
    assert_eq!(seen.take(), ["two"]);
    one.lib().stop();
    one.settle();
    assert!(one.lib().threads().is_empty() && !two.lib().is_stopping());
    assert_eq!(two.lib().threads().len(), 1);
    assert!(threads[1].send(|_| {}).is_ok());
}

#[test]
fn a_set_runs_stops_and_is_made_anew_on_the_same_machine() {
    within_a_minute(|| {
        let machine = Machine::new(2);
        for round in 0..20 {
            let set = set(&machine);
            let ran = Arc::new(AtomicUsize::new(0));
            let threads = [0, 1].map(|core| {
                let ran = ran.clone();
                let stop = move |cx: &mut core_reactor::Cx<'_>| {
                    if ran.fetch_add(1, Ordering::SeqCst) == 1 {
                        cx.lib().stop();
                    }
                };
                set.lib().spawn(on(core), stop).expect("there is a reactor")
            });
            let lib = set.lib().clone();
            let stats = set.run().expect("the machine starts its cores");
            assert_eq!(stats.iter().map(|s| (s.core.0, s.threads)).collect::<Vec<_>>(), [(0, 0), (1, 0)], "round {round}");
            assert_eq!(ran.load(Ordering::SeqCst), 2);
            assert!(lib.threads().is_empty() && machine.is_at_rest());
            assert_eq!(lib.spawn(on(0), |_| {}).map(|_| ()), Err(SpawnError::Stopping));
            assert!(threads.iter().all(|t| t.send(|_| {}).map_err(|r| r.why) == Err(PushError::Closed)));
        }
        assert_eq!(Arc::strong_count(&machine), 1, "no set is left");
    });
}

#[test]
fn a_stop_that_races_with_new_threads_leaves_none_behind() {
    within_a_minute(|| {
        for _ in 0..20 {
            let set = set(&Machine::new(1));
            let (lib, stopped) = (set.lib().clone(), set.lib().clone());
            // Threads that stay until they are asked to exit, one after the other until the set
            // takes no more.
            let spawner = std::thread::spawn(move || {
                loop {
                    match lib.spawn(on(0), |_| {}) {
                        Ok(_) => {}
                        Err(SpawnError::Busy(_)) => std::thread::yield_now(),
                        Err(why) => return assert_eq!(why, SpawnError::Stopping),
                    }
                }
            });
            let lib = set.lib().clone();
            let stopper = std::thread::spawn(move || {
                // More than wait for the reactor: it runs, and takes them as they come.
                while stopped.threads().len() < 300 {
                    std::thread::yield_now();
                }
                stopped.stop();
            });
            set.run().expect("one core needs no start");
            spawner.join().expect("the spawner does not panic");
            stopper.join().expect("the stopper does not panic");
            assert!(lib.threads().is_empty());
        }
    });
}

#[test]
fn a_stop_at_any_moment_ends_a_set_without_threads() {
    within_a_minute(|| {
        for round in 0..500u32 {
            let machine = Machine::new(1);
            let options = ReactorOptions::new(machine.cores()).idle(Idle::ParkAfter(Duration::from_nanos(300)));
            let set = Reactors::new(machine, &options).expect("the machine has this core");
            let lib = set.lib().clone();
            let stopper = std::thread::spawn(move || {
                (0..round % 50).for_each(|_| std::hint::spin_loop());
                lib.stop();
            });
            assert_eq!(set.run().map(|stats| stats.len()), Ok(1));
            stopper.join().expect("the stopper does not panic");
        }
    });
}

#[test]
fn threads_of_a_set_that_never_ran_are_dropped_with_it() {
    let (platform, drops) = (SimPlatform::new(2), Record::new());
    let set = Reactors::new(platform.clone(), &ReactorOptions::new(platform.cores())).expect("it has these cores");
    let handles = [0, 1].map(|core| {
        let note = crate::record::NoteDrop(drops.clone(), core);
        set.lib().spawn(on(core), move |_| drop(note)).expect("there is a reactor")
    });
    let lib = set.lib().clone();
    drop(set);
    assert_eq!(drops.take(), [0, 1]);
    assert!(lib.threads().is_empty());
    assert_eq!(handles[0].send(|_| {}).map_err(|r| r.why), Err(PushError::Closed));
    drop((lib, handles));
    assert_eq!(Arc::strong_count(&platform), 1);
}

#[test]
fn a_simulation_dropped_in_full_flight_leaves_nothing() {
    let mut sim = Sim::new(2);
    let platform = sim.platform.clone();
    for n in 0..30 {
        let thread = sim.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is room");
        let (to, own) = (thread.clone(), thread.clone());
        thread.send(move |_| drop(to)).expect("the mailbox has room");
        thread
            .send(move |cx| cx.for_each_thread(|_: &mut core_reactor::Cx<'_>| {}, move |_: &mut core_reactor::Cx<'_>| drop(own)))
            .expect("as above");
        if n == 14 {
            (0..2).for_each(|_| assert!(!sim.turn().is_idle()));
        }
    }
    drop(sim);
    assert_eq!(Arc::strong_count(&platform), 1);
}

#[test]
fn s12_a_start_that_fails_half_way_undoes_what_it_had_done() {
    within_a_minute(|| {
        let machine = Machine::with_broken(4, CpuSet::of(CoreId(2)));
        let set = set(&machine);
        let threads: Vec<_> = (0..4).map(|core| set.lib().spawn(on(core), |_| {}).expect("there is a reactor")).collect();
        let lib = set.lib().clone();
        let outcome = set.run().map(|_| ());
        assert!(matches!(outcome, Err(PlatformError::NoSuchCore { core: CoreId(2), .. })), "{outcome:?}");
        assert!(machine.is_at_rest());
        assert!(lib.threads().is_empty(), "those of cores that never started too");
        assert!(threads.iter().all(|t| t.send(|_| {}).is_err()));
        drop((lib, threads));
        assert_eq!(Arc::strong_count(&machine), 1);
    });
}

#[test]
fn a_panic_on_another_core_stops_the_set_and_is_its_error() {
    within_a_minute(|| {
        let machine = Machine::new(3);
        let set = set(&machine);
        let lib = set.lib().clone();
        for core in [0, 2] {
            lib.spawn(on(core), |_| {}).expect("there is a reactor");
        }
        lib.spawn(on(1), |_| panic!("on purpose")).expect("there is a reactor");
        assert_eq!(set.run().map(|_| ()), Err(PlatformError::Panicked { core: CoreId(1) }));
        assert!(lib.threads().is_empty() && machine.is_at_rest());
    });
}

#[test]
fn a_panic_on_the_callers_core_goes_on_when_the_others_have_ended() {
    within_a_minute(|| {
        let machine = Machine::new(3);
        let set = set(&machine);
        let lib = set.lib().clone();
        for core in [1, 2] {
            lib.spawn(on(core), |_| {}).expect("there is a reactor");
        }
        lib.spawn(on(0), |_| panic!("on purpose")).expect("there is a reactor");
        catch_unwind(AssertUnwindSafe(|| set.run())).expect_err("the panic comes through");
        assert!(lib.threads().is_empty() && machine.is_at_rest());
    });
}

#[test]
fn a_thread_that_moves_to_a_reactor_that_panicked_ends_with_the_others() {
    within_a_minute(|| {
        let set = set(&Machine::new(2));
        let lib = set.lib().clone();
        // The panic stops the set; the mover then tries to go where nobody is.
        lib.spawn(on(0), |cx| {
            cx.poller("goes", core_reactor::Schedule::Always, |cx: &mut core_reactor::Cx<'_>| {
                if !cx.is_exiting() {
                    return core_reactor::Polled::Idle;
                }
                cx.set_cpus(CpuSet::of(CoreId(1))).expect("there was a reactor");
                core_reactor::Polled::Done
            });
        })
        .expect("there is a reactor");
        lib.spawn(on(1), |_| panic!("on purpose")).expect("there is a reactor");
        assert_eq!(set.run().map(|_| ()), Err(PlatformError::Panicked { core: CoreId(1) }));
        assert!(lib.threads().is_empty());
    });
}

#[test]
fn a_set_on_cores_that_the_machine_does_not_have_is_refused() {
    let platform = SimPlatform::new(2);
    let wanted: CpuSet = "[1-2]".parse().expect("a list");
    let error = Reactors::new(platform.clone(), &ReactorOptions::new(wanted)).map(|_| ());
    assert_eq!(error, Err(PlatformError::NoSuchCore { core: CoreId(2), allowed: platform.cores() }));
    assert!(Reactors::new(platform, &ReactorOptions::new(CpuSet::EMPTY)).is_err());
}

#[test]
fn bounds_that_cannot_work_are_refused_with_the_numbers() {
    let platform = SimPlatform::new(1);
    for (option, value) in [("mailbox", 0), ("mailbox", 65_537), ("mailbox", usize::MAX), ("batch", 0), ("batch", usize::MAX)] {
        let mut options = ReactorOptions::new(platform.cores());
        match option {
            "batch" => options.threads.batch = value,
            _ => options.threads.mailbox = value,
        }
        let refused = Reactors::new(platform.clone(), &options).map(|_| ()).unwrap_err();
        assert!(matches!(refused, PlatformError::Bound { most: 65_536, .. }), "{refused:?}");
        assert_eq!(refused.to_string(), format!("ThreadLibOptions::{option} is {value}, and must be between 1 and 65536"));
    }
    for value in [1, 65_536] {
        let mut options = ReactorOptions::new(platform.cores());
        (options.threads.batch, options.threads.mailbox) = (value, value);
        assert!(Reactors::new(platform.clone(), &options).is_ok(), "{value}");
    }
}

#[test]
fn a_core_has_one_reactor() {
    let platform = SimPlatform::new(1);
    let set = Reactors::new(platform.clone(), &ReactorOptions::new(platform.cores())).expect("it has this core");
    assert!(set.reactor(CoreId(1)).is_none());
    let first = set.reactor(CoreId(0));
    assert!(first.is_some() && set.reactor(CoreId(0)).is_none());
    drop(first);
    assert!(set.reactor(CoreId(0)).is_none(), "its events went with it");
}

#[test]
fn a_platform_that_panics_while_cores_are_started_leaves_none_running() {
    within_a_minute(|| {
        let machine = Machine::new(4);
        let platform = Panicking::over(machine.clone());
        platform.arm("start", 1);
        let set = Reactors::new(platform, &ReactorOptions::new(machine.cores())).expect("the machine has these cores");
        let lib = set.lib().clone();
        catch_unwind(AssertUnwindSafe(|| set.run())).expect_err("the panic comes through");
        assert!(lib.is_stopping() && machine.is_at_rest());
    });
}

#[test]
fn a_core_that_panics_in_its_sleep_is_not_taken_for_asleep() {
    let sim = SimPlatform::new(1);
    let platform = Panicking::over(sim.clone());
    let options = ReactorOptions::new(sim.cores()).idle(Idle::ParkAfter(Duration::ZERO));
    let set = Reactors::new(platform.clone(), &options).expect("it has this core");
    let thread = set.lib().spawn(on(0), |_| {}).expect("there is a reactor");
    platform.arm("park", 0);
    catch_unwind(AssertUnwindSafe(|| set.run())).expect_err("the panic comes through");
    assert_eq!(thread.send(|_| {}).map_err(|r| r.why), Err(PushError::Closed));
    assert_eq!(sim.unparks(CoreId(0)), 0, "nobody wakes a core that is awake");
}
