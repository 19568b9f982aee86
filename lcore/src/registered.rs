//! The statistics of every application: what it registers, and how all that is registered is
//! gathered.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use core_reactor::net::{GroupInfo, GroupStats};
use core_reactor::transport::{QueueGroupInfo, QueueGroupStats};
use core_reactor::{Cx, LCORE_STATS, Reactor, Source, register_stats};
use pool::Class;
use statistics::{Samples, Stats};

use crate::AppHandle;

/// Pollers that a thread tells of: more take too long.
const POLLERS: usize = 256;

register_stats!(Source::Thread(|cx, samples| {
    let (core, thread) = (cx.core().0, cx.handle());
    let labels: [(_, &dyn Display); 2] = [("core", &core), ("thread", &thread.name())];
    samples.add(&labels, &cx.own_stats());
    #[cfg(feature = "observe")]
    samples.add(&labels, &cx.histograms());
}));

register_stats!(Source::Thread(|cx, samples| {
    if !samples.wants_any::<crate::PollerStats>() {
        return;
    }
    let (core, thread) = (cx.core().0, cx.handle());
    for poller in cx.poller_stats().take(POLLERS) {
        samples.add(&[("core", &core), ("poller", &poller.name), ("thread", &thread.name())], &poller);
    }
}));

register_stats!(Source::Thread(|cx, samples| {
    for (index, group) in cx.views::<GroupInfo>().iter().enumerate() {
        let seen = group.seen();
        add_group(cx, samples, (index, group.backend()), &seen.stats, &seen.bufs);
    }
}));

register_stats!(Source::Thread(|cx, samples| {
    for (index, group) in cx.views::<QueueGroupInfo>().iter().enumerate() {
        let seen = group.seen();
        add_group(cx, samples, (index, group.backend()), &seen.stats, &seen.bufs);
    }
}));

/// Adds a group's own figures, and those of its buffers.
fn add_group<S: Stats>(
    cx: &Cx<'_>,
    samples: &mut Samples,
    (index, backend): (usize, &str),
    stats: &S,
    bufs: &[pool::GroupStats; Class::COUNT],
) {
    let (core, thread) = (cx.core().0, cx.handle());
    let labels: [(_, &dyn Display); 4] = [("backend", &backend), ("core", &core), ("group", &index), ("thread", &thread.name())];
    samples.add(&labels, stats);
    let [backend, core, group, thread] = labels;
    for (class, bufs) in Class::ALL.iter().zip(bufs) {
        samples.add(&[backend, ("class", &class.name()), core, group, thread], bufs);
    }
}

register_stats!(Source::Process(|samples| {
    for (of, stats) in pool::mempools() {
        samples.add(&[("of", &of)], &stats);
    }
}));

register_stats!(Source::Core(|reactor, samples| samples.add(&[("core", &reactor.core().0)], &reactor.stats())));

#[cfg(feature = "observe")]
mod wakes {
    use super::*;

    statistics::stats! {
        /// How long a reactor took.
        struct ReactorHistograms {
            /// From where a sleeping core's doorbell was rung, or its deadline came, to where it
            /// ran.
            wakes: core_reactor::Histogram => histogram_ns("lcore_reactor_wake_seconds"),
        }
    }

    register_stats!(Source::Core(|reactor, samples| {
        samples.add(&[("core", &reactor.core().0)], &ReactorHistograms { wakes: reactor.wakes().clone() });
    }));
}

/// Of the application's own pool, which no static knows.
fn add_pool(app: &AppHandle, samples: &mut Samples) {
    let Some(pool) = app.made_pool() else { return };
    for class in Class::ALL {
        samples.add(&[("class", &class.name())], &pool.stats(class));
    }
}

/// Adds all that is registered to `samples`, and calls `done` with that: of each core between two
/// turns, of each thread in a message of its own. Cores come first: there reactors share out their
/// idle time, of which threads tell. Before them poll groups are asked, which tell in their next
/// polls: a reactor has turned all of its threads when it is visited.
pub(crate) fn gather(cx: &mut Cx<'_>, app: AppHandle, samples: Samples, done: impl FnOnce(&mut Cx<'_>, Samples) + Send + 'static) {
    let of_bufs = samples.wants_any::<pool::GroupStats>();
    let (groups, queue_groups) = (of_bufs || samples.wants_any::<GroupStats>(), of_bufs || samples.wants_any::<QueueGroupStats>());
    let ask = move |cx: &mut Cx<'_>| {
        cx.views::<GroupInfo>().iter().filter(|_| groups).for_each(|group| group.ask(0));
        cx.views::<QueueGroupInfo>().iter().filter(|_| queue_groups).for_each(|group| group.ask(0));
    };
    let all = Arc::new(Mutex::new(samples));
    let (of_cores, of_threads) = (all.clone(), all.clone());
    let on_core = move |reactor: &Reactor| {
        let samples = &mut *of_cores.lock().unwrap_or_else(PoisonError::into_inner);
        for source in LCORE_STATS {
            if let Source::Core(add) = source {
                add(reactor, samples);
            }
        }
    };
    let on_thread = move |cx: &mut Cx<'_>| {
        let samples = &mut *of_threads.lock().unwrap_or_else(PoisonError::into_inner);
        for source in LCORE_STATS {
            if let Source::Thread(add) = source {
                add(cx, samples);
            }
        }
    };
    let finish = move |cx: &mut Cx<'_>| {
        let mut samples = std::mem::replace(&mut *all.lock().unwrap_or_else(PoisonError::into_inner), Samples::of_all());
        for source in LCORE_STATS {
            if let Source::Process(add) = source {
                add(&mut samples);
            }
        }
        add_pool(&app, &mut samples);
        done(cx, samples);
    };
    let visit = move |cx: &mut Cx<'_>| cx.for_each_core(on_core, move |cx| cx.for_each_thread(on_thread, finish));
    cx.for_each_thread(ask, visit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::App;
    use core_reactor::sim::Sim;
    use core_reactor::{CoreId, CpuSet, Polled, Schedule, ThreadConfig};
    use statistics::{Family, families, stats};
    use std::sync::atomic::{AtomicU64, Ordering};

    stats! {
        /// An application's own.
        struct Own {
            /// Questions answered.
            answers: AtomicU64 => counter("example_answers_total"),
        }
    }

    static OWN: Own = Own { answers: AtomicU64::new(0) };

    register_stats!(Source::Process(|samples| samples.add(&[("part", &"a \"quoted\" one")], &OWN)));

    fn gathered(sim: &mut Sim, app: &AppHandle, wanted: &[&str]) -> Vec<Family> {
        let told = Arc::new(Mutex::new(None));
        let (there, of_app, samples) = (told.clone(), app.clone(), Samples::of(wanted.iter().map(|name| (*name).into()).collect()));
        let show = move |_: &mut Cx<'_>, samples| *there.lock().unwrap() = Some(families(samples));
        let ask: Box<dyn FnOnce(&mut Cx<'_>) + Send> = Box::new(move |cx| gather(cx, of_app, samples, show));
        assert!(app.lib().threads()[0].send(ask).is_ok());
        sim.settle();
        told.lock().unwrap().take().expect("it was gathered")
    }

    /// The values under labels that have all of these.
    fn values(families: &[Family], name: &str, labels: &[(&str, &str)]) -> Vec<String> {
        let family = families.iter().find(|family| family.figure.name == name).unwrap_or_else(|| panic!("no {name}"));
        let has =
            |it: &&statistics::Shown| labels.iter().all(|(name, value)| it.labels.iter().any(|have| (have.0, &*have.1) == (*name, *value)));
        family.samples.iter().filter(has).map(|it| it.text(&family.figure)).collect()
    }

    #[test]
    fn s187_what_is_registered_is_gathered_of_each_core_and_thread_and_of_the_process() {
        let mut sim = Sim::new(2);
        let app = App::new("test").start_on(sim.lib(), |_, _| Ok(())).unwrap();
        for core in 0..2 {
            let start = |cx: &mut Cx<'_>| {
                for _ in 0..2 {
                    let mut runs = 0;
                    cx.poller("same", Schedule::Always, move |_: &mut Cx<'_>| {
                        runs += 1;
                        if runs < 4 { Polled::Busy } else { Polled::Idle }
                    });
                }
            };
            sim.lib().spawn(ThreadConfig::new("twin").cpus(CpuSet::of(CoreId(core))), start).unwrap();
        }
        sim.settle();
        OWN.answers.store(42, Ordering::Relaxed);
        let all = gathered(&mut sim, &app, &[]);
        assert_eq!(values(&all, "example_answers_total", &[("part", "a \"quoted\" one")]), ["42"]);
        assert_eq!(values(&all, "lcore_reactor_threads", &[]), ["2", "1"]);
        assert_eq!(
            values(&all, "lcore_poller_busy_runs_total", &[("core", "1"), ("thread", "twin"), ("poller", "same")]),
            ["6"],
            "two of one name"
        );
        assert_eq!(values(&all, "lcore_thread_turns_total", &[("thread", "twin")]).len(), 2);
        assert_eq!(values(&all, "lcore_thread_turns_total", &[("thread", "app_thread"), ("core", "0")]).len(), 1);
        // The same figure twice, or one without help, would be refused by whoever scrapes.
        assert!(all.is_sorted_by(|a, b| a.figure.name < b.figure.name) && all.iter().all(|family| family.figure.help().ends_with('.')));
        let some = gathered(&mut sim, &app, &["lcore_reactor_t", "example_"]);
        let names: Vec<_> = some.iter().map(|family| family.figure.name).collect();
        assert_eq!(names, ["example_answers_total", "lcore_reactor_threads", "lcore_reactor_turns_total"]);
        app.stop(0);
        sim.settle();
        assert_eq!(app.finish(&[]).unwrap(), 0);
    }

    /// A group that is asked and tells, as those of sockets and of transports do.
    #[test]
    fn s232_groups_their_buffers_and_mempools_are_gathered() {
        struct Mine;
        let mut sim = Sim::new(1);
        let app = App::new("test").start_on(sim.lib(), |_, _| Ok(())).unwrap();
        let start = |cx: &mut Cx<'_>| {
            let view = Arc::new(core_reactor::transport::QueueGroupView::new("lines"));
            cx.list_view(&view);
            cx.poller("lines", Schedule::Always, move |_: &mut Cx<'_>| {
                if view.asked().is_none() {
                    return Polled::Idle;
                }
                let mut bufs = [pool::GroupStats::default(); Class::COUNT];
                bufs[1].in_use = 5;
                view.show(QueueGroupInfo { stats: QueueGroupStats { sends: 7, ..QueueGroupStats::default() }, bufs });
                Polled::Busy
            });
        };
        sim.lib().spawn(ThreadConfig::new("lines"), start).unwrap();
        sim.settle();
        let config = pool::MempoolConfig { objects: 4, caches: 1, cache_size: 2 };
        let _mempools = [pool::Mempool::new(config, |_| Mine).unwrap(), pool::Mempool::new(config, |_| Mine).unwrap()];
        let all = gathered(&mut sim, &app, &[]);
        let group = [("backend", "lines"), ("core", "0"), ("group", "0"), ("thread", "lines")];
        assert_eq!(values(&all, "lcore_queue_group_sends_total", &group), ["7"]);
        let large = [&group[..], &[("class", "large")]].concat();
        assert_eq!(values(&all, "lcore_poll_group_buffers_in_use", &large), ["5"]);
        assert_eq!(values(&all, "lcore_mempool_objects", &[("of", std::any::type_name::<Mine>())]), ["8"], "two of one kind");
        // Who asks for buffers alone gets them too.
        let some = gathered(&mut sim, &app, &["lcore_poll_group_buffers_in_use"]);
        assert_eq!((values(&some, "lcore_poll_group_buffers_in_use", &large), some.len()), (vec!["5".to_owned()], 1));
        app.stop(0);
        sim.settle();
        assert_eq!(app.finish(&[]).unwrap(), 0);
    }

    #[test]
    fn s188_a_thread_of_thousands_of_pollers_tells_of_some() {
        let mut sim = Sim::new(1);
        let app = App::new("test").start_on(sim.lib(), |_, _| Ok(())).unwrap();
        let start = |cx: &mut Cx<'_>| {
            for n in 0..POLLERS + 50 {
                let _ = cx.poller(&format!("p{n}"), Schedule::Every(std::time::Duration::from_secs(1)), |_: &mut Cx<'_>| Polled::Idle);
            }
        };
        sim.lib().spawn(ThreadConfig::new("many"), start).unwrap();
        sim.settle();
        let all = gathered(&mut sim, &app, &["lcore_poller_runs"]);
        assert_eq!(values(&all, "lcore_poller_runs_total", &[("thread", "many")]).len(), POLLERS);
        app.stop(0);
        sim.settle();
        assert_eq!(app.finish(&[]).unwrap(), 0);
    }
}
