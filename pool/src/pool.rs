//! The shared pool: its memory, what is known about the buffers in it, and who is served next.

use alloc::boxed::Box;
use core::sync::atomic::Ordering::Relaxed;

use crate::config::{Class, DataPoolConfig};
use crate::memory::Memory;
use crate::slab::Slab;
use crate::stack::Chain;
use crate::wait::ClassPool;

/// What the handles, the groups and, through them, the buffers hold on to.
pub(crate) struct PoolShared {
    pub(crate) slab: Slab,
    pub(crate) classes: [ClassPool; Class::COUNT],
    pub(crate) config: DataPoolConfig,
    pub(crate) memory: Box<dyn Memory>,
}

impl PoolShared {
    #[inline]
    pub(crate) fn class(&self, class: Class) -> &ClassPool {
        &self.classes[class as usize]
    }

    /// Serves who waits. The caller has put something where a waiter looks, and then a `SeqCst`
    /// fence.
    ///
    /// Wakers are somebody else's code and may panic, so this comes last wherever it is called:
    /// what is in the caller's hands by then has an owner that gives it back.
    #[inline]
    pub(crate) fn serve_if_waiting(&self, class: Class) {
        if self.class(class).waiting.load(Relaxed) != 0 {
            self.serve(class);
        }
    }

    /// Serves everybody who can be, and wakes them, also when a waker panics. Takes the lock, but
    /// never wakes under it.
    #[cold]
    pub(crate) fn serve(&self, class: Class) {
        let mut all = ServeAll { pool: self, class, over: false };
        all.go_on();
    }

    /// Serves who waits for buffers of any of these classes, also when a waker of one panics.
    pub(crate) fn serve_each(&self, classes: &[Class]) {
        struct Others<'a>(&'a PoolShared, &'a [Class]);
        impl Drop for Others<'_> {
            fn drop(&mut self) {
                self.0.serve_each(self.1);
            }
        }
        if let [first, others @ ..] = classes {
            let _others = Others(self, others);
            self.serve_if_waiting(*first);
        }
    }

    /// Undoes reserves, and serves who waits.
    pub(crate) fn unreserve(&self, taken: [Option<Chain>; Class::COUNT]) {
        for (class, chain) in Class::ALL.into_iter().zip(taken) {
            if let Some(chain) = chain {
                self.class(class).unreserve(&self.slab.0, chain);
            }
        }
        self.serve_each(&Class::ALL);
    }
}

/// Serves one after the other. Where a waker panics the others, whom nobody else would wake, have
/// their turn on the way out; a second panic then ends the process, as any panic during another
/// does.
struct ServeAll<'a> {
    pool: &'a PoolShared,
    class: Class,
    over: bool,
}

impl ServeAll<'_> {
    fn go_on(&mut self) {
        while let Some(waker) = self.pool.class(self.class).serve_one(&self.pool.slab.0, self.class) {
            waker.wake();
        }
        self.over = true;
    }
}

impl Drop for ServeAll<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.go_on();
        }
    }
}
