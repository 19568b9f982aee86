//! The set that threads belong to: who is there, on which cores, and with which bounds.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::handle::{Shared, ThreadId};
use crate::lane::{Event, Lane};
use crate::ring::{PushError, Ring};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::{CoreId, CpuSet, Cx, Msg, Name, Platform, PlatformError, Thread, ThreadHandle};

/// A set of threads over a platform (`spdk_thread_lib_init`). Sets know nothing of each other.
#[derive(Clone)]
pub struct ThreadLib(pub(crate) Arc<LibShared>);

/// The bounds of a set.
#[derive(Clone, Debug)]
pub struct ThreadLibOptions {
    /// Messages of one thread that are run in one turn, at least one. Default 8
    /// (`SPDK_MSG_BATCH_SIZE`).
    pub batch: usize,
    /// Messages that a thread's mailbox holds, 64 bytes each: 1 to 65,536, rounded up to a power of
    /// two. Default 1024.
    pub mailbox: usize,
    /// How long a thread that was asked to exit may take to drain. Default 5 s.
    pub exit_limit: Duration,
    /// How much of that a [`Shard`](crate::Shard) may take to send what it has taken on.
    /// Default 1 s; no more than `exit_limit`.
    pub drain_limit: Duration,
}

impl Default for ThreadLibOptions {
    fn default() -> Self {
        Self { batch: 8, mailbox: 1024, exit_limit: Duration::from_secs(5), drain_limit: Duration::from_secs(1) }
    }
}

/// Messages that a mailbox holds at most, and so are run in a turn.
const MAILBOX: usize = 1 << 16;

impl ThreadLibOptions {
    /// Whether threads with these bounds can work.
    ///
    /// # Errors
    /// [`PlatformError::Bound`]: one is 0, or larger than a mailbox can be.
    pub fn check(&self) -> Result<(), PlatformError> {
        for (option, value) in [("ThreadLibOptions::batch", self.batch), ("ThreadLibOptions::mailbox", self.mailbox)] {
            if value == 0 || value > MAILBOX {
                return Err(PlatformError::Bound { option, value, most: MAILBOX });
            }
        }
        Ok(())
    }
}

pub(crate) struct LibShared {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) lanes: Box<[Lane]>,
    pub(crate) batch: usize,
    pub(crate) exit_limit: Duration,
    pub(crate) drain_limit: Duration,
    mailbox: usize,
    /// Locked to create, end and visit threads, never to send.
    threads: Mutex<Threads>,
    /// Threads placed so far.
    placements: AtomicUsize,
    has_reactors: AtomicBool,
    stopping: AtomicBool,
}

/// The threads of a set.
#[derive(Default)]
struct Threads {
    /// In order of creation. One that is gone leaves its number until half of the list is such, so
    /// that not all are moved up for each of thousands that end at once.
    list: Vec<(ThreadId, Option<Arc<Shared>>)>,
    gone: usize,
    last: u64,
}

impl Threads {
    /// The number that the next one will have. There is one for every nanosecond of 584 years.
    fn next_id(&self) -> ThreadId {
        ThreadId(self.last + 1)
    }

    fn add(&mut self, make: impl FnOnce(ThreadId) -> Arc<Shared>) -> Arc<Shared> {
        let id = self.next_id();
        let shared = make(id);
        self.last = id.0;
        self.list.push((id, Some(shared.clone())));
        shared
    }

    fn remove(&mut self, id: ThreadId) -> Option<Arc<Shared>> {
        let at = self.list.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let shared = self.list[at].1.take()?;
        self.gone += 1;
        if self.gone > self.list.len() / 2 {
            self.list.retain(|(_, thread)| thread.is_some());
            self.gone = 0;
        }
        Some(shared)
    }

    fn living(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.list.iter().filter_map(|(_, thread)| thread.as_ref())
    }

    /// The first one numbered after `last`.
    fn after(&self, last: ThreadId) -> Option<&Arc<Shared>> {
        let from = self.list.partition_point(|(id, _)| *id <= last);
        self.list[from..].iter().find_map(|(_, thread)| thread.as_ref())
    }
}

/// What a new thread is to be.
#[derive(Clone, Debug)]
pub struct ThreadConfig {
    name: Name,
    cpus: CpuSet,
}

impl ThreadConfig {
    /// A thread of this name (cut to 32 bytes) that may run anywhere.
    pub fn new(name: &str) -> Self {
        Self { name: crate::name(name), cpus: CpuSet::ALL }
    }

    /// Limits it to these cores.
    #[must_use]
    pub fn cpus(mut self, cpus: CpuSet) -> Self {
        self.cpus = cpus;
        self
    }
}

/// Why a thread could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// No reactor runs on any allowed core.
    #[error("no reactor runs on any core of {wanted}; there are reactors on {reactors}")]
    NoReactor {
        /// The cores asked for.
        wanted: CpuSet,
        /// The cores that have one.
        reactors: CpuSet,
    },
    /// The reactor's ring of events is full.
    #[error("the reactor on core {0} has too many events waiting; try again later")]
    Busy(CoreId),
    /// The set is stopping.
    #[error("the reactors are stopping")]
    Stopping,
}

impl ThreadLib {
    /// A set over `platform`, for the cores of `cores` that the platform has. Bounds that
    /// [`ThreadLibOptions::check`] refuses are taken as the nearest that it does not;
    /// [`Reactors::new`](crate::Reactors::new) gives the error.
    pub fn new(platform: Arc<dyn Platform>, cores: CpuSet, options: &ThreadLibOptions) -> Self {
        let lanes = platform.cores().and(&cores).iter().map(Lane::new).collect();
        Self(Arc::new(LibShared {
            platform,
            lanes,
            batch: options.batch.clamp(1, MAILBOX),
            exit_limit: options.exit_limit,
            drain_limit: options.drain_limit.min(options.exit_limit),
            mailbox: options.mailbox,
            threads: Mutex::new(Threads::default()),
            placements: AtomicUsize::new(0),
            has_reactors: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }))
    }

    /// A thread that the caller turns, on `core`, in a loop of its own; `None` if `core` is not one
    /// of the set's.
    pub fn create(&self, config: ThreadConfig, core: CoreId) -> Option<Thread> {
        let lane = self.0.lane_of(core)?;
        Some(self.0.create(config, lane))
    }

    /// A thread on the reactor of an allowed core, taken in turn. `start` is its first message.
    ///
    /// # Errors
    /// No allowed core has a reactor, its reactor has no room for the event, or the set is
    /// stopping.
    pub fn spawn<F>(&self, config: ThreadConfig, start: F) -> Result<ThreadHandle, SpawnError>
    where
        F: FnOnce(&mut Cx<'_>) + Send + 'static,
    {
        if self.is_stopping() {
            return Err(SpawnError::Stopping);
        }
        let lane = self.0.place(&config.cpus)?;
        let thread = self.0.create(config, lane);
        // Once more, now that a `stop` sees the thread: one that began before did not.
        if self.is_stopping() {
            return Err(SpawnError::Stopping);
        }
        let handle = thread.handle();
        // An empty mailbox of at least two slots takes a message. It goes in before the thread is
        // placed, so it comes first.
        let start: Box<dyn FnOnce(&mut Cx<'_>) + Send> = Box::new(start);
        let _ = handle.send(start);
        let Ok(movable) = thread.into_movable() else { unreachable!("a thread that never ran holds nothing") };
        self.0.lanes[lane].push(Event::Adopt(movable), &*self.0.platform).map_err(|refused| match refused.why {
            PushError::Full => SpawnError::Busy(self.0.lanes[lane].core),
            PushError::Closed => SpawnError::Stopping,
        })?;
        Ok(handle)
    }

    /// The threads that live now, in order of creation.
    pub fn threads(&self) -> Vec<ThreadHandle> {
        self.0.threads.lock().living().cloned().map(ThreadHandle).collect()
    }

    /// The cores that have a reactor.
    pub fn reactors(&self) -> CpuSet {
        self.0.reactors()
    }

    /// How long the threads' ends may wait for what is still to go out; see
    /// [`ThreadLibOptions::drain_limit`].
    pub fn drain_limit(&self) -> Duration {
        self.0.drain_limit
    }

    /// The platform that the set runs on.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.0.platform
    }

    /// Begins the end: no thread is spawned any more, every thread is asked to exit, and reactors
    /// return when theirs have. Callable from any flow of control but a signal handler (it takes a
    /// lock): have [`ThreadHandle::send_critical`] call it there.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads() {
            thread.exit();
        }
        for lane in &self.0.lanes {
            lane.wake(&*self.0.platform);
        }
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst)
    }
}

impl LibShared {
    pub(crate) fn lane_of(&self, core: CoreId) -> Option<usize> {
        self.lanes.iter().position(|l| l.core == core)
    }

    pub(crate) fn reactors(&self) -> CpuSet {
        if self.has_reactors() { self.lanes.iter().map(|l| l.core).collect() } else { CpuSet::EMPTY }
    }

    pub(crate) fn has_reactors(&self) -> bool {
        self.has_reactors.load(Ordering::Acquire)
    }

    pub(crate) fn set_has_reactors(&self) {
        self.has_reactors.store(true, Ordering::Release);
    }

    /// The lane whose turn it is among the allowed ones.
    pub(crate) fn place(&self, cpus: &CpuSet) -> Result<usize, SpawnError> {
        let reactors = self.reactors();
        let allowed = reactors.and(cpus);
        if allowed.is_empty() {
            return Err(SpawnError::NoReactor { wanted: *cpus, reactors });
        }
        // The one that has waited longest, so that each of the allowed has its turn whatever others
        // ask for in between.
        let waiting = self.lanes.iter().enumerate().filter(|(_, lane)| allowed.contains(lane.core));
        let next = waiting.min_by_key(|(_, lane)| lane.placed.load(Ordering::Relaxed)).map_or(0, |(next, _)| next);
        self.lanes[next].placed.store(self.placements.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Ok(next)
    }

    fn create(self: &Arc<Self>, config: ThreadConfig, lane: usize) -> Thread {
        let (mailbox, inbox) = Ring::<Msg>::new(self.mailbox);
        let shared = self.threads.lock().add(|id| Arc::new(Shared::new(id, config.name, mailbox, lane, self.clone())));
        Thread::new(shared, inbox, config.cpus, self.lanes[lane].core)
    }

    pub(crate) fn forget(&self, shared: &Arc<Shared>) {
        // Dropped when the lock is given back.
        let gone = self.threads.lock().remove(shared.id);
        drop(gone);
    }

    /// The first living thread numbered after `last` and before `end`.
    pub(crate) fn next_thread(&self, last: ThreadId, end: ThreadId) -> Option<Arc<Shared>> {
        self.threads.lock().after(last).filter(|t| t.id < end).cloned()
    }

    /// The number that the next thread will have.
    pub(crate) fn end_id(&self) -> ThreadId {
        self.threads.lock().next_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimPlatform;

    #[test]
    fn numbers_of_threads_that_are_gone_stay_until_they_are_more_than_half_of_the_list() {
        let sim = SimPlatform::new(1);
        let lib = ThreadLib::new(sim.clone(), sim.cores(), &ThreadLibOptions::default());
        let mut threads: Vec<_> = (0..8).map(|_| lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap()).collect();
        let listed = || lib.0.threads.lock().list.len();
        let lengths: Vec<_> = (0..8).map(|_| (drop(threads.remove(0)), listed()).1).collect();
        assert_eq!(lengths, [8, 8, 8, 8, 3, 3, 1, 0]);
        let thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
        assert_eq!((thread.handle().id(), lib.threads().len()), (ThreadId(9), 1), "no number comes again");
    }
}
