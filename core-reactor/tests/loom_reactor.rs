//! The reactor itself under the model checker: its own loop, park and end against whatever may be
//! asked of it meanwhile. A wake-up that is lost is a deadlock, which the model checker reports.
//! See `loom_ring` for how to run it.
#![cfg(loom)]

use std::sync::Arc;
use std::time::Duration;

use core_reactor::{
    CoreId, CpuSet, CriticalError, Cx, Idle, Instant, Platform, PlatformError, Polled, ReactorOptions, Reactors, Schedule, ThreadConfig,
    ThreadLib, ThreadLibOptions, WaitSource,
};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

const CORE: CoreId = CoreId(0);

/// One core, and a clock that stands still. Its park is a latch that only an unpark opens: no time
/// is up, whatever the core would have slept until.
struct Machine {
    latch: Mutex<bool>,
    wake: Condvar,
}

impl Platform for Machine {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn cores(&self) -> CpuSet {
        CpuSet::of(CORE)
    }

    fn start(&self, core: CoreId, _: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchCore { core, allowed: self.cores() })
    }

    fn join(&self, _: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn adopt(&self, _: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn release(&self, _: CoreId) {}

    fn park(&self, _: CoreId, _: Option<Instant>) {
        let mut open = self.latch.lock().expect("nobody panics");
        while !*open {
            open = self.wake.wait(open).expect("nobody panics");
        }
        *open = false;
    }

    fn unpark(&self, _: CoreId) {
        *self.latch.lock().expect("nobody panics") = true;
        self.wake.notify_one();
    }

    fn watch(&self, core: CoreId, _: WaitSource) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchCore { core, allowed: self.cores() })
    }

    fn unwatch(&self, _: CoreId, _: WaitSource) {}
}

fn machine() -> Arc<Machine> {
    Arc::new(Machine { latch: Mutex::new(false), wake: Condvar::new() })
}

/// Small bounds: the model checker keeps an account of each slot.
fn threads() -> ThreadLibOptions {
    ThreadLibOptions::default().batch(2).mailbox(2)
}

/// A set that sleeps as soon as nothing happens.
fn set() -> Reactors {
    let options = ReactorOptions::new(CpuSet::of(CORE)).idle(Idle::ParkAfter(Duration::ZERO)).threads(threads());
    Reactors::new(machine(), &options).expect("the machine has this core")
}

fn model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    core_reactor::SLEEP_IS_MODELLED.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(f);
}

/// Runs a set while `meanwhile` happens elsewhere; it must end.
fn run_against(set: Reactors, meanwhile: impl FnOnce() + 'static) {
    let lib = set.lib().clone();
    let other = thread::spawn(meanwhile);
    let figures = set.run().expect("one core needs no start");
    other.join().expect("it does not panic");
    assert!(figures.len() == 1 && lib.threads().is_empty());
}

fn stop(cx: &mut Cx<'_>) {
    cx.lib().stop();
}

/// Seen to fail without the look at `is_stopping` before a sleep.
#[test]
fn s13_a_stop_ends_a_reactor_without_threads_whenever_it_comes() {
    model(3, || {
        let set = set();
        let lib = set.lib().clone();
        run_against(set, move || lib.stop());
    });
}

/// Seen to fail without the look at the request to exit before a sleep.
#[test]
fn s13_a_stop_ends_a_reactor_with_a_thread_whenever_it_comes() {
    model(2, || {
        let set = set();
        let lib = set.lib().clone();
        lib.spawn(ThreadConfig::new("t"), |_| {}).expect("there is a reactor");
        run_against(set, move || lib.stop());
    });
}

/// Seen to fail without the look at the mailboxes before a sleep.
#[test]
fn s13_a_message_is_run_whenever_it_comes() {
    model(2, || {
        let set = set();
        let thread = set.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is a reactor");
        run_against(set, move || thread.send(stop).map_err(|refused| refused.why).expect("there is room"));
    });
}

/// Seen to fail without the look at the critical slot before a sleep.
#[test]
fn s13_a_critical_message_is_run_whenever_it_comes() {
    model(2, || {
        let set = set();
        let thread = set.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is a reactor");
        run_against(set, move || thread.send_critical(stop).expect("none is pending"));
    });
}

/// Seen to fail without the look at the wish for a turn before a sleep, and with a turn that takes
/// back the wish when it ends.
#[test]
fn s13_a_thread_that_is_woken_takes_a_turn_that_sees_why() {
    model(2, || {
        let set = set();
        let news = Arc::new(AtomicBool::new(false));
        let seen = news.clone();
        let start = move |cx: &mut Cx<'_>| {
            cx.poller("looks", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
                if !seen.load(Ordering::Relaxed) {
                    return Polled::Idle;
                }
                cx.lib().stop();
                Polled::Done
            });
        };
        let thread = set.lib().spawn(ThreadConfig::new("t"), start).expect("there is a reactor");
        run_against(set, move || {
            news.store(true, Ordering::Relaxed);
            thread.wake();
        });
    });
}

/// Seen to fail without the look at the events before a sleep.
#[test]
fn s13_a_thread_is_adopted_whenever_it_comes() {
    model(2, || {
        let set = set();
        let lib = set.lib().clone();
        run_against(set, move || {
            lib.spawn(ThreadConfig::new("t"), stop).expect("nobody else stops the set");
        });
    });
}

/// Seen to fail without the second look at `is_stopping` in `spawn`.
#[test]
fn s12_a_thread_spawned_while_the_set_stops_ends_or_is_refused() {
    model(2, || {
        let set = set();
        let lib = set.lib().clone();
        let ran = Arc::new(AtomicUsize::new(0));
        let runs = ran.clone();
        let stopping = {
            let lib = lib.clone();
            thread::spawn(move || lib.stop())
        };
        run_against(set, move || {
            let spawned = lib.spawn(ThreadConfig::new("t"), move |_| _ = runs.fetch_add(1, Ordering::Relaxed));
            drop(spawned);
        });
        stopping.join().expect("it does not panic");
        assert!(ran.load(Ordering::Relaxed) <= 1);
    });
}

/// A message comes while a thread closes: either it is refused, or it is run and the thread can be
/// reached until it has been.
///
/// Seen to fail with a critical slot that stays closed where the mailbox could not be.
#[test]
fn s08_a_thread_that_a_message_keeps_from_ending_takes_critical_messages_again() {
    model(3, || {
        let lib = ThreadLib::new(machine(), CpuSet::of(CORE), &threads());
        let mut thread = lib.create(ThreadConfig::new("t"), CORE).expect("the machine has this core");
        let ran = Arc::new(AtomicUsize::new(0));
        let (handle, runs) = (thread.handle(), ran.clone());
        handle.exit();
        let sender = {
            let handle = handle.clone();
            thread::spawn(move || handle.send(move |_| _ = runs.fetch_add(1, Ordering::Relaxed)).is_ok())
        };
        let _ = thread.turn(Instant::ZERO);
        let sent = sender.join().expect("it does not panic");
        if thread.is_exited() {
            assert_eq!(handle.send_critical(|_| {}), Err(CriticalError::Closed));
        } else {
            assert!(sent, "nothing else keeps it");
            handle.send_critical(|_| {}).expect("it has not ended");
            let _ = thread.turn(Instant::ZERO);
        }
        assert!(thread.is_exited());
        assert_eq!(ran.load(Ordering::Relaxed), usize::from(sent), "what was taken was run");
    });
}
