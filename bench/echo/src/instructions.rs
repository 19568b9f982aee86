//! Instructions in user space for one echo, counted by callgrind; the kernel's are not in it.
//!
//! The server runs under valgrind. Two loads of different length are counted, and the difference is
//! divided by the difference of echoes: what it costs to open and close connections falls out.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::child::Running;
use crate::measure::Bench;
use crate::points::Point;
use crate::servers::{Server, command};

/// 64 connections keep a server busy in spite of valgrind, so that what it does when idle is not
/// counted.
const POINT: Point = Point { connections: 64, depth: 1, size: 64, idle: 0 };

/// Echoes: to warm up, and of the two loads that are counted.
const ECHOES: [u64; 3] = [4_000, 4_000, 24_000];

/// Instructions of a server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Count {
    pub(crate) server: String,
    pub(crate) per_echo: f64,
}

/// Whether callgrind and the tool that speaks to it are installed.
pub(crate) fn available() -> bool {
    let there = |tool: &str| Command::new(tool).arg("--help").output().is_ok_and(|out| out.status.success());
    there("valgrind") && there("vgdb")
}

/// Counts for one server.
pub(crate) fn count(bench: &mut Bench<'_>, server: &Server, scratch: &Path) -> Result<Count> {
    let port = bench.ports.take()?;
    let out = scratch.join(format!("callgrind.{}", server.name));
    let out_option = format!("--callgrind-out-file={}", out.display());
    let tool = ["valgrind", "--tool=callgrind", &out_option].map(Into::into);
    let mut running = bench.start(server, port, &tool)?;
    let mut totals = Vec::new();
    for (number, echoes) in (1..).zip(ECHOES) {
        bench.run_load(&mut running, port, &POINT, &["--echoes", &echoes.to_string()])?;
        dump(&running)?;
        let part = scratch.join(format!("callgrind.{}.{number}", server.name));
        let text = std::fs::read_to_string(&part).with_context(|| format!("callgrind did not write {}", part.display()))?;
        totals.push(total(&text).with_context(|| format!("{} has no summary", part.display()))?);
        let _ = std::fs::remove_file(part);
    }
    let per_echo = (totals[2] as f64 - totals[1] as f64) / (ECHOES[2] - ECHOES[1]) as f64;
    drop(running);
    let _ = std::fs::remove_file(out);
    Ok(Count { server: server.name.clone(), per_echo })
}

/// Has callgrind write what it has counted since the last time.
fn dump(running: &Running) -> Result<()> {
    let words = ["vgdb".into(), format!("--pid={}", running.pid()).into(), "--wait=10".into(), "dump".into()];
    let mut vgdb = command(&words);
    let out = vgdb.output().context("could not start vgdb")?;
    if !out.status.success() {
        bail!("vgdb could not reach callgrind ({})", out.status);
    }
    // vgdb returns when callgrind has answered, which it does after writing.
    Ok(())
}

/// The instructions that a file of callgrind's sums up.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read_from_what_callgrind_writes() {
        assert_eq!(total("version: 1\nevents: Ir\nsummary: 361277\n\nob=(1) /x\nfn=(1) main\n1 5\n"), Some(361_277));
        assert_eq!(total("events: Ir\nfn=(1) main\n1 5\ntotals: 42\n"), Some(42));
        assert_eq!(total("nothing"), None);
    }
}
