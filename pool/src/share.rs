//! A poll group as other cores see it: where its buffers come home to from there.

use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

use crate::Class;
use crate::account::{Account, GroupClass};
use crate::pool::PoolShared;
use crate::slab::Meta;
use crate::stack::Chain;
use crate::sync::{AtomicBool, fence};

/// A group as other cores see it.
///
/// Of each class the group holds `reserve + borrowed` buffers: free on its core, free in
/// `came_home`, or out. What comes home while something is borrowed goes on to the shared pool,
/// whichever buffer it is; so what is free here is never more than the reserve is owed.
pub(crate) struct GroupShared {
    pub(crate) pool: Arc<PoolShared>,
    /// What it holds, of which the pool's queue knows too.
    pub(crate) account: Arc<Account>,
    /// The group's handle and its core's buffers are gone: nothing may rest in `came_home`.
    closed: AtomicBool,
}

impl GroupShared {
    pub(crate) fn new(pool: Arc<PoolShared>, reserves: [u32; Class::COUNT]) -> Self {
        Self { pool, account: Arc::new(Account::new(reserves)), closed: AtomicBool::new(false) }
    }

    #[inline]
    pub(crate) fn class(&self, class: Class) -> &GroupClass {
        self.account.class(class)
    }

    /// Takes a buffer back, on any core and without a lock unless somebody waits.
    ///
    /// Not inlined: a buffer that is dropped at home would pay for the registers that this needs.
    #[inline(never)]
    pub(crate) fn give_back(&self, meta: &Meta) {
        self.put_down(meta);
        self.pool.serve_if_waiting(meta.class);
    }

    /// Takes a buffer back. The caller serves who waits.
    pub(crate) fn put_down(&self, meta: &Meta) {
        let (slab, class) = (&*self.pool.slab.0, meta.class);
        let buffer = Chain { first: meta.index, last: meta.index, len: 1 };
        if self.class(class).repay() {
            self.pool.class(class).free.push(slab, buffer);
        } else {
            self.class(class).came_home.push(slab, buffer);
        }
        // The buffer was put where a waiter looks before the flags are read here, and a waiter
        // raises its flag before it looks; a closing group likewise. Of the two, one sees the
        // other.
        fence(SeqCst);
        if self.closed.load(Relaxed) {
            self.forward(class);
        }
    }

    /// Ends the group, all of whose `Buf`s are home: its reserve becomes a loan, which is paid back
    /// with `free` and whatever comes.
    pub(crate) fn close(&self, free: [Option<Chain>; Class::COUNT]) {
        for (class, free) in Class::ALL.into_iter().zip(free) {
            self.pool.class(class).leave(class, &self.account);
            if let Some(free) = free {
                self.class(class).came_home.push(&*self.pool.slab.0, free);
            }
            self.class(class).borrowed.fetch_add(self.class(class).reserve, AcqRel);
        }
        self.closed.store(true, Relaxed);
        fence(SeqCst);
        for class in Class::ALL {
            self.forward(class);
        }
        fence(SeqCst);
        self.pool.serve_each(&Class::ALL);
    }

    /// Passes what rests here on to the shared pool, as far as it was borrowed from there.
    pub(crate) fn forward(&self, class: Class) -> bool {
        self.class(class).forward(&self.pool.slab.0, &self.pool.class(class).free)
    }
}
