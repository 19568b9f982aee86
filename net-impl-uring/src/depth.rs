//! How many buffers are to lie ready for the kernel.
//!
//! It takes them first in, first out, so all that lie there are walked through: with many, what is received into has left the cache; with few, a burst
//! finds none, its receives end, and each has to be asked for again. So there are as few as bursts allow.

/// Where it starts, and does not fall below: 32 buffers of 16 KiB stay in a core's cache (`docs/performance.md`).
const FEW: usize = 32;

/// As many while the group's buffers are low: a socket takes what lies there without asking.
const LOW: usize = 4;

/// Fillings after which it is looked whether fewer would do.
const WINDOW: u32 = 1024;

/// The number of buffers that are to lie ready.
pub(crate) struct Depth {
    now: usize,
    most: usize,
    /// The most that was missing at a filling of this window.
    peak: usize,
    fillings: u32,
}

impl Depth {
    /// At most `most`, and at least one.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { now: FEW.min(most), most, peak: 0, fillings: 0 }
    }

    /// How many are to lie there, now that `there` do.
    #[inline]
    pub(crate) fn fill(&mut self, there: usize) -> usize {
        self.peak = self.peak.max(self.now.saturating_sub(there));
        self.fillings += 1;
        if self.fillings == WINDOW {
            self.shrink();
        }
        self.now
    }

    /// The most that may ever lie there, also for those that wait.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// A burst found too few.
    #[cold]
    pub(crate) fn grow(&mut self) {
        self.now = (self.now * 2).min(self.most);
        (self.peak, self.fillings) = (self.now, 0);
    }

    /// Twice what the largest burst took is enough.
    #[cold]
    fn shrink(&mut self) {
        self.now = (self.peak * 2).max(FEW.min(self.most)).min(self.now);
        (self.peak, self.fillings) = (0, 0);
    }

    /// The group's buffers are low, or are so no longer.
    #[cold]
    pub(crate) fn set_low(&mut self, low: bool) {
        self.now = if low { self.now.min(LOW) } else { self.now.max(FEW.min(self.most)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_for_each_burst_up_to_the_most() {
        let mut depth = Depth::new(100);
        assert_eq!(depth.fill(0), 32);
        depth.grow();
        assert_eq!(depth.fill(0), 64);
        depth.grow();
        depth.grow();
        assert_eq!(depth.fill(0), 100);
    }

    #[test]
    fn it_falls_to_twice_the_largest_burst_of_a_window_and_no_further_than_where_it_started() {
        let mut depth = Depth::new(512);
        (0..4).for_each(|_| depth.grow());
        assert_eq!(depth.fill(512), 512);
        for _ in 0..2 * WINDOW {
            depth.fill(depth.now - 50);
        }
        assert_eq!(depth.now, 100);
        for _ in 0..2 * WINDOW {
            depth.fill(depth.now);
        }
        assert_eq!(depth.now, FEW);
    }

    #[test]
    fn few_lie_there_while_buffers_are_low() {
        let mut depth = Depth::new(100);
        depth.set_low(true);
        (0..2 * WINDOW).for_each(|_| assert_eq!(depth.fill(0), LOW));
        depth.set_low(false);
        assert_eq!(depth.fill(0), FEW);
    }

    #[test]
    fn a_group_with_next_to_nothing_has_one() {
        let mut depth = Depth::new(0);
        depth.grow();
        assert_eq!((depth.fill(0), depth.fill(1)), (1, 1));
    }
}
