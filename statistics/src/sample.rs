//! What was gathered, as it was gathered: cheap for those who are asked.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Display;

use crate::{Figure, Stats, Value};

/// What tells samples of a figure apart: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// The figures of one thing.
#[derive(Clone, Debug)]
pub struct Sample {
    pub(crate) figures: &'static [&'static [Figure]],
    pub(crate) labels: Labels,
    pub(crate) values: Vec<Value>,
}

/// Samples in one piece of memory.
const PIECE: usize = 128;

/// What has been gathered.
#[derive(Clone, Debug)]
pub struct Samples {
    /// In pieces, so that adding one never moves thousands.
    pub(crate) list: Vec<Vec<Sample>>,
    /// What the names of those that are wanted begin with; all are if there is none.
    pub(crate) wanted: Arc<[String]>,
}

impl Samples {
    /// For all figures.
    pub fn of_all() -> Self {
        Self::of(Vec::new())
    }

    /// For figures whose names begin with one of these; all if there is none.
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
    pub fn add<S: Stats>(&mut self, labels: &[(&'static str, &dyn Display)], stats: &S) {
        if self.wants_any::<S>() {
            let labels = labels.iter().map(|(name, value)| (*name, value.to_string())).collect();
            self.piece().push(Sample { figures: S::FIGURES, labels, values: stats.values() });
        }
    }

    /// The piece that has room.
    fn piece(&mut self) -> &mut Vec<Sample> {
        if self.list.last().is_none_or(|piece| piece.len() == PIECE) {
            self.list.push(Vec::with_capacity(PIECE));
        }
        let last = self.list.len() - 1;
        &mut self.list[last]
    }
}
