//! `cargo xtask test`: every check of the project, in one command.

mod asan;
mod deny;
mod kv;
mod no_std;
mod packages;
mod rpc;
mod steps;
mod user;
mod wire;
mod words;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use xshell::Shell;

use crate::{Usage, repository};
use steps::{STEPS, Step};

/// Check everything: format, lints, docs, tests, feature builds, virtual machines, the build
/// without std, the model checker, AddressSanitizer, the benchmarks' build.
///
/// The steps run in this order and the first failure ends it. A step that cannot run here fails and
/// names what to install. The exit code is 0 if all that ran passed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only these steps (may be repeated, or joined by commas).
    #[arg(long = "step", value_name = "NAME", value_delimiter = ',', value_parser = PossibleValuesParser::new(STEPS.map(|s| s.name)))]
    steps: Vec<String>,
    /// Run the other steps too when one has failed.
    #[arg(long)]
    keep_going: bool,
    /// Leave out the step that boots virtual machines, where QEMU is not to be had.
    #[arg(long)]
    no_vm: bool,
    /// Show the steps and run none.
    #[arg(long)]
    list: bool,
}

/// The step that `--no-vm` leaves out.
const VM: &str = "vm";

impl Args {
    fn chooses(&self, step: &str) -> bool {
        (self.steps.is_empty() || self.steps.iter().any(|name| name == step)) && !(self.no_vm && step == VM)
    }
}

/// What became of a step.
enum Outcome {
    Passed(Duration),
    Failed(Duration),
    NotRun,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(time) => write!(f, "{:>7.1} s  passed", time.as_secs_f64()),
            Self::Failed(time) => write!(f, "{:>7.1} s  FAILED", time.as_secs_f64()),
            Self::NotRun => write!(f, "{:>9}  not run", "-"),
        }
    }
}

pub(crate) fn main(args: &Args) -> Result<()> {
    if args.list {
        STEPS.iter().for_each(|step| println!("{:<9} {}", step.name, step.about));
        return Ok(());
    }
    let sh = Shell::new()?;
    sh.change_dir(repository());
    let chosen = STEPS.iter().filter(|s| args.chooses(s.name));
    let chosen: Vec<_> = chosen.collect();
    if chosen.is_empty() {
        bail!(Usage(format!("--no-vm leaves out the step {VM}, which is the only one asked for")));
    }
    let results = run(&sh, &chosen, args.keep_going);
    println!("\nstep           time");
    for (step, outcome) in &results {
        println!("{:<9} {outcome}", step.name);
    }
    let total: Duration = results.iter().map(|(_, outcome)| outcome.time()).sum();
    println!("{:<9} {:>7.1} s", "all", total.as_secs_f64());
    let failed: Vec<_> = results.iter().filter(|(_, o)| matches!(o, Outcome::Failed(_))).map(|(s, _)| s.name).collect();
    if args.no_vm {
        println!("left out by --no-vm: {VM}, so nothing has run on an RDMA device or another kernel");
    }
    if !failed.is_empty() {
        bail!("failed: {} (`cargo xtask test --step NAME` runs one alone)", failed.join(", "));
    }
    Ok(())
}

impl Outcome {
    fn time(&self) -> Duration {
        match self {
            Self::Passed(time) | Self::Failed(time) => *time,
            Self::NotRun => Duration::ZERO,
        }
    }
}

fn run<'a>(sh: &Shell, steps: &[&'a Step], keep_going: bool) -> Vec<(&'a Step, Outcome)> {
    let mut stopped = false;
    let mut results = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if stopped {
            results.push((*step, Outcome::NotRun));
            continue;
        }
        println!("\n== {}/{} {}: {}", at + 1, steps.len(), step.name, step.about);
        let start = Instant::now();
        let done = (step.run)(sh);
        let time = start.elapsed();
        let outcome = match done {
            Ok(()) => Outcome::Passed(time),
            Err(error) => {
                println!("{}: {error:#}", step.name);
                stopped = !keep_going;
                Outcome::Failed(time)
            }
        };
        println!("== {}{outcome}", step.name);
        results.push((*step, outcome));
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Step = Step { name: "good", about: "", run: |_| Ok(()) };
    const BAD: Step = Step { name: "bad", about: "", run: |_| bail!("no") };

    fn outcomes(steps: &[&Step], keep_going: bool) -> Vec<&'static str> {
        let sh = Shell::new().expect("a shell");
        let word = |(_, outcome): (&Step, Outcome)| match outcome {
            Outcome::Passed(_) => "passed",
            Outcome::Failed(_) => "failed",
            Outcome::NotRun => "not run",
        };
        run(&sh, steps, keep_going).into_iter().map(word).collect()
    }

    #[test]
    fn the_virtual_machine_is_left_out_when_told_and_never_by_itself() {
        let chosen = |steps: &[&str], no_vm| {
            let args = Args { steps: steps.iter().map(|&s| s.into()).collect(), keep_going: false, no_vm, list: false };
            STEPS.iter().map(|s| s.name).filter(|name| args.chooses(name)).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&[], false), STEPS.map(|s| s.name));
        assert_eq!(chosen(&[], true), STEPS.map(|s| s.name).into_iter().filter(|&name| name != "vm").collect::<Vec<_>>());
        assert_eq!(chosen(&["vm", "fmt"], false), ["fmt", "vm"]);
    }

    #[test]
    fn the_first_failure_stops_unless_told_to_keep_going() {
        assert_eq!(outcomes(&[&GOOD, &BAD, &GOOD], false), ["passed", "failed", "not run"]);
        assert_eq!(outcomes(&[&GOOD, &BAD, &GOOD], true), ["passed", "failed", "passed"]);
    }
}
