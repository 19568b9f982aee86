//! Statement 6: busy and idle time, runs and the longest run, counted for each poller, thread and
//! reactor.

use std::time::Duration;

use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{Cx, Idle, Platform, Polled, PollerStats, Schedule, ThreadConfig};

use crate::record::{Hand, ms};

/// A poller that takes `took` each time, and gives these answers one after the other.
fn taking(
    platform: std::sync::Arc<SimPlatform>,
    took: Duration,
    answers: Vec<Polled>,
) -> impl FnMut(&mut Cx<'_>) -> Polled + Send + 'static {
    let mut answers = answers.into_iter();
    move |_| {
        platform.advance(took);
        answers.next().unwrap_or(Polled::Idle)
    }
}

#[test]
fn s06_a_poller_is_charged_with_its_busy_runs() {
    let mut hand = Hand::new();
    let (platform, busy) = (hand.platform.clone(), vec![Polled::Busy, Polled::Busy, Polled::Idle, Polled::Busy]);
    let id = hand.cx(|cx| cx.poller("p", Schedule::Always, taking(platform, ms(2), busy)));
    let turns: Vec<_> = (0..4).map(|_| hand.turn()).map(|t| (t.pollers, t.busy_ns, t.is_idle())).collect();
    assert_eq!(turns, [(1, 2_000_000, false), (1, 2_000_000, false), (0, 0, true), (1, 2_000_000, false)]);
    let stats = hand.thread.stats();
    assert_eq!((stats.turns, stats.busy_ns, stats.longest_ns, stats.messages), (4, 6_000_000, 2_000_000, 0));
    let [PollerStats { name, runs, busy_runs, busy_ns, idle_ns, longest_ns, .. }] = &*stats.pollers else { panic!("one is registered") };
    assert_eq!((&**name, *runs, *busy_runs), ("p", 4, 3));
    assert_eq!((*busy_ns, *idle_ns, *longest_ns), (6_000_000, 0, 2_000_000));
    hand.cx(|cx| cx.remove(id)).expect("it is registered");
    assert_eq!(hand.thread.stats().pollers, []);
    assert_eq!(hand.thread.stats().busy_ns, 6_000_000);
}

#[test]
fn s06_the_longest_run_is_kept_and_each_poller_is_charged_with_its_own() {
    let mut hand = Hand::new();
    for took in [5, 1, 3] {
        let platform = hand.platform.clone();
        hand.cx(|cx| cx.poller("p", Schedule::Every(ms(took)), taking(platform, ms(took), vec![Polled::Busy])));
    }
    assert_eq!(hand.turn_at(100).busy_ns, 9_000_000);
    let longest: Vec<_> = hand.thread.stats().pollers.iter().map(|p| (p.busy_ns, p.longest_ns)).collect();
    assert_eq!(longest, [(5_000_000, 5_000_000), (1_000_000, 1_000_000), (3_000_000, 3_000_000)]);
    assert_eq!(hand.thread.stats().longest_ns, 9_000_000);
}

#[test]
fn s06_messages_are_counted_and_their_time_is_the_threads() {
    let mut hand = Hand::new();
    for _ in 0..10 {
        let platform = hand.platform.clone();
        hand.send(move |_| platform.advance(ms(1)));
    }
    hand.thread.handle().send_critical(|_| {}).expect("none is pending");
    assert_eq!((hand.turn().busy_ns, hand.turn().busy_ns), (8_000_000, 2_000_000));
    let stats = hand.thread.stats();
    assert_eq!((stats.messages, stats.busy_ns, stats.longest_ns), (11, 10_000_000, 8_000_000));
}

#[test]
fn s06_the_clock_is_read_after_work_only() {
    let mut hand = Hand::new();
    for _ in 0..5 {
        hand.cx(|cx| cx.poller("idle", Schedule::Always, |_: &mut Cx<'_>| Polled::Idle));
    }
    hand.platform.tick(ms(1));
    let now = hand.platform.now();
    assert!((0..10).all(|_| hand.thread.turn(now).is_idle()));
    assert_eq!(hand.platform.now().since(now), ms(1), "only the test has read the clock");
    hand.send(|_| {});
    hand.thread.turn(now);
    assert_eq!(hand.platform.now().since(now), ms(3), "once, after the messages");
}

#[test]
fn s06_idle_time_is_shared_among_threads_and_by_runs_among_pollers() {
    let mut sim = Sim::with(1, |options| options.idle = Idle::Poll);
    let threads = ["a", "b"].map(|name| sim.lib().spawn(ThreadConfig::new(name), |_| {}).expect("there is a reactor"));
    threads[0]
        .send(|cx| {
            cx.poller("every turn", Schedule::Always, |_: &mut Cx<'_>| Polled::Idle);
            cx.poller("every second one", Schedule::Every(ms(2)), |_: &mut Cx<'_>| Polled::Idle);
        })
        .expect("the mailbox has room");
    sim.settle();
    for _ in 0..1000 {
        sim.platform.advance(ms(1));
        sim.turn();
    }
    let reactor = sim.reactors[0].stats();
    assert_eq!((reactor.busy_ns, reactor.idle_ns), (0, 1_000_000_000));
    let stats = threads.map(|thread| {
        let stats = crate::record::Record::new();
        let note = stats.clone();
        thread.send(move |cx| note.note(cx.stats())).expect("the mailbox has room");
        sim.turn();
        stats.take().remove(0)
    });
    assert_eq!(stats[0].idle_ns, stats[1].idle_ns);
    let shared = stats[0].idle_ns + stats[1].idle_ns;
    assert!((700_000_000..=1_000_000_000).contains(&shared), "shared out every 256 turns: {shared}");
    let [often, seldom] = &stats[0].pollers[..] else { panic!("two pollers: {:?}", stats[0].pollers) };
    assert!(often.idle_ns > seldom.idle_ns && seldom.idle_ns > stats[0].idle_ns / 4, "{often:?} {seldom:?}");
    assert!(often.idle_ns + seldom.idle_ns <= stats[0].idle_ns);
}

#[test]
fn s06_busy_runs_have_no_share_in_idle_time() {
    let mut hand = Hand::new();
    let platform = hand.platform.clone();
    let both = taking(platform.clone(), Duration::ZERO, vec![Polled::Busy, Polled::Busy, Polled::Busy, Polled::Idle]);
    hand.cx(|cx| {
        cx.poller("mostly busy", Schedule::Always, both);
        cx.poller("idle", Schedule::Always, |_: &mut Cx<'_>| Polled::Idle);
    });
    hand.turns_at(0..4);
    hand.thread.charge_idle(1_000);
    let idle: Vec<_> = hand.thread.stats().pollers.iter().map(|p| (p.runs, p.busy_runs, p.idle_ns)).collect();
    assert_eq!(idle, [(4, 3, 200), (4, 0, 800)]);
}

#[test]
fn s06_events_are_busy_time_and_a_turn_without_any_does_not_read_the_clock_for_them() {
    let mut sim = Sim::with(1, |options| options.idle = Idle::Poll);
    sim.platform.tick(ms(1));
    assert_eq!((sim.turn().busy_ns, sim.reactors[0].stats().busy_ns), (0, 0), "one reading, for the time of the turn");
    sim.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is a reactor");
    let busy = sim.turn().busy_ns;
    assert_eq!(busy, 2_000_000, "one reading after the event, one after the message");
}

#[test]
fn s06_a_thread_is_not_charged_with_the_work_of_those_before_it() {
    let mut sim = Sim::with(1, |options| options.idle = Idle::Poll);
    let took = [3, 0, 4];
    let threads = took.map(|took| {
        let thread = sim.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is a reactor");
        (thread, took)
    });
    sim.settle();
    for (thread, took) in &threads {
        let (platform, took) = (sim.platform.clone(), ms(*took));
        thread.send(move |_| platform.advance(took)).expect("the mailbox has room");
    }
    assert_eq!(sim.turn().busy_ns, 7_000_000);
    for (thread, took) in threads {
        thread.send(move |cx| assert_eq!(cx.stats().busy_ns, took * 1_000_000)).expect("the mailbox has room");
    }
    assert_eq!(sim.turn().messages, 3);
    let stats = sim.reactors[0].stats();
    assert_eq!((stats.busy_ns, stats.longest_ns, stats.idle_ns), (7_000_000, 7_000_000, 0));
}

#[test]
fn s06_a_reactors_time_is_busy_idle_or_parked_and_nothing_is_counted_twice() {
    let mut sim = Sim::new(1);
    sim.platform.tick(Duration::from_micros(1));
    let start = sim.platform.now();
    let platform = sim.platform.clone();
    let lib = sim.lib().clone();
    lib.spawn(ThreadConfig::new("t"), move |cx| {
        let mut runs = 0;
        cx.poller("works", Schedule::Every(ms(1)), move |cx: &mut Cx<'_>| {
            platform.advance(ms(3));
            runs += 1;
            if runs == 20 {
                cx.lib().stop();
                return Polled::Done;
            }
            Polled::Busy
        });
    })
    .expect("there is a reactor");
    let platform = sim.platform.clone();
    let stats = sim.reactors.remove(0).run();
    let total = platform.now().nanos_since(start);
    let counted = stats.busy_ns + stats.idle_ns + stats.parked_ns;
    assert!(counted <= total && counted + 100_000 > total, "{counted} of {total}: {stats:?}");
    assert!((60_000_000..61_000_000).contains(&stats.busy_ns), "{stats:?}");
    assert!(stats.parks > 0 && stats.idle_ns > 0 && stats.messages == 1 && stats.threads == 0, "{stats:?}");
    assert!((stats.busy_share() - stats.busy_ns as f64 / counted as f64).abs() < 1e-9);
    assert!((stats.parked_share() - stats.parked_ns as f64 / counted as f64).abs() < 1e-9);
}
