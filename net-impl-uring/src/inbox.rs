//! Completions of one member that were taken off the ring and are handled one by one.

use crate::ring::{Completion, Io};

/// Completions that are taken at once.
const BATCH: usize = 64;

/// See the module's documentation. It is empty but while its group is polled.
pub(crate) struct Inbox {
    entries: Box<[Completion; BATCH]>,
    at: usize,
    len: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { entries: Box::new([Completion::NOTHING; BATCH]), at: 0, len: 0 }
    }

    /// The next one of those that were taken.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Completion> {
        let completion = *self.entries.get(self.at).filter(|_| self.at < self.len)?;
        self.at += 1;
        Some(completion)
    }

    /// Takes others, of a member, `most` at the most; false if there are none.
    pub(crate) fn refill(&mut self, io: &mut Io, member: u16, most: usize) -> bool {
        let into = &mut self.entries[..most.min(BATCH)];
        (self.at, self.len) = (0, io.take(member, into));
        if self.len == 0 && io.has_overflown() {
            // Those that found no room in the ring; whose turn it is depends on all.
            io.enter_for_events();
            self.len = io.take(member, into);
        }
        self.len > 0
    }
}
