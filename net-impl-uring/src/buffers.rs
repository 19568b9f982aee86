//! A group's buffers: those that lie ready for the kernel, and where they come from.
//!
//! UNSAFETY: what is taken out of the ring must be what completions have told of, and nothing may
//! be received into what is taken back: `Ringed` sees to both.
#![allow(unsafe_code)]

use core_uring::{BufRing, Completion, Io};
use pool::{Buf, BufGroup, Class};

use crate::depth::Depth;

/// See the module's documentation.
pub(crate) struct Buffers {
    ready: BufRing,
    /// How many are to lie there.
    depth: Depth,
    pool: BufGroup,
    /// Somebody waits for a buffer, so none is laid out for whoever may have bytes.
    starving: bool,
}

impl Buffers {
    /// Over an empty ring, of `entries`.
    pub(crate) fn new(ready: BufRing, entries: u16, pool: BufGroup) -> Self {
        // Half of the reserve is left to the application, though it can have the others back.
        let reserve = pool.stats(Class::Small).reserve;
        // Before buffers are seen to be low (under half), peers that do not read may take all that
        // lies ready, and some more.
        let most = (reserve / 2).min(pool.capacity(Class::Small) / 8);
        Self { ready, depth: Depth::new(usize::from(entries).min(most)), pool, starving: false }
    }

    pub(crate) fn pool(&self) -> &BufGroup {
        &self.pool
    }

    /// The ring, to be received into.
    pub(crate) fn ring(&self) -> &BufRing {
        &self.ready
    }

    /// How many lie ready.
    #[inline]
    pub(crate) fn lying(&self) -> usize {
        self.ready.lying()
    }

    /// Puts buffers of the pool in the place of those that were received into. The pool hands out
    /// the one that came home last, so a quiet group lives in few.
    #[inline]
    pub(crate) fn lay_out(&mut self, io: &Io) {
        let lying = self.ready.lying();
        let missing = self.depth.fill(lying).saturating_sub(lying);
        if missing > 0 && !self.starving {
            self.ready.provide(io, std::iter::from_fn(|| self.pool.get()).take(missing));
        }
    }

    /// The buffer into which a request of the group has received, of a completion just as it was
    /// taken off the ring. Without bytes it comes back empty.
    #[inline]
    pub(crate) fn take(&mut self, completion: Completion) -> Option<Buf> {
        let len = completion.result().max(0) as usize;
        // SAFETY: all that receives for this group does so into this ring, and each completion
        // comes here once.
        unsafe { self.ready.take(completion.buffer()?, len) }
    }

    /// A receive has found none.
    #[cold]
    pub(crate) fn ran_out(&mut self) {
        self.depth.grow();
    }

    /// Nobody receives into what lies ready, or somebody does again.
    pub(crate) fn set_low(&mut self, low: bool) {
        self.depth.set_low(low);
    }

    /// Somebody waits for a buffer, or nobody does.
    pub(crate) fn set_starving(&mut self, starving: bool) {
        self.starving = starving;
    }

    /// Takes back all that lie ready, and hands out one. No request with the kernel receives into
    /// them, and all completions were handled.
    #[cold]
    pub(crate) fn renew(&mut self, io: &Io) -> Option<Buf> {
        // SAFETY: as the caller sees to it; a group has one ring.
        unsafe { self.ready.renew(io) };
        self.pool.get()
    }

    /// Nothing is received into them any more.
    pub(crate) fn end(&mut self, io: &Io) {
        // SAFETY: as the caller sees to it; a group has one ring.
        unsafe { self.ready.close(io) };
    }
}

#[cfg(test)]
mod tests;
