//! The results as one table for people.

use std::fmt::Write;

use serde::Serialize;

use crate::instructions::Count;
use crate::measure::{Cell, Sample};
use crate::points::Point;
use crate::servers::{Kind, Server};
use crate::stats::ratio;

/// Everything that a run has found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    /// When and where.
    pub(crate) head: Vec<String>,
    pub(crate) points: Vec<Point>,
    pub(crate) engines: Vec<&'static str>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) instructions: Vec<Count>,
    pub(crate) notes: Vec<String>,
    #[serde(skip)]
    pub(crate) servers: Vec<Server>,
}

impl Results {
    pub(crate) fn cell(&self, server: &str, point: &Point, engine: &str) -> Option<&Cell> {
        self.cells.iter().find(|c| c.server == server && c.point == *point && c.engine == engine)
    }

    fn value(&self, server: &str, point: &Point, engine: &str, of: fn(&Sample) -> f64) -> Option<f64> {
        Some(self.cell(server, point, engine)?.median(of)?.value)
    }

    /// The whole as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from("# Echo servers side by side\n\n");
        for line in &self.head {
            let _ = writeln!(out, "{line}  ");
        }
        for engine in &self.engines {
            for point in &self.points {
                let _ = write!(out, "\n## {point} ({} generator)\n\n", if *engine == "uring" { "io_uring" } else { engine });
                out += &align(&self.rows(point, engine));
            }
        }
        if !self.instructions.is_empty() {
            out += "\n## Instructions in user space for one echo of 64 B, 64×1 (callgrind)\n\n";
            out += &align(&self.instruction_rows());
        }
        out += "\nRatios are of medians, above 1 is better for the row's server: `rate` and `p99` to the bare loop on the same kernel interface that idles\n\
            in the same way, then its rate to that of each peer. Spread is from the worst to the best round. CPU is the server's. Where the generator\n\
            is idle less than a few percent, it limits. Below 5 % is noise.\n";
        for note in &self.notes {
            let _ = writeln!(out, "\n- {note}");
        }
        out
    }

    fn rows(&self, point: &Point, engine: &str) -> Vec<Vec<String>> {
        let peers: Vec<&Server> = self.servers.iter().filter(|s| s.kind == Kind::Peer).collect();
        let mut head =
            ["server", "k/s", "spread", "p50 µs", "p99 µs", "CPU µs/echo", "gen. idle", "limit", "rate", "p99"].map(String::from).to_vec();
        head.extend(peers.iter().map(|p| format!("/ {}", p.name)));
        let mut rows = vec![head];
        for server in &self.servers {
            let Some(cell) = self.cell(&server.name, point, engine) else { continue };
            let mut row = vec![server.name.clone()];
            row.extend(figures(cell));
            let rate = |name: &str| self.value(name, point, engine, |s| s.rate);
            let p99 = |name: &str| self.value(name, point, engine, |s| s.p99_us);
            let limit = server.limit.unwrap_or("");
            row.push(limit.to_owned());
            row.push(times(ratio(rate(&server.name), rate(limit))));
            row.push(times(ratio(p99(limit), p99(&server.name))));
            row.extend(peers.iter().map(|peer| match peer.name == server.name {
                true => String::new(),
                false => times(ratio(rate(&server.name), rate(&peer.name))),
            }));
            rows.push(row);
        }
        rows
    }

    fn instruction_rows(&self) -> Vec<Vec<String>> {
        let count = |name: &str| self.instructions.iter().find(|c| c.server == name).map(|c| c.per_echo);
        let mut rows = vec![["server", "instructions", "limit", "times the limit's"].map(String::from).to_vec()];
        for server in &self.servers {
            let Some(own) = count(&server.name) else { continue };
            let limit = server.limit.unwrap_or("");
            rows.push(vec![server.name.clone(), format!("{own:.0}"), limit.to_owned(), times(ratio(Some(own), count(limit)))]);
        }
        rows
    }
}

/// The columns of a server's own figures.
fn figures(cell: &Cell) -> Vec<String> {
    let (Some(rate), None) = (cell.median(|s| s.rate), &cell.error) else {
        let mut failed = vec!["failed".to_owned()];
        failed.resize(6, String::new());
        return failed;
    };
    let value = |of: fn(&Sample) -> f64| cell.median(of).map_or(0.0, |m| m.value);
    vec![
        format!("{:.1}", rate.value / 1e3),
        format!("{:.0} %", rate.spread * 100.0),
        format!("{:.1}", value(|s| s.p50_us)),
        format!("{:.1}", value(|s| s.p99_us)),
        format!("{:.2}", value(|s| s.cpu_us)),
        format!("{:.0} %", value(|s| s.generator_idle) * 100.0),
    ]
}

fn times(ratio: Option<f64>) -> String {
    ratio.map(|r| format!("{r:.2}")).unwrap_or_default()
}

/// A Markdown table whose columns are as wide in plain text as they must be: the first to the left,
/// the others to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|text| text.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, &width) in widths.iter().enumerate() {
            let text = row.get(column).map_or("", String::as_str);
            let _ = if column == 0 { write!(out, "| {text:<width$} ") } else { write!(out, "| {text:>width$} ") };
        }
        out += "|\n";
        if number == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let _ = write!(out, "|{}{}", "-".repeat(width + 1), if column == 0 { "-" } else { ":" });
            }
            out += "|\n";
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::choose;

    fn results() -> Results {
        let servers = choose(&[], &["raw-epoll".to_owned(), "tokio".to_owned(), "lcore-posix".to_owned()]).expect("known");
        let point = crate::points::parse("1x1").expect("a point");
        let cell = |server: &Server| {
            let (rates, p99): ([f64; 3], f64) = match server.name.as_str() {
                "raw-epoll" => ([100e3, 110e3, 90e3], 20.0),
                "tokio" => ([50e3, 1e3, 80e3], 40.0),
                _ => ([99e3, 98e3, 300e3], 10.0),
            };
            let sample = |rate: f64| Sample { rate, p50_us: 5.0, p99_us: p99, cpu_us: 2.5, generator_idle: 0.25, others: 0.0 };
            Cell { server: server.name.clone(), point, engine: "uring", samples: rates.map(sample).to_vec(), error: None }
        };
        let cells = servers.iter().map(cell).collect();
        let instructions =
            vec![Count { server: "raw-epoll".into(), per_echo: 100.0 }, Count { server: "lcore-posix".into(), per_echo: 130.0 }];
        Results {
            head: vec!["now".into()],
            points: vec![point],
            engines: vec!["uring"],
            cells,
            instructions,
            notes: vec!["a note".into()],
            servers,
        }
    }

    fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        let line = text.lines().find(|line| line.starts_with(&format!("| {name} "))).expect("has the row");
        line.trim_matches('|').split('|').map(str::trim).collect()
    }

    #[test]
    fn ratios_are_of_medians_and_above_one_when_the_row_is_better() {
        let text = results().markdown();
        let row = row(&text, "lcore-posix");
        assert_eq!(row, ["lcore-posix", "99.0", "204 %", "5.0", "10.0", "2.50", "25 %", "raw-epoll", "0.99", "2.00", "1.98"]);
        assert!(text.contains("| lcore-posix |          130 | raw-epoll |              1.30 |"), "{text}");
        assert!(text.contains("- a note"));
    }

    #[test]
    fn a_server_that_failed_has_no_figures() {
        let mut results = results();
        results.cells[2].error = Some("it broke".into());
        assert_eq!(row(&results.markdown(), "lcore-posix")[1..4], ["failed", "", ""]);
    }

    #[test]
    fn all_lines_of_a_table_are_equally_wide() {
        let text = results().markdown();
        let widths: Vec<_> = text.lines().filter(|l| l.starts_with('|')).take(5).map(|l| l.chars().count()).collect();
        assert!(widths.windows(2).all(|w| w[0] == w[1]), "{widths:?}\n{text}");
    }
}
