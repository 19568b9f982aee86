//! Counts of durations by their size.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use statistics::{Times, Value};

/// The first bucket holds all up to 2^LOWEST nanoseconds (64 ns), the last all beyond 2^HIGHEST
/// (68.7 s). Between them each power of two has four.
const LOWEST: u32 = 6;
const HIGHEST: u32 = 36;
const BUCKETS: usize = (HIGHEST - LOWEST) as usize * 4 + 2;

/// A histogram of durations, of a fixed size: what is recorded is known to a fifth (a bucket ends
/// at most a quarter above where it begins). Recording allocates nothing and takes a few
/// instructions.
///
/// ```
/// use core_reactor::Histogram;
/// let mut histogram = Histogram::new();
/// (1..=100).for_each(|micros| histogram.record(micros * 1_000));
/// assert_eq!((histogram.count(), histogram.max_ns()), (100, 100_000));
/// assert!((50_000..=62_500).contains(&histogram.quantile_ns(0.5)));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ns: u64,
    max_ns: u64,
}

/// A part of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The longest duration that belongs here, nanoseconds; [`u64::MAX`] for the last bucket. The
    /// shortest is one more than the longest of the bucket before.
    pub up_to_ns: u64,
    /// How many were recorded.
    pub count: u64,
}

impl Histogram {
    /// Nothing recorded yet.
    pub const fn new() -> Self {
        Self { counts: [0; BUCKETS], sum_ns: 0, max_ns: 0 }
    }

    /// Records a duration in nanoseconds.
    ///
    /// ```
    /// # use core_reactor::Histogram;
    /// let mut waits = Histogram::new();
    /// waits.record(1_500);
    /// assert_eq!((waits.count(), waits.max_ns()), (1, 1_500));
    /// ```
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.record_many(ns, 1);
    }

    /// Records `count` durations of `ns` nanoseconds each.
    ///
    /// ```
    /// # use core_reactor::Histogram;
    /// let mut turns = Histogram::new();
    /// // A thousand turns took a millisecond together.
    /// turns.record_many(1_000, 1_000);
    /// assert_eq!((turns.count(), turns.sum_ns()), (1_000, 1_000_000));
    /// ```
    #[inline]
    pub fn record_many(&mut self, ns: u64, count: u64) {
        // Sums wrap after 584 years.
        self.counts[place(ns)] += count;
        self.sum_ns = self.sum_ns.wrapping_add(ns.wrapping_mul(count));
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what another has recorded.
    ///
    /// ```
    /// use core_reactor::Histogram;
    ///
    /// let (mut all, mut one) = (Histogram::new(), Histogram::new());
    /// one.record(500);
    /// all.merge(&one);
    /// all.merge(&one);
    /// assert_eq!((all.count(), all.sum_ns()), (2, 1_000));
    /// ```
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, nanoseconds.
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The longest, exactly, nanoseconds.
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// A duration that the share `q` (0 to 1) of all does not exceed: the end of a bucket, and so
    /// at most a quarter too long; never more than the longest. 0 if nothing was recorded.
    ///
    /// ```
    /// # use core_reactor::Histogram;
    /// let mut waits = Histogram::new();
    /// waits.record_many(1_000, 99);
    /// waits.record(1_000_000);
    /// assert!((1_000..=1_250).contains(&waits.quantile_ns(0.5)));
    /// assert_eq!(waits.quantile_ns(1.0), 1_000_000);
    /// ```
    pub fn quantile_ns(&self, q: f64) -> u64 {
        let wanted = q.clamp(0.0, 1.0) * self.count() as f64;
        let mut below = 0;
        let reached = |bucket: &Bucket| {
            below += bucket.count;
            below > 0 && below as f64 >= wanted
        };
        self.buckets().find(reached).map_or(0, |bucket| bucket.up_to_ns.min(self.max_ns))
    }

    /// All buckets, the shortest durations first. There are as many in every histogram.
    ///
    /// ```
    /// use core_reactor::Histogram;
    ///
    /// let mut times = Histogram::new();
    /// times.record(1_000);
    /// let used: Vec<_> = times.buckets().filter(|bucket| bucket.count > 0).collect();
    /// assert!(used.len() == 1 && used[0].up_to_ns >= 1_000);
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        self.counts.iter().enumerate().map(|(at, count)| Bucket { up_to_ns: end(at), count: *count })
    }
}

impl From<&Histogram> for Value {
    /// As it is shown: by powers of two.
    fn from(histogram: &Histogram) -> Self {
        let mut buckets = Vec::with_capacity((HIGHEST - LOWEST) as usize + 2);
        let mut count = 0;
        for bucket in histogram.buckets() {
            count += bucket.count;
            if bucket.up_to_ns.is_power_of_two() || bucket.up_to_ns == u64::MAX {
                buckets.push((bucket.up_to_ns, core::mem::take(&mut count)));
            }
        }
        Self::Times(Times { sum_ns: histogram.sum_ns, buckets })
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |q| Duration::from_nanos(self.quantile_ns(q));
        write!(f, "{} times, median {:?}, p99 {:?}, longest {:?}", self.count(), at(0.5), at(0.99), at(1.0))
    }
}

/// The bucket of a duration.
#[inline]
fn place(ns: u64) -> usize {
    // Less one, so that a bucket holds the duration that it is named by.
    let below = ns.saturating_sub(1);
    if below < 1 << LOWEST {
        return 0;
    }
    let power = below.ilog2();
    // The two bits behind the first.
    let quarter = (below >> (power - 2)) & 3;
    ((power - LOWEST) as usize * 4 + quarter as usize + 1).min(BUCKETS - 1)
}

/// The longest duration of a bucket.
const fn end(at: usize) -> u64 {
    if at == BUCKETS - 1 {
        return u64::MAX;
    }
    // Bucket 0 ends where the fourth quarter of the power before would.
    let quarters = at as u64 + 3;
    (5 + quarters % 4) << (LOWEST as u64 - 3 + quarters / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s180_buckets_go_from_64_ns_to_69_s_in_quarters_of_powers_of_two() {
        let ends: Vec<_> = Histogram::new().buckets().map(|bucket| bucket.up_to_ns).collect();
        assert_eq!(ends[..6], [64, 80, 96, 112, 128, 160]);
        assert_eq!(ends[ends.len() - 2..], [1 << 36, u64::MAX]);
        assert!(ends.is_sorted() && ends.len() == BUCKETS);
        assert!(ends[..BUCKETS - 1].windows(2).all(|pair| pair[1] * 4 <= pair[0] * 5), "one is wider than a quarter");
    }

    #[test]
    fn s180_a_duration_is_in_the_bucket_that_its_end_names() {
        for at in 0..BUCKETS - 1 {
            assert_eq!((place(end(at)), place(end(at) + 1)), (at, at + 1), "{}", end(at));
        }
        assert_eq!((place(0), place(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn s180_what_is_merged_counts_once() {
        let (mut a, mut b) = (Histogram::new(), Histogram::new());
        a.record(100);
        b.record_many(7_000, 3);
        a.merge(&b);
        assert_eq!((a.count(), a.sum_ns(), a.max_ns()), (4, 21_100, 7_000));
        assert_eq!((a.quantile_ns(0.25), a.quantile_ns(0.26), a.quantile_ns(0.0)), (112, 7_000, 112));
        assert_eq!(Histogram::new().quantile_ns(0.5), 0);
    }

    #[test]
    fn a_histogram_is_shown_by_powers_of_two() {
        let mut histogram = Histogram::new();
        [64, 65, 128, 129, 1 << 37].iter().for_each(|ns| histogram.record(*ns));
        let Value::Times(times) = Value::from(&histogram) else { panic!() };
        let ends: Vec<_> = times.buckets.iter().map(|(end, _)| *end).collect();
        assert_eq!(ends, (LOWEST..=HIGHEST).map(|power| 1 << power).chain([u64::MAX]).collect::<Vec<_>>());
        let filled: Vec<_> = times.buckets.iter().copied().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(64, 1), (128, 2), (256, 1), (u64::MAX, 1)]);
        assert_eq!((times.count(), times.sum_ns), (5, histogram.sum_ns()));
    }

    proptest! {
        #[test]
        fn s180_a_quantile_is_at_most_a_quarter_above_the_true_one(mut values in prop::collection::vec(0_u64..1 << 36, 1..200), q in 0.0_f64..=1.0) {
            let mut histogram = Histogram::new();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let (exact, told) = (values[rank - 1], histogram.quantile_ns(q));
            prop_assert!(told >= exact && told <= (exact.max(52) * 5).div_ceil(4).max(64), "{} for {}", told, exact);
        }
    }
}
