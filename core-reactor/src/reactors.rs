//! A set of reactors, and its run.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::setters::setters;
use crate::sync::Mutex;
use crate::{CoreId, CpuSet, Idle, Platform, PlatformError, Reactor, ReactorStats, ThreadLib, ThreadLibOptions};

/// What a set of reactors is to be.
///
/// ```
/// use core_reactor::{CoreId, CpuSet, Idle, ReactorOptions};
///
/// let options = ReactorOptions::new(CpuSet::of(CoreId(0))).idle(Idle::Poll);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReactorOptions {
    /// The cores that get a reactor; the lowest is the one that [`Reactors::run`] turns itself.
    pub cores: CpuSet,
    /// When to sleep.
    pub idle: Idle,
    /// The bounds of its threads.
    pub threads: ThreadLibOptions,
}

impl ReactorOptions {
    setters! {
        idle: Idle,
        threads: ThreadLibOptions,
    }

    /// The defaults, on these cores.
    ///
    /// ```
    /// use core_reactor::{Idle, ReactorOptions};
    ///
    /// let options = ReactorOptions::new("0-1".parse()?).idle(Idle::Poll);
    /// assert_eq!(options.cores.count(), 2);
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    pub fn new(cores: CpuSet) -> Self {
        Self { cores, idle: Idle::default(), threads: ThreadLibOptions::default() }
    }
}

/// A set of reactors, one on each of its cores, over a platform of its own.
///
/// ```
/// use core_reactor::sim::SimPlatform;
/// use core_reactor::{CoreId, Platform, ReactorOptions, Reactors, ThreadConfig};
///
/// let platform = SimPlatform::new(1);
/// let set = Reactors::new(platform.clone(), &ReactorOptions::new(platform.cores()))?;
/// set.lib().spawn(ThreadConfig::new("hello"), |cx| cx.exit())?;
/// // By hand, as a test does it; a program calls `set.run()`.
/// let mut reactor = set.reactor(CoreId(0)).ok_or("no such core")?;
/// while !set.lib().threads().is_empty() {
///     let _ = reactor.turn();
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reactors {
    lib: ThreadLib,
    idle: Idle,
}

impl Reactors {
    /// Prepares reactors; nothing runs yet, but threads can be spawned.
    ///
    /// # Errors
    /// No core was asked for, or one that the platform does not have; a bound of the threads cannot
    /// work.
    pub fn new(platform: Arc<dyn Platform>, options: &ReactorOptions) -> Result<Self, PlatformError> {
        options.threads.check()?;
        let allowed = platform.cores();
        if options.cores.is_empty() {
            return Err(PlatformError::NoCores);
        }
        if let Some(core) = options.cores.minus(&allowed).iter().next() {
            return Err(PlatformError::NoSuchCore { core, allowed });
        }
        let lib = ThreadLib::new(platform, options.cores, &options.threads);
        lib.set.set_has_reactors();
        Ok(Self { lib, idle: options.idle })
    }

    /// The set's threads: to spawn, to visit, to stop. Can be kept and sent anywhere.
    pub fn lib(&self) -> &ThreadLib {
        &self.lib
    }

    /// The reactor of one core, for a caller that turns it itself (a test, a simulation); `None` if
    /// it is taken or the core is not in the set.
    ///
    /// ```
    /// # use core_reactor::{CoreId, Platform, ReactorOptions, Reactors, sim::SimPlatform};
    /// let platform = SimPlatform::new(1);
    /// let set = Reactors::new(platform.clone(), &ReactorOptions::new(platform.cores()))?;
    /// let taken = set.reactor(CoreId(0));
    /// assert!(taken.is_some() && set.reactor(CoreId(0)).is_none(), "it is somebody's");
    /// # Ok::<(), core_reactor::PlatformError>(())
    /// ```
    pub fn reactor(&self, core: CoreId) -> Option<Reactor> {
        Reactor::claim(&self.lib.set, core, self.idle)
    }

    /// Runs the set: starts a reactor on every core but the lowest, turns that one on the caller's
    /// own flow of control, and returns when all have ended after [`ThreadLib::stop`], with their
    /// figures in order of cores.
    ///
    /// # Errors
    /// A core could not be started (those that were are stopped again), or a reactor panicked (the
    /// others are stopped). A panic on the caller's own core goes on when the others have ended.
    pub fn run(self) -> Result<Vec<ReactorStats>, PlatformError> {
        let platform = self.lib.platform().clone();
        let figures = Arc::new(Mutex::new(Vec::new()));
        let cores: Vec<CoreId> = self.lib.reactors().iter().collect();
        let Some((first, others)) = cores.split_first() else { return Ok(Vec::new()) };
        platform.adopt(*first)?;
        let started = JoinGuard { lib: &self.lib, platform: &*platform, first: *first, others };
        let mut outcome = Ok(());
        for core in others {
            outcome = self.start(*core, &figures);
            if outcome.is_err() {
                self.lib.stop();
                break;
            }
        }
        if let Some(reactor) = self.reactor(*first) {
            let stats = reactor.run();
            enter(&figures, stats);
        }
        outcome.and(started.join())?;
        Ok(core::mem::take(&mut *figures.lock()))
    }

    fn start(&self, core: CoreId, figures: &Arc<Mutex<Vec<ReactorStats>>>) -> Result<(), PlatformError> {
        let (lib, idle, figures) = (self.lib.clone(), self.idle, figures.clone());
        let entry = move || {
            if let Some(reactor) = Reactor::claim(&lib.set, core, idle) {
                let stats = reactor.run();
                enter(&figures, stats);
            }
        };
        self.lib.platform().start(core, Box::new(entry))
    }
}

impl Drop for Reactors {
    fn drop(&mut self) {
        // What was meant for a reactor that never came, threads among them, would keep the set
        // alive from inside.
        for index in 0..self.lib.set.doorbells.len() {
            drop(self.lib.set.claim_events(index));
        }
    }
}

/// Enters what a reactor did, in the order of the cores.
fn enter(figures: &Mutex<Vec<ReactorStats>>, stats: ReactorStats) {
    let mut figures = figures.lock();
    let at = figures.partition_point(|other| other.core < stats.core);
    figures.insert(at, stats);
}

/// The cores of a running set, for the one that waits for them, also when its own reactor panics.
struct JoinGuard<'a> {
    lib: &'a ThreadLib,
    platform: &'a dyn Platform,
    first: CoreId,
    others: &'a [CoreId],
}

impl JoinGuard<'_> {
    fn join(mut self) -> Result<(), PlatformError> {
        self.join_others()
    }

    fn join_others(&mut self) -> Result<(), PlatformError> {
        let others = core::mem::take(&mut self.others);
        let mut outcome = Ok(());
        for core in others {
            // All are joined, also those behind one that failed.
            outcome = outcome.and(self.platform.join(*core));
        }
        outcome
    }
}

impl Drop for JoinGuard<'_> {
    fn drop(&mut self) {
        if !self.others.is_empty() {
            // Here only on the way of a panic, which says more than what an error from here could.
            // It may be the platform's, and then nobody has stopped the set.
            self.lib.stop();
            let _ = self.join_others();
        }
        self.platform.release(self.first);
    }
}
