//! Instructions of the hot paths, counted by callgrind, held against those that the repository
//! keeps (`bench/instructions.json`).
//!
//! Time depends on the neighbours, instructions do not. A path runs twice under callgrind, with
//! fewer and with more operations; the difference is what the operations took, without the start
//! and the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{packages, program, repository};

/// Count instructions of the hot paths, and compare them with those that are kept in
/// bench/instructions.json.
///
/// Messages, pollers, rings, pools, reads of 4 KiB, and an echo over each backend: by a server of
/// tasks, and by one of pollers, without and with the feature `observe`. A path that takes over
/// 10 % more than is kept is an error.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keep what is counted now.
    #[arg(long)]
    keep: bool,
}

/// Instructions for one operation, by the name of the path.
type Counts = BTreeMap<String, f64>;

/// How much more than is kept is too much, in parts of it.
const TOLERANCE: f64 = 0.10;

/// Rows of the micro-benchmarks whose first candidate is counted.
const ROWS: [&str; 10] = [
    "idle active poller, 32 on the thread",
    "timed poller among 1,000, all due",
    "message to the own thread, 32 in flight",
    "ring on one core, one at a time",
    "mempool get and put, one",
    "buffer get and put",
    "nvme target read",
    "nvme host read",
    "bdev null read",
    "bdev malloc read",
];

/// Operations of the two runs: multiples of all that rows do at a time.
const OPERATIONS: [u64; 2] = [32_000, 160_000];

/// The step of the tests.
pub(crate) fn check() -> Result<()> {
    main(&Args { keep: false })
}

pub(crate) fn main(args: &Args) -> Result<()> {
    packages::need("counting of instructions", &[packages::program("valgrind", "valgrind")])?;
    let (kept, now) = (kept()?, count()?);
    let width = now.keys().map(String::len).max().unwrap_or(0);
    println!("{:<width$}  {:>8} {:>8}", "instructions for one operation", "kept", "now");
    let width = width.max("instructions for one operation".len());
    for (name, count) in &now {
        let before = kept.get(name).map_or("-".to_owned(), |kept| format!("{kept:.1}"));
        println!("{name:<width$}  {before:>8} {count:>8.1}");
    }
    if args.keep {
        let text = serde_json::to_string_pretty(&now)? + "\n";
        fs::write(file(), text).with_context(|| format!("could not write {}", file().display()))?;
        return Ok(());
    }
    let wrong = compare(&kept, &now);
    ensure!(
        wrong.is_empty(),
        "{}; if it is meant to be so: `cargo xtask bench counts --keep`, and commit bench/instructions.json",
        wrong.join("; ")
    );
    Ok(())
}

fn file() -> PathBuf {
    repository().join("bench/instructions.json")
}

fn kept() -> Result<Counts> {
    let text = fs::read_to_string(file()).with_context(|| format!("could not read {}", file().display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what --keep writes", file().display()))
}

/// What is wrong with the counts of now.
fn compare(kept: &Counts, now: &Counts) -> Vec<String> {
    let gone = kept.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("{name:?} is kept and was not counted"));
    let grown = now.iter().filter_map(|(name, count)| match kept.get(name) {
        None => Some(format!("{name:?} is not kept")),
        Some(kept) if *count > kept * (1.0 + TOLERANCE) => Some(format!("{name:?} takes {count:.1} instructions in place of {kept:.1}")),
        Some(_) => None,
    });
    gone.chain(grown).collect()
}

fn count() -> Result<Counts> {
    let micro = micro()?;
    let mut counts = Counts::new();
    for row in ROWS {
        eprintln!("counting: {row}");
        let [few, many] = OPERATIONS.map(|operations| instructions_of(&micro, row, operations));
        let (few, many) = (few?, many?);
        ensure!(many > few, "{row}: more operations took no more instructions ({few} and {many}), so nothing was counted");
        counts.insert(row.to_owned(), (many - few) as f64 / (OPERATIONS[1] - OPERATIONS[0]) as f64);
    }
    counts.extend(echoes("lcore-posix,lcore-uring,lcore-async-posix,lcore-async-uring", &["--features", "posix,uring,rpc"], "")?);
    counts.extend(echoes("lcore-posix,lcore-uring", &[], ", observed")?);
    Ok(counts)
}

fn bench() -> PathBuf {
    repository().join("bench")
}

/// Builds the micro-benchmarks.
fn micro() -> Result<PathBuf> {
    let mut cargo = Command::new(program::cargo());
    let manifest = bench().join("Cargo.toml");
    cargo.args(["build", "--quiet", "--release", "-p", "lcore-bench", "--bin", "micro", "--manifest-path"]).arg(manifest);
    let built = program::artifacts(cargo).context("the micro-benchmarks did not build")?;
    let micro = built.into_iter().find(|built| built.name == "micro");
    Ok(micro.context("cargo built the micro-benchmarks but did not say where they are")?.executable)
}

/// Instructions of a whole run of one row.
fn instructions_of(micro: &Path, row: &str, operations: u64) -> Result<u64> {
    let folder = program::target()?.join("bench");
    fs::create_dir_all(&folder)?;
    let out = folder.join("callgrind.micro");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", out.display())])
        .arg(micro)
        .args(["--filter", row, "--count", &operations.to_string()])
        .stdout(Stdio::null())
        .output()
        .context("could not start valgrind")?;
    if !run.status.success() {
        bail!("{row}: the run under valgrind ended with {}:\n{}", run.status, String::from_utf8_lossy(&run.stderr));
    }
    let text = fs::read_to_string(&out).with_context(|| format!("callgrind did not write {}", out.display()))?;
    fs::remove_file(&out)?;
    total(&text).with_context(|| format!("{row}: callgrind wrote no sum"))
}

/// The instructions that a file of callgrind's sums up.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}

/// What `bench echo --count-only --json` prints of one server.
#[derive(Deserialize)]
struct Server {
    server: String,
    per_echo: f64,
}

/// Instructions of an echo by each of these servers, hello-sock built with `features`.
fn echoes(servers: &str, features: &[&str], suffix: &str) -> Result<Counts> {
    eprintln!("counting: echoes{suffix}");
    let out = Command::new(program::cargo())
        .args(["run", "--quiet", "--release", "-p", "echo", "--", "--only", servers, "--count-only", "--json"])
        .args(features)
        .current_dir(bench())
        .stderr(Stdio::inherit())
        .output()
        .context("could not start cargo")?;
    ensure!(out.status.success(), "the echoes were not counted ({})", out.status);
    let servers: Vec<Server> = serde_json::from_slice(&out.stdout).context("bench echo printed something else than expected")?;
    ensure!(!servers.is_empty(), "no echo was counted");
    Ok(servers.into_iter().map(|s| (format!("echo of 64 B, 64 connections, {}{suffix}", s.server), s.per_echo)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, f64)]) -> Counts {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_path_that_has_grown_by_more_than_a_tenth_is_wrong_and_one_that_has_not_is_fine() {
        let kept = counts(&[("a", 100.0), ("b", 10.0)]);
        assert_eq!(compare(&kept, &counts(&[("a", 109.9), ("b", 1.0)])), Vec::<String>::new());
        let wrong = compare(&kept, &counts(&[("a", 110.1), ("b", 10.0)]));
        assert_eq!(wrong, ["\"a\" takes 110.1 instructions in place of 100.0"]);
    }

    #[test]
    fn a_path_that_is_only_kept_or_only_counted_is_wrong() {
        let wrong = compare(&counts(&[("a", 1.0)]), &counts(&[("b", 1.0)]));
        assert_eq!(wrong, ["\"a\" is kept and was not counted", "\"b\" is not kept"]);
    }

    #[test]
    fn the_sum_is_read_from_what_callgrind_writes() {
        assert_eq!(total("events: Ir\nfn=(1) main\n1 5\ntotals: 42\n"), Some(42));
        assert_eq!(total("nothing"), None);
    }
}
