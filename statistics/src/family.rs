//! What was gathered, as it is shown: by figures, and what has the same labels as one.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::sample::Piece;
use crate::{Figure, Kind, Labels, Samples, Times, Value};

/// A figure with all that was gathered of it.
#[derive(Clone, Debug)]
pub struct Family {
    /// Which.
    pub figure: Figure,
    /// Its values, in the order of their labels.
    pub samples: Vec<Shown>,
}

/// A value of a figure.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What tells it from the others.
    pub labels: Labels,
    /// The value.
    pub value: Value,
}

/// Nanoseconds, shown as seconds to the last digit that there is.
///
/// ```
/// use statistics::Seconds;
///
/// assert_eq!(Seconds(1_500_000_000).to_string(), "1.5");
/// assert_eq!(Seconds(20).to_string(), "0.00000002");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = alloc::format!("{part:09}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Shown {
    /// A number as it is shown: in seconds if it is a time.
    pub fn text(&self, figure: &Figure) -> String {
        match (&self.value, figure.is_ns) {
            (Value::Number(number), false) => number.to_string(),
            (Value::Number(ns), true) => Seconds(*ns).to_string(),
            (Value::Times(times), _) => times.count().to_string(),
        }
    }
}

impl Times {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// How many were at most so long (nanoseconds), for each length at which that is known.
    ///
    /// ```
    /// use statistics::Times;
    ///
    /// let times = Times { sum_ns: 9_000, buckets: vec![(1_000, 4), (4_000, 2)] };
    /// assert!(times.cumulative().eq([(1_000, 4), (4_000, 6)]));
    /// assert_eq!(times.count(), 6);
    /// ```
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().scan(0, |below, (up_to, count)| {
            *below += count;
            Some((*up_to, *below))
        })
    }

    fn merge(&mut self, other: Self) {
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        if self.buckets.is_empty() {
            self.buckets = other.buckets;
        } else {
            self.buckets.iter_mut().zip(other.buckets).for_each(|((_, count), (_, more))| *count += more);
        }
    }
}

impl Value {
    fn merge(&mut self, kind: Kind, other: Self) {
        match (self, other) {
            (Self::Number(number), Self::Number(other)) if kind == Kind::Peak => *number = (*number).max(other),
            (Self::Number(number), Self::Number(other)) => *number = number.wrapping_add(other),
            (Self::Times(times), Self::Times(other)) => times.merge(other),
            // A figure has values of one kind.
            (Self::Number(_), Self::Times(_)) | (Self::Times(_), Self::Number(_)) => {}
        }
    }
}

/// All that was gathered, by the names of the figures.
///
/// ```
/// use statistics::{Samples, families, stats};
///
/// stats! {
///     /// What a shard has done.
///     struct Shard {
///         /// Answers.
///         answers: u64 => counter("example_answers_total"),
///         /// The longest.
///         longest_ns: u64 => peak_ns("example_longest_seconds"),
///     }
/// }
///
/// let mut samples = Samples::of_all();
/// for shard in [Shard { answers: 1, longest_ns: 5 }, Shard { answers: 2, longest_ns: 3 }] {
///     samples.add(&[], &shard); // without labels, so that they are one
/// }
/// let all = families(samples);
/// assert_eq!(all[0].samples[0].text(&all[0].figure), "3");
/// assert_eq!(all[1].samples[0].text(&all[1].figure), "0.000000005");
/// ```
pub fn families(samples: Samples) -> Vec<Family> {
    let mut all = BTreeMap::<&str, (Figure, BTreeMap<Labels, Value>)>::new();
    let Samples { list, wanted } = samples;
    let filter = Samples { list: Vec::new(), wanted };
    for sample in list.into_iter().flat_map(Piece::into_samples) {
        for (figure, value) in sample.figures.iter().copied().flatten().zip(sample.values) {
            if !filter.wants(figure.name) {
                continue;
            }
            let (_, family) = all.entry(figure.name).or_insert_with(|| (*figure, BTreeMap::new()));
            match family.get_mut(&sample.labels) {
                Some(there) => there.merge(figure.kind, value),
                None => drop(family.insert(sample.labels.clone(), value)),
            }
        }
    }
    let shown = |(labels, value)| Shown { labels, value };
    all.into_values().map(|(figure, values)| Family { figure, samples: values.into_iter().map(shown).collect() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats;

    stats! {
        /// Of each kind one.
        struct Each {
            /// What is
            /// counted.
            runs: u64 => counter("each_runs_total"),
            /// Not shown.
            _name: &'static str,
            /// There.
            there: usize => gauge("each_there"),
            /// Longest.
            longest_ns: u64 => peak_ns("each_longest_seconds"),
            /// Times.
            times: Two => histogram_ns("each_times_seconds"),
        }
    }

    struct Two(u64, u64);

    impl From<&Two> for Value {
        fn from(two: &Two) -> Self {
            Self::Times(Times { sum_ns: two.0, buckets: alloc::vec![(1_000, two.0), (u64::MAX, two.1)] })
        }
    }

    fn each(n: u64) -> Each {
        Each { runs: n, _name: "", there: n as usize, longest_ns: n, times: Two(n, 1) }
    }

    #[test]
    fn what_has_the_same_labels_is_one_sum_or_the_longest() {
        let mut samples = Samples::of_all();
        samples.add(&[("name", &"b")], &each(100));
        samples.add(&[("name", &"a")], &each(30));
        samples.add(&[("name", &"a")], &each(20));
        let families = families(samples);
        let shown: Vec<_> =
            families.iter().map(|family| (family.figure.name, family.samples.iter().map(|it| it.text(&family.figure)).collect())).collect();
        let of = |a: &str, b: &str| Vec::from([a.to_string(), b.to_string()]);
        assert_eq!(
            shown,
            [
                ("each_longest_seconds", of("0.00000003", "0.0000001")),
                ("each_runs_total", of("50", "100")),
                ("each_there", of("50", "100")),
                ("each_times_seconds", of("52", "101")),
            ]
        );
        let [_, runs, _, times] = &families[..] else { panic!() };
        assert_eq!((runs.figure.help(), runs.figure.kind.name()), ("What is counted.", "counter"));
        let Value::Times(times) = &times.samples[0].value else { panic!() };
        assert_eq!((times.sum_ns, times.cumulative().collect::<Vec<_>>()), (50, Vec::from([(1_000, 50), (u64::MAX, 52)])));
    }

    #[test]
    fn only_what_is_wanted_is_kept() {
        let names = |wanted: &[&str]| {
            let mut samples = Samples::of(wanted.iter().map(|begin| (*begin).into()).collect());
            samples.add(&[], &each(1));
            families(samples).iter().map(|family| family.figure.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["each_r", "each_there"]), ["each_runs_total", "each_there"]);
        assert_eq!(names(&["other"]), [""; 0]);
        assert_eq!(names(&[]).len(), 4);
        let mut samples = Samples::of(Vec::from(["other".into()]));
        samples.add(&[], &each(1));
        assert!(samples.list.is_empty(), "nobody needs it");
    }

    #[test]
    fn nanoseconds_are_shown_as_seconds_exactly() {
        let shown = [0, 1, 1_500_000_000, 2_000_000_000, u64::MAX].map(|ns| Seconds(ns).to_string());
        assert_eq!(shown, ["0", "0.000000001", "1.5", "2", "18446744073.709551615"]);
    }
}
