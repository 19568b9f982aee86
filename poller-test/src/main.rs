//! The thread library without lcore's reactor: a loop of its own turns two threads, as an
//! embedder's would.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use core_reactor::{CpuSet, Cx, Platform, Polled, Schedule, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};
use platform_linux::{LinuxPlatform, StopFlag, StopSignals};

/// Drives two threads from a loop of its own: `hello reader` once, `hello poller` every period, and
/// an active poller that counts its runs.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Seconds from one `hello poller` to the next.
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    period: Duration,
    /// End after so many `hello poller`. Without it: at SIGINT or SIGTERM.
    #[arg(short = 'n', long, value_name = "TIMES", value_parser = clap::value_parser!(u64).range(1..))]
    times: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "poller_test: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(StopFlag::default());
    let _signals = StopSignals::install(stop.clone())?;
    // Nobody asked for a core of its own.
    let platform = Arc::new(LinuxPlatform::new()?.unpinned());
    let core = platform.cores().iter().next().ok_or("this process may use no core")?;
    let lib = ThreadLib::new(platform.clone(), CpuSet::of(core), &ThreadLibOptions::default());
    stop.wake(platform.clone(), core);
    platform.adopt(core)?;

    let counted = Arc::new(AtomicU64::new(0));
    let make = |name| lib.create(ThreadConfig::new(name), core).ok_or("the core is not in the set");
    let mut threads = [make("reader")?, make("counter")?];
    threads[0].with(|cx| add_hellos(cx, args));
    threads[1].with(|cx| add_counter(cx, counted.clone()));

    let (busy, total) = turn_until_done(&*platform, &mut threads, || stop.signal().is_some());
    platform.release(core);
    say(format_args!("the active poller ran {} times", counted.load(Ordering::Relaxed)))?;
    let share = busy as f64 / total.max(1) as f64 * 100.0;
    say(format_args!("reactor: {share:.3} % busy, {:.3} % idle", 100.0 - share))?;
    for thread in &threads {
        let stats = thread.stats();
        say(format_args!("thread {}: {} turns, {} ns busy, {} ns idle", stats.name, stats.turns, stats.busy_ns, stats.idle_ns))?;
    }
    Ok(())
}

/// The embedder's loop: turns the threads until they have ended. Gives the nanoseconds that were
/// busy, and all.
fn turn_until_done(platform: &dyn Platform, threads: &mut [Thread], stop: impl Fn() -> bool) -> (u64, u64) {
    let began = platform.now();
    let (mut last, mut busy, mut last_busy) = (began, 0, 0);
    while threads.iter().any(|thread| !thread.is_exited()) {
        let now = platform.now();
        let idle = now.nanos_since(last).saturating_sub(last_busy);
        (last, last_busy) = (now, 0);
        let share = idle / threads.len() as u64;
        for thread in threads.iter_mut() {
            thread.charge_idle(share);
            last_busy += thread.turn(now).busy_ns;
        }
        busy += last_busy;
        // The threads end together: when a signal comes, or when the first has said its last hello.
        if stop() || threads.iter().any(Thread::is_exited) {
            threads.iter().for_each(|thread| thread.handle().exit());
        }
    }
    (busy, platform.now().nanos_since(began))
}

/// `hello reader` once, `hello poller` with each period.
fn add_hellos(cx: &mut Cx<'_>, args: &Args) {
    cx.poller("hello_reader", Schedule::Always, |cx: &mut Cx<'_>| {
        say_or_end(cx, "hello reader");
        Polled::Done
    });
    let mut left = args.times;
    cx.poller("hello_poller", Schedule::Every(args.period), move |cx: &mut Cx<'_>| {
        say_or_end(cx, "hello poller");
        left = left.map(|n| n - 1);
        if left == Some(0) {
            cx.exit();
            return Polled::Done;
        }
        Polled::Busy
    });
}

/// A poller that only counts.
fn add_counter(cx: &mut Cx<'_>, counted: Arc<AtomicU64>) {
    cx.poller("counter", Schedule::Always, move |cx: &mut Cx<'_>| {
        counted.fetch_add(1, Ordering::Relaxed);
        if cx.is_exiting() { Polled::Done } else { Polled::Idle }
    });
}

/// Prints a line.
fn say(line: fmt::Arguments<'_>) -> Result<(), String> {
    let mut output = platform_linux::stdout().map_err(|why| why.to_string())?;
    writeln!(output, "{line}").map_err(|why| format!("write standard output: {why}"))
}

/// Prints a line. When nobody is left to read it the thread ends, and the figures at the end tell
/// why.
fn say_or_end(cx: &mut Cx<'_>, line: &str) {
    if say(format_args!("{line}")).is_err() {
        cx.exit();
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 1e9 => Ok(Duration::from_secs_f64(s)),
        _ => Err(format!("{text:?} is not a time in seconds, above 0")),
    }
}
