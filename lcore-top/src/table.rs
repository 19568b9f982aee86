//! A table as it is shown: what its columns are, its rows, and their order.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use crate::text;

/// A column: its name in JSON, and above the table.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
}

pub(crate) const fn column(key: &'static str, title: &'static str) -> Column {
    Column { key, title }
}

/// What stands in a place of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Text(String),
    /// A number that names something.
    Id(u64),
    Count(u64),
    /// Also a rate per second.
    Number(f64),
    /// A part of the whole, from 0 to 1.
    Share(f64),
    /// Seconds.
    Time(f64),
    Unknown,
}

impl Cell {
    /// An application's text, which may be anything.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text::plain(text))
    }

    /// What may be absent.
    pub(crate) fn maybe<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Unknown, cell)
    }

    /// By how much a count has grown each second. One that has shrunk is another's.
    pub(crate) fn rate(before: Option<u64>, now: u64, elapsed: f64) -> Self {
        let grown = before.and_then(|before| now.checked_sub(before)).filter(|_| elapsed > 0.0);
        Self::maybe(grown, |grown| Self::Number(grown as f64 / elapsed))
    }

    /// The part of `whole` that `part` is.
    pub(crate) fn share(part: Option<u64>, whole: Option<u64>) -> Self {
        match (part, whole) {
            (Some(part), Some(whole)) if whole > 0 => Self::Share(part as f64 / whole as f64),
            _ => Self::Unknown,
        }
    }

    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Id(id) => id.to_string(),
            Self::Count(count) => text::count(*count),
            Self::Number(number) => text::number(*number),
            Self::Share(share) => text::share(*share),
            Self::Time(seconds) => text::time(*seconds),
            Self::Unknown => "-".into(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Id(number) | Self::Count(number) => json!(number),
            Self::Number(number) | Self::Share(number) | Self::Time(number) => json!(number),
            Self::Unknown => Value::Null,
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Id(number) | Self::Count(number) => Some(*number as f64),
            Self::Number(number) | Self::Share(number) | Self::Time(number) => Some(*number),
            Self::Text(_) | Self::Unknown => None,
        }
    }

    /// Numbers go before texts.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Id(one), Self::Id(other)) | (Self::Count(one), Self::Count(other)) => one.cmp(other),
            (one, other) => match (one.number(), other.number()) {
                (Some(one), Some(other)) => one.total_cmp(&other),
                (one, other) => one.is_none().cmp(&other.is_none()),
            },
        }
    }
}

/// By which column rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) column: usize,
    /// The largest first.
    pub(crate) down: bool,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: &'static [Column],
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The rows that have `filter` in them, in any case of its letters, in order. What is unknown
    /// comes last, either way.
    pub(crate) fn rows(&self, filter: &str, sort: Sort) -> Vec<&Vec<Cell>> {
        let filter = filter.to_lowercase();
        let has = |row: &&Vec<Cell>| row.iter().any(|cell| cell.shown().to_lowercase().contains(&filter));
        let mut rows: Vec<_> = self.rows.iter().filter(has).collect();
        rows.sort_by(|one, other| {
            let (one, other) = (&one[sort.column], &other[sort.column]);
            let unknown = |cell: &Cell| *cell == Cell::Unknown;
            let order = one.compare(other);
            unknown(one).cmp(&unknown(other)).then(if sort.down { order.reverse() } else { order })
        });
        rows
    }

    /// The widths that `rows` need, and whether a column is of texts, which stand at its left.
    pub(crate) fn layout(&self, rows: &[&Vec<Cell>]) -> Vec<(usize, bool)> {
        let place = |at: usize| {
            let cells = || rows.iter().map(move |row| &row[at]);
            let width = cells().map(|cell| width(&cell.shown())).max().unwrap_or(0);
            // One more, for the mark of the column that rows are sorted by.
            (width.max(self.columns[at].title.len() + 1), cells().any(Cell::is_text))
        };
        (0..self.columns.len()).map(place).collect()
    }

    /// Each row as an object.
    pub(crate) fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| self.columns.iter().zip(row).map(|(column, cell)| (column.key.to_owned(), cell.json())).collect();
        self.rows.iter().map(object).collect::<Vec<Map<_, _>>>().into()
    }
}

/// Cells that `text` takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    ratatui::text::Span::raw(text).width()
}

/// Filled up with spaces to `width`, at the left or the right.
pub(crate) fn fill(text: &str, width: usize, at_left: bool) -> String {
    let space = " ".repeat(width.saturating_sub(self::width(text)));
    if at_left { format!("{text}{space}") } else { format!("{space}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [column("name", "NAME"), column("rate", "RATE")];

    fn table(rows: &[(&str, Cell)]) -> Table {
        Table { columns: &COLUMNS, rows: rows.iter().map(|(name, cell)| vec![Cell::text(name), cell.clone()]).collect() }
    }

    fn names(table: &Table, filter: &str, column: usize, down: bool) -> Vec<String> {
        table.rows(filter, Sort { column, down }).iter().map(|row| row[0].shown()).collect()
    }

    #[test]
    fn s195_what_is_unknown_comes_last_either_way() {
        let table = table(&[("b", Cell::Unknown), ("a", Cell::Number(2.0)), ("c", Cell::Number(10.0)), ("d", Cell::Number(2.0))]);
        assert_eq!(names(&table, "", 1, false), ["a", "d", "c", "b"]);
        assert_eq!(names(&table, "", 1, true), ["c", "a", "d", "b"], "equal ones stay as they came");
        assert_eq!(names(&table, "", 0, true), ["d", "c", "b", "a"]);
        let mixed = self::table(&[("t", Cell::text("x")), ("n", Cell::Number(f64::NAN)), ("c", Cell::Count(3))]);
        assert_eq!(names(&mixed, "", 1, false), ["c", "n", "t"]);
    }

    #[test]
    fn a_filter_looks_into_every_column_in_any_case() {
        let table = table(&[("Echo_0", Cell::Count(1234)), ("app_thread", Cell::Unknown)]);
        assert_eq!(names(&table, "echo", 0, false), ["Echo_0"]);
        assert_eq!(names(&table, "1,2", 0, false), ["Echo_0"]);
        assert_eq!(names(&table, "APP", 0, false), ["app_thread"]);
        assert!(names(&table, "nobody", 0, false).is_empty());
    }

    #[test]
    fn s194_a_rate_needs_two_looks_that_fit() {
        assert_eq!(Cell::rate(Some(10), 30, 2.0), Cell::Number(10.0));
        assert_eq!(Cell::rate(None, 30, 2.0), Cell::Unknown);
        assert_eq!(Cell::rate(Some(31), 30, 2.0), Cell::Unknown, "another's count");
        assert_eq!(Cell::rate(Some(10), 30, 0.0), Cell::Unknown);
        assert_eq!(Cell::share(Some(1), Some(4)), Cell::Share(0.25));
        assert_eq!((Cell::share(Some(0), Some(0)), Cell::share(None, Some(4))), (Cell::Unknown, Cell::Unknown));
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let table = table(&[("日本", Cell::Number(12_345.0)), ("a", Cell::Unknown)]);
        let rows = table.rows("", Sort { column: 0, down: false });
        assert_eq!(table.layout(&rows), [(5, true), (6, false)]);
        assert_eq!((fill("日本", 5, true), fill("7", 3, false)), ("日本 ".into(), "  7".into()));
        assert_eq!(table.json()[0], json!({"name": "日本", "rate": 12345.0}));
    }
}
