//! Rounds, and what comes out of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use core_reactor::{CoreId, Platform};
use platform_linux::{Clock, LinuxPlatform};
use serde::Serialize;

/// Where and how long to measure.
pub(crate) struct Bench {
    pub(crate) platform: Arc<LinuxPlatform>,
    /// The core that the program itself is pinned to.
    pub(crate) here: CoreId,
    /// The other core, for the rows that take two.
    pub(crate) there: CoreId,
    pub(crate) rounds: u32,
    /// How long one run of one candidate takes.
    pub(crate) length: Duration,
}

/// A question and who answers it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What is counted as one operation.
    pub(crate) operation: &'static str,
    pub(crate) aim: Option<Aim>,
    /// Candidates, lcore first. Made when their turn comes, so that rows do not lie in each other's
    /// way.
    pub(crate) cases: fn(&Bench) -> Result<Vec<Case>>,
}

/// What lcore wants to reach, from the project's plan.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// At most so many TSC cycles for one operation.
    Cycles(f64),
    /// At most so many nanoseconds for one operation.
    Nanos(f64),
    /// At least so many million operations a second.
    Millions(f64),
}

/// One candidate.
pub(crate) struct Case {
    pub(crate) who: &'static str,
    /// Does at least so many operations.
    pub(crate) run: Box<dyn FnMut(u64) -> Sample>,
}

/// One run.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) operations: u64,
    pub(crate) cycles: u64,
}

/// What a row gave.
#[derive(Serialize)]
pub(crate) struct RowResult {
    pub(crate) name: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) aim: Option<Aim>,
    pub(crate) cases: Vec<CaseResult>,
}

/// What a candidate gave.
#[derive(Serialize)]
pub(crate) struct CaseResult {
    pub(crate) who: &'static str,
    /// TSC cycles for one operation.
    pub(crate) cycles: Spread,
}

/// Middle and spread of some figures.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// Median distance from the median.
    pub(crate) deviation: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Bench {
    /// Runs a row's candidates in turn.
    pub(crate) fn run(&self, row: &Row) -> Result<RowResult> {
        let mut cases = (row.cases)(self)?;
        let operations: Vec<u64> = cases.iter_mut().map(|case| self.size(case)).collect();
        let mut figures = vec![Vec::new(); cases.len()];
        for _ in 0..self.rounds {
            for ((case, operations), figures) in cases.iter_mut().zip(&operations).zip(&mut figures) {
                figures.push((case.run)(*operations).cycles_each());
            }
        }
        let cases = cases.iter().zip(figures).map(|(case, figures)| CaseResult { who: case.who, cycles: Spread::of(figures) }).collect();
        Ok(RowResult { name: row.name, operation: row.operation, aim: row.aim, cases })
    }

    /// A platform for a candidate that takes the other core, since one platform runs one thing on a
    /// core.
    pub(crate) fn another_platform(&self) -> Result<Arc<LinuxPlatform>> {
        // A platform has the cores of the thread that makes it, and this one is pinned.
        self.platform.release(self.here);
        let another = LinuxPlatform::new();
        self.platform.adopt(self.here)?;
        Ok(Arc::new(another?))
    }

    pub(crate) fn clock(&self) -> &Clock {
        self.platform.clock()
    }

    /// Nanoseconds of so many cycles.
    pub(crate) fn nanos(&self, cycles: f64) -> f64 {
        cycles * 1e9 / self.clock().cycles_per_second() as f64
    }

    /// How many operations fill a run. Warms the candidate up, too.
    fn size(&self, case: &mut Case) -> u64 {
        let wanted = self.length.as_secs_f64() * self.clock().cycles_per_second() as f64;
        let mut operations = 1024;
        loop {
            let sample = (case.run)(operations);
            if sample.cycles as f64 >= wanted / 4.0 {
                return ((wanted / sample.cycles_each()) as u64).max(1);
            }
            operations *= 2;
        }
    }
}

impl Sample {
    pub(crate) fn cycles_each(self) -> f64 {
        self.cycles as f64 / self.operations as f64
    }
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        let median = median(&mut figures);
        let (min, max) = (figures[0], figures[figures.len() - 1]);
        let mut distances: Vec<f64> = figures.iter().map(|f| (f - median).abs()).collect();
        Self { median, deviation: self::median(&mut distances), min, max }
    }
}

/// Sorts, and takes the middle.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    let half = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[half] } else { (figures[half - 1] + figures[half]) / 2.0 }
}

/// Times `work`, which tells how many operations it did.
pub(crate) fn time(platform: &LinuxPlatform, work: impl FnOnce() -> u64) -> Sample {
    let start = platform.clock().cycles();
    let operations = work();
    Sample { operations, cycles: platform.clock().cycles() - start }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn spread_of_an_odd_and_an_even_number_of_figures() {
        let odd = Spread::of(vec![9.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!((odd.median, odd.deviation, odd.min, odd.max), (3.0, 1.0, 1.0, 9.0));
        let even = Spread::of(vec![4.0, 1.0, 2.0, 9.0]);
        assert_eq!((even.median, even.deviation, even.min, even.max), (3.0, 1.5, 1.0, 9.0));
    }
}
