//! Balancing: movable threads leave a reactor that is overloaded for one that has time (the role of
//! SPDK's dynamic scheduler).
//!
//! A thread `balancer` looks at all reactors once per period. From one that was busy for more than
//! [`HOT`] of it, it sends one movable thread to one that was busy for less than [`COOL`], and says
//! so in the log. One thread per period, so that the next look sees what the move did.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use spin::Mutex;

use crate::reactor::Load;
use crate::thread::ThreadLoad;
use crate::{CoreId, Cx, Polled, Schedule, SpawnError, ThreadConfig, ThreadHandle, ThreadId, ThreadLib};

/// A reactor above this share of busy time gives threads away.
pub const HOT: f64 = 0.95;
/// A reactor below this share of busy time takes threads.
pub const COOL: f64 = 0.20;

/// Starts balancing the set of `lib`, looking once per `period` (SPDK: 1 s).
///
/// # Errors
/// The balancer's thread cannot be made.
pub fn start(lib: &ThreadLib, period: Duration) -> Result<ThreadHandle, SpawnError> {
    lib.spawn(ThreadConfig::new("balancer"), move |cx| {
        let samples = Arc::new(Mutex::new(Samples::default()));
        cx.poller("balance", Schedule::Every(period), move |cx: &mut Cx<'_>| {
            sample(cx, &samples);
            Polled::Busy
        });
    })
}

/// Gathers every reactor's figures, then decides.
fn sample(cx: &mut Cx<'_>, samples: &Arc<Mutex<Samples>>) {
    let (gathered, samples) = (samples.clone(), samples.clone());
    samples.lock().now.clear();
    cx.for_each_core(
        move |reactor| gathered.lock().now.push(reactor.load()),
        move |_| {
            let decided = samples.lock().decide();
            if let Some(decided) = decided {
                carry_out(&decided);
            }
        },
    );
}

fn carry_out(decided: &Move) {
    let Move { thread, from, to, .. } = decided;
    logging::info!("balance: thread {} moves from core {} to core {}", thread.name(), from.0, to.0);
    let to = *to;
    let sent = thread.send(move |cx| {
        if let Err(why) = cx.move_to(to) {
            logging::info!("balance: it stays: {}", alloc::format!("{why}").as_str());
        }
    });
    if let Err(refused) = sent {
        logging::info!("balance: it stays: {}", alloc::format!("{}", refused.why).as_str());
    }
}

/// The last look and the one before.
#[derive(Default)]
struct Samples {
    before: Vec<Load>,
    now: Vec<Load>,
}

/// A decision.
struct Move {
    thread: ThreadHandle,
    from: CoreId,
    to: CoreId,
}

impl Samples {
    /// What to move, if anything; this look is the one before from now on.
    fn decide(&mut self) -> Option<Move> {
        let decided = self.choose();
        self.before = core::mem::take(&mut self.now);
        decided
    }

    fn choose(&self) -> Option<Move> {
        let share = |load: &Load| {
            let before = self.before.iter().find(|b| b.core == load.core)?;
            Some((load.busy_ns - before.busy_ns) as f64 / (load.total_ns - before.total_ns).max(1) as f64)
        };
        let by_share = |a: &(f64, &Load), b: &(f64, &Load)| a.0.total_cmp(&b.0);
        let shares = || self.now.iter().filter_map(|load| Some((share(load)?, load)));
        let (hot_share, hot) = shares().filter(|(share, _)| *share > HOT).max_by(by_share)?;
        let busy = self.busy_threads(hot);
        // One busy thread alone would make the other core as hot as this one is.
        if busy.len() < 2 {
            return None;
        }
        let (taken, thread) = busy.into_iter().filter(|(_, t)| t.movable).max_by_key(|(busy, _)| *busy)?;
        let total = hot.total_ns - self.before.iter().find(|b| b.core == hot.core)?.total_ns;
        let taken = taken as f64 / total.max(1) as f64;
        let fits = |(share, load): &(f64, &Load)| *share < COOL && *share + taken < hot_share && thread.cpus.contains(load.core);
        let (_, cool) = shares().filter(fits).min_by(by_share)?;
        Some(Move { thread: thread.thread.clone(), from: hot.core, to: cool.core })
    }

    /// The threads of a reactor that did something since the look before, with the time that it
    /// took.
    fn busy_threads<'a>(&'a self, load: &'a Load) -> Vec<(u64, &'a ThreadLoad)> {
        // In order, since a look over ten thousand threads must not compare each with each.
        let mut known: Vec<(ThreadId, u64)> =
            self.before.iter().flat_map(|load| &load.threads).map(|t| (t.thread.id(), t.busy_ns)).collect();
        known.sort_unstable_by_key(|(id, _)| *id);
        let before = |id: ThreadId| known.binary_search_by_key(&id, |(id, _)| *id).map_or(0, |at| known[at].1);
        let since = |t: &ThreadLoad| t.busy_ns.saturating_sub(before(t.thread.id()));
        load.threads.iter().map(|t| (since(t), t)).filter(|(busy, _)| *busy > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CpuSet;
    use crate::sim::Sim;

    /// Two cores; `(busy ns of 1000, movable)` for each thread.
    fn samples(sim: &Sim, threads: [&[(u64, bool)]; 2]) -> Samples {
        let load = |core: usize, scale: u64| Load {
            core: CoreId(core as u16),
            busy_ns: threads[core].iter().map(|t| t.0 * scale).sum(),
            // Reactors did not all start at the same time.
            total_ns: 1000 * scale + 5000 * core as u64,
            threads: (threads[core].iter().enumerate())
                .map(|(at, (busy, movable))| {
                    let thread = sim.lib().threads()[core * 3 + at].clone();
                    ThreadLoad { thread, busy_ns: busy * scale, cpus: CpuSet::ALL, movable: *movable }
                })
                .collect(),
        };
        Samples { before: [0, 1].map(|c| load(c, 1)).into(), now: [0, 1].map(|c| load(c, 2)).into() }
    }

    fn moved(threads: [&[(u64, bool)]; 2]) -> Option<(alloc::string::String, u16, u16)> {
        let mut sim = Sim::new(2);
        for name in ["a", "b", "c", "d", "e", "f"] {
            sim.lib().spawn(ThreadConfig::new(name), |_| {}).unwrap();
        }
        sim.settle();
        let decided = samples(&sim, threads).choose()?;
        Some((decided.thread.name().into(), decided.from.0, decided.to.0))
    }

    #[test]
    fn the_busiest_movable_thread_leaves_a_hot_core_for_a_cool_one() {
        assert_eq!(moved([&[(300, true), (690, false)], &[(100, true)]]), Some(("a".into(), 0, 1)));
        assert_eq!(moved([&[(100, true)], &[(200, true), (780, true)]]), Some(("e".into(), 1, 0)));
        assert_eq!(moved([&[(300, true), (400, true), (290, true)], &[(100, true)]]), Some(("b".into(), 0, 1)));
    }

    #[test]
    fn nothing_moves_without_a_hot_core_a_cool_core_and_a_gain() {
        assert_eq!(moved([&[(300, true), (600, true)], &[(100, true)]]), None, "90 % is not hot");
        assert_eq!(moved([&[(300, true), (650, true)], &[(100, true)]]), None, "95 % is not above 95 %");
        assert_eq!(moved([&[(300, true), (690, true)], &[(210, true)]]), None, "21 % is not cool");
        assert_eq!(moved([&[(300, true), (690, true)], &[(200, true)]]), None, "20 % is not below 20 %");
        assert_eq!(moved([&[(990, true), (0, true)], &[(100, true)]]), None, "one busy thread alone");
        assert_eq!(moved([&[(300, false), (690, false)], &[(100, true)]]), None, "nobody may move");
        assert_eq!(moved([&[(990, false), (0, true)], &[(100, true)]]), None, "who does nothing is no relief");
        assert_eq!(moved([&[(875, true), (125, false)], &[(125, true)]]), None, "the other core would be as hot as this one is");
        assert_eq!(moved([&[(50, true), (940, true)], &[(100, true)]]), None, "the other core would be hotter than this one is");
    }
}
