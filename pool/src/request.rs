//! A request for buffers, and what it was granted.

use alloc::rc::Rc;
use core::fmt;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use core::task::Waker;

use crate::buf::Home;
use crate::local::GroupLocal;
use crate::stack::Chain;
use crate::sync::fence;
use crate::wait::{Slot, Waiter};
use crate::{Buf, Class, PoolError};

/// A request for buffers that may wait. Dropped, it is withdrawn, and what it was given passes to
/// the next.
///
/// A request that is given to `core::mem::forget` keeps its place, and takes what it asked for with
/// it.
///
/// ```
/// # use pool::{BufGroup, Class};
/// # use std::task::Waker;
/// let bufs = BufGroup::new(1, 16);
/// let held = bufs.get();
/// let request = bufs.request(Class::Small, 1, 0, Waker::noop())?;
/// drop(request); // nobody waits any more
/// drop(held);
/// assert!(bufs.get().is_some());
/// # Ok::<(), pool::PoolError>(())
/// ```
#[must_use = "dropping a request withdraws it"]
pub struct Request {
    group: Rc<GroupLocal>,
    class: Class,
    state: State,
}

enum State {
    Waiting { slot: u32, since_ns: u64 },
    Served(Granted),
    Done,
}

impl Request {
    pub(crate) fn new(group: &Rc<GroupLocal>, class: Class, count: usize, now_ns: u64, waker: &Waker) -> Result<Self, PoolError> {
        let need = u32::try_from(count).unwrap_or(u32::MAX);
        let granted = if need == 0 { Some(Granted::new(group, None)) } else { Granted::gather(group, class, need) };
        if let Some(granted) = granted {
            return Ok(Self { group: group.clone(), class, state: State::Served(granted) });
        }
        let waiter = Waiter { group: group.shared.account.clone(), need, waker: waker.clone() };
        let slot = group.shared.pool.class(class).enqueue(group.metas(), class, waiter, || group.cut_all(class))?;
        let request = Self { group: group.clone(), class, state: State::Waiting { slot, since_ns: now_ns } };
        // It may be its turn at once.
        fence(SeqCst);
        group.shared.pool.serve(class);
        Ok(request)
    }

    /// The buffers, once they are there: the caller has them from then on, and the request is done.
    /// `now_ns` is the time.
    ///
    /// Reads one flag, and takes the lock only when the buffers are there.
    pub fn poll(&mut self, now_ns: u64) -> Option<Granted> {
        match core::mem::replace(&mut self.state, State::Done) {
            State::Done => None,
            State::Served(granted) => Some(granted),
            State::Waiting { slot, since_ns } => {
                let pool = self.group.shared.pool.class(self.class);
                if !pool.served[slot as usize].load(Acquire) {
                    self.state = State::Waiting { slot, since_ns };
                    return None;
                }
                let Slot::Served { chain, from_shared } = pool.vacate(self.class, slot) else { return None };
                let counters = &self.group.class(self.class).counters;
                counters.waited(now_ns.saturating_sub(since_ns));
                counters.tally(chain.len - from_shared, from_shared);
                self.group.note_high_water(self.class);
                Some(Granted::new(&self.group, Some(chain)))
            }
        }
    }
}

/// Buffers that a request was granted, to be taken one by one; those left when it is dropped go
/// home.
pub struct Granted {
    group: Rc<GroupLocal>,
    chain: Option<Chain>,
}

impl Granted {
    /// `count` buffers (1 or more) or none: of the reserve, of what came home from elsewhere, and
    /// of the shared pool unless somebody waits.
    #[cold]
    pub(crate) fn gather(group: &Rc<GroupLocal>, class: Class, count: u32) -> Option<Self> {
        let (account, pool) = (group.class(class), group.shared.pool.class(class));
        if account.queued.load(Acquire) != 0 {
            return None;
        }
        if group.shared.forward(class) {
            group.shared.pool.serve_if_waiting(class);
        }
        group.take_over(class, count);
        if group.free(class) < count && pool.waiting.load(Relaxed) != 0 {
            // Who serves may have a buffer of this reserve in hand for a moment, but only under the
            // lock.
            let _queue = pool.queue.lock();
            group.take_over(class, count);
            if group.free(class) < count {
                return None;
            }
        }
        let have = group.free(class).min(count);
        let borrowed = match count - have {
            0 => None,
            rest => Some(pool.take(group.metas(), rest)?),
        };
        let reserve = group.cut(class, have);
        account.counters.tally(have, count - have);
        let Some(borrowed) = borrowed else {
            group.note_high_water(class);
            return Some(Self::new(group, reserve));
        };
        account.borrowed.fetch_add(borrowed.len, AcqRel);
        group.note_high_water(class);
        let granted = Self::new(group, Some(borrowed.join(group.metas(), reserve)));
        // What came home meanwhile is no longer owed to the reserve: either its bringer sees the
        // loan, or this sees the buffer. Last of all, because a waker may come back into this
        // group.
        fence(SeqCst);
        group.shared.forward(class);
        group.shared.pool.serve_if_waiting(class);
        Some(granted)
    }

    pub(crate) fn new(group: &Rc<GroupLocal>, chain: Option<Chain>) -> Self {
        Self { group: group.clone(), chain }
    }
}

impl Iterator for Granted {
    type Item = Buf;

    fn next(&mut self) -> Option<Buf> {
        let (index, rest) = self.chain.take()?.split_first(self.group.metas());
        self.chain = rest;
        Some(Buf::lend(&self.group.metas()[index as usize], Home::Here(self.group.clone())))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.chain.as_ref().map_or(0, |chain| chain.len as usize);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Granted {}

impl Drop for Granted {
    fn drop(&mut self) {
        let Some(class) = self.chain.as_ref().map(|chain| self.group.metas()[chain.first as usize].class) else { return };
        while let Some(chain) = self.chain.take() {
            let (index, rest) = chain.split_first(self.group.metas());
            self.group.put_down(index);
            self.chain = rest;
        }
        // Last of all: a waker that panics finds them home.
        self.group.shared.pool.serve_if_waiting(class);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // One that was granted something gives it back by dropping it.
        let State::Waiting { slot, .. } = core::mem::replace(&mut self.state, State::Done) else { return };
        match self.group.shared.pool.class(self.class).vacate(self.class, slot) {
            Slot::Served { chain, .. } => drop(Granted::new(&self.group, Some(chain))),
            // Who came after may have waited for this one only. Its waker is dropped behind that.
            _waiting => {
                fence(SeqCst);
                self.group.shared.pool.serve_if_waiting(self.class);
            }
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = matches!(self.state, State::Waiting { .. });
        f.debug_struct("Request").field("class", &self.class).field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Granted({} buffers)", self.len())
    }
}
