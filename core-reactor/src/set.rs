//! What the threads of a set have in common: who is there, on which cores, and with which bounds.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::time::Duration;

use crate::doorbell::Doorbells;
use crate::handle::{Shared, ThreadId};
use crate::observe::SetObserver;
use crate::ring::{Receiver, Ring};
use crate::setters::setters;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::{CoreId, CpuSet, Msg, Name, Platform, PlatformError, ThreadHandle};

/// The bounds of a set.
///
/// ```
/// use core_reactor::ThreadLibOptions;
///
/// let options = ThreadLibOptions::default().mailbox(4096).batch(32);
/// assert_eq!(options.check(), Ok(()));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadLibOptions {
    /// Messages of one thread that are run in one turn, at least one. Default 8
    /// (`SPDK_MSG_BATCH_SIZE`).
    pub batch: usize,
    /// Messages that a thread's mailbox holds, 64 bytes each: 1 to 65,536, rounded up to a power of
    /// two. Default 1024.
    pub mailbox: usize,
    /// How long a thread that was asked to exit may take to drain. Default 5 s.
    pub exit_limit: Duration,
    /// How much of that a [`Shard`](crate::Shard) may take to send what it has taken on, and tasks
    /// of lcore-async that hold the exit to finish.
    /// Default 1 s; no more than `exit_limit`.
    pub drain_limit: Duration,
    /// How long one run of a poller, or the messages of a turn, may take before that is told as a
    /// stall; zero for no limit. Without the feature `observe` nobody looks. Default 10 ms.
    pub stall_limit: Duration,
}

impl Default for ThreadLibOptions {
    fn default() -> Self {
        Self {
            batch: 8,
            mailbox: 1024,
            exit_limit: Duration::from_secs(5),
            drain_limit: Duration::from_secs(1),
            stall_limit: Duration::from_millis(10),
        }
    }
}

/// Messages that a mailbox holds at most, and so are run in a turn.
const MAILBOX: usize = 1 << 16;

impl ThreadLibOptions {
    setters! {
        batch: usize,
        mailbox: usize,
        exit_limit: Duration,
        drain_limit: Duration,
        stall_limit: Duration,
    }

    /// Whether threads with these bounds can work.
    ///
    /// ```
    /// use core_reactor::ThreadLibOptions;
    ///
    /// assert!(ThreadLibOptions::default().batch(32).check().is_ok());
    /// assert!(ThreadLibOptions::default().mailbox(0).check().is_err(), "nothing could be sent");
    /// ```
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

/// A set of threads, as each of them knows it.
pub(crate) struct Set {
    /// The queues to its reactors, for [`ThreadLib`](crate::ThreadLib), which made them. What is in
    /// them are threads and reactors, and those have a set.
    pub(crate) inboxes: Box<dyn Any + Send + Sync>,
    pub(crate) doorbells: Arc<Doorbells>,
    pub(crate) batch: usize,
    pub(crate) exit_limit: Duration,
    pub(crate) drain_limit: Duration,
    pub(crate) observer: SetObserver,
    mailbox: usize,
    /// Locked to create, end and visit threads, never to send.
    threads: Mutex<Threads>,
    /// Threads placed so far; and for each core when the last one was, counted in these.
    placements: AtomicUsize,
    placed: Box<[AtomicUsize]>,
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

/// Why a thread could not be made.
///
/// ```
/// use core_reactor::{SpawnError, ThreadConfig, sim::Sim};
///
/// let sim = Sim::new(1);
/// let elsewhere = ThreadConfig::new("t").cpus("[5]".parse()?);
/// assert!(sim.lib().spawn(elsewhere, |_| {}).is_err(), "no reactor is on core 5");
/// sim.lib().stop();
/// assert_eq!(sim.lib().spawn(ThreadConfig::new("t"), |_| {}), Err(SpawnError::Stopping));
/// # Ok::<(), core_reactor::CpuSetError>(())
/// ```
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

impl Set {
    /// A set for the cores of these doorbells.
    pub(crate) fn new(doorbells: Doorbells, inboxes: Box<dyn Any + Send + Sync>, options: &ThreadLibOptions) -> Self {
        Self {
            inboxes,
            batch: options.batch.clamp(1, MAILBOX),
            exit_limit: options.exit_limit,
            drain_limit: options.drain_limit.min(options.exit_limit),
            observer: SetObserver::new(doorbells.cores(), options.stall_limit),
            mailbox: options.mailbox,
            threads: Mutex::new(Threads::default()),
            placements: AtomicUsize::new(0),
            placed: (0..doorbells.len()).map(|_| AtomicUsize::new(0)).collect(),
            has_reactors: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            doorbells: Arc::new(doorbells),
        }
    }

    pub(crate) fn platform(&self) -> &Arc<dyn Platform> {
        &self.doorbells.platform
    }

    /// The cores that have a reactor.
    pub(crate) fn reactors(&self) -> CpuSet {
        if self.has_reactors() { self.doorbells.cores().collect() } else { CpuSet::EMPTY }
    }

    pub(crate) fn has_reactors(&self) -> bool {
        self.has_reactors.load(Ordering::Acquire)
    }

    pub(crate) fn set_has_reactors(&self) {
        self.has_reactors.store(true, Ordering::Release);
    }

    /// The index of the core whose turn it is among the allowed ones.
    pub(crate) fn place(&self, cpus: &CpuSet) -> Result<usize, SpawnError> {
        let reactors = self.reactors();
        let allowed = reactors.and(cpus);
        if allowed.is_empty() {
            return Err(SpawnError::NoReactor { wanted: *cpus, reactors });
        }
        // The one that has waited longest, so that each of the allowed has its turn whatever others
        // ask for in between.
        let waiting = self.placed.iter().enumerate().filter(|(index, _)| allowed.contains(self.doorbells.core(*index)));
        let next = waiting.min_by_key(|(_, placed)| placed.load(Ordering::Relaxed)).map_or(0, |(next, _)| next);
        self.placed[next].store(self.placements.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Ok(next)
    }

    /// Enters a thread that is to be on the core of this index. Its mailbox is received by what
    /// comes back beside it.
    pub(crate) fn enter(&self, name: Name, core_index: usize) -> (Arc<Shared>, Receiver<Msg>) {
        let (mailbox, inbox) = Ring::<Msg>::new(self.mailbox);
        let make = |id| Arc::new(Shared::new(id, name, mailbox, core_index, self.doorbells.clone()));
        (self.threads.lock().add(make), inbox)
    }

    /// Forgets a thread that is gone.
    pub(crate) fn forget(&self, id: ThreadId) {
        // Dropped when the lock is given back.
        let gone = self.threads.lock().remove(id);
        drop(gone);
    }

    /// The threads that live now, in order of creation.
    pub(crate) fn threads(&self) -> Vec<ThreadHandle> {
        self.threads.lock().living().cloned().map(ThreadHandle).collect()
    }

    /// The name of a living thread.
    #[cfg(feature = "observe")]
    pub(crate) fn thread_name(&self, id: ThreadId) -> Option<Name> {
        let threads = self.threads.lock();
        threads.living().find(|thread| thread.id == id).map(|thread| thread.name.clone())
    }

    /// The first living thread numbered after `last` and before `end`.
    pub(crate) fn next_thread(&self, last: ThreadId, end: ThreadId) -> Option<Arc<Shared>> {
        self.threads.lock().after(last).filter(|t| t.id < end).cloned()
    }

    /// The number that the next thread will have.
    pub(crate) fn end_id(&self) -> ThreadId {
        self.threads.lock().next_id()
    }

    /// Begins the end; see [`ThreadLib::stop`](crate::ThreadLib::stop).
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads() {
            thread.exit();
        }
        for index in 0..self.doorbells.len() {
            self.doorbells.ring(index);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimPlatform;
    use crate::{ThreadConfig, ThreadLib};

    #[test]
    fn numbers_of_threads_that_are_gone_stay_until_they_are_more_than_half_of_the_list() {
        let sim = SimPlatform::new(1);
        let lib = ThreadLib::new(sim.clone(), sim.cores(), &ThreadLibOptions::default());
        let mut threads: Vec<_> = (0..8).map(|_| lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap()).collect();
        let listed = || lib.set.threads.lock().list.len();
        let lengths: Vec<_> = (0..8).map(|_| (drop(threads.remove(0)), listed()).1).collect();
        assert_eq!(lengths, [8, 8, 8, 8, 3, 3, 1, 0]);
        let thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
        assert_eq!((thread.handle().id(), lib.threads().len()), (ThreadId(9), 1), "no number comes again");
    }
}
