//! Balancing (statement 10): a movable thread leaves a reactor that is always busy for one that is
//! not, with its poller and its messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use core_reactor::sim::Sim;
use core_reactor::{CoreId, CpuSet, Cx, Polled, Schedule, ThreadConfig, ThreadHandle, balance};

/// Rounds of turns within which the balancer has decided several times.
const ROUNDS: usize = 2_000;

/// A thread that is placed on core 0, may run anywhere, and is busy all the time. Tells its core
/// and counts its runs.
fn busy_thread(sim: &Sim, name: &str, pinned: bool) -> (ThreadHandle, Arc<AtomicU16>, Arc<AtomicU32>) {
    let (core, runs) = (Arc::new(AtomicU16::new(u16::MAX)), Arc::new(AtomicU32::new(0)));
    let (told, counted) = (core.clone(), runs.clone());
    let config = ThreadConfig::new(name).cpus(CpuSet::of(CoreId(0)));
    let thread = sim.lib().spawn(config, move |cx| {
        cx.set_cpus(CpuSet::ALL).unwrap();
        if pinned {
            cx.open_channel(());
        }
        cx.poller("busy", Schedule::Always, move |cx: &mut Cx<'_>| {
            // The simulated clock moves when it is read: this is what takes time.
            (0..200).for_each(|_| _ = cx.clock());
            told.store(cx.core().0, Ordering::Relaxed);
            counted.fetch_add(1, Ordering::Relaxed);
            Polled::Busy
        });
    });
    (thread.unwrap(), core, runs)
}

#[test]
fn s10_a_busy_reactor_gives_a_movable_thread_to_an_idle_one() {
    let mut sim = Sim::new(2);
    sim.platform.tick(Duration::from_micros(1));
    let (_, stays, _) = busy_thread(&sim, "pinned", true);
    let (movable, goes, runs) = busy_thread(&sim, "movable", false);
    balance::start(sim.lib(), Duration::from_millis(5)).unwrap();
    for _ in 0..ROUNDS {
        sim.turn();
    }
    assert_eq!((stays.load(Ordering::Relaxed), goes.load(Ordering::Relaxed)), (0, 1), "the pinned one stays, the movable one goes");
    let before = runs.load(Ordering::Relaxed);
    let ran = Arc::new(AtomicU16::new(u16::MAX));
    let told = ran.clone();
    movable.send(move |cx| told.store(cx.core().0, Ordering::Relaxed)).unwrap();
    sim.turn();
    assert_eq!(ran.load(Ordering::Relaxed), 1, "messages follow it");
    assert!(runs.load(Ordering::Relaxed) > before, "and its poller runs on");
}

#[test]
fn s10_one_busy_thread_alone_is_left_where_it_is() {
    let mut sim = Sim::new(2);
    sim.platform.tick(Duration::from_micros(1));
    let (_, core, _) = busy_thread(&sim, "alone", false);
    balance::start(sim.lib(), Duration::from_millis(5)).unwrap();
    for _ in 0..ROUNDS {
        sim.turn();
        assert!(matches!(core.load(Ordering::Relaxed), 0 | u16::MAX), "moving it would gain nothing");
    }
}
