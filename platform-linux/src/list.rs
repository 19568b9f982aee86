//! A list that signal handlers read while others replace it.
//!
//! ```text
//!   handler                          replace
//!   [1] readers + 1                  [3] exchange the list
//!   [2] load the list, use it        [4] until readers + 0 finds none: wait
//!       readers - 1                      free the old list
//! ```
//!
//! [1] and [4] change the same atomic, so one comes first. If [1], then [4] finds a reader and
//! waits for its end. If [4], then [1] has seen it, and with it [3]: [2] loads the new list. A
//! plain load in [4] would not do, as it need not be seen by anybody.
// UNSAFETY: a handler may not take a lock, so the list is a pointer, freed by whoever took it out.

use core::marker::PhantomData;
use core::ptr;

use crate::sync::{AtomicPtr, AtomicUsize, Ordering, yield_now};

/// The list: replaced as a whole and never changed.
pub(crate) struct HandlerList<T> {
    /// Null is the empty list.
    list: AtomicPtr<Vec<T>>,
    /// How many may hold the list.
    readers: AtomicUsize,
    holds: PhantomData<Vec<T>>,
}

impl<T: Send + Sync> HandlerList<T> {
    /// An empty list, made of null and zero: the model checker's atomics cannot be made in a
    /// constant, but moved in one.
    pub(crate) const fn new(list: AtomicPtr<Vec<T>>, readers: AtomicUsize) -> Self {
        Self { list, readers, holds: PhantomData }
    }

    /// Looks at the list. Async-signal-safe if `f` is. (If `f` unwinds the list is never freed, and
    /// the next `replace` never ends.)
    pub(crate) fn read<R>(&self, f: impl FnOnce(&[T]) -> R) -> R {
        // Acquire: whoever found no reader before this is seen with the list that it put there.
        self.readers.fetch_add(1, Ordering::Acquire);
        // SAFETY: null, or from a box that `replace` frees when it has taken it out and found no
        // reader since.
        let result = f(unsafe { self.list.load(Ordering::Acquire).as_ref() }.map_or(&[][..], Vec::as_slice));
        // Release: all use of the list comes before whoever finds no reader.
        self.readers.fetch_sub(1, Ordering::Release);
        result
    }

    /// Puts another list in its place, waits for those that read the old one, and frees that. Not
    /// for handlers.
    pub(crate) fn replace(&self, new: Vec<T>) {
        let new = if new.is_empty() { ptr::null_mut() } else { Box::into_raw(Box::new(new)) };
        // Release publishes the new list, Acquire takes over the old one.
        let old = self.list.swap(new, Ordering::AcqRel);
        while self.readers.fetch_add(0, Ordering::AcqRel) != 0 {
            yield_now();
        }
        if !old.is_null() {
            // SAFETY: it came out of a box here and out of the list once, no reader found it after
            // the exchange, and those that had found it before have ended.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}
