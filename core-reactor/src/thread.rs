//! Skeleton: just enough for a backend to be written against.

use alloc::sync::Arc;

use crate::{CoreId, Instant, Platform, PlatformError, WaitSource};

/// A set of threads.
#[derive(Clone)]
pub struct ThreadLib {
    platform: Arc<dyn Platform>,
}

impl ThreadLib {
    /// A set of threads over a platform.
    pub fn new(platform: Arc<dyn Platform>) -> Self {
        Self { platform }
    }

    /// A thread that the caller drives on `core`.
    pub fn create(&self, _name: &str, core: CoreId) -> Thread {
        Thread { lib: self.clone(), core }
    }
}

/// A thread that its owner drives.
pub struct Thread {
    lib: ThreadLib,
    core: CoreId,
}

impl Thread {
    /// Runs `f` on the thread, now.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        f(&mut Cx { lib: &self.lib, core: self.core })
    }
}

/// The thread that the caller runs on.
pub struct Cx<'a> {
    lib: &'a ThreadLib,
    core: CoreId,
}

impl Cx<'_> {
    /// The time at which this turn began.
    pub fn now(&self) -> Instant {
        self.lib.platform.now()
    }

    /// The core it runs on.
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// Keeps the thread on its core and alive until the hold is dropped.
    pub fn hold(&mut self, _name: &str) -> Hold {
        Hold { _local: core::marker::PhantomData }
    }

    /// Wakes this core when `source` is ready, until the watch is dropped. A watch is a hold too.
    ///
    /// # Errors
    /// The platform refuses the source.
    pub fn watch(&mut self, source: WaitSource) -> Result<Watch, PlatformError> {
        self.lib.platform.watch(self.core, source)?;
        Ok(Watch { platform: self.lib.platform.clone(), core: self.core, source, _hold: self.hold("watch") })
    }
}

/// Keeps a thread on its core and alive.
pub struct Hold {
    _local: core::marker::PhantomData<*const ()>,
}

/// A source that wakes a core.
pub struct Watch {
    platform: Arc<dyn Platform>,
    core: CoreId,
    source: WaitSource,
    _hold: Hold,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.platform.unwatch(self.core, self.source);
    }
}
