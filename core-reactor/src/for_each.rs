//! Visits: something done on every thread, or on every reactor, one after the other
//! (`spdk_for_each_thread`, `spdk_for_each_reactor`).

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::handle::Shared;
use crate::reactor::Event;
use crate::ring::PushError;
use crate::set::Set;
use crate::{Cx, Msg, Polled, Reactor, Schedule, ThreadHandle, ThreadId};

/// What to do on a thread, which has this number on the route.
type OnThread = Box<dyn FnMut(&mut Cx<'_>, u64) + Send>;
type OnCore = Box<dyn FnMut(&Reactor) + Send>;
type Done = Box<dyn FnOnce(&mut Cx<'_>) + Send>;

impl Cx<'_> {
    /// Runs `visit` on every thread of the set, this one included, in order of creation and one at
    /// a time, and `done` here when the last has run it. Threads that end before their turn are
    /// passed over; threads made meanwhile are not visited.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let mut seen = 0;
    /// let visit = move |_: &mut Cx<'_>| seen += 1;
    /// cx.for_each_thread(visit, |cx| cx.exit());
    /// # })?;
    /// # sim.settle();
    /// assert!(sim.lib().threads().is_empty());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn for_each_thread(
        &mut self,
        mut visit: impl FnMut(&mut Cx<'_>) + Send + 'static,
        done: impl FnOnce(&mut Cx<'_>) + Send + 'static,
    ) {
        let set = self.thread.set.clone();
        let end = set.end_id().0;
        visit_threads(self, set, end, Box::new(move |cx, _| visit(cx)), Box::new(done));
    }

    /// Runs `visit` on every reactor of the set between two of its turns, lowest core first, and
    /// `done` here when the last has run it.
    ///
    /// ```
    /// # use core_reactor::{Cx, Reactor, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(2);
    /// # sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
    /// let visit = |reactor: &Reactor| println!("core {}: {:?}", reactor.core(), reactor.stats());
    /// cx.for_each_core(visit, |cx| cx.lib().stop());
    /// # })?;
    /// # sim.settle();
    /// # assert!(sim.lib().is_stopping());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn for_each_core(&mut self, visit: impl FnMut(&Reactor) + Send + 'static, done: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
        let set = self.thread.set.clone();
        let next = if set.has_reactors() { 0 } else { set.doorbells.len() };
        let visit = CoreVisit { on_core: Box::new(visit), done: Box::new(done), origin: self.handle(), next, set };
        Box::new(visit).go_on_from(self);
    }
}

/// Threads that can be visited, by numbers above 0 in the order of the visit.
pub(crate) trait Route: Clone + Send + 'static {
    /// The first thread numbered after `last` and before `end`.
    fn next(&self, last: u64, end: u64) -> Option<(u64, Arc<Shared>)>;
}

impl Route for Arc<Set> {
    fn next(&self, last: u64, end: u64) -> Option<(u64, Arc<Shared>)> {
        let next = self.next_thread(ThreadId(last), ThreadId(end))?;
        Some((next.id.0, next))
    }
}

/// Runs `visit` on every thread of `route` that is numbered before `end`, and `done` here.
pub(crate) fn visit_threads(cx: &Cx<'_>, route: impl Route, end: u64, visit: OnThread, done: Done) {
    ThreadVisit { what: Some((visit, done)), origin: cx.handle(), route, last: 0, end }.go_on();
}

/// A visit of threads, on its way. It travels in a message; where that message is dropped unrun
/// (its thread has ended), it goes on from there.
struct ThreadVisit<R: Route> {
    /// What to do, and what at the end; taken when it is over.
    what: Option<(OnThread, Done)>,
    origin: ThreadHandle,
    route: R,
    /// The thread visited last, and the end of those to visit.
    last: u64,
    end: u64,
}

impl<R: Route> ThreadVisit<R> {
    fn run(mut self, cx: &mut Cx<'_>) {
        if let Some((visit, _)) = &mut self.what {
            visit(cx, self.last);
        }
        self.go_on();
    }

    /// Sends itself to the next thread, or what comes at the end to where it began.
    fn go_on(mut self) {
        if let Some(next) = self.next() {
            let visit = Box::new(self);
            // Where the thread has ended meanwhile the message is dropped here, and with it the
            // visit, which goes on.
            next.deliver(Msg::new(move |cx| visit.run(cx)));
        } else if let Some((_, done)) = self.what.take() {
            self.origin.0.deliver(Msg::new(done));
        }
    }

    /// The next thread that has not ended. Thousands that have may be there until their reactor's
    /// turn is over; were the visit dropped by each, and went on from there, it would need as much
    /// stack.
    fn next(&mut self) -> Option<Arc<Shared>> {
        loop {
            let (number, next) = self.route.next(self.last, self.end)?;
            self.last = number;
            if !next.has_ended() {
                return Some(next);
            }
        }
    }
}

impl<R: Route> Drop for ThreadVisit<R> {
    fn drop(&mut self) {
        if let Some(what) = self.what.take() {
            let (origin, route) = (self.origin.clone(), self.route.clone());
            ThreadVisit { what: Some(what), origin, route, last: self.last, end: self.end }.go_on();
        }
    }
}

/// A visit of all reactors, on its way. It travels in an event; where that is dropped unrun (its
/// reactor has ended), it goes on from its origin.
struct CoreVisitEvent(Option<Box<CoreVisit>>);

/// A visit of the reactor whose index is `next`, and of those after it.
struct CoreVisit {
    on_core: OnCore,
    done: Done,
    origin: ThreadHandle,
    next: usize,
    set: Arc<Set>,
}

impl CoreVisit {
    /// Sends it to the next reactor, or what comes at the end to where it began. From a poller, so
    /// that a full ring is tried again.
    fn go_on_from(self: Box<Self>, cx: &mut Cx<'_>) {
        let (set, next) = (self.set.clone(), self.next);
        if next == set.doorbells.len() {
            return self.end();
        }
        let mut event = Some(CoreVisitEvent(Some(self)).into_event());
        cx.poller("for_each_core", Schedule::Always, move |_: &mut Cx<'_>| {
            let sent = event.take().map(|event| set.push_event(next, event));
            match sent {
                Some(Err(refused)) if refused.why == PushError::Full => {
                    event = Some(refused.item);
                    Polled::Idle
                }
                _ => Polled::Done,
            }
        });
    }

    fn end(self) {
        self.origin.0.deliver(Msg::new(self.done));
    }
}

impl CoreVisitEvent {
    fn into_event(mut self) -> Event {
        Event::Call(Box::new(move |reactor| {
            if let Some(visit) = &mut self.0 {
                // What threads tell after the visit agrees with what their reactor tells in it.
                reactor.share_idle();
                (visit.on_core)(reactor);
            }
            let Some(mut visit) = self.0.take() else { return };
            visit.next += 1;
            if visit.next < visit.set.doorbells.len() {
                reactor.send_event(visit.next, CoreVisitEvent(Some(visit)).into_event());
            } else {
                visit.end();
            }
        }))
    }
}

impl Drop for CoreVisitEvent {
    fn drop(&mut self) {
        let Some(mut visit) = self.0.take() else { return };
        visit.next += 1;
        let to = visit.origin.clone();
        to.0.deliver(Msg::new(move |cx| visit.go_on_from(cx)));
    }
}
