//! The machine as the reactors see it: one core, its clock, its sleep.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use core_reactor::{CoreId, CpuSet, Instant, Platform, PlatformError, WaitSource};

use crate::clock::Clock;
use crate::{apic, interrupts};

const CORE: CoreId = CoreId(0);

/// One virtual x86-64 processor. A [`WaitSource`] is a global interrupt number.
pub struct X86 {
    pub(crate) clock: Clock,
    pub(crate) apic_hz: u64,
    /// Whether somebody has said that the core is to be awake.
    woken: AtomicBool,
}

impl X86 {
    pub(crate) fn new(clock: Clock, apic_hz: u64) -> Self {
        Self { clock, apic_hz, woken: AtomicBool::new(false) }
    }

    /// Sets the timer for `until`, or for as long as it can count. False if that is now.
    fn set_alarm(&self, until: Option<Instant>) -> bool {
        let Some(until) = until else {
            apic::no_alarm();
            return true;
        };
        let nanos = until.nanos_since(self.now());
        let counts = u128::from(nanos) * u128::from(self.apic_hz / u64::from(apic::DIVIDE_BY)) / 1_000_000_000;
        // A park may return early: with a far deadline the reactor parks again.
        apic::alarm(u32::try_from(counts + 1).unwrap_or(u32::MAX));
        nanos > 0
    }
}

impl Platform for X86 {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn cores(&self) -> CpuSet {
        CpuSet::of(CORE)
    }

    /// Refused: the other processors are never started.
    fn start(&self, core: CoreId, _entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchCore { core, allowed: self.cores() })
    }

    fn join(&self, _core: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        if core == CORE { Ok(()) } else { Err(PlatformError::NoSuchCore { core, allowed: self.cores() }) }
    }

    fn release(&self, _core: CoreId) {}

    /// Halts the processor until the timer or a watched line interrupts. An interrupt that came
    /// while the core was awake is kept by the APIC and ends the halt at once.
    fn park(&self, _core: CoreId, until: Option<Instant>) {
        if !self.woken.swap(false, Ordering::Relaxed) && self.set_alarm(until) {
            interrupts::halt();
        }
    }

    fn unpark(&self, _core: CoreId) {
        self.woken.store(true, Ordering::Relaxed);
    }

    fn watch(&self, _core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        let routed = u32::try_from(source.0).is_ok_and(|line| apic::route(line, true));
        if routed {
            return Ok(());
        }
        Err(PlatformError::Os { doing: "watch an interrupt", code: source.0, text: "no I/O APIC has such a line".into() })
    }

    fn unwatch(&self, _core: CoreId, source: WaitSource) {
        if let Ok(line) = u32::try_from(source.0) {
            apic::route(line, false);
        }
    }
}
