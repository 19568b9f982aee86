//! A platform that panics: whatever it was asked for, the set of reactors ends, and all that was
//! given to it is dropped, once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use core_reactor::{
    CoreId, CpuSet, Cx, Instant, Platform, PlatformError, Polled, ReactorOptions, Reactors, Schedule, ThreadConfig, ThreadLib, WaitSource,
};
use platform_linux::LinuxPlatform;

/// How long a test waits for what must come before it fails. Far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Now,
    Cores,
    Start,
    Join,
    Adopt,
    Release,
    Park,
    Unpark,
}

/// Linux, but one call of one method panics.
struct Faulty {
    linux: LinuxPlatform,
    fault: Method,
    /// Calls of that method before the one that panics.
    left: AtomicUsize,
    has_panicked: AtomicBool,
}

impl Faulty {
    fn calls(&self, method: Method) -> &LinuxPlatform {
        if method == self.fault && !self.has_panicked.load(Ordering::SeqCst) {
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_err() && !self.has_panicked.swap(true, Ordering::SeqCst) {
                panic!("{method:?}, as a test of what it leaves");
            }
        }
        &self.linux
    }
}

impl Platform for Faulty {
    fn now(&self) -> Instant {
        self.calls(Method::Now).now()
    }
    fn cores(&self) -> CpuSet {
        self.calls(Method::Cores).cores()
    }
    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.calls(Method::Start).start(core, entry)
    }
    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        self.calls(Method::Join).join(core)
    }
    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.calls(Method::Adopt).adopt(core)
    }
    fn release(&self, core: CoreId) {
        self.calls(Method::Release).release(core);
    }
    fn park(&self, core: CoreId, until: Option<Instant>) {
        self.calls(Method::Park).park(core, until);
    }
    fn unpark(&self, core: CoreId) {
        self.calls(Method::Unpark).unpark(core);
    }
    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.linux.watch(core, source)
    }
    fn unwatch(&self, core: CoreId, source: WaitSource) {
        self.linux.unwatch(core, source);
    }
}

/// Runs two cores whose threads send to each other, and stops them after a while. All of it holds
/// `token`.
fn run(platform: Arc<Faulty>, cores: CpuSet, token: &Arc<()>) -> Result<(), PlatformError> {
    let reactors = Reactors::new(platform, &ReactorOptions::new(cores))?;
    let ends = cores.iter().map(|core| spawn(reactors.lib(), core, token.clone())).collect::<Vec<_>>();
    for (one, other) in [(0, 1), (1, 0)] {
        let (Some(from), Some(to)) = (ends[one].clone(), ends[other].clone()) else { continue };
        let token = token.clone();
        let ping = move |_: &mut Cx<'_>| drop(to.send(move |_: &mut Cx<'_>| drop(token)));
        let _ = from.send(ping);
    }
    reactors.run().map(drop)
}

fn spawn(lib: &ThreadLib, core: CoreId, token: Arc<()>) -> Option<core_reactor::ThreadHandle> {
    let config = ThreadConfig::new("of a test").cpus(CpuSet::of(core));
    let stopper = lib.clone();
    let start = move |cx: &mut Cx<'_>| {
        let mut runs = 0;
        cx.poller("ends", Schedule::Every(Duration::from_millis(1)), move |cx: &mut Cx<'_>| {
            let _kept = &token;
            runs += 1;
            if runs == 20 {
                stopper.stop();
            }
            if cx.is_exiting() { Polled::Done } else { Polled::Idle }
        });
    };
    lib.spawn(config, start).ok()
}

#[test]
fn s54_a_platform_that_unwinds_ends_the_set_and_nothing_is_lost_or_freed_twice() {
    use Method::{Adopt, Cores, Join, Now, Park, Release, Start, Unpark};
    for (fault, calls) in
        [Now, Cores, Start, Join, Adopt, Release, Park, Unpark].into_iter().flat_map(|fault| [0, 1, 7].map(|n| (fault, n)))
    {
        let linux = LinuxPlatform::new().unwrap();
        let cores: CpuSet = linux.cores().iter().take(2).collect();
        assert_eq!(cores.count(), 2, "this test wants two cores");
        let platform = Arc::new(Faulty { linux, fault, left: AtomicUsize::new(calls), has_panicked: AtomicBool::new(false) });
        let (token, (tell, told)) = (Arc::new(()), mpsc::channel());
        let (shared, held) = (platform.clone(), token.clone());
        thread::spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| run(shared, cores, &held)));
            drop(held);
            let _ = tell.send(ended.is_ok_and(|outcome| outcome.is_ok()));
        });
        let is_well = told.recv_timeout(PATIENCE).unwrap_or_else(|why| panic!("{fault:?} after {calls} calls: {why}"));
        let panicked = platform.has_panicked.load(Ordering::SeqCst);
        assert_eq!(is_well, !panicked, "{fault:?} after {calls} calls: it is told, or it did not happen");
        // A reactor that was not waited for may still be on its way out.
        let began = std::time::Instant::now();
        while Arc::strong_count(&token) > 1 {
            assert!(began.elapsed() < PATIENCE, "{fault:?} after {calls} calls: something was not dropped");
            thread::yield_now();
        }
    }
}
