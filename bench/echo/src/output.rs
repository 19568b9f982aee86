//! A whole run: what is built, measured, counted, printed and written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Args;
use crate::host::{self, Ports};
use crate::instructions::{self, Count};
use crate::measure::{Bench, Cell};
use crate::points::Point;
use crate::servers::{Server, choose};
use crate::stats::median;
use crate::table::Results;
use crate::{build, child, plot};

/// Part of the cores that others may use before the table says that they did.
const QUIET: f64 = 0.03;

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut servers = choose(&args.peer, &args.only)?;
    child::catch_signals()?;
    let mut notes = Vec::new();
    let points = reachable(args.points(), &mut notes);
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template("{wide_msg} [{bar:30}] {pos}/{len}, {eta} left")?);
    let programs = build::all(&mut servers, args.features.as_deref(), &mut notes, |what| eprintln!("{what}"))?;
    let began = Instant::now();
    let mut bench = Bench { args, programs: &programs, ports: Ports::new() };
    let folder = folder()?;
    let instructions = count(&mut bench, &servers, &folder, &bar, &mut notes)?;
    if args.count_only {
        bar.finish_and_clear();
        return counted(args, &instructions, &servers, &notes);
    }
    let (cells, rounds) = bench.rounds(&servers, &points, began, &bar)?;
    bar.finish_and_clear();
    explain(args, &cells, rounds, &mut notes);
    let head = head(args, rounds);
    let results = Results { head, points, engines: args.engines().to_vec(), cells, instructions, notes, servers };
    write(args, &results, &folder)
}

/// Prints the counts alone. One that is missing is an error here, since nothing else was asked for.
fn counted(args: &Args, counts: &[Count], servers: &[Server], notes: &[String]) -> Result<()> {
    ensure!(counts.len() == servers.iter().filter(|s| s.is_counted()).count() && notes.is_empty(), "{}", notes.join("; "));
    if args.json {
        println!("{}", serde_json::to_string_pretty(counts)?);
    } else {
        counts.iter().for_each(|count| println!("{:<16} {:>6.0}", count.server, count.per_echo));
    }
    Ok(())
}

/// The points for which enough files may be open.
fn reachable(points: Vec<Point>, notes: &mut Vec<String>) -> Vec<Point> {
    let wanted = points.iter().map(Point::files).max().unwrap_or(0);
    let limit = host::raise_open_files(wanted);
    let (can, cannot): (Vec<Point>, Vec<_>) = points.into_iter().partition(|p| p.files() <= limit);
    for point in cannot {
        notes.push(format!(
            "{point} is left out: it needs {} open files and the limit is {limit}; raise it with `ulimit -n`",
            point.files()
        ));
    }
    can
}

fn count(bench: &mut Bench<'_>, servers: &[Server], folder: &Path, bar: &ProgressBar, notes: &mut Vec<String>) -> Result<Vec<Count>> {
    if !instructions::available() {
        notes.push("Instructions were not counted: valgrind is not installed".to_owned());
        return Ok(Vec::new());
    }
    let mut counts = Vec::new();
    for server in servers.iter().filter(|s| s.is_counted()) {
        bar.set_message(format!("counting the instructions of {}", server.name));
        match instructions::count(bench, server, folder) {
            Ok(count) => counts.push(count),
            Err(why) if child::interrupted() => return Err(why),
            Err(why) => notes.push(format!("The instructions of {} were not counted: {why:#}", server.name)),
        }
    }
    Ok(counts)
}

/// Says what a reader must know about the figures.
fn explain(args: &Args, cells: &[Cell], rounds: u32, notes: &mut Vec<String>) {
    if rounds < args.rounds() {
        notes.push(format!("{rounds} rounds in place of {}: the time was up", args.rounds()));
    }
    for cell in cells {
        if let Some(error) = &cell.error {
            notes.push(format!("{} failed at {} ({} generator): {error}", cell.server, cell.point, cell.engine));
        }
    }
    let others = median(cells.iter().flat_map(|c| c.samples.iter().map(|s| s.others))).map_or(0.0, |m| m.value);
    if others > QUIET {
        notes.push(format!(
            "**Not a quiet machine:** other processes used {:.0} % of the two cores (median); the figures say little",
            others * 100.0
        ));
    }
}

/// When, where, what and how.
fn head(args: &Args, rounds: u32) -> Vec<String> {
    let said = |program: &str, arguments: &[&str]| {
        let out = Command::new(program).args(arguments).current_dir(build::repository()).output().ok().filter(|out| out.status.success());
        out.map_or_else(|| "unknown".to_owned(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let (server, load) = args.cores;
    vec![
        format!("{}, commit {}", said("date", &["-u", "+%F %R UTC"]), said("git", &["describe", "--always", "--dirty", "--abbrev=12"])),
        format!("Linux {}, TCP {}, {}, {}", said("uname", &["-r"]), congestion_control(), processor(), said("rustc", &["--version"])),
        format!("server on core {server}, generator on core {load}, {rounds} interleaved rounds of {} s, medians", args.seconds()),
    ]
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

fn congestion_control() -> String {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

fn folder() -> Result<PathBuf> {
    let folder = build::repository().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    Ok(folder)
}

fn write(args: &Args, results: &Results, folder: &Path) -> Result<()> {
    let (markdown, json) = (results.markdown(), serde_json::to_string_pretty(results)?);
    for (name, text) in [("echo.md", &markdown), ("echo.json", &json)] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
    }
    print!("{}", if args.json { &json } else { &markdown });
    if args.plot {
        let path = folder.join("echo.svg");
        plot::draw(results, &path)?;
        eprintln!("drawn to {}", path.display());
    }
    Ok(())
}
