//! Reservations on their way to where they are kept: what is asked for until a write begins is in
//! it, so that one write is under way, and one waits, however much changes.
//!
//! ```text
//!           wants             begin               wants
//! at rest ─────────► waits ─────────► is written ─────────► is written, and one waits
//!                    │   ▲            │                                     │
//!                    └───┘ wants      └─► end                               └─► end: waits
//! ```

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use nvme::target::Kept;
use spin::Mutex;

use crate::Keeper;

/// How many wait for one write. Those whose hosts have given up are among them until it ends.
const WAITING: usize = 1024;

/// Hears whether what it has changed is kept.
type Told = Box<dyn FnOnce(bool) + Send>;

/// Where the reservations of one namespace are kept.
#[derive(Debug)]
pub(crate) struct Keeping {
    keeper: Arc<dyn Keeper>,
    /// What was asked for and is not begun. Held for a few instructions, also by whoever keeps.
    next: Mutex<Option<Next>>,
}

/// What is to be kept, and who waits for that.
struct Next {
    what: Option<Kept>,
    told: Vec<Told>,
}

impl Keeping {
    pub(crate) fn new(keeper: Arc<dyn Keeper>) -> Arc<Self> {
        Arc::new(Self { keeper, next: Mutex::default() })
    }

    /// Keeps this in place of what was asked for before. Where too many wait, `told` hears at once
    /// that it is not kept, though it will be.
    pub(crate) fn keep(self: &Arc<Self>, what: Option<Kept>, told: impl FnOnce(bool) + Send + 'static) {
        let mut next = self.next.lock();
        match &mut *next {
            Some(next) => {
                next.what = what;
                if next.told.len() < WAITING {
                    return next.told.push(Box::new(told));
                }
            }
            none => {
                *none = Some(Next { what, told: alloc::vec![Box::new(told)] });
                drop(next);
                // Without the lock: it may be done at once.
                return self.keeper.keep(ToKeep { of: self.clone(), has_begun: false, told: Vec::new() });
            }
        }
        drop(next);
        told(false);
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("told", &self.told.len()).finish_non_exhaustive()
    }
}

/// Something that a [`Keeper`] is to keep. Dropped before its [`end`](Self::end) it is not kept.
pub struct ToKeep {
    of: Arc<Keeping>,
    has_begun: bool,
    /// Who waits, once it has.
    told: Vec<Told>,
}

impl ToKeep {
    /// What is to be kept, or that there is nothing: what was asked for last. What changes from now
    /// on is another's.
    pub fn begin(&mut self) -> Option<Kept> {
        if mem::replace(&mut self.has_begun, true) {
            return None;
        }
        let Next { what, told } = self.of.next.lock().take()?;
        self.told = told;
        what
    }

    /// It will outlive a loss of power, or why it will not.
    pub fn end(mut self, outcome: Result<(), String>) {
        self.begin();
        if let Err(why) = &outcome {
            logging::error!("reservations are not kept in {}: {}", self.of.keeper.name(), why.as_str());
        }
        self.tell(outcome.is_ok());
    }

    fn tell(&mut self, is_kept: bool) {
        mem::take(&mut self.told).into_iter().for_each(|told| told(is_kept));
    }
}

impl Drop for ToKeep {
    fn drop(&mut self) {
        self.begin();
        if !self.told.is_empty() {
            logging::error!("reservations are not kept in {}: nobody has written them", self.of.keeper.name());
            self.tell(false);
        }
    }
}

impl fmt::Debug for ToKeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToKeep").field("has_begun", &self.has_begun).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Keeps when the test says so.
    #[derive(Debug, Default)]
    struct Shelf(Mutex<Vec<ToKeep>>);

    impl Keeper for Shelf {
        fn name(&self) -> &str {
            "a shelf"
        }

        fn keep(&self, what: ToKeep) {
            self.0.lock().push(what);
        }
    }

    /// A shelf, what is kept there, and how many have heard that something was not, and was.
    struct World {
        shelf: Arc<Shelf>,
        keeping: Arc<Keeping>,
        heard: Arc<[AtomicUsize; 2]>,
    }

    impl World {
        fn new() -> Self {
            let shelf = Arc::<Shelf>::default();
            Self { keeping: Keeping::new(shelf.clone()), shelf, heard: Arc::default() }
        }

        fn keep(&self, what: Option<Kept>) {
            let heard = self.heard.clone();
            self.keeping.keep(what, move |is_kept| {
                heard[usize::from(is_kept)].fetch_add(1, Ordering::Relaxed);
            });
        }

        fn heard(&self) -> [usize; 2] {
            [0, 1].map(|at| self.heard[at].load(Ordering::Relaxed))
        }

        fn next(&self) -> ToKeep {
            self.shelf.0.lock().remove(0)
        }

        fn waiting(&self) -> usize {
            self.shelf.0.lock().len()
        }
    }

    fn key(key: u64) -> Option<Kept> {
        Some(Kept { hosts: alloc::vec![([1; 16], key)], held: None })
    }

    #[test]
    fn s478_one_write_waits_with_what_came_last_and_few_wait_for_it() {
        let world = World::new();
        world.keep(key(0));
        let mut first = world.next();
        assert_eq!(first.begin(), key(0));
        (1..3000).for_each(|n| world.keep(key(n)));
        assert_eq!((world.waiting(), world.heard()), (1, [2999 - WAITING, 0]));
        first.end(Ok(()));
        assert_eq!(world.heard()[1], 1);
        let mut second = world.next();
        assert_eq!(second.begin(), key(2999), "of those who were turned away, too");
        second.end(Ok(()));
        assert_eq!((world.waiting(), world.heard()[1]), (0, 1 + WAITING));
    }

    #[test]
    fn s478_a_write_that_comes_to_nothing_holds_up_none() {
        let world = World::new();
        // Neither begun nor ended, and begun.
        for (n, begins) in [false, true].into_iter().enumerate() {
            world.keep(key(1));
            let mut it = world.next();
            if begins {
                assert_eq!(it.begin(), key(1));
            }
            drop(it);
            assert_eq!(world.heard(), [n + 1, 0]);
        }
        world.keep(None);
        let mut last = world.next();
        assert_eq!(last.begin(), None);
        last.end(Err("no room".into()));
        assert_eq!(world.heard(), [3, 0]);
    }
}
