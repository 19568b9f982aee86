//! How results are shown.

use anyhow::Result;
use serde_json::json;

use crate::measure::{Aim, Bench, CaseResult, RowResult};

/// What was measured on, and how to read the rest.
pub(crate) fn head(bench: &Bench) {
    println!(
        "cores {} and {}, TSC {:.3} GHz, {} interleaved rounds of {} ms for each candidate",
        bench.here,
        bench.there,
        bench.clock().cycles_per_second() as f64 / 1e9,
        bench.rounds,
        bench.length.as_millis(),
    );
    println!("for one operation: median, median deviation from it, best and worst round; \"times\" is a peer's median over lcore's");
}

/// One row and its candidates.
pub(crate) fn row(bench: &Bench, row: &RowResult) {
    println!("\n{}{}", row.name, verdict(bench, row).map(|v| format!("   [{v}]")).unwrap_or_default());
    println!("  one operation: {}", row.operation);
    println!("  {:<28}{:>9}{:>8}{:>9}{:>9}{:>10}{:>9}{:>8}", "", "ns", "±", "best", "worst", "cycles", "M/s", "times");
    let base = row.cases[0].cycles.median;
    for (n, case) in row.cases.iter().enumerate() {
        let times = if n == 0 { String::new() } else { format!("{:.2}", case.cycles.median / base) };
        println!("  {:<28}{}{:>8}", case.who, figures(bench, case), times);
    }
}

/// Everything, with figures in TSC cycles.
pub(crate) fn json(bench: &Bench, rows: &[RowResult]) -> Result<String> {
    let (here, there) = (bench.here.0, bench.there.0);
    let tsc = bench.clock().cycles_per_second();
    let all =
        json!({ "tsc_hz": tsc, "cores": [here, there], "rounds": bench.rounds, "run_ms": bench.length.as_millis() as u64, "rows": rows });
    Ok(serde_json::to_string_pretty(&all)?)
}

fn figures(bench: &Bench, case: &CaseResult) -> String {
    let c = &case.cycles;
    let ns = bench.nanos(c.median);
    format!(
        "{:>9.2}{:>8.2}{:>9.2}{:>9.2}{:>10.1}{:>9.2}",
        ns,
        bench.nanos(c.deviation),
        bench.nanos(c.min),
        bench.nanos(c.max),
        c.median,
        1e3 / ns,
    )
}

/// The aim, and how far from it lcore is.
fn verdict(bench: &Bench, row: &RowResult) -> Option<String> {
    let cycles = row.cases[0].cycles.median;
    let nanos = bench.nanos(cycles);
    let (aim, over) = match row.aim? {
        Aim::Cycles(most) => (format!("at most {most} cycles"), cycles / most),
        Aim::Nanos(most) => (format!("at most {most} ns"), nanos / most),
        Aim::Millions(least) => (format!("at least {least} M/s"), least * nanos / 1e3),
    };
    let held = if over <= 1.0 { "held".to_owned() } else { format!("takes {:.0} % too long", (over - 1.0) * 100.0) };
    Some(format!("aim: {aim}: {held}"))
}
