//! A platform is somebody else's code, which may panic.

use std::sync::{Arc, Mutex};

use core_reactor::{CoreId, CpuSet, Instant, Platform, PlatformError, WaitSource};

/// A platform that panics once, in the call that it is armed for.
pub(crate) struct Panicking {
    machine: Arc<dyn Platform>,
    /// The method, and how many calls of it are left until then.
    armed: Mutex<Option<(&'static str, usize)>>,
}

impl Panicking {
    pub(crate) fn over(platform: Arc<dyn Platform>) -> Arc<Self> {
        Arc::new(Self { machine: platform, armed: Mutex::new(None) })
    }

    /// The call of `method` that comes after `before` others panics.
    pub(crate) fn arm(&self, method: &'static str, before: usize) {
        *self.armed.lock().expect("the lock is given back first") = Some((method, before));
    }

    fn called(&self, method: &'static str) {
        let mut armed = self.armed.lock().expect("the lock is given back first");
        let now = armed.take_if(|(name, left)| *name == method && std::mem::replace(left, left.saturating_sub(1)) == 0);
        drop(armed);
        assert!(now.is_none(), "on purpose, in {method}");
    }
}

impl Platform for Panicking {
    fn now(&self) -> Instant {
        self.called("now");
        self.machine.now()
    }

    fn cores(&self) -> CpuSet {
        self.machine.cores()
    }

    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.called("start");
        self.machine.start(core, entry)
    }

    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        self.called("join");
        self.machine.join(core)
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.machine.adopt(core)
    }

    fn release(&self, core: CoreId) {
        self.machine.release(core);
    }

    fn park(&self, core: CoreId, until: Option<Instant>) {
        self.called("park");
        self.machine.park(core, until);
    }

    fn unpark(&self, core: CoreId) {
        self.called("unpark");
        self.machine.unpark(core);
    }

    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.machine.watch(core, source)
    }

    fn unwatch(&self, core: CoreId, source: WaitSource) {
        self.called("unwatch");
        self.machine.unwatch(core, source);
    }
}
