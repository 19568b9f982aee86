//! The latch of a core and the list of a signal's handlers under the model checker:
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p platform-linux --release
//! --test loom`.
//!
//! The files are those of the crate, compiled here with the checker's atomics. A bell that is
//! missed is a deadlock, and a list that is freed under a reader a cell that is changed while it is
//! read; the checker reports both.
#![cfg(loom)]

use std::ptr;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

#[path = "../src/latch.rs"]
#[allow(dead_code, reason = "the crate uses all of it")]
mod latch;
#[path = "../src/list.rs"]
mod list;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
    pub(crate) use loom::thread::yield_now;
}

use latch::Latch;
use list::HandlerList;

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(f);
}

/// A core's latch, and an eventfd as the kernel has it: a ring is kept until somebody waits, and
/// ends one wait.
struct Core {
    latch: Latch,
    rung: Mutex<bool>,
    heard: Condvar,
    flags: [AtomicBool; 2],
}

impl Core {
    fn new() -> Arc<Self> {
        let flags = [AtomicBool::new(false), AtomicBool::new(false)];
        Arc::new(Self { latch: Latch::default(), rung: Mutex::new(false), heard: Condvar::new(), flags })
    }

    /// Parks without a deadline.
    fn park(&self) {
        self.latch.park(|| {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.heard.wait(rung).unwrap();
            }
            *rung = false;
        });
    }

    /// Parks with a deadline that is over at once.
    fn park_briefly(&self) {
        self.latch.park(|| {});
    }

    /// What a waker does: something that is to be seen, and a wake-up, which is all that orders it.
    fn wake(&self, flag: usize) {
        self.flags[flag].store(true, Relaxed);
        self.latch.unpark(|| {
            *self.rung.lock().unwrap() = true;
            self.heard.notify_one();
        });
    }

    fn sees(&self, flag: usize) -> bool {
        self.flags[flag].load(Relaxed)
    }
}

/// Seen to fail with: a load and a store in place of the exchange in `park`; no Acquire where
/// `park` takes the latch; no Release in `unpark`; `unpark` that rings only if it was the first to
/// set the latch, or never.
#[test]
fn s53_a_wake_up_is_heard_and_what_came_before_it_is_seen() {
    model(|| {
        let core = Core::new();
        let waker = core.clone();
        let waker = thread::spawn(move || waker.wake(0));
        while !core.sees(0) {
            core.park();
        }
        waker.join().unwrap();
    });
}

/// The one that finds the latch set already has things to be seen too. Seen to fail with: `unpark`
/// that only looks, where the latch is set.
#[test]
fn s53_two_wakers_are_both_heard() {
    model(|| {
        let core = Core::new();
        let wakers = [0, 1].map(|flag| {
            let core = core.clone();
            thread::spawn(move || core.wake(flag))
        });
        while !(core.sees(0) && core.sees(1)) {
            core.park();
        }
        wakers.map(|waker| waker.join().unwrap());
    });
}

/// A sleep that ended by itself loses nothing to the waker that came at the same moment.
#[test]
fn s53_a_deadline_and_a_wake_up_at_once_lose_neither() {
    model(|| {
        let core = Core::new();
        let waker = core.clone();
        let waker = thread::spawn(move || waker.wake(0));
        core.park_briefly();
        while !core.sees(0) {
            core.park();
        }
        waker.join().unwrap();
    });
}

/// Memory that notices when it is freed while somebody reads it.
struct Hook(UnsafeCell<u32>);

impl Drop for Hook {
    fn drop(&mut self) {
        self.0.with_mut(|number| {
            // SAFETY: nobody else reads it any more: it is this that the checker checks.
            unsafe { *number = u32::MAX };
        });
    }
}

// SAFETY: the cell is changed by the owner only, when it is dropped.
unsafe impl Sync for Hook {}

fn list() -> HandlerList<Hook> {
    HandlerList::new(sync::AtomicPtr::new(ptr::null_mut()), sync::AtomicUsize::new(0))
}

fn hook(number: u32) -> Hook {
    Hook(UnsafeCell::new(number))
}

fn sum(list: &HandlerList<Hook>) -> u32 {
    // SAFETY: nobody changes what is in the list.
    list.read(|hooks| hooks.iter().map(|hook| hook.0.with(|number| unsafe { *number })).sum())
}

/// A handler runs while the list is exchanged and exchanged again. Seen to fail with: no wait in
/// `replace`; a plain load there; the wait before the exchange; a reader that loads before it
/// counts itself; no Acquire or no Release on either side.
#[test]
fn s54_no_hook_is_freed_while_a_handler_runs() {
    model(|| {
        let list = Arc::new(list());
        list.replace(vec![hook(1)]);
        let handler = list.clone();
        let handler = thread::spawn(move || sum(&handler));
        list.replace(vec![hook(2), hook(3)]);
        list.replace(Vec::new());
        assert!([0, 1, 5].contains(&handler.join().unwrap()));
        assert_eq!(sum(&list), 0);
    });
}

/// Two that replace it one after the other, as the crate's lock has them do, and a handler.
#[test]
fn s54_two_that_replace_the_list_free_each_once() {
    model(|| {
        let shared = Arc::new((list(), Mutex::new(())));
        shared.0.replace(vec![hook(1)]);
        let (handler, other) = (shared.clone(), shared.clone());
        let replace = |shared: &(HandlerList<Hook>, Mutex<()>), number| {
            let _turn = shared.1.lock().unwrap();
            shared.0.replace(vec![hook(number)]);
        };
        let handler = thread::spawn(move || sum(&handler.0));
        let other = thread::spawn(move || replace(&other, 2));
        replace(&shared, 4);
        assert!([1, 2, 4].contains(&handler.join().unwrap()));
        other.join().unwrap();
        shared.0.replace(Vec::new());
    });
}
