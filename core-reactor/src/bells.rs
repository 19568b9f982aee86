//! Sources that are silent while their core is awake.

use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;

use crate::Instant;

/// Something that makes a watched source ready only if it was asked to, so that a busy core does
/// not pay for news that it finds anyway: the eventfd of an io_uring, the completion channel of an
/// RDMA queue.
///
/// A core that is about to sleep arms its bells first. An armed bell makes its source ready for
/// whatever happens from then on.
pub trait Bell {
    /// Arms it. False if something has happened already, which a poll would find: then the core
    /// does not sleep.
    fn arm(&self) -> bool;

    /// The core is awake again. Called also if it was not armed.
    fn disarm(&self);

    /// When the core must be awake again at the latest, whatever is told until then. Asked after
    /// [`arm`](Self::arm): the time of a protocol's next retransmission, which no poller's period
    /// could say.
    fn due(&self) -> Option<Instant> {
        None
    }
}

/// The bells of one thread.
#[derive(Default)]
pub(crate) struct Bells(Vec<Weak<Rung>>);

/// Keeps a bell with its thread.
pub(crate) struct Rung(Rc<dyn Bell>);

impl Bells {
    pub(crate) fn add(&mut self, bell: Rc<dyn Bell>) -> Rc<Rung> {
        if self.0.len() == self.0.capacity() {
            self.drop_stale();
            // As much again as is left, so that the next look through all comes after as many
            // bells.
            self.0.reserve(self.0.len().max(4));
        }
        let rung = Rc::new(Rung(bell));
        self.0.push(Rc::downgrade(&rung));
        rung
    }

    /// Forgets those whose watch is gone.
    pub(crate) fn drop_stale(&mut self) {
        self.0.retain(|bell| bell.strong_count() > 0);
    }

    pub(crate) fn arm(&self) -> bool {
        self.0.iter().filter_map(Weak::upgrade).all(|rung| rung.0.arm())
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(Weak::upgrade).filter_map(|rung| rung.0.due()).min()
    }

    pub(crate) fn disarm(&self) {
        self.0.iter().filter_map(Weak::upgrade).for_each(|rung| rung.0.disarm());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Bell for Silent {
        fn arm(&self) -> bool {
            true
        }

        fn disarm(&self) {}
    }

    #[test]
    fn stale_bells_are_looked_for_only_when_the_list_would_have_to_grow() {
        let mut bells = Bells::default();
        let kept: Vec<_> = (0..3).map(|_| bells.add(Rc::new(Silent))).collect();
        assert!(bells.0.len() < bells.0.capacity());
        drop(kept);
        let mut kept = alloc::vec![bells.add(Rc::new(Silent))];
        assert_eq!(bells.0.len(), 4, "there was room, so nothing was looked at");
        for _ in 0..1_000 {
            drop(bells.add(Rc::new(Silent)));
            assert!(bells.0.len() <= 8, "one is kept");
        }
        kept.extend((0..100).map(|_| bells.add(Rc::new(Silent))));
        bells.drop_stale();
        assert_eq!(bells.0.len(), 101);
        drop(kept);
        bells.drop_stale();
        assert_eq!(bells.0.len(), 0);
    }
}
