//! What the rest of a set sees of one core: whether it sleeps, and how to hand its reactor
//! something.

use alloc::boxed::Box;

use crate::ring::{PushError, Receiver, Ring};
use crate::sleep::Sleep;
use crate::sync::{AtomicUsize, Mutex};
use crate::thread::Movable;
use crate::{CoreId, Platform, Reactor, Refused, sync};
use crossbeam_utils::CachePadded;

/// Events that a reactor's ring holds. Few under the model checker, which keeps an account of each
/// slot.
const EVENTS: usize = if cfg!(loom) { 2 } else { 256 };

/// Something for a reactor itself.
pub(crate) enum Event {
    /// A thread to turn from now on.
    Adopt(Movable),
    /// Something to do between turns.
    Call(Box<dyn FnOnce(&mut Reactor) + Send>),
}

pub(crate) struct Lane {
    pub(crate) core: CoreId,
    /// On a line of its own: every sender reads it, and it is rarely written.
    pub(crate) sleep: CachePadded<Sleep>,
    events: sync::Arc<Ring<Event>>,
    /// When a thread was last placed here, in placements of the set.
    pub(crate) placed: AtomicUsize,
    /// The ring's other end until a reactor takes it.
    unclaimed: Mutex<Option<Receiver<Event>>>,
}

impl Lane {
    pub(crate) fn new(core: CoreId) -> Self {
        let (events, receiver) = Ring::new(EVENTS);
        let (placed, unclaimed) = (AtomicUsize::new(0), Mutex::new(Some(receiver)));
        Self { core, sleep: CachePadded::new(Sleep::new()), events, placed, unclaimed }
    }

    /// Gives the events' receiving end to the one reactor of this core; `None` the second time.
    pub(crate) fn claim(&self) -> Option<Receiver<Event>> {
        self.unclaimed.lock().take()
    }

    pub(crate) fn push(&self, event: Event, platform: &dyn Platform) -> Result<(), Refused<Event, PushError>> {
        self.events.push(event)?;
        self.wake(platform);
        Ok(())
    }

    /// Wakes the core if it sleeps.
    #[inline]
    pub(crate) fn wake(&self, platform: &dyn Platform) {
        if self.sleep.wake() {
            platform.unpark(self.core);
        }
    }
}
