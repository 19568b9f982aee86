//! The table of `cargo xtask bench nvme`, and its JSON.

use std::fmt;

use serde_json::{Value, json};

use super::bench::{POINTS, Point, Round};
use super::{Device, Measured};

/// All that was measured, as it is told.
pub(super) struct Table {
    /// Ours first.
    names: Vec<String>,
    lines: Vec<Line>,
    rests: Vec<Rest>,
}

/// One workload over one device by one target: medians over the rounds.
struct Line {
    device: Device,
    point: Point,
    target: usize,
    iops: f64,
    mib: f64,
    average: f64,
    p99: f64,
    /// Microseconds of the target for each command.
    each: f64,
    /// Commands for each second of a core's time that the target used.
    per_core: f64,
    /// Ours to this: of the rates, and of the times for each command.
    ratio: f64,
    cost: f64,
}

/// A target over one device at rest.
struct Rest {
    device: Device,
    target: usize,
    resident: f64,
    first: f64,
    idle: f64,
}

impl Table {
    pub(super) fn new(names: Vec<String>, devices: &[Device], rounds: &[Round]) -> Self {
        let (mut lines, mut rests) = (Vec::new(), Vec::new());
        for &device in devices {
            let of = |target: usize| rounds.iter().filter(move |it| it.device == device && it.target == target);
            for target in 0..names.len() {
                let at = |what: &dyn Fn(&Round) -> f64| median(of(target).map(what));
                rests.push(Rest { device, target, resident: at(&|it| it.resident), first: at(&|it| it.first), idle: at(&|it| it.idle) });
            }
            for (index, &point) in POINTS.iter().enumerate() {
                for target in 0..names.len() {
                    let at = |what: &dyn Fn(&Measured) -> f64| median(of(target).map(|it| what(&it.points[index])));
                    let against = |what: &dyn Fn(&Measured) -> f64| {
                        median(of(0).zip(of(target)).map(|(ours, other)| what(&ours.points[index]) / what(&other.points[index])))
                    };
                    let iops: &dyn Fn(&Measured) -> f64 = &|it| it.run.total.iops;
                    let each: &dyn Fn(&Measured) -> f64 = &|it| it.each;
                    lines.push(Line {
                        device,
                        point,
                        target,
                        iops: at(iops),
                        mib: at(&|it| it.run.total.mib_per_s),
                        average: at(&|it| it.run.total.avg_us),
                        p99: at(&|it| it.run.latency_us.p99),
                        each: at(each),
                        per_core: at(&|it| 1e6 / it.each),
                        ratio: against(iops),
                        cost: against(each),
                    });
                }
            }
        }
        Self { names, lines, rests }
    }

    pub(super) fn json(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|it| {
                json!({
                    "device": it.device.name(), "size": it.point.size, "workload": it.point.workload, "depth": it.point.depth,
                    "target": self.names[it.target], "iops": it.iops, "mib_per_s": it.mib, "avg_us": it.average, "p99_us": it.p99,
                    "cpu_us_per_io": it.each, "iops_per_core": it.per_core, "ratio_of_ours": it.ratio, "cpu_ratio_of_ours": it.cost,
                })
            })
            .collect();
        let rests: Vec<Value> = self
            .rests
            .iter()
            .map(|it| {
                json!({
                    "device": it.device.name(), "target": self.names[it.target], "resident_mib": it.resident, "first_io_s": it.first, "idle_share": it.idle,
                })
            })
            .collect();
        json!({"mode": "nvme", "points": lines, "at_rest": rests})
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| device | I/O | QD | target | kIOPS | MiB/s | avg µs | p99 µs | CPU µs each | kIOPS per core used | ours to it: IOPS | CPU |"
        )?;
        writeln!(f, "|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for it in &self.lines {
            let Point { size, workload, depth } = it.point;
            let ratios = if it.target == 0 { "| | |".into() } else { format!("| {:.2} | {:.2} |", it.ratio, it.cost) };
            writeln!(
                f,
                "| {} | {size} {workload} | {depth} | {} | {:.1} | {:.0} | {:.1} | {:.1} | {:.2} | {:.1} {ratios}",
                it.device.name(),
                self.names[it.target],
                it.iops / 1e3,
                it.mib,
                it.average,
                it.p99,
                it.each,
                it.per_core / 1e3
            )?;
        }
        writeln!(f, "\n| device | target | resident MiB | first I/O, s after the start | idle, % of a core |\n|---|---|--:|--:|--:|")?;
        for it in &self.rests {
            writeln!(
                f,
                "| {} | {} | {:.1} | {:.2} | {:.2} |",
                it.device.name(),
                self.names[it.target],
                it.resident,
                it.first,
                it.idle * 100.0
            )?;
        }
        Ok(())
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 0 => f64::midpoint(values[n / 2 - 1], values[n / 2]),
        n => values[n / 2],
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Latency, Row, Run};
    use super::*;

    pub(in super::super) fn measured(iops: f64, each: f64) -> Measured {
        let total = Row { iops, mib_per_s: 1.0, avg_us: 2.0 };
        let latency_us = Latency { p50: 1.0, p99: 3.0, p999: 4.0 };
        let run =
            Run { backend: "posix".into(), seconds: 1.0, operations: 1, commands: 1, total, latency_us, cpu_us_per_io: 1.0, verify: None };
        Measured { run, each, share: 1.0 }
    }

    fn round(target: usize, iops: f64, each: f64) -> Round {
        let points = POINTS.iter().map(|_| measured(iops, each)).collect();
        Round { device: Device::Null, target, points, resident: 30.0, first: 0.2, idle: 0.004 }
    }

    #[test]
    fn ratios_are_of_runs_of_one_round() {
        // Twice as fast in each round, on a machine that itself changed.
        let rounds =
            [round(0, 2e5, 2.0), round(1, 1e5, 4.0), round(0, 2e6, 1.0), round(1, 1e6, 2.0), round(0, 2e4, 8.0), round(1, 1e4, 16.0)];
        let table = Table::new(vec!["lcore".into(), "peer".into()], &[Device::Null], &rounds);
        let it = table.json();
        let peer = &it["points"][1];
        assert_eq!((peer["target"].as_str(), peer["iops"].as_f64(), peer["ratio_of_ours"].as_f64()), (Some("peer"), Some(1e5), Some(2.0)));
        assert_eq!((peer["cpu_ratio_of_ours"].as_f64(), it["points"][0]["iops_per_core"].as_f64()), (Some(0.5), Some(5e5)));
        let text = table.to_string();
        assert!(text.contains("| null | 4k randread | 128 | peer | 100.0 | 1 | 2.0 | 3.0 | 4.00 | 250.0 | 2.00 | 0.50 |"), "{text}");
        assert!(text.contains("| null | lcore | 30.0 | 0.20 | 0.40 |"), "{text}");
    }
}
