//! Completions of one member that were taken off the ring and are handled one by one.

use std::fmt;

use crate::io::{Completion, Io};
use crate::key::Member;

/// Completions that are taken at once.
const BATCH: usize = 64;

/// See the module's documentation. It is to be empty when a poll ends, since nobody asks it whether
/// it is.
pub struct Inbox {
    member: Member,
    entries: Box<[Completion; BATCH]>,
    at: usize,
    len: usize,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("member", &self.member).field("left", &self.len.saturating_sub(self.at)).finish_non_exhaustive()
    }
}

impl Inbox {
    /// That of a member.
    pub fn new(member: Member) -> Self {
        Self { member, entries: Box::new([Completion::NOTHING; BATCH]), at: 0, len: 0 }
    }

    /// The next one of those that were taken.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "there may be more when it was refilled")]
    pub fn next(&mut self) -> Option<Completion> {
        let completion = *self.entries.get(self.at).filter(|_| self.at < self.len)?;
        self.at += 1;
        Some(completion)
    }

    /// Takes others, `most` at the most; false if there are none. Only when all were handled.
    pub fn refill(&mut self, io: &mut Io, most: usize) -> bool {
        debug_assert!(self.at >= self.len, "completions would be lost");
        let into = &mut self.entries[..most.min(BATCH)];
        (self.at, self.len) = (0, io.take(self.member, into));
        if self.len == 0 && io.has_overflown() {
            // Those that found no room in the ring; whose turn it is depends on all.
            io.enter_for_events();
            self.len = io.take(self.member, into);
        }
        self.len > 0
    }
}
