//! The framework's life, step by step: start, a thread on another core, messages both ways, stop, and all of it once more in the same process.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use lcore::{App, AppHandle, AppOptions, CpuSet, Cx, Instant, ThreadConfig, ThreadHandle};

/// Starts the framework, sends messages to a thread on another core and back, stops it, and does so again; prints each step.
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
    let args = Args::parse();
    for life in 1..=2 {
        println!("life {life}: start");
        let left = Arc::new(AtomicU64::new(args.messages));
        let (ours, n) = (left.clone(), args.messages);
        let code = App::new("reactor_test").options(args.app.clone()).run(move |cx, app| {
            println!("life {life}: {} started on core {}, reactors on {}", cx.handle().name(), cx.core(), app.cores());
            Ok(start_peer(cx, app, Trip { home: cx.handle(), app: app.clone(), n, left: ours, began: cx.clock() })?)
        });
        println!("life {life}: fini");
        if code != ExitCode::SUCCESS {
            return code;
        }
        if left.load(Ordering::Relaxed) > 0 {
            eprintln!("reactor_test: stopped with {} of {n} round trips to go", left.load(Ordering::Relaxed));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
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
        println!("{} started on core {}", cx.handle().name(), cx.core());
        let peer = cx.handle();
        go_home(peer, Box::new(trip));
    })?;
    Ok(())
}

/// One message from the peer to the first thread, which answers with the next.
fn go_home(peer: ThreadHandle, trip: Box<Trip>) {
    let home = trip.home.clone();
    let sent = home.send(move |cx| {
        // Nobody else writes it: the trip is in one place at a time.
        let left = trip.left.load(Ordering::Relaxed) - 1;
        trip.left.store(left, Ordering::Relaxed);
        if left == 0 {
            return finish(cx, &trip);
        }
        let next = peer.clone();
        let app = trip.app.clone();
        if let Err(refused) = peer.send(move |_| go_home(next, trip)) {
            app.fail(&refused.why);
        }
    });
    // A refusal drops the trip; the count that is left tells.
    if let Err(refused) = sent {
        eprintln!("reactor_test: {}", refused.why);
    }
}

fn finish(cx: &mut Cx<'_>, trip: &Trip) {
    let took = cx.clock().since(trip.began);
    let rate = trip.n as f64 / took.as_secs_f64();
    println!("{} round trips in {took:?}: {rate:.0} per second, {:.0} ns each", trip.n, 1e9 / rate);
    println!("stop");
    trip.app.stop(0);
}
