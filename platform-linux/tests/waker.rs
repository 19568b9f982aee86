//! Wakers of threads (statement 13): a core that sleeps in the kernel takes a turn when one is
//! asked for.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_reactor::{CpuSet, Cx, Idle, Platform, Polled, ReactorOptions, Reactors, Schedule, ThreadConfig};
use platform_linux::LinuxPlatform;

#[test]
fn s13_a_waker_wakes_a_core_that_sleeps_in_the_kernel() {
    let platform = Arc::new(LinuxPlatform::new().unwrap());
    let core = platform.cores().iter().next().unwrap();
    let mut options = ReactorOptions::new(CpuSet::of(core));
    options.idle = Idle::ParkAfter(Duration::ZERO);
    let reactors = Reactors::new(platform, &options).unwrap();
    let lib = reactors.lib().clone();
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let thread = lib
        .spawn(ThreadConfig::new("sleeper"), move |cx| {
            cx.poller("counts", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
                counted.fetch_add(1, Ordering::SeqCst);
                if cx.is_exiting() { Polled::Done } else { Polled::Idle }
            });
        })
        .unwrap();
    let running = thread::spawn(move || reactors.run());
    let name = format!("reactor_{core}");
    for _ in 0..100 {
        until("the reactor sleeps", || is_asleep(&name));
        let before = runs.load(Ordering::SeqCst);
        thread.waker().wake();
        until("the poller runs", || runs.load(Ordering::SeqCst) > before);
    }
    lib.stop();
    let stats = running.join().unwrap().unwrap();
    assert!(stats[0].parks >= 100, "{stats:?}");
}

/// Whether the kernel says that this process' thread of that name sleeps.
fn is_asleep(name: &str) -> bool {
    let mut tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    // A thread that has ended meanwhile has no files any more.
    let found = tasks.find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    found.and_then(|task| fs::read_to_string(task.join("status")).ok()).is_some_and(|status| status.contains("State:\tS"))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        thread::yield_now();
    }
}
