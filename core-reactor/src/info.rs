//! What can be told of threads and pollers while they run, to whoever watches from outside.
//!
//! A [`Cx`] tells it of its own thread; of all threads it is gathered by
//! [`Cx::for_each_thread`](crate::Cx::for_each_thread), one at a time and each on its core.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use crate::cx::Inner;
use crate::{ChannelInfo, CoreId, CpuSet, Cx, Instant, Name, PollerCounts, PollerInfo, ThreadId};

impl ThreadId {
    /// It as a number: 1 for the first thread of its set.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A thread as it is now.
#[derive(Clone, Debug)]
pub struct ThreadInfo {
    /// Its number.
    pub id: ThreadId,
    /// Its name.
    pub name: Name,
    /// The cores that it may be on.
    pub cpus: CpuSet,
    /// The one that it is on.
    pub core: CoreId,
    /// When it came there.
    pub since: Instant,
    /// Time that went into something, nanoseconds.
    pub busy_ns: u64,
    /// Its share of the time in which its reactor looked for something to do, nanoseconds.
    pub idle_ns: u64,
    /// Its share of the time that its reactor slept, nanoseconds.
    pub parked_ns: u64,
    /// What took longer there than it may.
    pub stalls: u64,
    /// How many pollers it has of each kind.
    pub pollers: PollerCounts,
    /// Its channels.
    pub channels: Vec<ChannelInfo>,
}

impl Cx<'_> {
    /// What can be told of this thread now.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{CoreId, Cx, Instant, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let info = cx.info();
    /// assert_eq!((info.name.as_str(), info.core), ("t", CoreId(0)));
    /// # })?;
    /// # sim.run_for(Duration::from_secs(10));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn info(&self) -> ThreadInfo {
        let Inner { shared, cpus, core, since, figures, pollers, channels, .. } = &*self.thread;
        ThreadInfo {
            id: shared.id,
            name: shared.name.clone(),
            cpus: *cpus,
            core: *core,
            since: *since,
            busy_ns: figures.busy_ns,
            idle_ns: figures.idle_ns,
            parked_ns: figures.parked_ns,
            stalls: figures.stalls,
            pollers: pollers.counts(),
            channels: channels.info().collect(),
        }
    }

    /// What can be told of each of its pollers.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use core_reactor::{CoreId, Cx, Instant, Polled, Schedule, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// cx.poller("look", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle);
    /// assert_eq!(cx.pollers().count(), 1);
    /// # })?;
    /// # sim.run_for(Duration::from_secs(10));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn pollers(&self) -> impl Iterator<Item = PollerInfo> {
        self.thread.pollers.info()
    }

    /// Shows `what` to whoever looks at this thread, as long as it lives.
    pub(crate) fn list<T: Any + Send + Sync>(&mut self, what: &Arc<T>) {
        let listed = &mut self.thread.listed;
        listed.retain(|other| other.strong_count() > 0);
        let what: Arc<dyn Any + Send + Sync> = what.clone();
        listed.push(Arc::downgrade(&what));
    }

    /// What is shown, of one type, in the order in which it was listed.
    pub(crate) fn listed<T: Any + Send + Sync>(&self) -> Vec<Arc<T>> {
        self.thread.listed.iter().filter_map(|listed| listed.upgrade()?.downcast().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::time::Duration;

    use spin::Mutex;

    use super::PollerCounts;
    use crate::sim::Sim;
    use crate::{ChannelInfo, CoreId, CpuSet, Cx, Polled, Schedule, ThreadConfig};

    #[test]
    fn s170_a_thread_tells_its_cores_and_its_pollers_of_each_kind() {
        let mut sim = Sim::new(2);
        sim.lib().spawn(ThreadConfig::new("first"), |_| {}).unwrap();
        let start = |cx: &mut Cx<'_>| {
            cx.open_channel(5_u8);
            cx.poller("active", Schedule::Always, |_: &mut Cx<'_>| Polled::Busy);
            cx.poller("timed", Schedule::Every(Duration::from_millis(3)), |_: &mut Cx<'_>| Polled::Idle);
            let paused = cx.poller("paused", Schedule::Every(Duration::from_millis(4)), |_: &mut Cx<'_>| Polled::Idle);
            cx.pause(paused).unwrap();
            cx.on_exit(|_| {});
        };
        sim.lib().spawn(ThreadConfig::new("t").cpus(CpuSet::of(CoreId(1))), start).unwrap();
        sim.platform.tick(Duration::from_nanos(10));
        let turns = |sim: &mut Sim| {
            for _ in 0..10 {
                let _ = sim.turn();
            }
        };
        turns(&mut sim);
        let told = Arc::new(Mutex::new(Vec::new()));
        let gather = told.clone();
        let tell = move |cx: &mut Cx<'_>| gather.lock().push((cx.info(), cx.pollers().collect::<Vec<_>>()));
        assert!(sim.lib().threads()[1].send(tell).is_ok());
        turns(&mut sim);
        let threads = told.lock();
        let [(thread, pollers)] = &threads[..] else { panic!("{threads:?}") };
        assert_eq!((thread.id.number(), &*thread.name, thread.core, thread.cpus), (2, "t", CoreId(1), CpuSet::of(CoreId(1))));
        assert_eq!(thread.channels, [ChannelInfo { name: "u8".into(), refs: 1 }]);
        assert_eq!(thread.pollers, PollerCounts { active: 1, timed: 1, paused: 1 });
        let told: Vec<_> = pollers.iter().map(|p| (&*p.name, p.period.as_millis(), p.is_paused, p.runs > 0)).collect();
        assert_eq!(told, [("active", 0, false, true), ("timed", 3, false, false), ("paused", 4, true, false)]);
        let [active, timed, _] = &pollers[..] else { panic!() };
        assert!(active.busy_runs == active.runs && active.busy_ns > 0);
        assert!(active.id != timed.id && active.id > 0);
    }
}
