//! The clock: the time-stamp counter, and at which rate it and the timer of the APIC run.
//!
//! The rates are what the hypervisor says (CPUID leaf 0x40000010), or else the processor (leaf
//! 0x15), or else what comes out of counting against the PIT, whose rate is the same everywhere.
//! Counting uses channel 0 and its counter latch: channel 2, whose gate is in port 0x61, reads
//! nonsense on QEMU's microvm.

// UNSAFETY: the PIT's registers are ports.
#![allow(unsafe_code)]

use core::arch::x86_64::{__cpuid, _rdtsc};
use core::fmt;

use core_reactor::Instant;

use crate::apic;
use crate::port::{in8, out8};

const PIT_HZ: u64 = 1_193_182;
const PIT_CHANNEL_0: u16 = 0x40;
const PIT_COMMAND: u16 = 0x43;
/// PIT counts of one measurement: 5 ms.
const WINDOW: u64 = 5966;
/// Measurements that are made, at most, until two in a row agree.
const TRIES: u32 = 20;

/// Who said the rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatesFrom {
    /// The hypervisor, in CPUID leaf 0x40000010.
    Hypervisor,
    /// The processor, in CPUID leaf 0x15.
    Processor,
    /// Counting against the PIT.
    Pit,
}

impl fmt::Display for RatesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hypervisor => "the hypervisor's word",
            Self::Processor => "the processor's word",
            Self::Pit => "the PIT",
        })
    }
}

/// What runs how fast, in Hz.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) tsc: u64,
    pub(crate) apic: u64,
    pub(crate) from: RatesFrom,
}

impl Rates {
    pub(crate) fn find() -> Self {
        by_hypervisor().or_else(by_processor).unwrap_or_else(by_pit)
    }
}

/// Leaf 0x40000010, as VMware defined it: kHz of the counter and of the APIC's bus.
fn by_hypervisor() -> Option<Rates> {
    let is_virtual = __cpuid(1).ecx & 1 << 31 != 0;
    if !is_virtual || __cpuid(0x4000_0000).eax < 0x4000_0010 {
        return None;
    }
    let leaf = __cpuid(0x4000_0010);
    let (tsc, apic) = (u64::from(leaf.eax) * 1000, u64::from(leaf.ebx) * 1000);
    (tsc != 0 && apic != 0).then_some(Rates { tsc, apic, from: RatesFrom::Hypervisor })
}

/// Leaf 0x15: the crystal's rate, which is also the APIC timer's, and the counter's ratio to it.
fn by_processor() -> Option<Rates> {
    if __cpuid(0).eax < 0x15 {
        return None;
    }
    let leaf = __cpuid(0x15);
    let crystal = u64::from(leaf.ecx);
    let tsc = (crystal * u64::from(leaf.ebx)).checked_div(u64::from(leaf.eax))?;
    (tsc != 0).then_some(Rates { tsc, apic: crystal, from: RatesFrom::Processor })
}

/// The three counters at about one time.
#[derive(Clone, Copy)]
struct Reading {
    tsc: u64,
    pit: u16,
    apic: u32,
}

impl Reading {
    /// Of a few readings the one that took the shortest time.
    fn take() -> Self {
        let once = || {
            let before = tsc();
            let (pit, apic) = (pit_count(), apic::timer_count());
            let took = tsc() - before;
            (took, Self { tsc: before + took / 2, pit, apic })
        };
        let mut best = once();
        for _ in 0..4 {
            let other = once();
            if other.0 < best.0 {
                best = other;
            }
        }
        best.1
    }

    /// The rates from here to `later`. The PIT and the APIC count down; the PIT goes round in 55
    /// ms.
    fn rates(self, later: Self) -> Rates {
        let counts = u64::from(self.pit.wrapping_sub(later.pit)).max(1);
        let per_second = |count: u64| count * PIT_HZ / counts;
        let apic = u64::from(self.apic.wrapping_sub(later.apic)) * u64::from(apic::DIVIDE_BY);
        Rates { tsc: per_second(later.tsc - self.tsc), apic: per_second(apic), from: RatesFrom::Pit }
    }
}

/// Measures until two windows in a row agree to half a percent: a host that stops the machine for
/// longer than the PIT takes to go round would falsify one.
fn by_pit() -> Rates {
    // SAFETY: channel 0 interrupts nobody, because its line is masked; it only counts.
    unsafe {
        out8(PIT_COMMAND, 0x34); // channel 0, both bytes, rate generator
        out8(PIT_CHANNEL_0, 0); // 65536
        out8(PIT_CHANNEL_0, 0);
    }
    apic::count_down();
    let mut last = Reading::take();
    let mut before: Option<Rates> = None;
    for _ in 0..TRIES {
        while u64::from(last.pit.wrapping_sub(pit_count())) < WINDOW {
            core::hint::spin_loop();
        }
        let reading = Reading::take();
        let rates = last.rates(reading);
        if before.is_some_and(|before| before.tsc.abs_diff(rates.tsc) < rates.tsc / 200) {
            return rates;
        }
        (last, before) = (reading, Some(rates));
    }
    crate::fail(crate::Exit::Fault, format_args!("the clock's rate cannot be measured: {TRIES} counts against the PIT disagree"))
}

fn pit_count() -> u16 {
    // SAFETY: latches the count and reads it.
    unsafe {
        out8(PIT_COMMAND, 0);
        u16::from_le_bytes([in8(PIT_CHANNEL_0), in8(PIT_CHANNEL_0)])
    }
}

pub(crate) fn tsc() -> u64 {
    // SAFETY: every 64-bit processor has the counter, and nobody has forbidden it.
    unsafe { _rdtsc() }
}

/// Nanoseconds since the machine began to count.
pub(crate) struct Clock {
    start: u64,
    /// Nanoseconds of one count, in units of 2⁻³².
    scale: u64,
}

impl Clock {
    pub(crate) fn new(tsc_hz: u64, start: u64) -> Self {
        Self { start, scale: ((1_000_000_000_u128 << 32) / u128::from(tsc_hz.max(1))) as u64 }
    }

    pub(crate) fn now(&self) -> Instant {
        let counts = tsc().saturating_sub(self.start);
        Instant::from_nanos(((u128::from(counts) * u128::from(self.scale)) >> 32) as u64)
    }
}
