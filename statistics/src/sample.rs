//! What was gathered, as it was gathered: cheap for those who are asked.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{Display, Write as _};

use crate::{Figure, Stats, Value};

/// What tells samples of a figure apart: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// The figures of one thing.
pub(crate) struct Sample {
    pub(crate) figures: &'static [&'static [Figure]],
    pub(crate) labels: Labels,
    pub(crate) values: Vec<Value>,
}

/// Samples in one piece of memory.
const PIECE: usize = 64;

/// Samples, of which the labels and the values lie together. Each with memory of its own would be
/// thousands of small pieces that one thread makes and another frees, and an allocator tidies up
/// after that for a millisecond, in the middle of a reactor's turn.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    samples: Vec<Counted>,
    /// Names, and where in `text` their values end.
    labels: Vec<(&'static str, usize)>,
    text: String,
    values: Vec<Value>,
}

/// A sample, and how many labels and values are its.
#[derive(Clone, Copy, Debug)]
struct Counted {
    figures: &'static [&'static [Figure]],
    labels: usize,
    values: usize,
}

impl Piece {
    fn new() -> Self {
        Self {
            samples: Vec::with_capacity(PIECE),
            labels: Vec::with_capacity(4 * PIECE),
            text: String::with_capacity(64 * PIECE),
            values: Vec::with_capacity(8 * PIECE),
        }
    }

    fn add<S: Stats>(&mut self, labels: &[(&'static str, &dyn Display)], stats: &S) {
        for (name, value) in labels {
            // A string takes all that is written to it.
            let _ = write!(self.text, "{value}");
            self.labels.push((name, self.text.len()));
        }
        let before = self.values.len();
        self.values.extend(stats.values());
        self.samples.push(Counted { figures: S::FIGURES, labels: labels.len(), values: self.values.len() - before });
    }

    /// The samples, in the order in which they were added.
    pub(crate) fn into_samples(self) -> impl Iterator<Item = Sample> {
        let Self { samples, labels, text, values } = self;
        let (mut labels, mut values, mut from) = (labels.into_iter(), values.into_iter(), 0);
        samples.into_iter().map(move |sample| {
            let label = |(name, to)| (name, text[core::mem::replace(&mut from, to)..to].into());
            let labels = labels.by_ref().take(sample.labels).map(label).collect();
            Sample { figures: sample.figures, labels, values: values.by_ref().take(sample.values).collect() }
        })
    }
}

/// What has been gathered.
#[derive(Clone, Debug)]
pub struct Samples {
    /// In pieces, so that adding one never moves thousands.
    pub(crate) list: Vec<Piece>,
    /// What the names of those that are wanted begin with; all are if there is none.
    pub(crate) wanted: Arc<[String]>,
}

impl Samples {
    /// For all figures.
    pub fn of_all() -> Self {
        Self::of(Vec::new())
    }

    /// For figures whose names begin with one of these; all if there is none.
    ///
    /// ```
    /// use statistics::Samples;
    ///
    /// let samples = Samples::of(vec!["lcore_thread_".into()]);
    /// assert!(samples.wants("lcore_thread_turns_total") && !samples.wants("lcore_pool_buffers"));
    /// ```
    pub fn of(wanted: Vec<String>) -> Self {
        Self { list: Vec::new(), wanted: wanted.into() }
    }

    /// Whether a figure of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|begin| name.starts_with(begin.as_str()))
    }

    /// Whether any figure of these is wanted.
    pub fn wants_any<S: Stats>(&self) -> bool {
        S::FIGURES.iter().copied().flatten().any(|figure| self.wants(figure.name))
    }

    /// Adds figures under these labels. What has the same labels is shown as one.
    ///
    /// ```
    /// use statistics::{Samples, families, stats};
    ///
    /// stats! {
    ///     /// A queue.
    ///     struct Queue {
    ///         /// Entries.
    ///         entries: u64 => gauge("example_queue_entries"),
    ///     }
    /// }
    ///
    /// let mut samples = Samples::of_all();
    /// for (name, entries) in [("a", 1), ("b", 2)] {
    ///     samples.add(&[("queue", &name)], &Queue { entries });
    /// }
    /// assert_eq!(families(samples)[0].samples[1].labels, [("queue", "b".to_owned())]);
    /// ```
    pub fn add<S: Stats>(&mut self, labels: &[(&'static str, &dyn Display)], stats: &S) {
        if self.wants_any::<S>() {
            self.piece().add(labels, stats);
        }
    }

    /// The piece that has room.
    fn piece(&mut self) -> &mut Piece {
        if self.list.last().is_none_or(|piece| piece.samples.len() == PIECE) {
            self.list.push(Piece::new());
        }
        let last = self.list.len() - 1;
        &mut self.list[last]
    }
}
