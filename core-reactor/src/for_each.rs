//! Visits: something done on every thread, or on every reactor, one after the other
//! (`spdk_for_each_thread`, `spdk_for_each_reactor`).

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::handle::{Shared, ThreadId};
use crate::reactor::Event;
use crate::ring::PushError;
use crate::set::Set;
use crate::{Cx, Msg, Polled, Reactor, Schedule, ThreadHandle};

type OnThread = Box<dyn FnMut(&mut Cx<'_>) + Send>;
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
    pub fn for_each_thread(&mut self, visit: impl FnMut(&mut Cx<'_>) + Send + 'static, done: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
        let set = self.thread.set.clone();
        let end = set.end_id();
        let visits = ThreadVisit { what: Some((Box::new(visit), Box::new(done))), origin: self.handle(), last: ThreadId(0), end, set };
        if let Err(unsent) = visits.go_on() {
            unsent.retry_on(self);
        }
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

/// A visit of all threads, on its way. It travels in a message; where that message is dropped unrun
/// (its thread has ended), it goes on from there.
struct ThreadVisit {
    /// What to do, and what at the end; taken when it is over.
    what: Option<(OnThread, Done)>,
    origin: ThreadHandle,
    /// The thread visited last, and the end of those to visit.
    last: ThreadId,
    end: ThreadId,
    set: Arc<Set>,
}

/// A message for a mailbox that was full.
struct Unsent {
    to: ThreadHandle,
    msg: Msg,
}

impl ThreadVisit {
    fn run(mut self, cx: &mut Cx<'_>) {
        if let Some((visit, _)) = &mut self.what {
            visit(cx);
        }
        if let Err(unsent) = self.go_on() {
            unsent.retry_on(cx);
        }
    }

    /// Sends itself to the next thread, or what comes at the end to where it began.
    fn go_on(mut self) -> Result<(), Unsent> {
        let (to, msg) = match self.next() {
            Some(next) => {
                self.last = next.id;
                let visits = Box::new(self);
                (ThreadHandle(next), Msg::new(move |cx| visits.run(cx)))
            }
            None => match self.what.take() {
                Some((_, done)) => (self.origin.clone(), Msg::new(done)),
                None => return Ok(()),
            },
        };
        // Where the thread has ended meanwhile the message is dropped here, and with it the visit,
        // which goes on.
        Unsent { to, msg }.send()
    }

    /// The next thread that has not ended. Thousands that have may be there until their reactor's
    /// turn is over; were the visit dropped by each, and went on from there, it would need as much
    /// stack.
    fn next(&mut self) -> Option<Arc<Shared>> {
        loop {
            let next = self.set.next_thread(self.last, self.end)?;
            if !next.has_ended() {
                return Some(next);
            }
            self.last = next.id;
        }
    }
}

impl Drop for ThreadVisit {
    fn drop(&mut self) {
        let Some(what) = self.what.take() else { return };
        let rest = ThreadVisit { what: Some(what), origin: self.origin.clone(), last: self.last, end: self.end, set: self.set.clone() };
        if let Err(unsent) = rest.go_on() {
            unsent.retry_elsewhere(&self.set);
        }
    }
}

impl Unsent {
    /// Sends it. It comes back where the mailbox is full; where the thread has ended the message is
    /// dropped.
    fn send(self) -> Result<(), Self> {
        let Self { to, msg } = self;
        to.send_msg(msg).or_else(|refused| match refused.why {
            PushError::Full => Err(Self { to, msg: refused.item }),
            PushError::Closed => Ok(()),
        })
    }

    /// Tries again in every turn of this thread.
    fn retry_on(self, cx: &mut Cx<'_>) {
        let mut unsent = Some(self);
        cx.poller("visit", Schedule::Always, move |_: &mut Cx<'_>| {
            unsent = unsent.take().and_then(|unsent| unsent.send().err());
            if unsent.is_some() { Polled::Idle } else { Polled::Done }
        });
    }

    /// Leaves trying again to the reactor of the thread that it is for, where no thread is at hand
    /// to do it.
    fn retry_elsewhere(self, set: &Set) {
        let (to, msg, core_index) = (self.to.clone(), self.msg, self.to.0.core_index());
        let retry = Event::Call(Box::new(move |reactor| send_from(reactor, to, msg)));
        if !set.has_reactors() || set.push_event(core_index, retry).is_err() {
            logging::error!("a visit could not be sent on to thread {}: its mailbox is full", self.to.name());
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
            if let Err(unsent) = (Unsent { to: self.origin, msg: Msg::new(self.done) }).send() {
                unsent.retry_on(cx);
            }
            return;
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
                send_from(reactor, visit.origin, Msg::new(visit.done));
            }
        }))
    }
}

impl Drop for CoreVisitEvent {
    fn drop(&mut self) {
        let Some(mut visit) = self.0.take() else { return };
        visit.next += 1;
        let (to, set) = (visit.origin.clone(), visit.set.clone());
        if let Err(unsent) = (Unsent { to, msg: Msg::new(move |cx| visit.go_on_from(cx)) }).send() {
            unsent.retry_elsewhere(&set);
        }
    }
}

/// Sends a message from a reactor; as long as the mailbox is full, again with its next turn.
fn send_from(reactor: &mut Reactor, to: ThreadHandle, msg: Msg) {
    if let Err(Unsent { to, msg }) = (Unsent { to, msg }).send() {
        reactor.defer(Event::Call(Box::new(move |reactor| send_from(reactor, to, msg))));
    }
}
