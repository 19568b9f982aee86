//! `cargo xtask bench`: the measurements of `bench/`, in release.

use anyhow::{Result, ensure};
use clap::Subcommand;
use std::process::Command;

use crate::{counts, deaf, hyper, kv, memory, nvmf, program, repository, rpc};

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
    /// Builds and runs the program `micro` of bench/. What follows goes to it: `cargo xtask bench
    /// micro -- --help` lists its options.
    Micro {
        /// Options and filters for the program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Echo servers side by side: ours, bare loops, tokio, monoio, glommio, compio, and any other.
    ///
    /// Builds and runs the program `echo` of bench/, to which all that follows goes.
    #[command(disable_help_flag = true)]
    Echo {
        /// Options for the program: `cargo xtask bench echo --help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    Memory(memory::Args),
    Deaf(deaf::Args),
    Rpc(rpc::Args),
    Nvme(nvmf::bench::Args),
    Kv(kv::Args),
    Hyper(hyper::Args),
    Counts(counts::Args),
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let (package, name, args) = match &args.what {
        What::Micro { args } => ("lcore-bench", "micro", args),
        What::Echo { args } => ("echo", "echo", args),
        What::Memory(args) => return memory::main(args),
        What::Deaf(args) => return deaf::main(args),
        What::Rpc(args) => return rpc::main(args),
        What::Nvme(args) => return nvmf::bench::main(args),
        What::Kv(args) => return kv::main(args),
        What::Hyper(args) => return hyper::main(args),
        What::Counts(args) => return counts::main(args),
    };
    let folder = repository().join("bench");
    ensure!(folder.join("Cargo.toml").is_file(), "{} is not there: the measurements live in it", folder.display());
    let mut cargo = Command::new(program::cargo());
    cargo.args(["run", "--quiet", "--release", "-p", package, "--bin", name, "--"]).args(args).current_dir(folder);
    program::become_it(cargo)
}
