//! What is seen of reactors: how long things take, and what takes too long.
//!
//! On a machine whose clock moves when a poller, a message or a sleep moves it.

use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{
    CoreId, CpuSet, Cx, GoingOn, Histogram, Idle, Instant, Platform, PlatformError, Polled, Reactor, ReactorOptions, Reactors, Schedule,
    Stall, TRACE_GROUPS, ThreadConfig, ThreadHistograms, ThreadLib, TraceEvent, WaitSource,
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// What was logged, by all tests.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.lock().unwrap_or_else(PoisonError::into_inner).push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Logger).expect("no other logger is in this program");
        log::set_max_level(log::LevelFilter::Warn);
    });
}

/// The lines about a thread.
fn logged_about(thread: &str) -> Vec<String> {
    let all = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().filter(|line| line.contains(&format!("thread {thread}:"))).cloned().collect()
}

/// A poller that takes so long in each run.
fn takes(platform: &Arc<SimPlatform>, time: Duration, answer: Polled) -> impl FnMut(&mut Cx<'_>) -> Polled + Send + 'static {
    let platform = platform.clone();
    move |_| {
        platform.advance(time);
        answer
    }
}

fn turns(sim: &mut Sim, count: usize) {
    for _ in 0..count {
        let _ = sim.turn();
    }
}

/// Has a thread tell its histograms.
fn histograms(sim: &mut Sim, thread: usize) -> ThreadHistograms {
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    let sent = sim.lib().threads()[thread].send(move |cx: &mut Cx<'_>| *tell.lock().unwrap() = Some(cx.histograms()));
    sent.map_err(drop).expect("there is room");
    let _ = sim.turn();
    told.lock().unwrap().take().expect("it had a turn")
}

/// How many durations of which lengths were recorded, in the ends of their buckets.
fn recorded(histogram: &Histogram) -> Vec<(u64, u64)> {
    let filled = histogram.buckets().filter(|bucket| bucket.count > 0);
    filled.map(|bucket| (bucket.up_to_ns.min(histogram.max_ns()), bucket.count)).collect()
}

#[test]
fn s181_busy_runs_are_recorded_and_idle_ones_are_not() {
    let mut sim = Sim::new(1);
    let platform = sim.platform.clone();
    let start = move |cx: &mut Cx<'_>| {
        cx.poller("busy", Schedule::Always, takes(&platform, us(3), Polled::Busy));
        cx.poller("idle", Schedule::Always, takes(&platform, Duration::ZERO, Polled::Idle));
    };
    sim.lib().spawn(ThreadConfig::new("t"), start).unwrap();
    // One turn begins it, and the pollers run from the next one on.
    turns(&mut sim, 11);
    let told = histograms(&mut sim, 0);
    assert_eq!(recorded(&told.pollers), [(3_000, 10)]);
}

#[test]
fn s181_messages_of_a_turn_count_with_their_mean() {
    let mut sim = Sim::new(1);
    let thread = sim.lib().spawn(ThreadConfig::new("t"), |_| {}).unwrap();
    sim.settle();
    for micros in [1, 2, 6] {
        let platform = sim.platform.clone();
        thread.send(move |_: &mut Cx<'_>| platform.advance(us(micros))).map_err(drop).unwrap();
    }
    let _ = sim.turn();
    let told = histograms(&mut sim, 0);
    // The first one has begun the thread, and took no time.
    assert_eq!(recorded(&told.messages), [(64, 1), (3_000, 3)]);
    assert_eq!(told.messages.sum_ns(), 9_000);
}

/// What came since the last look may have come directly behind it, and of more than a turn takes
/// those that were there come before the others.
#[test]
fn s233_a_message_has_waited_no_longer_than_since_the_look_before_it_came() {
    let mut sim = Sim::new(1);
    sim.lib().spawn(ThreadConfig::new("t"), |_| {}).unwrap();
    sim.settle();
    // Milliseconds that pass, and messages that come then. A turn takes eight.
    for (pass, come) in [(5, 20), (1, 0), (1, 3), (1, 1), (2, 1), (9, 0)] {
        sim.platform.advance(ms(pass));
        for _ in 0..come {
            sim.lib().threads()[0].send(|_: &mut Cx<'_>| {}).map_err(drop).unwrap();
        }
        let _ = sim.turn();
    }
    let waits = histograms(&mut sim, 0).message_waits;
    let longest = |ms: u64| (ms * 1_000_000).div_ceil(1 << 20) << 20;
    // Of those of the third turn, three came behind the first look, and are told as those before.
    let told = [(0, 1), (2, 1), (3, 1), (5, 8), (6, 8), (7, 7)];
    assert_eq!(waits.sum_ns(), told.iter().map(|(ms, count)| ms * 1_000_000 * count).sum::<u64>());
    assert_eq!(recorded(&waits)[1..], told[1..].iter().map(|(ms, count)| (longest(*ms).min(7_000_000), *count)).collect::<Vec<_>>());
}

#[test]
fn s181_a_timer_is_as_late_as_its_run_begins_behind_its_deadline() {
    let mut sim = Sim::new(1);
    let platform = sim.platform.clone();
    let start = move |cx: &mut Cx<'_>| {
        cx.poller("first", Schedule::Every(ms(1)), takes(&platform, us(50), Polled::Busy));
        cx.poller("second", Schedule::Every(ms(1)), takes(&platform, us(50), Polled::Busy));
    };
    sim.lib().spawn(ThreadConfig::new("t"), start).unwrap();
    sim.settle();
    sim.advance(us(1_020));
    let told = histograms(&mut sim, 0);
    assert_eq!(recorded(&told.timers_late), [(20_480, 1), (70_000, 1)], "the second waited for the first, too");
}

/// A machine that sleeps: until the deadline and for `late` longer, or if there is none until a
/// bell that is rung after a second.
struct Sleepy {
    sim: Arc<SimPlatform>,
    late: Duration,
    lib: Mutex<Option<ThreadLib>>,
    /// What went on while it slept.
    going_on: Mutex<Vec<GoingOn>>,
}

impl Platform for Sleepy {
    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn cores(&self) -> CpuSet {
        self.sim.cores()
    }

    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.sim.start(core, entry)
    }

    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        self.sim.join(core)
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.sim.adopt(core)
    }

    fn release(&self, core: CoreId) {
        self.sim.release(core);
    }

    fn park(&self, _: CoreId, until: Option<Instant>) {
        match until {
            Some(until) => self.sim.advance(until.since(self.sim.now())),
            None => {
                self.sim.advance(Duration::from_secs(1));
                if let Some(lib) = self.lib.lock().unwrap().take() {
                    self.going_on.lock().unwrap().extend(lib.going_on());
                    lib.threads()[0].send(|_: &mut Cx<'_>| {}).map_err(drop).expect("there is room");
                    lib.stop();
                }
            }
        }
        self.sim.advance(self.late);
    }

    fn unpark(&self, core: CoreId) {
        self.sim.unpark(core);
    }

    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.sim.watch(core, source)
    }

    fn unwatch(&self, core: CoreId, source: WaitSource) {
        self.sim.unwatch(core, source);
    }
}

/// A reactor on such a machine, to be run. It stops when it sleeps without a deadline.
fn sleepy(late: Duration, start: impl FnOnce(&mut Cx<'_>, Arc<SimPlatform>) + Send + 'static) -> (Arc<Sleepy>, ThreadLib, Reactor) {
    let sim = SimPlatform::new(1);
    // Each look at the clock takes some time, or an idle reactor would never get tired.
    sim.tick(Duration::from_nanos(100));
    let platform = Arc::new(Sleepy { sim: sim.clone(), late, lib: Mutex::new(None), going_on: Mutex::default() });
    let mut options = ReactorOptions::new(CpuSet::of(CoreId(0)));
    options.idle = Idle::ParkAfter(us(1));
    let set = Reactors::new(platform.clone(), &options).unwrap();
    *platform.lib.lock().unwrap() = Some(set.lib().clone());
    set.lib().spawn(ThreadConfig::new("t"), move |cx| start(cx, sim)).unwrap();
    let reactor = set.reactor(CoreId(0)).unwrap();
    (platform, set.lib().clone(), reactor)
}

#[test]
fn s181_a_wake_is_as_late_as_the_deadline_or_the_doorbell_is_past() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = told.clone();
    let (_, _, reactor) = sleepy(us(5), move |cx, _| {
        cx.after(ms(30), |_| {});
        let note = note.clone();
        cx.on_exit(move |cx| {
            // Sent while the core slept for a second, of which nothing counts before the doorbell.
            let longest = cx.histograms().message_waits.max_ns();
            assert!((5_000..10_000).contains(&longest), "{longest}");
            cx.for_each_core(move |reactor| note.lock().unwrap().push(recorded(reactor.wakes())), |_| {});
        });
    });
    reactor.run();
    // 5 µs late after the deadline, and after the doorbell of the stop; the clock moves on when
    // it is read.
    let told = told.lock().unwrap();
    let [wakes] = &told[..] else { panic!("{told:?}") };
    assert_eq!(wakes[..], [(5_100, 2)], "once for each sleep");
}

#[test]
fn s182_a_poller_over_the_limit_is_named_and_counted() {
    listen();
    let mut sim = Sim::new(1);
    let platform = sim.platform.clone();
    let start = move |cx: &mut Cx<'_>| {
        let mut runs = 0;
        let clock = platform.clone();
        cx.poller("slow", Schedule::Always, move |_: &mut Cx<'_>| {
            runs += 1;
            clock.advance(if runs == 2 { ms(25) } else { us(9_999) });
            Polled::Busy
        });
    };
    sim.lib().spawn(ThreadConfig::new("stalls once"), start).unwrap();
    turns(&mut sim, 4);
    let stalls = sim.lib().stalls();
    let [Stall { core: CoreId(0), thread, what, took, at, .. }] = &stalls[..] else { panic!("{stalls:?}") };
    assert_eq!((&**thread, &**what, *took, *at), ("stalls once", "slow", ms(25), Instant::ZERO + us(34_999)));
    let stats = sim.reactors[0].stats();
    let told = Arc::new(Mutex::new((0, 0)));
    let tell = told.clone();
    let sent = sim.lib().threads()[0].send(move |cx: &mut Cx<'_>| *tell.lock().unwrap() = (cx.info().stalls, cx.stats().pollers[0].stalls));
    sent.map_err(drop).unwrap();
    let _ = sim.turn();
    assert_eq!((stats.stalls, *told.lock().unwrap()), (1, (1, 1)));
    let lines = logged_about("stalls once");
    assert!(lines.len() == 1 && lines[0].contains("slow, or a poller before it that found nothing, took 25 ms"), "{lines:?}");
}

#[test]
fn s182_a_core_logs_one_stall_in_a_second_and_how_many_it_left_out() {
    listen();
    let mut sim = Sim::new(1);
    let platform = sim.platform.clone();
    let start = move |cx: &mut Cx<'_>| {
        cx.poller("slow", Schedule::Always, takes(&platform, ms(100), Polled::Busy));
    };
    sim.lib().spawn(ThreadConfig::new("stalls for ever"), start).unwrap();
    turns(&mut sim, 36);
    let lines = logged_about("stalls for ever");
    let left_out: Vec<_> = lines.iter().filter_map(|line| line.split_once(" (")?.1.split(' ').next()?.parse::<u64>().ok()).collect();
    assert_eq!(left_out, [0, 9, 9, 9], "{lines:?}");
    assert_eq!((sim.lib().stalls().len(), sim.reactors[0].stats().stalls), (Stall::KEPT, 35));
}

#[test]
fn s182_messages_that_take_too_long_are_told_and_without_a_limit_nothing_is() {
    listen();
    for (limit, expected) in [(ms(10), 1), (Duration::ZERO, 0)] {
        let mut sim = Sim::with(1, |options| options.threads.stall_limit = limit);
        let platform = sim.platform.clone();
        let thread = sim.lib().spawn(ThreadConfig::new("is sent much"), move |_| platform.advance(ms(50))).unwrap();
        sim.settle();
        assert_eq!(sim.lib().stalls().len(), 0, "a start may take its time");
        for _ in 0..4 {
            let platform = sim.platform.clone();
            thread.send(move |_: &mut Cx<'_>| platform.advance(ms(4))).map_err(drop).unwrap();
        }
        sim.settle();
        let stalls = sim.lib().stalls();
        assert_eq!((stalls.len(), sim.lib().stall_limit()), (expected, limit));
        assert!(stalls.iter().all(|stall| &*stall.what == "(messages)" && stall.took == ms(16)), "{stalls:?}");
    }
}

/// The first time it is known only that there was somebody, from then on who.
#[test]
fn s183_who_stalls_and_finds_nothing_is_named_when_it_does_so_again() {
    listen();
    let (_, lib, reactor) = sleepy(Duration::ZERO, |cx, sim| {
        let mut runs = 0;
        let clock = sim.clone();
        cx.poller("blocks", Schedule::WhenAwake, move |_: &mut Cx<'_>| {
            runs += 1;
            if runs <= 3 {
                clock.advance(ms(20));
            }
            Polled::Idle
        });
        cx.poller("works", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle);
    });
    reactor.run();
    let stalls = lib.stalls();
    let told: Vec<_> = stalls.iter().map(|stall| (&*stall.thread, &*stall.what, stall.is_exact)).collect();
    assert_eq!(told, [("", "(idle pollers)", false), ("t", "blocks", true), ("t", "blocks", true)], "{stalls:?}");
}

/// Where the clock is read after busy runs only, the busy one is blamed.
#[test]
fn s183_after_a_stall_a_busy_poller_is_not_blamed_for_an_idle_one() {
    listen();
    let mut sim = Sim::new(1);
    let platform = sim.platform.clone();
    let start = move |cx: &mut Cx<'_>| {
        cx.poller("blocks", Schedule::Always, takes(&platform, ms(20), Polled::Idle));
        cx.poller("works", Schedule::Always, takes(&platform, us(1), Polled::Busy));
    };
    sim.lib().spawn(ThreadConfig::new("t"), start).unwrap();
    turns(&mut sim, 3);
    let stalls = sim.lib().stalls();
    let told: Vec<_> = stalls.iter().map(|stall| (&*stall.what, stall.is_exact)).collect();
    assert_eq!(told, [("works", false), ("blocks", true)], "{stalls:?}");
    // After ten quiet seconds the clock is read less again.
    sim.platform.advance(Duration::from_secs(11));
    let _ = sim.turn();
    assert_eq!((&*sim.lib().stalls()[2].what, sim.lib().stalls()[2].is_exact), ("works", false));
}

#[test]
fn s184_what_has_not_ended_is_named_while_it_goes_on() {
    let mut sim = Sim::new(2);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (platform, lib, told) = (sim.platform.clone(), sim.lib().clone(), seen.clone());
    let start = move |cx: &mut Cx<'_>| {
        cx.poller("loops", Schedule::Always, move |_: &mut Cx<'_>| {
            told.lock().unwrap().push(lib.going_on());
            platform.advance(ms(10));
            told.lock().unwrap().push(lib.going_on());
            Polled::Done
        });
    };
    sim.lib().spawn(ThreadConfig::new("t").cpus(CpuSet::of(CoreId(0))), start).unwrap();
    for _ in 0..2 {
        let _ = sim.reactors[0].turn();
    }
    let seen = seen.lock().unwrap();
    assert!(seen[0].is_empty(), "{seen:?}");
    let [on] = &seen[1][..] else { panic!("{seen:?}") };
    assert_eq!((on.core, &*on.thread, &*on.what, on.since), (CoreId(0), "t", "loops", Instant::ZERO));
}

fn place(group: &str) -> usize {
    TRACE_GROUPS.iter().position(|known| known.name == group).expect("there is such a group")
}

/// What was traced on a core, without the times.
fn told(trace: &[TraceEvent]) -> Vec<(&str, &str, u64)> {
    trace.iter().map(|event| (event.point, event.name.as_str(), event.value)).collect()
}

#[test]
fn s185_a_core_traces_what_it_is_asked_to_and_nothing_else() {
    let mut sim = Sim::new(1);
    let platform = sim.platform.clone();
    platform.tick(Duration::from_nanos(1));
    let lib = sim.lib().clone();
    let (hit, part) = (lib.tracepoint("hit"), lib.tracepoint("part"));
    let clock = platform.clone();
    let start = move |cx: &mut Cx<'_>| {
        cx.poller("idle", Schedule::Always, takes(&clock, us(7), Polled::Idle));
        cx.poller("busy", Schedule::Always, move |cx: &mut Cx<'_>| {
            clock.advance(us(1));
            cx.trace(hit, 5);
            let clock = clock.clone();
            cx.traced(part, 6, move |_| clock.advance(us(2)));
            Polled::Busy
        });
    };
    let thread = lib.spawn(ThreadConfig::new("t"), start).unwrap();
    turns(&mut sim, 2);
    assert!(lib.trace().is_empty(), "nothing is switched on");
    for (group, points) in [("reactor", 0b11), ("thread", 0b11), ("app", 0b1)] {
        lib.set_traced(place(group), points);
        assert_eq!(lib.traced(place(group)), points);
    }
    (0..2).for_each(|_| thread.send(|_: &mut Cx<'_>| {}).map_err(drop).unwrap());
    turns(&mut sim, 1);
    let trace = lib.trace();
    let expected = [("turn", "", 0), ("messages", "", 2), ("poller", "busy", 0), ("app", "hit", 5), ("app", "part", 6)];
    assert_eq!(told(&trace[0].events), expected);
    let [turn, messages, poller, hit, part] = &trace[0].events[..] else { panic!() };
    let within =
        |inner: &TraceEvent, outer: &TraceEvent| inner.start >= outer.start && inner.start + inner.duration <= outer.start + outer.duration;
    assert!(within(messages, turn) && within(poller, turn) && within(hit, poller) && within(part, poller), "{trace:?}");
    assert!(poller.duration < us(4), "the idle one does not count in: {trace:?}");
    assert!(hit.duration.is_zero() && (us(2)..us(3)).contains(&part.duration));
    assert_eq!([&*turn.thread, &*messages.thread, &*part.thread], ["", "t", "t"]);
    // Off again, one group after the other.
    lib.set_traced(place("app"), 0);
    lib.set_traced(place("thread"), 0b10);
    lib.clear_trace();
    turns(&mut sim, 1);
    assert_eq!(told(&lib.trace()[0].events), [("turn", "", 0)]);
    lib.set_traced(place("reactor"), 0);
    turns(&mut sim, 1);
    assert_eq!(lib.trace()[0].events.len(), 1);
    lib.set_traced(place("app"), u8::MAX);
    assert_eq!(lib.traced(place("app")), 1, "there are no other points");
}

#[test]
fn s185_a_core_traces_its_sleep_and_how_late_it_woke() {
    let (_, lib, reactor) = sleepy(us(5), |cx, _| {
        cx.after(ms(30), |_| {});
    });
    lib.set_traced(place("reactor"), 0b10);
    reactor.run();
    let trace = lib.trace();
    assert_eq!(told(&trace[0].events), [("sleep", "", 5_100); 2]);
    let [first, second] = &trace[0].events[..] else { panic!() };
    assert!(first.start + first.duration <= second.start && second.duration > Duration::from_secs(1));
}

#[test]
fn s184_a_core_that_sleeps_holds_nobody_up() {
    let (platform, lib, reactor) = sleepy(Duration::ZERO, |_, _| {});
    reactor.run();
    assert_eq!(platform.going_on.lock().unwrap()[..], [], "it sleeps for a second");
    platform.sim.advance(ms(20));
    assert_eq!((lib.going_on(), lib.stalls()), (vec![], vec![]), "nor does one that has ended");
}
