//! What the tests share: a record of what ran, and a thread that the test turns by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use core_reactor::sim::SimPlatform;
use core_reactor::{CoreId, Cx, Instant, Platform, Thread, ThreadConfig, ThreadLib, ThreadLibOptions, Turn};

/// What happened, in order. Clones share it.
pub(crate) struct Record<T>(Arc<Mutex<Vec<T>>>);

impl<T> Record<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn note(&self, what: T) {
        self.0.lock().expect("no test panics while it notes").push(what);
    }

    /// What was noted since the last time.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().expect("no test panics while it notes"))
    }
}

impl<T> Clone for Record<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Notes `what` when it is dropped.
pub(crate) struct NoteDrop<T: Clone>(pub(crate) Record<T>, pub(crate) T);

impl<T: Clone> Drop for NoteDrop<T> {
    fn drop(&mut self) {
        self.0.note(self.1.clone());
    }
}

/// A thread that the test turns itself, on a simulated machine of one core.
pub(crate) struct Hand {
    pub(crate) platform: Arc<SimPlatform>,
    pub(crate) lib: ThreadLib,
    pub(crate) thread: Thread,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self::with(&ThreadLibOptions::default())
    }

    pub(crate) fn with(options: &ThreadLibOptions) -> Self {
        let platform = SimPlatform::new(1);
        let lib = ThreadLib::new(platform.clone(), platform.cores(), options);
        let thread = lib.create(ThreadConfig::new("hand"), CoreId(0)).expect("the machine has this core");
        Self { platform, lib, thread }
    }

    /// One turn, now.
    pub(crate) fn turn(&mut self) -> Turn {
        self.thread.turn(self.platform.now())
    }

    /// One turn, `ms` milliseconds after the clock's start.
    pub(crate) fn turn_at(&mut self, ms: u64) -> Turn {
        self.advance_to(ms);
        self.turn()
    }

    /// A turn at each of these milliseconds.
    pub(crate) fn turns_at(&mut self, ms: impl IntoIterator<Item = u64>) {
        for ms in ms {
            self.turn_at(ms);
        }
    }

    /// Moves the clock to `ms` milliseconds after its start, if it has not got there yet.
    pub(crate) fn advance_to(&self, ms: u64) {
        self.platform.advance(at(ms).since(self.platform.now()));
    }

    /// Sends to the thread, which has room.
    pub(crate) fn send(&self, f: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
        self.thread.handle().send(f).expect("the mailbox has room");
    }

    /// Runs `f` on the thread, between two turns.
    pub(crate) fn cx<R>(&mut self, f: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        self.thread.with(f)
    }
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The moment `ms` milliseconds after the clock's start.
pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}
