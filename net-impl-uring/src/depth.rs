//! How many buffers are to lie ready for the kernel.
//!
//! It takes them first in, first out, so all that lie there are walked through: with many, what is
//! received into has left the cache; with few, a burst finds none, its receives end, and each has
//! to be asked for again. So there are as few as bursts allow.

/// Where it starts, and does not fall below: 32 buffers of 16 KiB stay in a core's cache
/// (`docs/performance.md`).
const FEW: usize = 32;

/// Fillings after which it is looked whether fewer would do.
const WINDOW: u32 = 1024;

/// The number of buffers that are to lie ready.
pub(crate) struct Depth {
    now: usize,
    most: usize,
    /// The most that was missing at a filling of this window.
    peak: usize,
    fillings: u32,
    /// Nothing is received into what lies there.
    low: bool,
}

impl Depth {
    /// At most `most`, and at least one.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { now: FEW.min(most), most, peak: 0, fillings: 0, low: false }
    }

    /// How many are to lie there, now that `there` do.
    #[inline]
    pub(crate) fn fill(&mut self, there: usize) -> usize {
        self.peak = self.peak.max(self.now.saturating_sub(there));
        self.fillings += 1;
        if self.fillings == WINDOW {
            self.shrink();
        }
        if self.low { 0 } else { self.now }
    }

    /// A burst found too few. It may be told more than once of the same.
    #[cold]
    pub(crate) fn grow(&mut self) {
        if self.fillings == 0 || self.low {
            return;
        }
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
    pub(crate) fn set_low(&mut self, low: bool) {
        self.low = low;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_for_each_burst_up_to_the_most() {
        let mut depth = Depth::new(100);
        assert_eq!(depth.fill(0), 32);
        (0..3).for_each(|_| depth.grow());
        assert_eq!(depth.fill(0), 64);
        (0..3).for_each(|_| depth.grow());
        assert_eq!(depth.fill(0), 100, "once for all that one burst lacked");
    }

    #[test]
    fn it_falls_to_twice_the_largest_burst_of_a_window_and_no_further_than_where_it_started() {
        let mut depth = Depth::new(512);
        for size in [32, 64, 128, 256, 512] {
            assert_eq!(depth.fill(512), size);
            depth.grow();
        }
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
    fn none_are_laid_out_while_buffers_are_low() {
        let mut depth = Depth::new(100);
        depth.set_low(true);
        assert_eq!(depth.fill(0), 0);
        depth.grow();
        depth.set_low(false);
        assert_eq!(depth.fill(0), FEW);
    }

    #[test]
    fn a_group_with_next_to_nothing_has_one() {
        let mut depth = Depth::new(0);
        assert_eq!(depth.fill(0), 1);
        depth.grow();
        assert_eq!(depth.fill(1), 1);
    }
}
