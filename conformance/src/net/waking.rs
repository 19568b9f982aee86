//! Statement 104: what a group does so that its core can sleep: it is watched there, and holds its
//! thread.

use std::sync::{Arc, Mutex};

use core_reactor::net::GroupConfig;
use core_reactor::{CoreId, CpuSet, Instant, Platform, PlatformError, ThreadConfig, ThreadLib, ThreadLibOptions, WaitSource};
use pool::BufGroup;

use super::Env;
use crate::platform::CORE;

/// What the group says would wake a core is watched on its own, until the group is gone; and so
/// long its thread does not end.
pub fn s104_a_group_is_watched_on_its_core_and_holds_its_thread(env: &Env) {
    let platform = Arc::new(Watched { of: env.platform.clone(), watched: Mutex::default() });
    let lib = ThreadLib::new(platform.clone(), CpuSet::of(CORE), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("sleeper"), CORE).expect("the platform has this core");
    let config = GroupConfig::new(BufGroup::new(16, 4096));
    let group = thread.with(|cx| env.backend.group(cx, config)).expect("a group");
    let watched = platform.watched.lock().expect("nobody panics with it").clone();
    if let Some(source) = group.wait_source() {
        assert!(watched.contains(&(CORE, source)), "{source:?} wakes nobody (see Cx::watch); watched: {watched:?}");
    }
    thread.handle().exit();
    for _ in 0..10 {
        thread.turn(platform.now());
    }
    assert!(!thread.is_exited(), "a group holds its thread: a backend takes a watch or a bell of `cx`");
    drop(group);
    for _ in 0..10 {
        thread.turn(platform.now());
    }
    assert!(thread.is_exited(), "the hold ends with the group");
    assert_eq!(*platform.watched.lock().expect("nobody panics with it"), [], "a watch ends with its group");
}

/// A platform that knows what is watched.
struct Watched {
    of: Arc<dyn Platform>,
    watched: Mutex<Vec<(CoreId, WaitSource)>>,
}

impl Platform for Watched {
    fn now(&self) -> Instant {
        self.of.now()
    }

    fn cores(&self) -> CpuSet {
        self.of.cores()
    }

    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.of.start(core, entry)
    }

    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        self.of.join(core)
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.of.adopt(core)
    }

    fn release(&self, core: CoreId) {
        self.of.release(core);
    }

    fn park(&self, core: CoreId, until: Option<Instant>) {
        self.of.park(core, until);
    }

    fn unpark(&self, core: CoreId) {
        self.of.unpark(core);
    }

    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.of.watch(core, source)?;
        self.watched.lock().expect("nobody panics with it").push((core, source));
        Ok(())
    }

    fn unwatch(&self, core: CoreId, source: WaitSource) {
        self.watched.lock().expect("nobody panics with it").retain(|one| *one != (core, source));
        self.of.unwatch(core, source);
    }
}
