//! A platform for suites that drive their threads themselves: a clock, one core, nothing to park.

use std::sync::Arc;
use std::time;

use core_reactor::{CoreId, CpuSet, Instant, Platform, PlatformError, WaitSource};

/// The core that [`self_driven`] has.
pub const CORE: CoreId = CoreId(0);

/// A platform whose clock starts now.
pub fn self_driven() -> Arc<dyn Platform> {
    Arc::new(SelfDriven { start: time::Instant::now() })
}

/// The standard library's clock and the caller's own thread of control. Nothing can be started on it: the caller drives.
struct SelfDriven {
    start: time::Instant,
}

impl Platform for SelfDriven {
    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    fn cores(&self) -> CpuSet {
        CpuSet::of(CORE)
    }

    fn start(&self, core: CoreId, _: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchCore { core, allowed: CpuSet::EMPTY })
    }

    fn join(&self, _: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn adopt(&self, _: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn release(&self, _: CoreId) {}

    /// Returns at once, which a park may.
    fn park(&self, _: CoreId, _: Option<Instant>) {}

    fn unpark(&self, _: CoreId) {}

    fn watch(&self, _: CoreId, _: WaitSource) -> Result<(), PlatformError> {
        Ok(())
    }

    fn unwatch(&self, _: CoreId, _: WaitSource) {}
}
