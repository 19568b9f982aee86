//! The clock against the system's own, and against itself on other cores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant as SystemInstant};

use core_reactor::{Instant, Platform};
use platform_linux::{Clock, ClockChoice, ClockKind, LinuxPlatform};

/// Both clocks at one moment: the narrowest of many readings, so that an interruption between two
/// reads does not count.
fn both(clock: &Clock) -> (Instant, SystemInstant) {
    let reading = |_| {
        let before = SystemInstant::now();
        let ours = clock.now();
        (before.elapsed(), ours, before)
    };
    let (_, ours, system) = (0..1000).map(reading).min_by_key(|(width, ..)| *width).unwrap();
    (ours, system)
}

fn agrees(clock: &Clock) {
    let start = both(clock);
    thread::sleep(Duration::from_millis(200));
    let end = both(clock);
    let ours = end.0.since(start.0);
    let system = end.1 - start.1;
    assert!(ours.abs_diff(system) <= system / 1000, "{clock}: counted {ours:?} where CLOCK_MONOTONIC counted {system:?}");
}

#[test]
fn the_best_clock_agrees_with_the_system() {
    agrees(&Clock::new(ClockChoice::Best));
}

#[test]
fn the_forced_clock_is_the_system_s() {
    let clock = Clock::new(ClockChoice::Monotonic);
    assert_eq!(clock.kind(), ClockKind::Monotonic);
    assert_eq!(clock.to_string(), "CLOCK_MONOTONIC (asked for)");
    assert_eq!(clock.cycles_per_second(), 1_000_000_000);
    agrees(&clock);
}

#[test]
fn both_clocks_count_from_one_start() {
    let (best, system) = (Clock::new(ClockChoice::Best), Clock::new(ClockChoice::Monotonic));
    let reading = |_| {
        let before = system.now();
        let ours = best.now();
        (system.now().since(before), ours, before)
    };
    let (_, ours, system) = (0..1000).map(reading).min_by_key(|(width, ..)| *width).unwrap();
    let apart = ours.as_nanos().abs_diff(system.as_nanos());
    assert!(apart < 100_000, "{apart} ns apart just after calibration");
}

#[test]
fn the_counter_runs_at_the_rate_it_tells() {
    for choice in [ClockChoice::Best, ClockChoice::Monotonic] {
        let clock = Clock::new(choice);
        let (cycles, start) = (clock.cycles(), clock.now());
        while clock.now().since(start) < Duration::from_millis(20) {}
        let (cycles, nanos) = (clock.cycles() - cycles, clock.now().nanos_since(start));
        let expected = (u128::from(nanos) * u128::from(clock.cycles_per_second()) / 1_000_000_000) as u64;
        // The pairs are not read at one moment, and an interruption may come between.
        assert!(cycles.abs_diff(expected) < expected / 2, "{clock}: {cycles} cycles in {nanos} ns");
    }
}

#[test]
fn the_time_never_goes_back_on_a_core() {
    let platform = LinuxPlatform::new().unwrap();
    let mut before = platform.now();
    for _ in 0..1_000_000 {
        let now = platform.now();
        assert!(now >= before, "went back by {} ns", before.nanos_since(now));
        before = now;
    }
}

/// A thread on each core takes the latest time that any of them has seen and reads its own clock
/// after that: never earlier.
#[test]
fn the_time_never_goes_back_across_cores() {
    let platform = LinuxPlatform::new().unwrap();
    assert!(platform.cores().count() >= 2, "this test wants two cores");
    let latest = AtomicU64::new(0);
    thread::scope(|scope| {
        for core in platform.cores().iter() {
            let (platform, latest) = (&platform, &latest);
            scope.spawn(move || {
                platform.adopt(core).unwrap();
                for _ in 0..500_000 {
                    let before = latest.load(Ordering::Acquire);
                    after_the_load();
                    let now = platform.now().as_nanos();
                    assert!(now >= before, "core {core} went back by {} ns", before - now);
                    latest.fetch_max(now, Ordering::AcqRel);
                }
                platform.release(core);
            });
        }
    });
}

/// Keeps the processor from reading its counter ahead of the load before: what is tested is whether
/// the counters are in step.
fn after_the_load() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and no memory is involved.
    unsafe {
        core::arch::x86_64::_mm_lfence();
    }
}
