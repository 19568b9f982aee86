//! Statements 110 to 113: a service on each core, and what its shards send each other, to the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use core_reactor::sim::Sim;
use core_reactor::{
    CoreId, CpuSet, Cx, Gone, Idle, Peers, Polled, ReactorOptions, Reactors, Schedule, Shard, ShardConfig, Sharded, SpawnError,
};

use crate::machine::Machine;
use crate::record::{NoteDrop, Record};

/// A service that does what its tests send it.
struct Desk {
    peers: Peers<Self>,
    calls: u64,
    polls: u64,
    /// What it does in each turn between its messages and its poll.
    between: Option<Box<dyn FnMut() -> bool>>,
}

#[derive(Default)]
struct Common {
    /// The shard that cannot be opened.
    broken: Option<usize>,
    /// What each shard still has to send; one is sent in each poll while `blocked` is 0.
    unsent: AtomicU64,
    blocked: AtomicU64,
    opened: Mutex<Vec<(usize, CoreId)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Broken(usize);

impl From<SpawnError> for Broken {
    fn from(why: SpawnError) -> Self {
        panic!("{why}")
    }
}

impl Shard for Desk {
    type Common = Common;
    type Report = u64;
    type Error = Broken;

    fn open(cx: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, Broken> {
        if peers.common().broken == Some(peers.index()) {
            return Err(Broken(peers.index()));
        }
        peers.common().opened.lock().unwrap().push((peers.index(), cx.core()));
        // Registered before the shard's own poller, so that it runs between the messages and that.
        cx.local_poller("between", Schedule::WhenAwake, |cx: &mut Cx<'_>| {
            let next = Sharded::<Self>::here(cx, |desk, _| desk.between.as_mut().is_some_and(|between| between()));
            next.map_or(Polled::Done, |busy| if busy { Polled::Busy } else { Polled::Idle })
        });
        Ok(Self { peers, calls: 0, polls: 0, between: None })
    }

    fn poll(&mut self, _: &mut Cx<'_>) -> Polled {
        self.polls += 1;
        let common = self.peers.common();
        if common.blocked.load(Ordering::Relaxed) == 0 {
            let _ = common.unsent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unsent| unsent.checked_sub(1));
        }
        Polled::Idle
    }

    fn unsent(&self) -> u64 {
        self.peers.common().unsent.load(Ordering::Relaxed)
    }

    fn report(&self) -> u64 {
        self.calls
    }
}

type Outcomes = Record<Result<usize, Broken>>;

fn start(sim: &Sim, cores: u16, common: Common) -> (Sharded<Desk>, Outcomes) {
    let outcomes = Record::new();
    let told = outcomes.clone();
    let cores: CpuSet = (0..cores).map(CoreId).collect();
    let ready = move |_: &mut Cx<'_>, outcome: Result<&Sharded<Desk>, Broken>| told.note(outcome.map(Sharded::shards));
    (Sharded::start(sim.lib(), ShardConfig::new("desk", &cores), common, ready).expect("there is a reactor"), outcomes)
}

/// A small mailbox, so that it is soon full.
fn small(cores: u16) -> Sim {
    Sim::with(cores, |options| options.threads.mailbox = 4)
}

#[test]
fn s110_a_service_opens_on_every_core_the_first_one_first_and_says_so_once() {
    let mut sim = Sim::new(3);
    let (service, outcomes) = start(&sim, 3, Common::default());
    assert_eq!(outcomes.take(), [], "nothing has run yet");
    sim.settle();
    assert_eq!(outcomes.take(), [Ok(3)]);
    let opened = service.common().opened.lock().unwrap().clone();
    assert_eq!(opened, [(0, CoreId(0)), (1, CoreId(1)), (2, CoreId(2))]);
    assert!(service.cores().eq([CoreId(0), CoreId(1), CoreId(2)]));
    let names: Vec<_> = sim.lib().threads().iter().map(|thread| thread.name().to_owned()).collect();
    assert_eq!(names, ["desk_0", "desk_1", "desk_2"]);
}

#[test]
fn s110_a_shard_that_cannot_be_opened_is_told_of_and_the_others_go_on() {
    let mut sim = Sim::new(3);
    let (service, outcomes) = start(&sim, 3, Common { broken: Some(1), ..Common::default() });
    sim.settle();
    assert_eq!(outcomes.take(), [Err(Broken(1))]);
    assert_eq!([0, 1, 2].map(|shard| service.is_gone(shard)), [false, true, false]);
    service.add_load(0);
    service.take_load(1);
    assert_eq!((service.load(0), service.load(1), service.least_loaded()), (1, usize::MAX, 2));
}

#[test]
fn s110_without_the_first_shard_the_others_are_not_tried() {
    let mut sim = Sim::new(2);
    let (service, outcomes) = start(&sim, 2, Common { broken: Some(0), ..Common::default() });
    let dropped = Record::new();
    let note = NoteDrop(dropped.clone(), 7);
    service.send(1, move |_, _| drop(note));
    sim.settle();
    assert_eq!(outcomes.take(), [Err(Broken(0))]);
    assert_eq!(dropped.take(), [7], "nothing waits for a shard that never comes");
    assert!(service.is_gone(1) && sim.lib().threads().is_empty());
}

#[test]
fn s111_what_is_sent_before_a_shard_is_open_waits_for_it() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let (service, _) = start(&sim, 2, Common::default());
    for n in 0..3 {
        let seen = seen.clone();
        service.send(1, move |desk, cx| seen.note((n, desk.peers.index(), cx.core())));
    }
    sim.settle();
    assert_eq!(seen.take(), [0, 1, 2].map(|n| (n, 1, CoreId(1))));
}

#[test]
fn s111_what_finds_no_room_is_run_in_order_and_nothing_is_lost() {
    let (mut sim, seen) = (small(2), Record::new());
    let (service, _) = start(&sim, 2, Common::default());
    sim.settle();
    // Two senders in turn, now and then a turn in between: the mailbox is full, half empty, full
    // again.
    for n in 0..1000_u32 {
        let seen = seen.clone();
        service.send(1, move |_, _| seen.note(n));
        if n % 7 == 3 {
            let _ = sim.reactors[1].turn();
        }
    }
    sim.settle();
    assert!(seen.take().into_iter().eq(0..1000));
}

#[test]
fn s111_what_finds_room_does_not_overtake_what_found_none_before() {
    let (mut sim, seen) = (small(1), Record::new());
    let (service, _) = start(&sim, 1, Common::default());
    sim.settle();
    // It sends itself more than fits, and one more whenever its messages have left room.
    let note = seen.clone();
    service.send(0, move |desk, _| {
        let service = Sharded::clone(&desk.peers);
        let mut number = 0;
        let mut send = move || {
            let (n, note) = (number, note.clone());
            service.send(0, move |_, _| note.note(n));
            number += 1;
            number < 30
        };
        (0..10).for_each(|_| _ = send());
        desk.between = Some(Box::new(send));
    });
    for _ in 0..40 {
        let _ = sim.turn();
    }
    let seen = seen.take();
    assert!(seen.len() >= 30 && seen.iter().copied().eq(0..seen.len()), "{seen:?}");
}

#[test]
fn s111_a_core_that_went_to_sleep_before_the_message_was_queued_is_woken() {
    let mut sim = small(2);
    let (service, _) = start(&sim, 2, Common::default());
    sim.settle();
    for _ in 0..5 {
        service.send(1, |desk, _| desk.calls += 1);
    }
    // The fifth has no room in a mailbox of four: after the turn that ran them nobody would come
    // back for it.
    let turn = sim.reactors[1].turn();
    assert!(!turn.is_idle());
    sim.settle();
    assert_eq!(calls(&mut sim, &service, 1), 5);
}

/// How often `calls` was counted up on a shard.
fn calls(sim: &mut Sim, service: &Sharded<Desk>, shard: usize) -> u64 {
    let calls = Record::new();
    let note = calls.clone();
    service.send(shard, move |desk, _| note.note(desk.calls));
    sim.settle();
    calls.take()[0]
}

#[test]
fn s111_what_is_sent_to_a_shard_that_is_gone_is_dropped() {
    let (mut sim, dropped) = (small(2), Record::new());
    let (service, _) = start(&sim, 2, Common::default());
    sim.settle();
    sim.lib().stop();
    sim.settle();
    let note = NoteDrop(dropped.clone(), 1);
    service.send(1, move |_, _| drop(note));
    assert_eq!(dropped.take(), [1]);
}

#[test]
fn s112_a_question_comes_back_with_its_answer() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let (service, _) = start(&sim, 2, Common::default());
    sim.settle();
    let note = seen.clone();
    service.send(0, move |desk, _| {
        desk.peers.ask(
            1,
            |other, cx| (other.peers.index(), cx.core()),
            move |desk, cx, answer| note.note((desk.peers.index(), cx.core(), answer)),
        );
    });
    sim.settle();
    assert_eq!(seen.take(), [(0, CoreId(0), Ok((1, CoreId(1))))]);
}

#[test]
fn s112_every_question_comes_back_also_through_full_mailboxes() {
    let (mut sim, seen) = (small(3), Record::new());
    let (service, _) = start(&sim, 3, Common::default());
    sim.settle();
    for from in 0..3 {
        for n in 0..500_u32 {
            let seen = seen.clone();
            service.send(from, move |desk, _| {
                let to = (desk.peers.index() + n as usize) % 3;
                let answered = move |_: &mut Desk, _: &mut Cx<'_>, answer| seen.note((from, n, answer));
                desk.peers.ask(to, move |_, _| n + 1, answered);
            });
        }
    }
    sim.settle();
    let mut all = seen.take();
    all.sort_by_key(|(from, n, _)| (*from, *n));
    assert!(all.into_iter().eq((0..3).flat_map(|from| (0..500).map(move |n| (from, n, Ok(n + 1))))));
}

#[test]
fn s112_a_question_to_a_shard_that_is_gone_comes_back_unanswered() {
    let (mut sim, seen) = (small(3), Record::new());
    let (service, _) = start(&sim, 3, Common { broken: Some(2), ..Common::default() });
    sim.settle();
    // To one that never was, and to one whose end comes while the questions lie in its mailbox and
    // behind it.
    let exiting = sim.lib().threads().into_iter().find(|thread| thread.name() == "desk_1").expect("it is open");
    for to in [2, 1, 1, 1, 1, 1, 1] {
        let note = seen.clone();
        service.send(0, move |desk, _| desk.peers.ask(to, |_, _| (), move |_, _, answer| note.note((to, answer))));
        let _ = sim.reactors[0].turn();
    }
    exiting.exit();
    sim.settle();
    let mut all = seen.take();
    all.sort_by_key(|(to, _)| *to);
    assert_eq!((all.len(), all[6]), (7, (2, Err(Gone))));
    assert!(service.is_gone(1));
    let note = seen.clone();
    service.send(0, move |desk, _| desk.peers.ask(1, |_, _| (), move |_, _, answer| note.note((1, answer))));
    sim.settle();
    assert_eq!(seen.take(), [(1, Err(Gone))]);
}

#[test]
fn s112_a_question_that_panics_comes_back_unanswered() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let (service, _) = start(&sim, 2, Common::default());
    sim.settle();
    let note = seen.clone();
    service
        .send(0, move |desk, _| desk.peers.ask(1, |_, _| panic!("on purpose"), move |_, _, answer: Result<u32, Gone>| note.note(answer)));
    assert!(catch_unwind(AssertUnwindSafe(|| sim.settle())).is_err());
    sim.settle();
    assert_eq!(seen.take(), [Err(Gone)]);
}

#[test]
fn s113_an_end_waits_for_what_is_to_go_out_and_the_report_is_final() {
    let mut sim = Sim::new(2);
    let (service, _) = start(&sim, 2, Common::default());
    sim.settle();
    service.common().unsent.store(50, Ordering::Relaxed);
    service.send(1, |desk, _| desk.calls = 9);
    service.send(0, |desk, _| desk.peers.publish(3));
    let _ = sim.turn();
    assert_eq!(service.reports(), [(CoreId(0), 3), (CoreId(1), 0)], "what was published last");
    sim.lib().stop();
    for _ in 0..10 {
        let _ = sim.turn();
    }
    assert!(!service.is_gone(0) && service.common().unsent.load(Ordering::Relaxed) > 0, "it still sends");
    sim.settle();
    assert_eq!(service.common().unsent.load(Ordering::Relaxed), 0);
    assert!(sim.lib().threads().is_empty());
    assert_eq!(service.reports(), [(CoreId(0), 0), (CoreId(1), 9)]);
}

#[test]
fn s113_an_end_waits_no_longer_than_the_limit() {
    for (limit, exit_limit, least) in [(300, 5000, 300), (9000, 2000, 2000)] {
        let mut sim = Sim::with(1, |options| {
            (options.threads.drain_limit, options.threads.exit_limit) = (Duration::from_millis(limit), Duration::from_millis(exit_limit));
        });
        assert_eq!(sim.lib().drain_limit(), Duration::from_millis(least), "no longer than the exit may take");
        let (service, _) = start(&sim, 1, Common::default());
        sim.settle();
        service.common().unsent.store(5, Ordering::Relaxed);
        service.common().blocked.store(1, Ordering::Relaxed);
        sim.lib().stop();
        let step = Duration::from_millis(100);
        let mut waited = 0;
        while !service.is_gone(0) {
            sim.platform.advance(step);
            let _ = sim.turn();
            waited += 100;
        }
        // The first turn that sees the stop begins the wait.
        assert_eq!(waited, least + 100, "{limit} ms");
    }
}

#[test]
fn s111_s112_nothing_is_lost_between_real_threads() {
    const EACH: u32 = 2_000;
    let mut options = ReactorOptions::new((0..3).map(CoreId).collect());
    (options.threads.mailbox, options.idle) = (4, Idle::ParkAfter(Duration::ZERO));
    let set = Reactors::new(Machine::new(3), &options).expect("the machine has them");
    let seen = Record::new();
    let note = seen.clone();
    // Each shard asks the next one, and the one that hears the last answer ends it all.
    let left = std::sync::Arc::new(AtomicU64::new(3 * u64::from(EACH)));
    let begin = move |_: &mut Cx<'_>, service: Result<&Sharded<Desk>, Broken>| {
        let service = service.expect("nothing is broken");
        for from in 0..3 {
            for n in 0..EACH {
                let (note, left) = (note.clone(), left.clone());
                service.send(from, move |desk, _| {
                    let answered = move |_: &mut Desk, cx: &mut Cx<'_>, answer: Result<u32, Gone>| {
                        note.note((from, answer));
                        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                            cx.lib().stop();
                        }
                    };
                    desk.peers.ask((from + 1) % 3, move |_, _| n, Box::new(answered));
                });
            }
        }
    };
    Sharded::start(set.lib(), ShardConfig::new("desk", &options.cores), Common::default(), begin).expect("there is a reactor");
    set.run().expect("they run");
    let answers = seen.take();
    for from in 0..3 {
        let in_order = answers.iter().filter(|(asked, _)| *asked == from).map(|(_, answer)| *answer);
        assert!(in_order.eq((0..EACH).map(Ok)), "shard {from}");
    }
}
