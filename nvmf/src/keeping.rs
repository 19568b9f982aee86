//! Reservations on their way to where they are kept: one write, and one more with all that has
//! changed since.
//!
//! ```text
//!            wants                    wants                      wants: its contents change
//! at rest ───────────► one is written ──────────► and one waits ─┐
//!    ▲ ended, none waits    │   ▲                      │   ▲     │
//!    └──────────────────────┘   └── ended ─────────────┘   └─────┘
//! ```

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use nvme::target::Kept;
use spin::Mutex;

use crate::Keeper;

/// How many wait for one write. Those whose hosts have given up are among them until it ends.
const WAITING: usize = 1024;

/// Hears whether what it has changed is kept.
type Told = Box<dyn FnOnce(bool) + Send>;

/// A keeper that is never asked for more than one thing at a time.
#[derive(Debug)]
pub(crate) struct Keeping {
    keeper: Arc<dyn Keeper>,
    /// Held for a few instructions, also by whoever keeps.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_writing: bool,
    next: Option<Next>,
}

/// What is to be kept, and who waits for that.
struct Next {
    what: Option<Kept>,
    told: Vec<Told>,
}

impl Keeping {
    pub(crate) fn new(keeper: Arc<dyn Keeper>) -> Arc<Self> {
        Arc::new(Self { keeper, state: Mutex::default() })
    }

    /// Keeps this in place of what was asked for before: what is asked for last is kept last.
    /// Where too many wait, `told` hears at once that it is not kept, though it will be.
    pub(crate) fn keep(self: &Arc<Self>, what: Option<Kept>, told: impl FnOnce(bool) + Send + 'static) {
        let refused = {
            let mut state = self.state.lock();
            let next = state.next.get_or_insert_with(|| Next { what: None, told: Vec::new() });
            next.what = what;
            let has_room = next.told.len() < WAITING;
            if has_room {
                next.told.push(Box::new(told));
                None
            } else {
                Some(told)
            }
        };
        if let Some(told) = refused {
            told(false);
        }
        self.go_on();
    }

    /// Writes what waits, unless something is written. The keeper is asked without the lock: it may
    /// answer at once.
    fn go_on(self: &Arc<Self>) {
        let next = {
            let mut state = self.state.lock();
            if state.is_writing {
                return;
            }
            let Some(next) = state.next.take() else { return };
            state.is_writing = true;
            next
        };
        let writing = Writing { of: self.clone(), told: next.told };
        self.keeper.keep(next.what.as_ref(), Box::new(move |done| writing.end(done)));
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("is_writing", &self.is_writing).finish_non_exhaustive()
    }
}

/// A write. One that is dropped has failed.
struct Writing {
    of: Arc<Keeping>,
    told: Vec<Told>,
}

impl Writing {
    fn end(mut self, done: Result<(), String>) {
        self.tell(done);
    }

    fn tell(&mut self, done: Result<(), String>) {
        if let Err(why) = &done {
            logging::error!("reservations are not kept in {}: {}", self.of.keeper.name(), why.as_str());
        }
        core::mem::take(&mut self.told).into_iter().for_each(|told| told(done.is_ok()));
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.told.is_empty() {
            self.tell(Err("nobody writes them".to_string()));
        }
        self.of.state.lock().is_writing = false;
        self.of.go_on();
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

    /// Keeps when the test says so.
    #[derive(Default)]
    struct Shelf(Mutex<Vec<(Option<Kept>, Done)>>);

    impl fmt::Debug for Shelf {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Shelf")
        }
    }

    impl Keeper for Shelf {
        fn name(&self) -> &str {
            "a shelf"
        }

        fn keep(&self, what: Option<&Kept>, done: Done) {
            self.0.lock().push((what.cloned(), done));
        }
    }

    fn key(key: u64) -> Option<Kept> {
        Some(Kept { hosts: alloc::vec![([1; 16], key)], held: None })
    }

    #[test]
    fn s478_one_write_waits_with_what_came_last_and_few_wait_for_it() {
        let (shelf, counts) = (Arc::new(Shelf::default()), Arc::new([const { AtomicUsize::new(0) }; 2]));
        let keeping = Keeping::new(shelf.clone());
        let heard = || [0, 1].map(|at| counts[at].load(Ordering::Relaxed));
        for n in 0..3000 {
            let counts = counts.clone();
            keeping.keep(key(n), move |is_kept| {
                counts[usize::from(is_kept)].fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!((shelf.0.lock().len(), heard()), (1, [3000 - 1 - WAITING, 0]));
        let next = || shelf.0.lock().remove(0);
        let (what, done) = next();
        assert_eq!(what, key(0));
        done(Ok(()));
        assert_eq!(heard()[1], 1);
        let (what, done) = next();
        assert_eq!(what, key(2999), "of those who were turned away, too");
        done(Ok(()));
        assert_eq!((shelf.0.lock().len(), heard()[1]), (0, 1 + WAITING));
    }

    #[test]
    fn s478_a_write_that_comes_to_nothing_holds_up_none() {
        let (shelf, failed) = (Arc::new(Shelf::default()), Arc::new(AtomicUsize::new(0)));
        let keeping = Keeping::new(shelf.clone());
        for n in 0..2 {
            let failed = failed.clone();
            keeping.keep(key(n), move |is_kept| {
                failed.fetch_add(usize::from(!is_kept), Ordering::Relaxed);
            });
        }
        let first = shelf.0.lock().remove(0);
        drop(first);
        assert_eq!(failed.load(Ordering::Relaxed), 1);
        let (what, done) = shelf.0.lock().remove(0);
        assert_eq!(what, key(1));
        done(Err("no room".into()));
        assert_eq!(failed.load(Ordering::Relaxed), 2);
        keeping.keep(None, |_| {});
        assert_eq!(shelf.0.lock().remove(0).0, None);
    }
}
