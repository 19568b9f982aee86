//! The registry of statistics: whatever is in it, under its own name.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Number, Value};

use super::{Rows, View};
use crate::seen::Seen;
use crate::table::{Cell, column};

const METHOD: &str = "lcore_get_stats";

pub(super) static VIEW: View = View {
    key: "statistics",
    title: "Statistics",
    methods: &[METHOD],
    columns: &[
        column("name", "NAME"),
        column("labels", "LABELS"),
        column("value", "VALUE"),
        column("per_second", "PER S"),
        column("mean", "MEAN"),
        column("kind", "KIND"),
        column("help", "HELP"),
    ],
    rows,
    sorted: ("name", false),
};

#[derive(Deserialize)]
struct Stats {
    time_ns: Option<u64>,
    stats: Vec<Stat>,
}

#[derive(Deserialize)]
struct Stat {
    name: String,
    #[serde(default)]
    help: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    samples: Vec<Sample>,
}

/// A counter or a gauge has a value, a histogram a count and a sum.
#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    labels: BTreeMap<String, Value>,
    value: Option<Number>,
    count: Option<u64>,
    sum: Option<f64>,
}

type Key<'a> = (&'a str, String);

impl Stats {
    fn samples(&self) -> impl Iterator<Item = (Key<'_>, &Stat, &Sample)> {
        self.stats.iter().flat_map(|stat| stat.samples.iter().map(move |sample| ((stat.name.as_str(), sample.labels()), stat, sample)))
    }
}

impl Sample {
    fn labels(&self) -> String {
        let value = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.labels.iter().map(|(name, it)| format!("{name}={}", value(it))).collect::<Vec<_>>().join(" ")
    }

    /// What is counted, for rates.
    fn amount(&self) -> Option<f64> {
        self.value.as_ref().map_or(self.count.map(|count| count as f64), Number::as_f64)
    }

    fn shown(&self) -> Cell {
        match self.value.as_ref().map_or(self.count, Number::as_u64) {
            Some(count) => Cell::Count(count),
            None => Cell::maybe(self.amount(), Cell::Number),
        }
    }

    /// The mean of what a histogram has taken since `before`, or else of all.
    fn mean(&self, before: Option<&Self>) -> Option<f64> {
        let none = Self { labels: BTreeMap::new(), value: None, count: Some(0), sum: Some(0.0) };
        let since = |before: &Self| {
            let count = self.count?.checked_sub(before.count?).filter(|count| *count > 0)?;
            Some((self.sum? - before.sum?) / count as f64)
        };
        before.and_then(since).or_else(|| since(&none))
    }
}

fn rows(seen: &Seen) -> Result<Rows, String> {
    let pair = seen.pair::<Stats>(METHOD)?;
    let before: HashMap<_, _> = pair.before.iter().flat_map(Stats::samples).map(|(key, _, sample)| (key, sample)).collect();
    // By the application's own clock, if it tells.
    let then = pair.before.as_ref().and_then(|before| before.time_ns);
    let elapsed = pair.now.time_ns.zip(then).map_or(pair.elapsed, |(now, then)| now.saturating_sub(then) as f64 / 1e9);
    let row = |(key, stat, sample): (Key<'_>, &Stat, &Sample)| {
        let before = before.get(&key).copied();
        let grown = sample.amount().zip(before.and_then(Sample::amount)).map(|(now, then)| now - then);
        // A gauge may fall; a counter that has fallen is another.
        let grown = grown.filter(|grown| elapsed > 0.0 && (stat.r#type == "gauge" || *grown >= 0.0));
        vec![
            Cell::text(&stat.name),
            Cell::text(&key.1),
            sample.shown(),
            Cell::maybe(grown, |grown| Cell::Number(grown / elapsed)),
            Cell::maybe(sample.mean(before), if stat.name.ends_with("_seconds") { Cell::Time } else { Cell::Number }),
            Cell::text(&stat.r#type),
            Cell::text(&stat.help),
        ]
    };
    Ok(pair.now.samples().map(row).collect())
}
