//! The views: which methods each needs, and how its table is made of their answers.

mod cores;
mod groups;
mod histograms;
mod pollers;
mod pools;
mod sockets;
mod stalls;
mod statistics;
mod threads;

use crate::seen::Seen;
use crate::table::{Cell, Column, Sort, Table};

/// A view. A new one is a line of [`VIEWS`].
pub(crate) struct View {
    /// Its name in JSON.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) methods: &'static [&'static str],
    pub(crate) columns: &'static [Column],
    /// The rows, or why there are none.
    rows: fn(&Seen) -> Result<Rows, String>,
    /// The order of the rows until somebody asks for another: by this column, the largest first.
    sorted: (&'static str, bool),
}

type Rows = Vec<Vec<Cell>>;

pub(crate) static VIEWS: [&View; 8] =
    [&threads::VIEW, &pollers::VIEW, &cores::VIEW, &groups::VIEW, &pools::VIEW, &sockets::VIEW, &stalls::VIEW, &statistics::VIEW];

/// What is asked for whatever is shown.
const ALWAYS: [&str; 2] = ["spdk_get_version", "framework_get_reactors"];

impl View {
    /// What has to be asked for.
    pub(crate) fn asks(&self) -> Vec<&'static str> {
        ALWAYS.into_iter().chain(self.methods.iter().copied()).collect()
    }

    pub(crate) fn table(&self, seen: &Seen) -> Result<Table, String> {
        Ok(Table { columns: self.columns, rows: (self.rows)(seen)? })
    }

    pub(crate) fn sorted(&self) -> Sort {
        let (key, down) = self.sorted;
        // A name that is none would be a mistake here; a test looks.
        Sort { column: self.columns.iter().position(|column| column.key == key).unwrap_or(0), down }
    }
}

/// What each method of all views is, once.
pub(crate) fn all_methods() -> Vec<&'static str> {
    let mut methods = ALWAYS.to_vec();
    for method in VIEWS.iter().flat_map(|view| view.methods) {
        if !methods.contains(method) {
            methods.push(method);
        }
    }
    methods
}

/// By how much a count has grown, if it is the same count.
fn grown(before: Option<u64>, now: u64) -> Option<u64> {
    now.checked_sub(before?)
}

/// Ticks as seconds.
fn seconds(ticks: u64, tick_rate: u64) -> Cell {
    Cell::maybe((tick_rate > 0).then_some(ticks), |ticks| Cell::Time(ticks as f64 / tick_rate as f64))
}

#[cfg(test)]
mod tests;
