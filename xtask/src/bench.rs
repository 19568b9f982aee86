//! `cargo xtask bench`: the measurements of `bench/`, in release.

use anyhow::{Result, ensure};
use clap::Subcommand;
use std::process::Command;

use crate::{memory, program, repository};

/// Measure, beside peers that do the same work.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Messages, pollers, rings and pools, in nanoseconds and TSC cycles.
    ///
    /// Builds and runs the program `micro` of bench/. What follows goes to it: `cargo xtask bench micro -- --help` lists its options.
    Micro {
        /// Options and filters for the program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    Memory(memory::Args),
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let args = match &args.what {
        What::Micro { args } => args,
        What::Memory(args) => return memory::main(args),
    };
    let folder = repository().join("bench");
    ensure!(folder.join("Cargo.toml").is_file(), "{} is not there: the measurements live in it", folder.display());
    let mut cargo = Command::new(program::cargo());
    cargo.args(["run", "--quiet", "--release", "--bin", "micro", "--"]).args(args).current_dir(folder);
    program::become_it(cargo)
}
