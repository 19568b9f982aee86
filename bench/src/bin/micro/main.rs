//! Micro-benchmarks: messages, pollers, rings, pools and reads, beside peers that do the same work.
//!
//! A [`Row`] is one question ("a ring across two cores, one at a time"), its [`Case`]s are those
//! who answer it, taken in turn, round by round, so that whatever else the machine does disturbs
//! all of them alike.
#![forbid(unsafe_code)]

mod buffers;
mod measure;
mod messages;
mod peer;
mod pollers;
mod pools;
mod rings;
mod storage;
mod table;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use core_reactor::{CoreId, Platform};
use platform_linux::{ClockKind, LinuxPlatform};

use crate::measure::{Bench, Row};

/// Measures messages, pollers, rings and pools, beside peers that do the same work.
#[derive(Parser)]
struct Options {
    /// Fewer and shorter rounds: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Rounds; in each every candidate of a row runs once. [default: 51, or 5 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Time that one run of one candidate takes, in milliseconds. [default: 2, or 1 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    millis: Option<u64>,
    /// Only rows with this text in their names, without regard to case; may be given more than
    /// once.
    #[arg(long)]
    filter: Vec<String>,
    /// The two cores, as in `0,1`. [default: the first two that the process may use]
    #[arg(long, value_delimiter = ',', num_args = 2)]
    cores: Option<Vec<u16>>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Runs so many operations of the first candidate of one row, and measures nothing: for a tool
    /// that counts instructions.
    #[arg(long, value_name = "OPERATIONS", conflicts_with_all = ["json", "rounds", "millis", "quick"])]
    count: Option<u64>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let bench = prepare(&options)?;
    let rows = rows();
    let wanted =
        |row: &&Row| options.filter.is_empty() || options.filter.iter().any(|f| row.name.to_lowercase().contains(&f.to_lowercase()));
    let wanted: Vec<&Row> = rows.iter().filter(wanted).collect();
    ensure!(!wanted.is_empty(), "no row has {:?} in its name; the rows are:\n  {}", options.filter, names(&rows));
    if let Some(operations) = options.count {
        return count(&bench, &wanted, operations);
    }
    if !options.json {
        table::head(&bench);
    }
    let mut results = Vec::new();
    for row in wanted {
        let result = bench.run(row).with_context(|| format!("measuring {}", row.name))?;
        if !options.json {
            table::row(&bench, &result);
        }
        results.push(result);
    }
    if options.json {
        println!("{}", table::json(&bench, &results)?);
    }
    Ok(())
}

/// Runs what is to be counted.
fn count(bench: &Bench, rows: &[&Row], operations: u64) -> Result<()> {
    let [row] = rows else { anyhow::bail!("one row can be counted at a time, and {} were named", rows.len()) };
    let mut cases = (row.cases)(bench)?;
    let case = cases.first_mut().with_context(|| format!("{} has no candidate", row.name))?;
    (case.run)(operations);
    Ok(())
}

/// Everything that is measured, in the order in which it is printed.
fn rows() -> Vec<Row> {
    [pollers::rows(), messages::rows(), rings::rows(), pools::rows(), buffers::rows(), storage::rows()].into_iter().flatten().collect()
}

fn names(rows: &[Row]) -> String {
    rows.iter().map(|row| row.name).collect::<Vec<_>>().join("\n  ")
}

/// Picks and takes the cores.
fn prepare(options: &Options) -> Result<Bench> {
    let platform = Arc::new(LinuxPlatform::new()?);
    ensure!(
        platform.clock().kind() == ClockKind::Tsc || options.count.is_some(),
        "no trusted time-stamp counter here, and cycles are counted with it: {}",
        platform.clock()
    );
    let cores: Vec<CoreId> = match &options.cores {
        Some(cores) => cores.iter().copied().map(CoreId).collect(),
        None => platform.cores().iter().take(2).collect(),
    };
    let [here, there] = cores[..] else { anyhow::bail!("two cores are needed, and this process may use {} only", platform.cores()) };
    ensure!(here != there, "two different cores are needed, not core {here} twice");
    for core in [here, there] {
        ensure!(platform.cores().contains(core), "core {core} is none of those that this process may use ({})", platform.cores());
    }
    platform.adopt(here)?;
    let millis = options.millis.unwrap_or(if options.quick { 1 } else { 2 });
    let rounds = options.rounds.unwrap_or(if options.quick { 5 } else { 51 });
    Ok(Bench { platform, here, there, rounds, length: Duration::from_millis(millis) })
}
