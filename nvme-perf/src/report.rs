//! What was counted on a core, and what is printed of it: spdk_nvme_perf's table, or JSON.

use std::fmt;

use hdrhistogram::Histogram;
use lcore::Instant;
use nvme::Status;
use serde_json::{Value, json};

use crate::args::Args;
use crate::pattern::Mismatch;
use crate::plan::Plan;

/// The longest latency that is told apart: a minute.
const LONGEST: u64 = 60_000_000_000;
/// Which latencies are told, in percent.
const PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99];

/// What one core counted.
#[derive(Clone)]
pub(crate) struct Tally {
    /// Nanoseconds, of reads and of writes.
    latency: [Histogram<u64>; 2],
    began: Instant,
    nanos: u64,
    /// It is measured now.
    counts: bool,
    /// Commands that were completed, those before and after what is measured included.
    pub(crate) commands: u64,
    /// Bytes that were compared and right.
    pub(crate) compared: u64,
    mismatches: u64,
    first: Option<Mismatch>,
    /// How often each status came, with the first LBA; few at most.
    errors: Vec<Failures>,
}

#[derive(Clone)]
struct Failures {
    status: Status,
    write: bool,
    lba: u64,
    count: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        // Three digits of what is between a nanosecond and a minute, which is a right range.
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|_| unreachable!("1 to a minute in three digits"));
        let latency = [histogram(), histogram()];
        Self {
            latency,
            began: Instant::ZERO,
            nanos: 0,
            counts: false,
            commands: 0,
            compared: 0,
            mismatches: 0,
            first: None,
            errors: Vec::new(),
        }
    }

    /// A job begins, which is measured or not.
    pub(crate) fn begin(&mut self, counts: bool, now: Instant) {
        (self.counts, self.began) = (counts, now);
    }

    /// What is measured has ended.
    pub(crate) fn end(&mut self, now: Instant) {
        if std::mem::take(&mut self.counts) {
            self.nanos = now.nanos_since(self.began);
        }
    }

    #[inline]
    pub(crate) fn done(&mut self, write: bool, nanos: u64) {
        self.commands += 1;
        if self.counts {
            self.latency[usize::from(write)].saturating_record(nanos);
        }
    }

    #[cold]
    pub(crate) fn error(&mut self, status: Status, write: bool, lba: u64) {
        self.commands += 1;
        match self.errors.iter_mut().find(|it| it.status == status && it.write == write) {
            Some(it) => it.count += 1,
            None => self.errors.push(Failures { status, write, lba, count: 1 }),
        }
    }

    #[cold]
    pub(crate) fn mismatch(&mut self, mismatch: Mismatch) {
        self.mismatches += 1;
        self.first.get_or_insert(mismatch);
    }

    fn operations(&self) -> u64 {
        self.latency.iter().map(Histogram::len).sum()
    }

    fn add(&mut self, other: &Self) {
        for (own, other) in self.latency.iter_mut().zip(&other.latency) {
            // Both are of the same range.
            own.add(other).unwrap_or_else(|_| unreachable!("the same range"));
        }
        self.nanos = self.nanos.max(other.nanos);
        self.commands += other.commands;
        self.compared += other.compared;
        self.mismatches += other.mismatches;
        self.first = self.first.or(other.first);
        for it in &other.errors {
            match self.errors.iter_mut().find(|own| own.status == it.status && own.write == it.write) {
                Some(own) => own.count += it.count,
                None => self.errors.push(it.clone()),
            }
        }
    }
}

/// A finished run.
pub(crate) struct Report<'a> {
    args: &'a Args,
    plan: &'a Plan,
    /// By core.
    cores: Vec<(u16, Tally)>,
    total: Tally,
    /// Processor time of this process while it was measured, nanoseconds.
    cpu: u64,
    backend: &'static str,
}

/// A row of the table.
struct Row {
    iops: f64,
    mib: f64,
    average: f64,
    min: f64,
    max: f64,
}

impl Row {
    fn new(latency: &[&Histogram<u64>], nanos: u64, size: u32) -> Self {
        let count: u64 = latency.iter().map(|it| it.len()).sum();
        let seconds = nanos as f64 / 1e9;
        let iops = if nanos > 0 { count as f64 / seconds } else { 0.0 };
        let used = || latency.iter().filter(|it| !it.is_empty());
        let sum: f64 = used().map(|it| it.mean() * it.len() as f64).sum();
        let micros = |nanos: Option<u64>| nanos.unwrap_or(0) as f64 / 1e3;
        Self {
            iops,
            mib: iops * f64::from(size) / f64::from(1 << 20),
            average: if count > 0 { sum / count as f64 / 1e3 } else { 0.0 },
            min: micros(used().map(|it| it.min()).min()),
            max: micros(used().map(|it| it.max()).max()),
        }
    }

    fn json(&self) -> Value {
        json!({"iops": self.iops, "mib_per_s": self.mib, "avg_us": self.average, "min_us": self.min, "max_us": self.max})
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iops, mib, average, min, max } = self;
        write!(f, "{iops:>11.2} {mib:>10.2} {average:>10.2} {min:>10.2} {max:>10.2}")
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(args: &'a Args, plan: &'a Plan, cores: Vec<(u16, Tally)>, cpu: u64, backend: &'static str) -> Self {
        let mut total = Tally::new();
        cores.iter().for_each(|(_, tally)| total.add(tally));
        Self { args, plan, cores, total, cpu, backend }
    }

    /// Why the run was no success.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let Tally { mismatches, first, errors, .. } = &self.total;
        match (first, errors.first()) {
            (Some(first), _) => Err(format!("verify: {mismatches} pieces of data are not what was written; the first: {first}")),
            (None, Some(it)) => {
                let count: u64 = errors.iter().map(|it| it.count).sum();
                let what = if it.write { "a write to" } else { "a read of" };
                Err(format!("{count} commands failed; the first: {what} LBA {}: {}", it.lba, it.status))
            }
            (None, None) if self.total.operations() == 0 => Err("no command was completed in the time".into()),
            (None, None) => Ok(()),
        }
    }

    fn both(tally: &Tally) -> [&Histogram<u64>; 2] {
        [&tally.latency[0], &tally.latency[1]]
    }

    fn merged(&self) -> Histogram<u64> {
        let mut all = self.total.latency[0].clone();
        all.add(&self.total.latency[1]).unwrap_or_else(|_| unreachable!("the same range"));
        all
    }

    pub(crate) fn json(&self) -> Value {
        let (args, plan, total) = (self.args, self.plan, &self.total);
        let all = self.merged();
        let percentiles: serde_json::Map<String, Value> =
            PERCENTILES.iter().map(|p| (format!("p{p}"), (all.value_at_percentile(*p) as f64 / 1e3).into())).collect();
        let errors: Vec<Value> = total
            .errors
            .iter()
            .map(|it| json!({"status": it.status.to_string(), "sct_sc": it.status.raw(), "operation": if it.write { "write" } else { "read" }, "count": it.count}))
            .collect();
        let row = |tally: &Tally, latency: &[&Histogram<u64>]| Row::new(latency, tally.nanos, plan.size).json();
        let cores: Vec<Value> = self
            .cores
            .iter()
            .map(|(core, tally)| {
                let mut row = row(tally, &Self::both(tally));
                row["core"] = (*core).into();
                row
            })
            .collect();
        json!({
            "mode": "perf",
            "backend": self.backend,
            "target": plan.target.to_string(),
            "nsid": plan.nsid,
            "workload": args.workload.name(),
            "read_percent": plan.reads,
            "io_depth": plan.depth,
            "io_size": plan.size,
            "queues": u64::from(plan.queues) * plan.cores,
            "header_digest": plan.shape.header_digest,
            "data_digest": plan.shape.data_digest,
            "seconds": total.nanos as f64 / 1e9,
            "operations": total.operations(),
            "commands": total.commands,
            "total": row(total, &Self::both(total)),
            "read": row(total, &[&total.latency[0]]),
            "write": row(total, &[&total.latency[1]]),
            "latency_us": percentiles,
            "cores": cores,
            "verify": if args.verify { json!({"bytes": total.compared, "mismatches": total.mismatches, "seed": args.seed}) } else { Value::Null },
            "errors": errors,
            "cpu_seconds": self.cpu as f64 / 1e9,
            "cpu_us_per_io": self.each(),
        })
    }

    /// Processor time of this process for each command, in microseconds.
    fn each(&self) -> f64 {
        match self.total.operations() {
            0 => 0.0,
            operations => self.cpu as f64 / 1e3 / operations as f64,
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, total) = (self.plan, &self.total);
        let device = |core: &u16| format!("{} NSID {} from core {core:>2}", plan.target, plan.nsid);
        let width = self.cores.iter().map(|(core, _)| device(core).len()).max().unwrap_or(0);
        let line = "=".repeat(width + 57);
        writeln!(f, "{line}")?;
        writeln!(f, "{:width$}                               Latency(us)", "")?;
        let head = ("Device Information", "IOPS", "MiB/s", "Average", "min", "max");
        writeln!(f, "{:width$}: {:>11} {:>10} {:>10} {:>10} {:>10}", head.0, head.1, head.2, head.3, head.4, head.5)?;
        for (core, tally) in &self.cores {
            writeln!(f, "{:width$}: {}", device(core), Row::new(&Self::both(tally), tally.nanos, plan.size))?;
        }
        writeln!(f, "{line}")?;
        writeln!(f, "{:width$}: {}", "Total", Row::new(&Self::both(total), total.nanos, plan.size))?;
        if total.latency.iter().all(|it| !it.is_empty()) {
            for (name, latency) in ["  reads", "  writes"].iter().zip(&total.latency) {
                writeln!(f, "{name:width$}: {}", Row::new(&[latency], total.nanos, plan.size))?;
            }
        }
        let all = self.merged();
        let at = |p: &f64| format!("{p}% {:.1}", all.value_at_percentile(*p) as f64 / 1e3);
        writeln!(f, "\nLatency in us: {}", PERCENTILES.iter().map(at).collect::<Vec<_>>().join(", "))?;
        write!(f, "CPU time of this program: {:.2} s, {:.2} us for each command", self.cpu as f64 / 1e9, self.each())?;
        if self.args.verify {
            write!(f, "\nVerified: {:.1} MiB compared, {} pieces wrong", total.compared as f64 / f64::from(1 << 20), total.mismatches)?;
        }
        for it in &total.errors {
            let what = if it.write { "writes" } else { "reads" };
            write!(f, "\nFailed: {} {what}: {} (the first at LBA {})", it.count, it.status, it.lba)?;
        }
        Ok(())
    }
}
