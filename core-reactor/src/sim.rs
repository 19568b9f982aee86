//! A machine for tests: cores that one flow of control turns by hand, and a clock that moves when
//! told to.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use spin::Mutex;

use crate::{CoreId, CpuSet, Instant, Platform, PlatformError, Reactor, ReactorOptions, Reactors, ThreadLib, Turn, WaitSource};

/// A platform without a machine. Its clock stands still until [`advance`](Self::advance); parking
/// returns at once and is counted.
///
/// ```
/// use core::time::Duration;
/// use core_reactor::{Platform, sim::SimPlatform};
///
/// let platform = SimPlatform::new(2);
/// assert_eq!(platform.cores().count(), 2);
/// platform.advance(Duration::from_secs(3600));
/// assert_eq!(platform.now().as_nanos(), 3_600_000_000_000);
/// ```
pub struct SimPlatform {
    cores: CpuSet,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Instant,
    /// What the clock moves by each time it is read, nanoseconds.
    tick: u64,
    parks: BTreeMap<CoreId, Vec<Option<Instant>>>,
    unparks: BTreeMap<CoreId, usize>,
    watched: Vec<(CoreId, WaitSource)>,
}

impl SimPlatform {
    /// A machine with cores `0..cores`, its clock at zero.
    pub fn new(cores: u16) -> Arc<Self> {
        Arc::new(Self { cores: (0..cores).map(CoreId).collect(), state: Mutex::default() })
    }

    /// Moves the clock on.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{Instant, Platform, sim::SimPlatform};
    /// let platform = SimPlatform::new(1);
    /// platform.advance(Duration::from_micros(3));
    /// assert_eq!(platform.now(), Instant::from_nanos(3_000));
    /// ```
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.now += by;
    }

    /// Lets the clock move by this much each time it is read, so that work takes time.
    ///
    /// ```
    /// use core::time::Duration;
    /// use core_reactor::{Platform, sim::SimPlatform};
    ///
    /// let platform = SimPlatform::new(1);
    /// platform.tick(Duration::from_nanos(5));
    /// let began = platform.now();
    /// assert_eq!(platform.now() - began, Duration::from_nanos(5));
    /// ```
    pub fn tick(&self, by: Duration) {
        self.state.lock().tick = crate::time::nanos(by);
    }

    /// How long each park of `core` was to last at most, in order.
    ///
    /// ```
    /// # use core_reactor::{CoreId, Instant, Platform, sim::SimPlatform};
    /// let platform = SimPlatform::new(1);
    /// platform.park(CoreId(0), Some(Instant::from_nanos(50)));
    /// platform.park(CoreId(0), None);
    /// assert_eq!(platform.parks(CoreId(0)), [Some(Instant::from_nanos(50)), None]);
    /// ```
    pub fn parks(&self, core: CoreId) -> Vec<Option<Instant>> {
        self.state.lock().parks.get(&core).cloned().unwrap_or_default()
    }

    /// How often `core` was woken.
    ///
    /// ```
    /// # use core_reactor::{CoreId, Platform, sim::SimPlatform};
    /// let platform = SimPlatform::new(2);
    /// platform.unpark(CoreId(1));
    /// assert_eq!((platform.unparks(CoreId(0)), platform.unparks(CoreId(1))), (0, 1));
    /// ```
    pub fn unparks(&self, core: CoreId) -> usize {
        self.state.lock().unparks.get(&core).copied().unwrap_or(0)
    }

    /// What is watched now, and on which core.
    pub fn watched(&self) -> Vec<(CoreId, WaitSource)> {
        self.state.lock().watched.clone()
    }
}

impl Platform for SimPlatform {
    fn now(&self) -> Instant {
        let mut state = self.state.lock();
        let now = state.now;
        state.now = now.plus_nanos(state.tick);
        now
    }

    fn cores(&self) -> CpuSet {
        self.cores
    }

    /// Refused: simulated cores are turned by hand.
    fn start(&self, core: CoreId, _entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchCore { core, allowed: CpuSet::EMPTY })
    }

    fn join(&self, _core: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn adopt(&self, _core: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn release(&self, _core: CoreId) {}

    fn park(&self, core: CoreId, until: Option<Instant>) {
        self.state.lock().parks.entry(core).or_default().push(until);
    }

    fn unpark(&self, core: CoreId) {
        *self.state.lock().unparks.entry(core).or_default() += 1;
    }

    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.state.lock().watched.push((core, source));
        Ok(())
    }

    fn unwatch(&self, core: CoreId, source: WaitSource) {
        let watched = &mut self.state.lock().watched;
        let at = watched.iter().position(|w| *w == (core, source));
        at.map(|at| watched.remove(at));
    }
}

/// A whole set of reactors on a [`SimPlatform`], turned in order of cores.
///
/// ```
/// use core::time::Duration;
/// use core_reactor::{Cx, ThreadConfig, sim::Sim};
///
/// let mut sim = Sim::new(2);
/// let start = |cx: &mut Cx<'_>| {
///     cx.after(Duration::from_secs(86_400), |cx| cx.lib().stop());
/// };
/// sim.lib().spawn(ThreadConfig::new("a day"), start)?;
/// sim.run_for(Duration::from_secs(86_400));
/// assert!(sim.lib().threads().is_empty(), "it took no time at all");
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
#[derive(Debug)]
pub struct Sim {
    /// The machine.
    pub platform: Arc<SimPlatform>,
    /// The reactors, by core.
    pub reactors: Vec<Reactor>,
    lib: ThreadLib,
}

impl Sim {
    /// Reactors on cores `0..cores`, with the default bounds.
    pub fn new(cores: u16) -> Self {
        Self::with(cores, |_| {})
    }

    /// As [`new`](Self::new), with other options.
    ///
    /// ```
    /// use core_reactor::{ThreadConfig, ThreadLibOptions, sim::Sim};
    ///
    /// let mut sim = Sim::with(1, |options| options.threads = ThreadLibOptions::default().mailbox(2));
    /// let thread = sim.lib().spawn(ThreadConfig::new("small"), |_| {})?;
    /// assert_eq!(thread.mailbox_capacity(), 2);
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn with(cores: u16, change: impl FnOnce(&mut ReactorOptions)) -> Self {
        let platform = SimPlatform::new(cores);
        let mut options = ReactorOptions::new(platform.cores());
        change(&mut options);
        let lib;
        let reactors = match Reactors::new(platform.clone(), &options) {
            Ok(set) => {
                lib = set.lib().clone();
                options.cores.iter().filter_map(|core| set.reactor(core)).collect()
            }
            Err(why) => panic!("a simulated set of {cores} cores: {why}"),
        };
        Self { platform, reactors, lib }
    }

    /// The set's threads.
    pub fn lib(&self) -> &ThreadLib {
        &self.lib
    }

    /// One turn of every reactor; what they did together.
    ///
    /// ```
    /// # use core_reactor::{ThreadConfig, sim::Sim};
    /// let mut sim = Sim::new(2);
    /// assert!(sim.turn().is_idle());
    /// sim.lib().spawn(ThreadConfig::new("t"), |_| {})?;
    /// assert!(!sim.turn().is_idle(), "it begins");
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn turn(&mut self) -> Turn {
        let mut all = Turn::default();
        for reactor in &mut self.reactors {
            all.add(reactor.turn());
        }
        all
    }

    /// Turns until a turn of all reactors does nothing; how many turns that took.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// let thread = sim.lib().spawn(ThreadConfig::new("t"), |_: &mut Cx<'_>| {})?;
    /// # let sent =
    /// thread.send(|cx| cx.exit());
    /// sim.settle();
    /// assert!(sim.lib().threads().is_empty());
    /// # assert!(sent.is_ok());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Panics
    /// Something is still going on after 100,000 turns.
    pub fn settle(&mut self) -> usize {
        for turns in 0..100_000 {
            if self.turn().is_idle() {
                return turns;
            }
        }
        panic!("the simulation does not come to rest");
    }

    /// Moves the clock on by this much in all, from one deadline of a reactor to the next, and
    /// settles at each: so everything happens at its time, and what follows of it as well.
    ///
    /// ```
    /// use core::time::Duration;
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    /// use core_reactor::{Polled, Schedule, ThreadConfig, sim::Sim};
    ///
    /// let (mut sim, beats) = (Sim::new(1), Arc::new(AtomicU32::new(0)));
    /// let counted = beats.clone();
    /// sim.lib().spawn(ThreadConfig::new("heart"), move |cx| {
    ///     cx.poller("beat", Schedule::Every(Duration::from_secs(1)), move |_: &mut core_reactor::Cx<'_>| {
    ///         counted.fetch_add(1, Ordering::Relaxed);
    ///         Polled::Busy
    ///     });
    /// })?;
    /// sim.run_for(Duration::from_secs(60));
    /// assert_eq!(beats.load(Ordering::Relaxed), 60);
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Panics
    /// As [`settle`](Self::settle), or a deadline does not pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.platform.now() + time;
        let mut at_once = 0;
        loop {
            self.settle();
            let now = self.platform.now();
            let next = self.reactors.iter().filter_map(Reactor::next_deadline).min().map_or(end, |at| at.min(end));
            if now >= next && next == end {
                return;
            }
            at_once = if now >= next { at_once + 1 } else { 0 };
            assert!(at_once < 100_000, "the time of something has come, and it does not happen");
            self.platform.advance(next.since(now));
        }
    }

    /// Moves the clock on and settles.
    pub fn advance(&mut self, by: Duration) {
        self.platform.advance(by);
        self.settle();
    }
}

impl fmt::Debug for SimPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimPlatform").field("cores", &self.cores).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cx, Polled, Schedule, ThreadConfig};

    #[test]
    fn a_run_goes_from_one_deadline_to_the_next() {
        let (mut sim, times) = (Sim::new(1), Arc::new(Mutex::new(Vec::new())));
        let note = times.clone();
        let start = move |cx: &mut Cx<'_>| {
            cx.poller("timer", Schedule::Every(Duration::from_millis(2)), move |cx: &mut Cx<'_>| {
                note.lock().push(cx.now().as_nanos() / 1_000_000);
                Polled::Busy
            });
        };
        sim.lib().spawn(ThreadConfig::new("timer"), start).map_err(drop).expect("a thread");
        sim.run_for(Duration::from_millis(7));
        assert_eq!((&times.lock()[..], sim.platform.now().as_nanos()), (&[2, 4, 6][..], 7_000_000));
        sim.run_for(Duration::from_millis(1));
        assert_eq!(times.lock()[..], [2, 4, 6, 8], "what is due at the end is done");
    }
}
