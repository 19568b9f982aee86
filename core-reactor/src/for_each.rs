//! Visits: something done on every thread, or on every reactor, one after the other (`spdk_for_each_thread`, `spdk_for_each_reactor`).

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::handle::ThreadId;
use crate::lane::Event;
use crate::ring::PushError;
use crate::thread_lib::LibShared;
use crate::{Cx, Msg, Polled, Reactor, Schedule, ThreadHandle};

type OnThread = Box<dyn FnMut(&mut Cx<'_>) + Send>;
type OnCore = Box<dyn FnMut(&Reactor) + Send>;
type Done = Box<dyn FnOnce(&mut Cx<'_>) + Send>;

impl Cx<'_> {
    /// Runs `visit` on every thread of the set, this one included, in order of creation and one at a time, and `done` here when the last has run it.
    /// Threads that end before their turn are passed over; threads made meanwhile are not visited.
    pub fn for_each_thread(&mut self, visit: impl FnMut(&mut Cx<'_>) + Send + 'static, done: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
        let lib = self.lib().0;
        let end = lib.end_id();
        let tour = Tour { what: Some((Box::new(visit), Box::new(done))), origin: self.handle(), last: ThreadId(0), end, lib };
        if let Err(unsent) = tour.go_on() {
            unsent.retry_on(self);
        }
    }

    /// Runs `visit` on every reactor of the set between two of its turns, lowest core first, and `done` here when the last has run it.
    pub fn for_each_core(&mut self, visit: impl FnMut(&Reactor) + Send + 'static, done: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
        if self.lib().reactors().is_empty() {
            let _ = self.handle().send(Box::new(done) as Done);
            return;
        }
        let round = Round { visit: Box::new(visit), done: Box::new(done), origin: self.handle() };
        let mut event = Some(round.into_event(0));
        // From a poller, so that a full ring is tried again.
        self.poller("for_each_core", Schedule::Always, move |cx: &mut Cx<'_>| {
            let Some(first) = event.take() else { return Polled::Done };
            let lib = cx.lib().0;
            match lib.lanes[0].push(first, &*lib.platform) {
                Err(refused) if refused.why == PushError::Full => {
                    event = Some(refused.item);
                    Polled::Idle
                }
                _ => Polled::Done,
            }
        });
    }
}

/// A visit of all threads, on its way. It travels in a message; where that message is dropped unrun (its thread has ended), it goes on from there.
struct Tour {
    /// What to do, and what at the end; taken when it is over.
    what: Option<(OnThread, Done)>,
    origin: ThreadHandle,
    /// The thread visited last, and the end of those to visit.
    last: ThreadId,
    end: ThreadId,
    lib: Arc<LibShared>,
}

/// A message for a mailbox that was full.
struct Unsent {
    to: ThreadHandle,
    msg: Msg,
}

impl Tour {
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
        let (to, msg) = match self.lib.next_thread(self.last, self.end) {
            Some(next) => {
                self.last = next.id;
                let tour = Box::new(self);
                (ThreadHandle(next), Msg::new(move |cx| tour.run(cx)))
            }
            None => match self.what.take() {
                Some((_, done)) => (self.origin.clone(), Msg::new(done)),
                None => return Ok(()),
            },
        };
        // Where the thread has ended the message is dropped here, and with it the tour, which goes on.
        to.send_msg(msg).or_else(|refused| match refused.why {
            PushError::Full => Err(Unsent { to, msg: refused.item }),
            PushError::Closed => Ok(()),
        })
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        let Some(what) = self.what.take() else { return };
        let rest = Tour { what: Some(what), origin: self.origin.clone(), last: self.last, end: self.end, lib: self.lib.clone() };
        if let Err(unsent) = rest.go_on() {
            // Only here, where a thread was stopped by force and the next one's mailbox is full, is there nobody to try again.
            pool::fmt::error!("for_each_thread passes thread {} over: its mailbox is full", unsent.to.name());
        }
    }
}

impl Unsent {
    /// Tries again in every turn of this thread.
    fn retry_on(self, cx: &mut Cx<'_>) {
        let to = self.to;
        let mut msg = Some(self.msg);
        cx.poller("for_each_thread", Schedule::Always, move |_: &mut Cx<'_>| match msg.take().map(|m| to.send_msg(m)) {
            Some(Err(refused)) if refused.why == PushError::Full => {
                msg = Some(refused.item);
                Polled::Idle
            }
            _ => Polled::Done,
        });
    }
}

/// A visit of all reactors, on its way.
struct Round {
    visit: OnCore,
    done: Done,
    origin: ThreadHandle,
}

impl Round {
    fn into_event(mut self, lane: usize) -> Event {
        Event::Call(Box::new(move |reactor| {
            (self.visit)(reactor);
            if lane + 1 < reactor.lib().lanes.len() {
                reactor.send_event(lane + 1, self.into_event(lane + 1));
            } else {
                finish(reactor, self.origin, Msg::new(self.done));
            }
        }))
    }
}

/// Tells the origin; as long as its mailbox is full, again with this reactor's next turn.
fn finish(reactor: &mut Reactor, origin: ThreadHandle, done: Msg) {
    if let Err(refused) = origin.send_msg(done)
        && refused.why == PushError::Full
    {
        let again = Event::Call(Box::new(move |reactor| finish(reactor, origin, refused.item)));
        reactor.defer(again);
    }
}
