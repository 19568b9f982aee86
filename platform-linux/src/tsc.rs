//! The x86 time-stamp counter as a clock.
//!
//! Used only if two parties vouch for it: the processor says that it counts at one rate in every
//! power state, and the kernel has not found it unstable or different between cores. Its rate is
//! measured against `CLOCK_MONOTONIC`: what CPUID (leaves 0x15, 0x16) or a hypervisor says about it
//! is missing on many machines, and rounded on others.
// UNSAFETY: the instruction that reads the counter is behind an intrinsic that is unsafe.

use core::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};
use core::time::Duration;
use std::thread;

use crate::clock::monotonic_nanos;

/// How long the counter is measured. A reading is off by 50 ns or so, thus the rate by about ten
/// parts in a million.
const MEASURE: Duration = Duration::from_millis(10);
/// Readings for one end of the measurement, of which the quickest counts: the others may have been
/// interrupted.
const READINGS: usize = 32;
/// Counters slower than this are broken, or emulated.
const SLOWEST_HZ: u64 = 100_000_000;
/// Where the kernel lists the clocks that it has not found unstable.
const KERNEL_CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";

/// A calibrated counter.
#[derive(Debug)]
pub(crate) struct Tsc {
    start: Reading,
    /// Nanoseconds for each cycle, times 2^32.
    nanos_per_cycle: u64,
    cycles_per_second: u64,
}

impl Tsc {
    /// Measures the counter; the error is why it cannot be used.
    pub(crate) fn calibrate() -> Result<Self, &'static str> {
        if !invariant() {
            return Err("the time-stamp counter is not invariant");
        }
        if !trusted_by_kernel() {
            return Err("the kernel does not trust the time-stamp counter");
        }
        let first = Reading::take();
        thread::sleep(MEASURE);
        let start = Reading::take();
        let nanos = u128::from(start.nanos - first.nanos);
        let cycles = u128::from(start.cycles.saturating_sub(first.cycles));
        let cycles_per_second = (cycles * 1_000_000_000 / nanos.max(1)) as u64;
        if cycles_per_second < SLOWEST_HZ {
            return Err("the time-stamp counter is too slow to be true");
        }
        Ok(Self { start, nanos_per_cycle: ((nanos << 32) / cycles) as u64, cycles_per_second })
    }

    /// Nanoseconds since the start of `CLOCK_MONOTONIC`.
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        // Saturates: a core's counter may be a few cycles behind that of the core that calibrated.
        let cycles = cycles().saturating_sub(self.start.cycles);
        self.start.nanos + ((u128::from(cycles) * u128::from(self.nanos_per_cycle)) >> 32) as u64
    }

    pub(crate) fn cycles_per_second(&self) -> u64 {
        self.cycles_per_second
    }
}

/// The counter. Plain `rdtsc`, as in DPDK: with the ordering of `rdtscp` or a fence a reading takes
/// twice as long (measured: 19 ns and not 10), hardly less than the 24 ns of `clock_gettime`, and a
/// reactor reads it in every turn. The price is in the documentation of `Clock`.
#[inline]
pub(crate) fn cycles() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and no memory is involved.
    unsafe { _rdtsc() }
}

/// The counter, read neither before nor after its place in the program.
fn cycles_in_order() -> u64 {
    // SAFETY: every x86-64 processor has the instructions, and no memory is involved.
    unsafe {
        _mm_lfence();
        let cycles = _rdtsc();
        _mm_lfence();
        cycles
    }
}

/// Both clocks at one moment.
#[derive(Debug)]
struct Reading {
    cycles: u64,
    nanos: u64,
}

impl Reading {
    fn take() -> Self {
        let readings = (0..READINGS).map(|_| {
            let before = cycles_in_order();
            let nanos = monotonic_nanos();
            (before, nanos, cycles_in_order())
        });
        Self::quickest(readings)
    }

    /// The one between whose counts the least went by: they stand before and after the time.
    fn quickest(readings: impl Iterator<Item = (u64, u64, u64)>) -> Self {
        let width = |&(before, _, after): &(u64, u64, u64)| after.saturating_sub(before);
        let (before, nanos, after) = readings.min_by_key(width).unwrap_or_default();
        Self { cycles: before + width(&(before, nanos, after)) / 2, nanos }
    }
}

/// Whether the counter has one rate in all power states (CPUID Fn8000_0007, EDX bit 8: AMD APM
/// volume 3, appendix E; Intel SDM volume 3, "Invariant TSC").
fn invariant() -> bool {
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
}

/// Whether the kernel would use the counter itself: it compares the cores' counters, which a
/// process cannot.
fn trusted_by_kernel() -> bool {
    std::fs::read_to_string(KERNEL_CLOCKS).is_ok_and(|clocks| names_tsc(&clocks))
}

fn names_tsc(clocks: &str) -> bool {
    clocks.split_whitespace().any(|clock| clock == "tsc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_reading_counts_in_its_middle() {
        let reading = Reading::quickest([(100, 1, 200), (300, 2, 310), (400, 3, 490)].into_iter());
        assert_eq!((reading.cycles, reading.nanos), (305, 2));
    }

    #[test]
    fn the_kernel_trusts_what_it_lists() {
        assert!(names_tsc("kvm-clock tsc acpi_pm \n") && names_tsc("tsc"));
        assert!(!names_tsc("kvm-clock acpi_pm \n") && !names_tsc("tsc-early hpet") && !names_tsc(""));
    }
}
