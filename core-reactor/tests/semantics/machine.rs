//! A machine of real threads, for what only real concurrency shows: one for each core, not pinned,
//! asleep behind a condition variable.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use core_reactor::{CoreId, CpuSet, Instant, Platform, PlatformError, WaitSource};

pub(crate) struct Machine {
    cores: CpuSet,
    /// Cores that refuse to start.
    broken: CpuSet,
    start: std::time::Instant,
    latches: HashMap<CoreId, (Mutex<bool>, Condvar)>,
    running: Mutex<HashMap<CoreId, JoinHandle<()>>>,
    adopted: Mutex<CpuSet>,
}

impl Machine {
    pub(crate) fn new(cores: u16) -> Arc<Self> {
        Self::with_broken(cores, CpuSet::EMPTY)
    }

    pub(crate) fn with_broken(cores: u16, broken: CpuSet) -> Arc<Self> {
        let cores: CpuSet = (0..cores).map(CoreId).collect();
        Arc::new(Self {
            cores,
            broken,
            start: std::time::Instant::now(),
            latches: cores.iter().map(|core| (core, Default::default())).collect(),
            running: Mutex::default(),
            adopted: Mutex::default(),
        })
    }

    /// Whether no core runs anything and the caller's own is given back.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.running.lock().expect("poisoned by no test").is_empty() && self.adopted.lock().expect("poisoned by no test").is_empty()
    }
}

impl Platform for Machine {
    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    fn cores(&self) -> CpuSet {
        self.cores
    }

    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        if self.broken.contains(core) {
            return Err(PlatformError::NoSuchCore { core, allowed: self.cores.minus(&self.broken) });
        }
        self.running.lock().expect("poisoned by no test").insert(core, std::thread::spawn(entry));
        Ok(())
    }

    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        let running = self.running.lock().expect("poisoned by no test").remove(&core);
        running.map_or(Ok(()), |thread| thread.join().map_err(|_| PlatformError::Panicked { core }))
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.adopted.lock().expect("poisoned by no test").insert(core);
        Ok(())
    }

    fn release(&self, core: CoreId) {
        let mut adopted = self.adopted.lock().expect("poisoned by no test");
        *adopted = adopted.minus(&CpuSet::of(core));
    }

    fn park(&self, core: CoreId, until: Option<Instant>) {
        let (latch, wake) = &self.latches[&core];
        let mut set = latch.lock().expect("poisoned by no test");
        while !*set {
            let left = until.map_or(Duration::MAX, |until| until.since(self.now()));
            if left.is_zero() {
                return;
            }
            set = match until {
                Some(_) => wake.wait_timeout(set, left).expect("poisoned by no test").0,
                None => wake.wait(set).expect("poisoned by no test"),
            };
        }
        *set = false;
    }

    fn unpark(&self, core: CoreId) {
        let (latch, wake) = &self.latches[&core];
        *latch.lock().expect("poisoned by no test") = true;
        wake.notify_one();
    }

    /// Refused: this machine has nothing to wait for.
    fn watch(&self, core: CoreId, _: WaitSource) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchCore { core, allowed: CpuSet::EMPTY })
    }

    fn unwatch(&self, _: CoreId, _: WaitSource) {}
}

/// Runs `f` on a thread of its own and fails if it takes longer than a minute: where a wake-up is
/// lost, it would take for ever.
pub(crate) fn within_a_minute<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        let _ = tell.send(f());
    });
    match told.recv_timeout(Duration::from_secs(60)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("it does not end: a wake-up was lost"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it ends by sending its result or by a panic"),
        },
    }
}
