//! Linux as a [`Platform`]: cores, clock, parking, memory and signals.
//!
#![doc = include_str!("../README.md")]
//!
//! [`LinuxPlatform`] is what a set of reactors runs on. It is made by the application, handed over,
//! and asked for nothing global: two of them can live in one process. Beside it stand what an
//! application wants at start: [`HugeMemory`] for its pools, [`CpuLocks`] against a second process
//! on the same cores, [`StopSignals`] for SIGINT and SIGTERM, [`Limits`] and [`available_memory`]
//! for its log and its errors. A reactor writes through a [`Spool`], which never waits, and starts
//! threads and programs with [`spawn_off_reactor`] and [`unaffinitized`]. [`stdin`] and [`stdout`]
//! are the standard library's, unless there is none.
#![cfg_attr(not(loom), deny(missing_debug_implementations))]
#![cfg(target_os = "linux")]

mod clock;
mod cores;
mod error;
mod latch;
mod limits;
mod list;
mod locks;
mod memory;
mod park;
mod signals;
mod slot;
mod spool;
mod standard;
mod sync;
mod thread;
#[cfg(target_arch = "x86_64")]
mod tsc;

logging::part!("platform");

pub use clock::{Clock, ClockChoice, ClockKind};
pub use cores::online_cores;
pub use limits::{Limits, available_memory};
pub use locks::CpuLocks;
pub use memory::HugeMemory;
pub use signals::{SignalHook, StopFlag, StopSignals};
pub use spool::{Gap, Spool, SpoolError};
pub use standard::{stdin, stdout};
pub use thread::{core_of_caller, spawn_off_reactor, unaffinitized};

use core_reactor::{CoreId, CpuSet, Instant, Platform, PlatformError, WaitSource};
use std::fmt;

use crate::slot::CoreSlot;

/// The cores, clock and parking of this machine, as far as the process may use them.
pub struct LinuxPlatform {
    clock: Clock,
    cores: CpuSet,
    pinned: bool,
    /// By number of the core; those not in `cores` stay empty.
    slots: Box<[CoreSlot]>,
}

impl LinuxPlatform {
    /// The machine with its best clock. Takes 10 ms to calibrate it.
    ///
    /// # Errors
    /// The system does not tell the cores that the calling thread may use.
    pub fn new() -> Result<Self, PlatformError> {
        Self::with_clock(ClockChoice::Best)
    }

    /// The machine with a clock of the caller's choice.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock(choice: ClockChoice) -> Result<Self, PlatformError> {
        let cores = thread::allowed_cores()?;
        let clock = Clock::new(choice);
        log::info!("cores {cores}, clock: {clock}");
        let slots = cores.iter().last().map_or(0, |last| usize::from(last.0) + 1);
        Ok(Self { clock, cores, pinned: true, slots: (0..slots).map(|_| CoreSlot::default()).collect() })
    }

    /// The same, with nothing pinned: what runs on a core runs wherever the kernel puts it, among
    /// all that the process may use. The number of a core is a name then, and only the kernel keeps
    /// two of them apart.
    #[must_use]
    pub fn unpinned(mut self) -> Self {
        self.pinned = false;
        self
    }

    /// The clock, for its kind and its raw counter.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn slot(&self, core: CoreId) -> Result<&CoreSlot, PlatformError> {
        match self.slots.get(usize::from(core.0)) {
            Some(slot) if self.cores.contains(core) => Ok(slot),
            _ => Err(PlatformError::NoSuchCore { core, allowed: self.cores }),
        }
    }
}

/// The cores are those that the thread which made the value was allowed then. A core is taken from
/// `start` until its `join`, also when the entry has returned meanwhile, so that no panic goes
/// unseen. One thread at a time parks on a core.
impl Platform for LinuxPlatform {
    #[inline]
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn cores(&self) -> CpuSet {
        self.cores
    }

    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.slot(core)?.start(core, self.pinned, entry)
    }

    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        // A core that is none of ours runs nothing.
        self.slot(core).map_or(Ok(()), |slot| slot.join(core))
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.slot(core)?.adopt(core, self.pinned)
    }

    fn release(&self, core: CoreId) {
        if let Ok(slot) = self.slot(core) {
            slot.release(core);
        }
    }

    fn park(&self, core: CoreId, until: Option<Instant>) {
        if let Ok(slot) = self.slot(core) {
            slot.parker.park(&self.clock, until);
        }
    }

    fn unpark(&self, core: CoreId) {
        if let Ok(slot) = self.slot(core) {
            slot.parker.unpark();
        }
    }

    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.slot(core)?.parker.open()?.watch(source)
    }

    fn unwatch(&self, core: CoreId, source: WaitSource) {
        // What is not watched needs no end of it.
        if let Ok(set) = self.slot(core).and_then(|slot| slot.parker.open())
            && let Err(why) = set.unwatch(source)
        {
            log::debug!("descriptor {} was not watched on core {core}: {why}", source.0);
        }
    }
}

impl fmt::Debug for LinuxPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinuxPlatform").field("cores", &self.cores).field("pinned", &self.pinned).finish_non_exhaustive()
    }
}
