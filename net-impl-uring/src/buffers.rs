//! A group's buffers: those that lie ready for the kernel, and where they come from.

use pool::{Buf, BufGroup, Class};

use crate::bufring::BufRing;
use crate::depth::Depth;
use crate::ring::Io;

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
        // Before buffers are seen to be low (under half), peers that do not read may take all that lies ready, and some more.
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
        self.ready.len()
    }

    /// Puts buffers of the pool in the place of those that were received into. The pool hands out the one that came home last, so a quiet group
    /// lives in few.
    #[inline]
    pub(crate) fn lay_out(&mut self) {
        let lying = self.ready.len();
        let missing = self.depth.fill(lying).saturating_sub(lying);
        if missing > 0 && !self.starving {
            self.ready.provide(std::iter::from_fn(|| self.pool.get()).take(missing));
        }
    }

    /// The buffer into which the kernel has received `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, number: u16, len: usize) -> Option<Buf> {
        self.ready.take(number, len)
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

    /// Takes back all that lie ready, and hands out one. No request with the kernel receives into them.
    #[cold]
    pub(crate) fn renew(&mut self, io: &Io) -> Option<Buf> {
        io.renew_buffers(&mut self.ready);
        self.pool.get()
    }

    /// Nothing is received into them any more.
    pub(crate) fn end(&mut self, io: &Io) {
        io.end_buffers(&mut self.ready);
    }
}
