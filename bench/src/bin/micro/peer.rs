//! Work on the other core, in step with this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use core_reactor::{CoreId, Platform, PlatformError};
use platform_linux::LinuxPlatform;

/// A thread pinned to the other core. It sleeps between runs, so that candidates which wait for
/// their turn do not disturb the others.
pub(crate) struct Peer {
    platform: Arc<LinuxPlatform>,
    core: CoreId,
    jobs: Option<SyncSender<u64>>,
    gate: Arc<Gate>,
}

/// Where a run begins and ends.
#[derive(Default)]
pub(crate) struct Gate {
    /// The peer is up.
    started: AtomicBool,
    /// Work that has no end of its own is to end.
    stop: AtomicBool,
    /// The peer has finished.
    finished: AtomicBool,
}

impl Peer {
    /// A peer on `core`. What `make` makes there does the work of each run: with the number of
    /// operations, and the gate that says when to stop.
    ///
    /// # Errors
    /// The core cannot be had.
    pub(crate) fn new<W>(
        platform: Arc<LinuxPlatform>,
        core: CoreId,
        make: impl FnOnce() -> W + Send + 'static,
    ) -> Result<Self, PlatformError>
    where
        W: FnMut(u64, &Gate),
    {
        let (jobs, todo) = sync_channel(1);
        let gate = Arc::new(Gate::default());
        let theirs = gate.clone();
        let entry = move || {
            let mut work = make();
            while let Ok(operations) = todo.recv() {
                theirs.started.store(true, Ordering::Release);
                work(operations, &theirs);
                theirs.finished.store(true, Ordering::Release);
            }
        };
        platform.start(core, Box::new(entry))?;
        Ok(Self { platform, core, jobs: Some(jobs), gate })
    }

    /// Begins a run; returns when the other core is at it.
    pub(crate) fn go(&self, operations: u64) {
        for flag in [&self.gate.started, &self.gate.stop, &self.gate.finished] {
            flag.store(false, Ordering::Release);
        }
        let jobs = self.jobs.as_ref().expect("taken only by drop");
        jobs.send(operations).expect("a peer ends only by a panic, which its own thread has reported");
        self.gate.wait_for(&self.gate.started, self);
    }

    /// Waits until the run's work is done.
    pub(crate) fn finish(&self) {
        self.gate.wait_for(&self.gate.finished, self);
    }

    /// Ends a run that has no end of its own.
    pub(crate) fn stop(&self) {
        self.gate.stop.store(true, Ordering::Release);
        self.finish();
    }
}

impl Gate {
    /// Whether the run is to go on.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn wait_for(&self, flag: &AtomicBool, peer: &Peer) {
        while !flag.load(Ordering::Acquire) {
            assert!(Arc::strong_count(&peer.gate) > 1, "the work on core {} panicked", peer.core);
            std::hint::spin_loop();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Err(why) = self.platform.join(self.core) {
            eprintln!("{why}");
        }
    }
}
