//! A platform for suites that drive their threads themselves: a clock, one core, nothing to park.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{self, Duration};

use core_reactor::{CoreId, CpuSet, Instant, Platform, PlatformError, WaitSource};

/// The core that [`self_driven`] has.
pub const CORE: CoreId = CoreId(0);

/// A platform whose clock starts now.
pub fn self_driven() -> Arc<dyn Platform> {
    let start = time::Instant::now();
    Arc::new(SelfDriven(move || Instant::ZERO + start.elapsed()))
}

/// The same with a clock that is so many nanoseconds ahead.
pub fn self_driven_ahead(by: Arc<AtomicU64>) -> Arc<dyn Platform> {
    let start = time::Instant::now();
    Arc::new(SelfDriven(move || Instant::ZERO + start.elapsed() + Duration::from_nanos(by.load(Ordering::Relaxed))))
}

/// A clock and the caller's own thread of control. Nothing can be started on it: the caller drives.
struct SelfDriven<C>(C);

impl<C: Fn() -> Instant + Send + Sync> Platform for SelfDriven<C> {
    fn now(&self) -> Instant {
        (self.0)()
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
