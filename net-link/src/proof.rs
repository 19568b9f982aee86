//! Peers that have shown that they are where they say they are.
//!
//! Whoever floods a listener with SYNs of invented senders does not see what is said to those
//! senders. So a SYN for which there is no room is answered by an acknowledgement of a number that
//! nobody can guess. A peer that has asked for a connection finds it wrong, and says so by a reset
//! with that number (RFC 9293, 3.10.7.3), which is its proof; its next SYN has room made for it.
//! Nothing is kept for those that do not answer. Why not cookies:
//! `docs/decisions/0080-a-flood-of-syns.md`.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use core_reactor::Instant;

use crate::frame::Ends;

/// Proofs that are kept: a power of two. Of two that fall on one place the later stays.
const KEPT: usize = 256;

/// How long a number is told, in seconds; it is believed for as long again.
const SLOT: u64 = 16;

/// How long a proof holds: longer than any client waits before it asks again.
const HOLDS: Duration = Duration::from_secs(64);

/// Who has shown it.
pub struct Proofs {
    key: (u64, u64),
    /// Until when an answer may come. Outside of a flood nothing is computed for a reset.
    asked_until: Instant,
    /// Who has shown it, as a number made of both ends, and until when it holds.
    proven: Box<[(u64, Instant)]>,
}

/// Not the key, nor whom it was told: nobody outside may know.
impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").field("asked_until", &self.asked_until).finish_non_exhaustive()
    }
}

impl Proofs {
    pub(crate) fn new(key: (u64, u64)) -> Self {
        Self { key, asked_until: Instant::ZERO, proven: vec![(0, Instant::ZERO); KEPT].into() }
    }

    /// The number that a peer is to say again.
    pub(crate) fn ask(&mut self, who: Ends, now: Instant) -> u32 {
        self.asked_until = now + Duration::from_secs(2 * SLOT);
        self.number(who, slot(now))
    }

    /// Whether a reset with this sequence number is an answer. If it is, its sender is known from
    /// now on.
    pub(crate) fn answers(&mut self, who: Ends, seq: u32, now: Instant) -> bool {
        if now >= self.asked_until {
            return false;
        }
        let slot = slot(now);
        let is = seq == self.number(who, slot) || seq == self.number(who, slot.wrapping_sub(1));
        if is {
            let name = self.name(who);
            self.proven[name as usize % KEPT] = (name, now + HOLDS);
        }
        is
    }

    /// Whether a peer has shown it, for this connection.
    pub fn has(&self, who: Ends, now: Instant) -> bool {
        let name = self.name(who);
        let (known, until) = self.proven[name as usize % KEPT];
        known == name && now < until
    }

    fn number(&self, who: Ends, slot: u64) -> u32 {
        (self.hash((who, slot)) >> 32) as u32
    }

    /// A number for both ends that nobody outside can foresee.
    pub fn name(&self, who: Ends) -> u64 {
        self.hash(who)
    }

    #[expect(deprecated, reason = "the keyed hash of core; what is to be used in its place is in std only")]
    fn hash(&self, what: impl Hash) -> u64 {
        let mut hasher = core::hash::SipHasher::new_with_keys(self.key.0, self.key.1);
        what.hash(&mut hasher);
        hasher.finish()
    }
}

fn slot(now: Instant) -> u64 {
    now.as_nanos() / (SLOT * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(port: u16) -> Ends {
        Ends { from: ([10, 0, 0, 9], port).into(), to: ([10, 0, 0, 1], 7).into() }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn only_the_number_that_was_told_is_a_proof_of_the_one_it_was_told_to() {
        let mut proofs = Proofs::new((1, 2));
        let number = proofs.ask(syn(1), at(100));
        assert!(!proofs.answers(syn(1), number.wrapping_add(1), at(100)));
        assert!(!proofs.answers(syn(2), number, at(100)) && !proofs.has(syn(1), at(100)));
        assert!(proofs.answers(syn(1), number, at(101)));
        assert!(proofs.has(syn(1), at(101)) && !proofs.has(syn(2), at(101)));
        assert!(proofs.has(syn(1), at(101 + 63)) && !proofs.has(syn(1), at(101 + 64)), "it holds for a time");
        assert_ne!(Proofs::new((1, 3)).ask(syn(1), at(100)), number, "another host tells another number");
    }

    #[test]
    fn a_number_is_believed_for_one_slot_more() {
        let mut proofs = Proofs::new((1, 2));
        let number = proofs.ask(syn(1), at(SLOT - 1));
        proofs.ask(syn(2), at(4 * SLOT));
        assert!(!proofs.answers(syn(1), number, at(4 * SLOT)), "too old");
        let number = proofs.ask(syn(1), at(5 * SLOT - 1));
        assert!(proofs.answers(syn(1), number, at(6 * SLOT - 1)));
        assert_ne!(proofs.ask(syn(1), at(7 * SLOT)), number, "and another is told then");
    }

    #[test]
    fn without_a_flood_no_reset_is_an_answer() {
        let mut proofs = Proofs::new((1, 2));
        let number = proofs.ask(syn(1), at(0));
        assert!(!proofs.answers(syn(1), number, at(2 * SLOT)), "nobody has been asked for long");
    }
}
