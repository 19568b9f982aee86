//! `cargo xtask image test`: images are built, booted, talked to and ended.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::build::{self, Image, NONE, Target};
use super::machine::{self, FAULT, Guest, Kind, NO_BACKEND, PANIC, STOPPED};
use super::{peer, size};
use crate::program::{OWN, cargo};
use crate::repository;

/// An image has said what it has to say within this time, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What an image with a backend must stay under, bytes.
const LARGEST: u64 = 248_000;
const QUICK: usize = 200;
const STREAM: usize = 64 << 20;
/// Allocations that an image may make until it ends. The stream alone is more reads than that.
const MOST_ALLOCATIONS: usize = 8192;
/// How long the image of tasks lets a peer say nothing at least: 5 s by its own clock.
const SILENCE: Duration = Duration::from_millis(4500);
/// How long an idle image is watched, and the share of a core that QEMU may take meanwhile.
const IDLE: Duration = Duration::from_secs(3);
const IDLE_SHARE: f64 = 0.05;

pub(super) fn test() -> Result<()> {
    machine::need()?;
    lint()?;
    size::smallest()?;
    let hello = build::build("hello", Target::Host)?;
    println!("image hello is {} bytes, and has {} MiB of memory", hello.size, hello.description.memory >> 20);
    ensure!(hello.size <= LARGEST, "it is larger than {LARGEST} bytes");
    for kind in [Kind::Microvm, Kind::Q35] {
        serves(kind, &hello, "poll_group_0 on core 0:").with_context(|| format!("image hello on {}", kind.name()))?;
    }
    let tasks = build::build("hello-tasks", Target::Host)?;
    println!("image hello-tasks is {} bytes", tasks.size);
    serves(Kind::Microvm, &tasks, "tasks:").context("image hello-tasks on microvm")?;
    closes_who_says_nothing(&tasks).context("image hello-tasks on microvm")?;
    asks_for_an_address(&build::build("hello-dhcp", Target::Host)?).context("image hello-dhcp on microvm")?;
    logs_frames(&build::build("hello-defmt", Target::Host)?).context("image hello-defmt on microvm")?;
    says_that_no_backend_is_linked(&build::build("no-backend", Target::Host)?).context("image no-backend on microvm")?;
    let faults = build::faults()?;
    for kind in [Kind::Microvm, Kind::Q35] {
        goes_wrong(kind, &faults).with_context(|| format!("image faults on {}", kind.name()))?;
    }
    if build::is_installed(NONE)? {
        boots(Kind::Microvm, &build::build("hello", Target::None)?).context("image hello for x86_64-unknown-none")?;
    } else {
        println!("{NONE} is not installed here: built for the host's target only");
    }
    Ok(())
}

/// Format and lints of the images' workspace.
fn lint() -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(repository().join("image"));
    let (cargo, source, folder) = (cargo(), build::describe("hello")?, build::folder()?);
    cmd!(sh, "{cargo} fmt --check").run()?;
    for features in ["smoltcp,pollers,log", "smoltcp,tasks,log", "smoltcp,dhcp,ipv6,pollers,defmt", "pollers,log"] {
        let lint = cmd!(sh, "{cargo} clippy --quiet --locked -p hello-image -p smallest --features hello-image/{features} -- -D warnings");
        lint.env("LCORE_IMAGE", &source).env("CARGO_TARGET_DIR", &folder).env_remove("RUSTFLAGS").run()?;
    }
    Ok(())
}

fn boots(kind: Kind, image: &Image) -> Result<Guest> {
    let mut guest = Guest::start(kind, image)?;
    let backends = guest.line("backends linked", PATIENCE)?;
    ensure!(backends == "smoltcp", "it says that it links {backends:?}");
    guest.line("Listening connection on", PATIENCE)?;
    let address = guest.line("address", PATIENCE)?;
    let booted = guest.line("booted in", PATIENCE)?;
    println!(
        "{}: listens at {address} after {booted}, {:.0} ms after QEMU's start",
        kind.name(),
        guest.started.elapsed().as_secs_f64() * 1e3
    );
    Ok(guest)
}

/// An image serves many peers, idles, stops when it is told to, and begins its report as `server`
/// says.
fn serves(kind: Kind, image: &Image, server: &str) -> Result<()> {
    let mut guest = boots(kind, image)?;
    peer::half_closed(guest.at, b"hi\n")?;
    let start = Instant::now();
    for n in 0..QUICK {
        peer::half_closed(guest.at, format!("quick {n}").as_bytes()).with_context(|| format!("connection {n} of {QUICK}"))?;
    }
    println!("{}: {QUICK} quick connections answered in {:.2} s", kind.name(), start.elapsed().as_secs_f64());
    let start = Instant::now();
    let hash = peer::stream(guest.at, STREAM)?;
    let rate = (STREAM >> 20) as f64 / start.elapsed().as_secs_f64();
    println!("{}: {} MiB echoed at {rate:.0} MiB/s, the end included, SHA-256 {}…", kind.name(), STREAM >> 20, &hash[..16]);
    let share = idle_share(guest.id())?;
    println!("{}: idle, QEMU takes {:.1} % of a core", kind.name(), share * 100.0);
    ensure!(share < IDLE_SHARE, "an idle image takes {:.1} % of a core", share * 100.0);
    guest.interrupt()?;
    let report = guest.line(server, PATIENCE)?;
    let expected = format!("{} connections, 0 failed,", QUICK + 2);
    ensure!(
        report.starts_with(&expected) && report.ends_with(" 0 buffers held"),
        "its report is not {expected:?} … 0 buffers held: {report}"
    );
    let heap = guest.line("heap ", PATIENCE)?;
    println!("{}: stopped by ^C; heap {heap}", kind.name());
    let allocations = heap.split_once(", ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
    let allocations = allocations.with_context(|| format!("its heap has no count: {heap}"))?;
    ensure!(allocations < MOST_ALLOCATIONS, "it allocated {allocations} times, so not at the start and for connections alone");
    let status = guest.wait(PATIENCE)?;
    ensure!(status.code() == Some(STOPPED), "after ^C it ended otherwise: {}", machine::ending(status));
    Ok(())
}

fn asks_for_an_address(image: &Image) -> Result<()> {
    let guest = boots(Kind::Microvm, image)?;
    peer::half_closed(guest.at, b"hi\n")
}

/// A timer closes a connection whose peer says nothing, and the one that speaks stays.
fn closes_who_says_nothing(image: &Image) -> Result<()> {
    let mut guest = boots(Kind::Microvm, image)?;
    let silent = peer::silent(guest.at)?;
    ensure!(silent >= SILENCE, "a silent peer was closed after {silent:?}, before {SILENCE:?} were over");
    peer::half_closed(guest.at, b"hi\n")?;
    guest.interrupt()?;
    let report = guest.line("tasks:", PATIENCE)?;
    ensure!(report == "2 connections, 0 failed, 1 closed as idle, 3 bytes echoed, 0 buffers held", "it reports {report:?}");
    ensure!(guest.wait(PATIENCE)?.code() == Some(STOPPED), "it was not stopped in order{}", guest.said());
    println!("hello-tasks: closed a silent peer after {:.1} s", silent.as_secs_f64());
    Ok(())
}

/// Each message of an image with defmt is a frame of a few bytes on the debug console; its text is
/// in the file.
fn logs_frames(image: &Image) -> Result<()> {
    let mut guest = boots(Kind::Microvm, image)?;
    peer::half_closed(guest.at, b"hi\n")?;
    guest.interrupt()?;
    guest.line("heap ", PATIENCE)?;
    ensure!(guest.wait(PATIENCE)?.code() == Some(STOPPED), "it was not stopped in order{}", guest.said());
    let frames = std::fs::read(image.frames()).context("could not read its frames")?;
    ensure!(!frames.is_empty(), "it sent no frame");
    let elf = std::fs::read(&image.file).context("could not read the image")?;
    ensure!(elf.windows(17).any(|text| text == b"Connection closed"), "the texts of its frames are not in the image");
    println!("hello-defmt: {} bytes of frames; defmt-print reads them", frames.len());
    Ok(())
}

fn says_that_no_backend_is_linked(image: &Image) -> Result<()> {
    let mut guest = Guest::start(Kind::Microvm, image)?;
    let why = guest.line("image no-backend:", PATIENCE)?;
    ensure!(why.contains("no network backend is linked"), "it says {why:?}");
    let status = guest.wait(PATIENCE)?;
    ensure!(status.code() == Some(NO_BACKEND), "it ended otherwise: {}", machine::ending(status));
    println!("no-backend: {why} (exit status {NO_BACKEND})");
    Ok(())
}

/// What goes wrong is said with its place, and has an exit code of its own.
fn goes_wrong(kind: Kind, image: &Image) -> Result<()> {
    for (how, says, code) in [("panic", "panic at hello-image/src/bin/faults.rs:", PANIC), ("stack", "page fault at 0x", FAULT)] {
        let mut guest = Guest::start_with(kind, image, how)?;
        let why = guest.line("image: ", PATIENCE)?;
        let ends = if how == "panic" { "as asked" } else { "(the stack is full)" };
        ensure!(why.starts_with(says) && why.ends_with(ends), "it says {why:?}");
        let status = guest.wait(PATIENCE)?;
        ensure!(status.code() == Some(code), "it ended otherwise: {}", machine::ending(status));
        println!("{}: {why} (exit status {code})", kind.name());
    }
    Ok(())
}

/// The share of a core that a process takes over [`IDLE`].
fn idle_share(process: u32) -> Result<f64> {
    let before = ticks(process)?;
    thread::sleep(IDLE);
    let ticks = ticks(process)? - before;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / IDLE.as_secs_f64())
}

/// Ticks of the processor that a process has had (proc(5), `stat`, fields 14 and 15).
fn ticks(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    let (_, rest) = stat.rsplit_once(')').context("stat has the program's name in brackets")?;
    let field = |n: usize| rest.split_ascii_whitespace().nth(n).and_then(|text| text.parse::<u64>().ok());
    field(11).zip(field(12)).map(|(user, system)| user + system).with_context(|| format!("{path} has no times: {stat}"))
}

/// Runs the checks as the step of `cargo xtask test` that they are.
pub(crate) fn step(_: &Shell) -> Result<()> {
    // As a program of its own, so that a machine that hangs is ended with it.
    let status = Command::new(OWN).args(["image", "test"]).status().context("could not start this program again")?;
    ensure!(status.success(), "cargo xtask image test ended with {status}");
    Ok(())
}
