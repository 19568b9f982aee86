//! Statement 4 and 5 again: whatever is done to timed pollers, from outside and from within their
//! runs, they run as a plain list of them says, in the same order and with the same deadlines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use core_reactor::{Cx, Instant, Polled, PollerId, Schedule};
use proptest::prelude::*;

use crate::record::{Hand, Record};

/// Something done to pollers. They are named by number, in order of registration (modulo how many
/// there are).
#[derive(Clone, Debug)]
enum Change {
    Add(u64),
    Remove(usize),
    Pause(usize),
    Resume(usize),
    SetPeriod(usize, u64),
}

#[derive(Clone, Debug)]
enum Step {
    Do(Change),
    /// The next poller that runs does this.
    InRun(Change),
    /// So many nanoseconds pass, then there is a turn.
    Turn(u64),
}

/// A few periods, so that many pollers share one and deadlines coincide; now and then any other.
fn period() -> impl Strategy<Value = u64> {
    prop_oneof![4 => prop::sample::select(vec![1, 2, 3, 4, 6, 10, 12, 100]), 1 => 1u64..50, 1 => Just(u64::MAX)]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => period().prop_map(Change::Add),
        2 => any::<usize>().prop_map(Change::Remove),
        2 => any::<usize>().prop_map(Change::Pause),
        2 => any::<usize>().prop_map(Change::Resume),
        2 => (any::<usize>(), period()).prop_map(|(which, period)| Change::SetPeriod(which, period)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![4 => change().prop_map(Step::Do), 2 => change().prop_map(Step::InRun), 3 => (0u64..25).prop_map(Step::Turn)]
}

/// The plain list.
#[derive(Default)]
struct Model {
    pollers: Vec<Modelled>,
    entered: u64,
    in_run: Vec<Change>,
}

#[derive(Clone)]
struct Modelled {
    period: u64,
    /// Its deadline, and when it was entered: what comes first among equals.
    due: Option<(u64, u64)>,
    paused: bool,
    removed: bool,
}

impl Model {
    fn enter(&mut self, now: u64, period: u64) -> Option<(u64, u64)> {
        self.entered += 1;
        Some((now.saturating_add(period), self.entered))
    }

    fn apply(&mut self, change: &Change, now: u64) {
        if let Change::Add(period) = *change {
            let due = self.enter(now, period);
            self.pollers.push(Modelled { period, due, paused: false, removed: false });
            return;
        }
        let count = self.pollers.len();
        let (Change::Remove(which) | Change::Pause(which) | Change::Resume(which) | Change::SetPeriod(which, _)) = *change else { return };
        if count == 0 || self.pollers[which % count].removed {
            return;
        }
        let mut p = self.pollers[which % count].clone();
        match *change {
            Change::Add(_) => {}
            Change::Remove(_) => (p.removed, p.due) = (true, None),
            Change::Pause(_) => p.paused = true,
            Change::Resume(_) => {
                if p.paused && p.due.is_none_or(|(deadline, _)| deadline <= now) {
                    p.due = self.enter(now, p.period);
                }
                p.paused = false;
            }
            Change::SetPeriod(_, period) => {
                p.period = period;
                p.due = if p.paused { None } else { self.enter(now, period) };
            }
        }
        self.pollers[which % count] = p;
    }

    fn first(&self) -> Option<usize> {
        let due = self.pollers.iter().enumerate().filter(|(_, p)| p.due.is_some());
        due.min_by_key(|(_, p)| p.due).map(|(which, _)| which)
    }

    fn next_deadline(&self) -> Option<u64> {
        self.first().and_then(|which| self.pollers[which].due).map(|(deadline, _)| deadline)
    }

    /// Which pollers run, in order.
    fn turn(&mut self, now: u64) -> Vec<usize> {
        let mut ran = Vec::new();
        while let Some(which) = self.first() {
            let p = &mut self.pollers[which];
            let Some((deadline, entered)) = p.due.filter(|(deadline, _)| *deadline <= now) else { break };
            assert!(deadline < u64::MAX);
            if p.paused {
                p.due = None;
                continue;
            }
            p.due = Some((now.saturating_add(p.period), entered));
            ran.push(which);
            if let Some(change) = self.in_run.pop() {
                self.apply(&change, now);
            }
        }
        ran
    }
}

/// What the real pollers share.
#[derive(Clone)]
struct Real {
    ids: Arc<Mutex<Vec<PollerId>>>,
    in_run: Arc<Mutex<Vec<Change>>>,
    ran: Record<usize>,
}

impl Real {
    fn apply(&self, change: &Change, cx: &mut Cx<'_>) {
        let ids = self.ids.lock().expect("poisoned by no test").clone();
        let id = |which: usize| ids[which % ids.len()];
        if let Change::Add(period) = *change {
            let (own, number) = (self.clone(), ids.len());
            let id = cx.poller("p", Schedule::Every(Duration::from_nanos(period)), move |cx: &mut Cx<'_>| {
                own.ran.note(number);
                let change = own.in_run.lock().expect("poisoned by no test").pop();
                if let Some(change) = change {
                    own.apply(&change, cx);
                }
                Polled::Idle
            });
            self.ids.lock().expect("poisoned by no test").push(id);
        } else if !ids.is_empty() {
            // What is gone is refused, as the model does nothing.
            let _ = match *change {
                Change::Add(_) => Ok(()),
                Change::Remove(which) => cx.remove(id(which)),
                Change::Pause(which) => cx.pause(id(which)),
                Change::Resume(which) => cx.resume(id(which)),
                Change::SetPeriod(which, period) => cx.set_period(id(which), Duration::from_nanos(period)),
            };
        }
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut hand = Hand::new();
    let real = Real { ids: Arc::default(), in_run: Arc::default(), ran: Record::new() };
    let (mut model, mut now) = (Model::default(), 0);
    for step in steps {
        match step {
            Step::Do(change) => {
                model.apply(&change, now);
                hand.cx(|cx| real.apply(&change, cx));
            }
            Step::InRun(change) => {
                model.in_run.push(change.clone());
                real.in_run.lock().expect("poisoned by no test").push(change);
            }
            Step::Turn(passed) => {
                now += passed;
                hand.platform.advance(Duration::from_nanos(passed));
                let turn = hand.turn();
                let ran = real.ran.take();
                prop_assert_eq!(turn.timers as usize, ran.len());
                prop_assert_eq!(ran, model.turn(now));
            }
        }
        prop_assert_eq!(hand.thread.next_deadline(), model.next_deadline().map(Instant::from_nanos));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s04_timed_pollers_run_as_a_plain_list_of_them_says(steps in prop::collection::vec(step(), 0..250)) {
        run(steps)?;
    }
}
