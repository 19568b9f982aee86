//! A set of threads and reactors for everyone: to spawn, to list, to stop.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::doorbell::Doorbells;
use crate::reactor::{Event, inboxes};
use crate::ring::PushError;
use crate::set::{Set, SpawnError, ThreadLibOptions};
use crate::{CoreId, CpuSet, Cx, Name, Platform, Thread, ThreadHandle};

/// A set of threads over a platform (`spdk_thread_lib_init`). Sets know nothing of each other.
#[derive(Clone)]
pub struct ThreadLib {
    pub(crate) set: Arc<Set>,
}

/// What a new thread is to be.
///
/// ```
/// use core_reactor::{CoreId, CpuSet, ThreadConfig};
///
/// let config = ThreadConfig::new("poll_group_1").cpus(CpuSet::of(CoreId(1)));
/// ```
#[derive(Clone, Debug)]
pub struct ThreadConfig {
    name: Name,
    cpus: CpuSet,
}

impl ThreadConfig {
    /// A thread of this name (cut to 32 bytes) that may run anywhere.
    pub fn new(name: &str) -> Self {
        Self { name: crate::Name::from(name), cpus: CpuSet::ALL }
    }

    /// Limits it to these cores.
    #[must_use]
    pub fn cpus(mut self, cpus: CpuSet) -> Self {
        self.cpus = cpus;
        self
    }
}

impl ThreadLib {
    /// A set over `platform`, for the cores of `cores` that the platform has. Bounds that
    /// [`ThreadLibOptions::check`] refuses are taken as the nearest that it does not;
    /// [`Reactors::new`](crate::Reactors::new) gives the error.
    pub fn new(platform: Arc<dyn Platform>, cores: CpuSet, options: &ThreadLibOptions) -> Self {
        let doorbells = Doorbells::new(platform, cores);
        let inboxes = inboxes(doorbells.len());
        Self { set: Arc::new(Set::new(doorbells, inboxes, options)) }
    }

    /// A thread that the caller turns, on `core`, in a loop of its own; `None` if `core` is not one
    /// of the set's.
    ///
    /// ```
    /// use core_reactor::sim::SimPlatform;
    /// use core_reactor::{CoreId, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
    ///
    /// let platform = SimPlatform::new(1);
    /// let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default());
    /// let mut thread = lib.create(ThreadConfig::new("mine"), CoreId(0)).ok_or("no such core")?;
    /// thread.handle().send(|cx| cx.exit())?;
    /// while !thread.is_exited() {
    ///     let _ = thread.turn(platform.now());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(&self, config: ThreadConfig, core: CoreId) -> Option<Thread> {
        let index = self.set.doorbells.index_of(core)?;
        Some(self.create_on(config, index))
    }

    /// A thread on the reactor of an allowed core, taken in turn. `start` is its first message.
    ///
    /// ```
    /// # use core_reactor::{CoreId, CpuSet, Cx, SpawnError, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(2);
    /// let config = ThreadConfig::new("worker").cpus(CpuSet::of(CoreId(1)));
    /// let thread = sim.lib().spawn(config, |cx: &mut Cx<'_>| assert_eq!(cx.core(), CoreId(1)))?;
    /// sim.settle();
    /// assert_eq!((thread.name(), sim.lib().threads().len()), ("worker", 1));
    /// let nowhere = ThreadConfig::new("worker").cpus(CpuSet::of(CoreId(9)));
    /// assert!(matches!(sim.lib().spawn(nowhere, |_| {}), Err(SpawnError::NoReactor { .. })));
    /// # Ok::<(), SpawnError>(())
    /// ```
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
        let index = self.set.place(&config.cpus)?;
        let thread = self.create_on(config, index);
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
        self.set.push_event(index, Event::Adopt(movable)).map_err(|refused| match refused.why {
            PushError::Full => SpawnError::Busy(self.set.doorbells.core(index)),
            PushError::Closed => SpawnError::Stopping,
        })?;
        Ok(handle)
    }

    /// The threads that live now, in order of creation.
    ///
    /// ```
    /// # use core_reactor::{ThreadConfig, sim::Sim};
    /// # let sim = Sim::new(1);
    /// let kept = sim.lib().spawn(ThreadConfig::new("one"), |_| {})?;
    /// sim.lib().spawn(ThreadConfig::new("two"), |_| {})?;
    /// let names: Vec<_> = sim.lib().threads().iter().map(|thread| thread.name().to_owned()).collect();
    /// assert_eq!(names, ["one", "two"]);
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn threads(&self) -> Vec<ThreadHandle> {
        self.set.threads()
    }

    /// The cores that have a reactor.
    pub fn reactors(&self) -> CpuSet {
        self.set.reactors()
    }

    /// How long the threads' ends may wait for what is still to go out; see
    /// [`ThreadLibOptions::drain_limit`].
    pub fn drain_limit(&self) -> Duration {
        self.set.drain_limit
    }

    /// The platform that the set runs on.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        self.set.platform()
    }

    /// Begins the end: no thread is spawned any more, every thread is asked to exit, and reactors
    /// return when theirs have. Callable from any flow of control but a signal handler (it takes a
    /// lock): have [`ThreadHandle::send_critical`] call it there.
    ///
    /// ```
    /// # use core_reactor::{Cx, SpawnError, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |_: &mut Cx<'_>| {})?;
    /// sim.lib().stop();
    /// sim.settle();
    /// assert!(sim.lib().threads().is_empty());
    /// assert_eq!(sim.lib().spawn(ThreadConfig::new("late"), |_| {}), Err(SpawnError::Stopping));
    /// # Ok::<(), SpawnError>(())
    /// ```
    pub fn stop(&self) {
        self.set.stop();
    }

    /// Whether [`stop`](Self::stop) was called.
    ///
    /// ```
    /// # use core_reactor::sim::Sim;
    /// let sim = Sim::new(1);
    /// assert!(!sim.lib().is_stopping());
    /// sim.lib().stop();
    /// assert!(sim.lib().is_stopping());
    /// ```
    pub fn is_stopping(&self) -> bool {
        self.set.is_stopping()
    }
    fn create_on(&self, config: ThreadConfig, core_index: usize) -> Thread {
        let (shared, inbox) = self.set.enter(config.name, core_index);
        Thread::new(self.set.clone(), shared, inbox, config.cpus, self.set.doorbells.core(core_index))
    }
}

impl Cx<'_> {
    /// The set of threads that this one belongs to.
    pub fn lib(&self) -> ThreadLib {
        ThreadLib { set: self.thread.set.clone() }
    }
}

impl fmt::Debug for ThreadLib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadLib").field("reactors", &self.reactors()).field("threads", &self.threads()).finish()
    }
}
