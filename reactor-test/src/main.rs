//! The framework's life, step by step: start, a thread on another core, messages both ways, stop,
//! and all of it once more in the same process.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use clap::Parser;
use lcore::platform::LinuxPlatform;
use lcore::{App, AppHandle, AppOptions, CpuSet, Cx, Instant, Platform, ThreadConfig, ThreadHandle};

/// Starts the framework, sends messages to a thread on another core and back, stops it, and does so
/// again; prints each step. Without -m it takes the first two cores.
#[derive(Clone, Parser)]
#[command(version)]
struct Args {
    /// Round trips to make; their rate is printed.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    #[command(flatten)]
    app: AppOptions,
}

fn main() -> ExitCode {
    let mut args: Args = match lcore::parse_args("reactor_test") {
        Ok(args) => args,
        Err(code) => return code,
    };
    if args.app.cores.is_none() && args.app.config.is_none() {
        // Nobody asked for these two, so that another process has one is no reason to fail.
        (args.app.cores, args.app.no_cpumask_locks) = (two_cores(), true);
    }
    for life in 1..=2 {
        say(format_args!("life {life}: start"));
        let left = Arc::new(AtomicU64::new(args.messages));
        let (ours, n) = (left.clone(), args.messages);
        let code = App::new("reactor_test").options(args.app.clone()).run(move |cx, app| {
            say(format_args!("life {life}: {} started on core {}, reactors on {}", cx.handle().name(), cx.core(), app.cores()));
            Ok(start_peer(cx, app, Trip { home: cx.handle(), app: app.clone(), n, left: ours, began: cx.clock() })?)
        });
        say(format_args!("life {life}: fini"));
        if code != ExitCode::SUCCESS {
            return code;
        }
        if left.load(Ordering::Relaxed) > 0 {
            return fail(format_args!("stopped with {} of {n} round trips to go", left.load(Ordering::Relaxed)));
        }
    }
    UNPRINTED.get().map_or(ExitCode::SUCCESS, |why| fail(format_args!("{why}")))
}

fn fail(why: fmt::Arguments<'_>) -> ExitCode {
    let _ = writeln!(io::stderr(), "reactor_test: {why}");
    ExitCode::FAILURE
}

/// The first two cores that this process may use: messages are to go from one to another. `None`
/// leaves the choice, and the error, to the framework.
fn two_cores() -> Option<CpuSet> {
    let platform = LinuxPlatform::new().ok()?;
    Some(platform.cores().iter().take(2).collect())
}

/// The round trips that are left to make, and what comes after the last.
struct Trip {
    home: ThreadHandle,
    app: AppHandle,
    n: u64,
    left: Arc<AtomicU64>,
    began: Instant,
}

/// Makes the other thread, on another core where there is one, and sends it the first message.
fn start_peer(cx: &mut Cx<'_>, app: &AppHandle, trip: Trip) -> Result<(), lcore::SpawnError> {
    let here = CpuSet::of(cx.core());
    let others = app.cores().minus(&here);
    let on = if others.is_empty() { here } else { others };
    app.lib().spawn(ThreadConfig::new("peer").cpus(on), move |cx| {
        say(format_args!("{} started on core {}", cx.handle().name(), cx.core()));
        let peer = cx.handle();
        go_home(peer, Box::new(trip));
    })?;
    Ok(())
}

/// One message from the peer to the first thread, which answers with the next. A message is refused
/// when its thread has ended, by a signal; then the count that is left tells.
fn go_home(peer: ThreadHandle, trip: Box<Trip>) {
    let (home, app) = (trip.home.clone(), trip.app.clone());
    let sent = home.send(move |cx| {
        // Nobody else writes it: the trip is in one place at a time.
        let left = trip.left.load(Ordering::Relaxed) - 1;
        trip.left.store(left, Ordering::Relaxed);
        if left == 0 {
            return finish(cx, &trip);
        }
        let (next, app) = (peer.clone(), trip.app.clone());
        if peer.send(move |_| go_home(next, trip)).is_err() {
            app.stop(0);
        }
    });
    if sent.is_err() {
        app.stop(0);
    }
}

/// Why a line was not printed, of the first that was not: no reason to stop, and none to end well.
static UNPRINTED: OnceLock<String> = OnceLock::new();

/// Prints a line.
fn say(line: fmt::Arguments<'_>) {
    let printed = match lcore::platform::stdout() {
        Ok(mut output) => writeln!(output, "{line}").map_err(|why| format!("write standard output: {why}")),
        Err(why) => Err(why.to_string()),
    };
    if let Err(why) = printed {
        UNPRINTED.get_or_init(|| why);
    }
}

fn finish(cx: &mut Cx<'_>, trip: &Trip) {
    let took = cx.clock().since(trip.began);
    let rate = trip.n as f64 / took.as_secs_f64();
    say(format_args!("{} round trips in {took:?}: {rate:.0} per second, {:.0} ns each", trip.n, 1e9 / rate));
    say(format_args!("stop"));
    trip.app.stop(0);
}
