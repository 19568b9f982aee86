//! The statistics of hello-sock, as it prints them with `--json`, and as people read them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, ensure};
use serde::Deserialize;

/// What the server tells at its end: for each group of sockets, an object.
#[derive(Deserialize)]
pub(super) struct Server {
    #[serde(rename = "groups")]
    _groups: Vec<serde_json::Value>,
}

/// What the load client tells.
#[derive(Deserialize)]
pub(super) struct Load {
    backend: String,
    linked: Vec<String>,
    /// Why this backend was taken.
    why: String,
    cores: String,
    connections: u64,
    depth: u64,
    /// Bytes of an echo.
    size: u64,
    seconds: f64,
    echoes: u64,
    bytes: u64,
    mismatches: u64,
    errors: u64,
    /// Echoes in a second.
    rate: f64,
    latency_ns: Latency,
    histogram: Vec<Bucket>,
}

/// In nanoseconds.
#[derive(Deserialize)]
struct Latency {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// So many echoes took up to so long, and longer than the bucket before.
#[derive(Deserialize)]
struct Bucket {
    up_to_ns: u64,
    count: u64,
}

impl Load {
    /// # Errors
    /// Bytes came back wrong, connections failed, or nothing came back at all.
    pub(super) fn verify(&self) -> Result<()> {
        ensure!(self.mismatches == 0, "{} echoes came back with other bytes than were sent", self.mismatches);
        ensure!(self.errors == 0, "{} connections failed", self.errors);
        ensure!(self.echoes > 0, "no echo came back");
        Ok(())
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p90, p99, p999, max } = self.latency_ns;
        writeln!(f, "backends linked  {}", self.linked.join(", "))?;
        writeln!(f, "chosen           {} ({})", self.backend, self.why)?;
        writeln!(f, "client's cores   {}", self.cores)?;
        writeln!(f, "load             {} connections, {} under way on each, {} bytes", self.connections, self.depth, self.size)?;
        writeln!(f, "echoes verified  {} in {:.1} s, {} bytes, 0 wrong", self.echoes, self.seconds, self.bytes)?;
        writeln!(f, "rate             {:.0} echoes/s", self.rate)?;
        let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(time);
        writeln!(f, "latency          p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, longest {max}")?;
        write!(f, "{}", histogram(&self.histogram))
    }
}

/// A row for each doubling of the time, its bar as long as its share.
fn histogram(buckets: &[Bucket]) -> String {
    const WIDTH: u64 = 40;
    let mut rows = BTreeMap::<u64, u64>::new();
    for bucket in buckets.iter().filter(|b| b.count > 0) {
        *rows.entry(bucket.up_to_ns.checked_next_power_of_two().unwrap_or(u64::MAX)).or_default() += bucket.count;
    }
    let most = rows.values().copied().max().unwrap_or(1);
    let row = |(up_to, count): (&u64, &u64)| {
        let bar = "#".repeat((count * WIDTH).div_ceil(most) as usize);
        format!("  up to {:>9}  {bar:<40}  {count}\n", time(*up_to))
    };
    rows.iter().map(row).collect()
}

/// Nanoseconds in the unit that reads best.
fn time(nanos: u64) -> String {
    match nanos as f64 {
        n if n < 1e3 => format!("{nanos} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.1} ms", n / 1e6),
        n => format!("{:.1} s", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_rows_double_and_the_fullest_is_widest() {
        let buckets = [(900, 1), (1000, 2), (1100, 30), (2048, 10), (5000, 0)].map(|(up_to_ns, count)| Bucket { up_to_ns, count });
        let text = histogram(&buckets);
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows[0].starts_with("  up to    1.0 µs  ###  ") && rows[0].ends_with(" 3"), "{text}");
        assert!(rows[1].starts_with("  up to    2.0 µs  ####") && rows[1].ends_with("#  40"), "{text}");
        assert_eq!(rows[1].matches('#').count(), 40);
    }

    #[test]
    fn times_read_well() {
        assert_eq!([999, 1500, 2_500_000, 3_000_000_000].map(time), ["999 ns", "1.5 µs", "2.5 ms", "3.0 s"]);
    }
}
