//! Throws random faults at hello-sock's server, and checks that its other peers do not notice.
//!
//! For each backend a server starts on two cores. Healthy peers ([`healthy`]) echo from the first
//! moment to the last; [`phases`] follow one another in an order that the seed gives. What is wrong
//! is one sentence, and exit code 1.
#![forbid(unsafe_code)]

mod clock;
mod field;
mod healthy;
mod peer;
mod phases;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use phases::PHASES;

/// Descriptors that we need: more than the server has.
const OURS: u64 = 4096;

/// Throw random faults at hello-sock's server, and check that its other peers do not notice.
///
/// Healthy peers echo throughout; every byte of theirs is checked, and an echo that takes longer
/// than --within is a failure. After each phase the server's descriptors must be back where they
/// were, at the end its memory too, and SIGTERM must end it with exit code 0. Phases: see --list.
/// Exit code: 0 all was well, 1 something was not, 2 the command line was wrong.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Where the random choices start [default: one at random, which is printed].
    #[arg(long)]
    seed: Option<u64>,
    /// How long to go on, divided among the backends. A phase that has begun is finished.
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    minutes: f64,
    /// The server's backends, one after the other (may be repeated, or joined by commas).
    #[arg(long, value_delimiter = ',', default_values = ["posix", "uring"])]
    backend: Vec<String>,
    /// Only these phases (may be repeated, or joined by commas).
    #[arg(long, value_name = "PHASE", value_delimiter = ',', value_parser = PossibleValuesParser::new(PHASES.map(|p| p.name)))]
    only: Vec<String>,
    /// The longest that a healthy peer may wait for an echo, a connection or an end, in seconds.
    /// Time in which the server was stopped does not count.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = positive)]
    within: f64,
    /// Healthy peers.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    healthy: u32,
    /// The server's cores.
    #[arg(long, value_name = "MASK", default_value = "0x3")]
    cores: String,
    /// The hello-sock to run [default: the one beside this program].
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Show the phases and run none.
    #[arg(long)]
    list: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n > 0.0 && n <= 1e6 => Ok(n),
        _ => Err(format!("{text:?} is not a number above 0")),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        PHASES.iter().for_each(|phase| println!("{:<12} {}", phase.name, phase.about));
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let program = match &args.server {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("could not find this program")?.with_file_name("hello-sock"),
    };
    ensure!(program.exists(), "{} is not there: `cargo build -p hello-sock` builds it, or --server names another", program.display());
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone()).context("could not take signals")?;
    }
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|most| most >= OURS);
    ensure!(enough, "the peers need {OURS} descriptors, and the hard limit (ulimit -Hn) is {}", limit.maximum.unwrap_or(0));
    setrlimit(Resource::Nofile, Rlimit { current: Some(OURS), ..limit }).context("could not raise the limit of descriptors")?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(0..1_000_000_000));
    println!("seed {seed}");
    let phases: Vec<_> = PHASES.iter().filter(|phase| args.only.is_empty() || args.only.iter().any(|name| name == phase.name)).collect();
    let plan = field::Plan {
        program,
        cores: args.cores.clone(),
        phases,
        healthy: args.healthy as usize,
        within: Duration::from_secs_f64(args.within),
        time: Duration::from_secs_f64(args.minutes * 60.0 / args.backend.len() as f64),
        interrupted,
    };
    for backend in &args.backend {
        field::play(&plan, backend, seed).with_context(|| format!("seed {seed}, backend {backend}"))?;
    }
    Ok(())
}
