//! How many visits of all threads go on at once. A visit is a message on each thread, one after the
//! other; thousands of them would be thousands of messages in one turn of a reactor, however few
//! calls the server begins in each of its polls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use core_reactor::Cx;
use rpc::Control;

/// More wait.
const AT_ONCE: usize = 2;
/// How many wait at most: twice what all clients that are connected may ask for at a time. Those
/// who go leave their calls behind.
const WAITING: usize = 4096;

/// Visits that go on, and those that wait.
#[derive(Default)]
pub(crate) struct Visits(Mutex<State>);

#[derive(Default)]
struct State {
    going_on: usize,
    waiting: VecDeque<Begin>,
}

type Begin = Box<dyn FnOnce(&mut Cx<'_>, Going) + Send>;

/// A visit that goes on, until it [ends](Self::end) or is dropped.
pub(super) struct Going(Arc<Visits>);

impl Visits {
    /// Calls `begin` at once, or when as many of those before have ended as have to.
    pub(super) fn enter(control: &Control, cx: &mut Cx<'_>, begin: impl FnOnce(&mut Cx<'_>, Going) + Send + 'static) {
        // Where the application has not given any, this one is alone.
        let visits = control.service::<Self>().unwrap_or_default();
        {
            let mut state = visits.state();
            if state.waiting.len() == WAITING {
                // Its reply, which goes unsent, says so by itself.
                return;
            }
            state.waiting.push_back(Box::new(begin));
        }
        visits.next(cx);
    }

    /// Begins as many as there is room for: those that were dropped began nobody.
    fn next(self: &Arc<Self>, cx: &mut Cx<'_>) {
        while let Some(begin) = self.take() {
            begin(cx, Going(self.clone()));
        }
    }

    fn take(&self) -> Option<Begin> {
        let mut state = self.state();
        if state.going_on == AT_ONCE {
            return None;
        }
        let begin = state.waiting.pop_front()?;
        state.going_on += 1;
        Some(begin)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Going {
    /// Its visit is over: the next that waits begins.
    pub(super) fn end(self, cx: &mut Cx<'_>) {
        let visits = self.0.clone();
        drop(self);
        visits.next(cx);
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.state().going_on -= 1;
    }
}

#[cfg(test)]
mod tests {
    use core_reactor::ThreadConfig;
    use core_reactor::sim::Sim;
    use rpc::LCORE_RPC_METHODS;

    use super::*;

    /// However many ask: a thread is visited twice in a turn at most, and all are answered.
    #[test]
    fn s238_few_visits_go_on_at_once() {
        const CALLS: usize = 500;
        let (mut sim, answers) = (Sim::new(1), Arc::new(Mutex::new(0)));
        let count = answers.clone();
        let start = move |cx: &mut Cx<'_>| {
            let control = Control::new(true).unwrap();
            control.provide(Arc::new(Visits::default()));
            for method in LCORE_RPC_METHODS.iter().filter(|it| ["thread_get_stats", "lcore_get_sockets"].contains(&it.name)) {
                for _ in 0..CALLS / 2 {
                    let count = count.clone();
                    control.call(cx, method, None, move |answer| {
                        *count.lock().unwrap() += usize::from(answer.is_ok());
                    });
                }
            }
        };
        sim.lib().spawn(ThreadConfig::new("asks"), start).unwrap();
        let thread = sim.lib().spawn(ThreadConfig::new("visited"), |_| {}).unwrap();
        let mut before = 0;
        for _ in 0..100 * CALLS {
            sim.turn();
            let told = Arc::new(Mutex::new(0));
            let tell = told.clone();
            let ask = move |cx: &mut Cx<'_>| *tell.lock().unwrap() = cx.own_stats().messages;
            assert!(thread.send(ask).is_ok());
            sim.turn();
            let now = *told.lock().unwrap();
            // Two turns, and the message that asks.
            assert!(now - before <= 2 * AT_ONCE as u64 + 1, "{} messages", now - before);
            before = now;
            if *answers.lock().unwrap() == CALLS {
                return;
            }
        }
        panic!("{} of {CALLS} were answered", answers.lock().unwrap());
    }

    /// A visit that is dropped, as its threads have ended, keeps nobody waiting.
    #[test]
    fn s238_a_visit_that_is_dropped_is_over() {
        let (mut sim, visits) = (Sim::new(1), Arc::new(Visits::default()));
        let (given, begun) = (visits.clone(), Arc::new(Mutex::new(0)));
        let count = begun.clone();
        let start = move |cx: &mut Cx<'_>| {
            let control = Control::new(true).unwrap();
            control.provide(given);
            for _ in 0..5 {
                let count = count.clone();
                Visits::enter(&control, cx, move |_, going| {
                    *count.lock().unwrap() += 1;
                    drop(going);
                });
            }
        };
        sim.lib().spawn(ThreadConfig::new("asks"), start).unwrap();
        sim.settle();
        assert_eq!((*begun.lock().unwrap(), visits.state().going_on), (5, 0));
    }
    /// Those who go leave their calls behind: so many wait, and no more.
    #[test]
    fn s350_so_many_visits_wait_and_no_more() {
        let (mut sim, visits) = (Sim::new(1), Arc::new(Visits::default()));
        let (given, kept) = (visits.clone(), Arc::new(Mutex::new(Vec::new())));
        let keep = kept.clone();
        let start = move |cx: &mut Cx<'_>| {
            let control = Control::new(true).unwrap();
            control.provide(given);
            for _ in 0..WAITING + 100 {
                let keep = keep.clone();
                Visits::enter(&control, cx, move |_, going| keep.lock().unwrap().push(going));
            }
        };
        sim.lib().spawn(ThreadConfig::new("asks"), start).unwrap();
        sim.settle();
        let going_on = std::mem::take(&mut *kept.lock().unwrap());
        assert_eq!((going_on.len(), visits.state().waiting.len()), (AT_ONCE, WAITING));
    }
}
