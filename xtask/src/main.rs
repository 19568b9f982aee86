//! The project's own commands: `cargo xtask setup | run | test | bench | vm | image |
//! book`.
//!
//! Exit codes: 0 done, 1 something failed, 2 the command line was wrong; `run NAME`, `bench` and
//! `vm run` hand on the code of what they ran.
#![forbid(unsafe_code)]

/// As the standard one, but where it cannot print it is one sentence and exit code 1.
macro_rules! print {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

/// Likewise.
macro_rules! println {
    ($($line:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($line)*))) };
}

mod bench;
mod book;
mod child;
mod counts;
mod deaf;
mod hyper;
mod image;
mod kv;
mod memory;
mod nvmf;
mod output;
mod packages;
mod program;
mod rpc;
mod run;
mod setup;
mod test;
mod vm;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Args),
    Run(run::Args),
    Test(test::Args),
    Bench(bench::Args),
    Vm(vm::Args),
    Image(image::Args),
    Book(book::Args),
}

/// A command line that names something which is not there: exit code 2.
#[derive(Debug)]
struct Usage(String);

impl std::error::Error for Usage {}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A failure with an exit code of its own.
#[derive(Debug)]
struct Exit(u8, String);

impl std::error::Error for Exit {}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return output::print_help(&said),
    };
    match output::or_unprinted(|| run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Nobody may be left to read it, which is no reason for a panic.
    let _ = writeln!(io::stderr(), "error: {error:#}");
    ExitCode::from(code(error))
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Setup(args) => setup::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Test(args) => test::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Vm(args) => vm::main(&args),
        Command::Image(args) => image::main(&args),
        Command::Book(args) => book::main(&args),
    }
}

fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Exit>() {
        Some(Exit(code, _)) => *code,
        None if error.is::<Usage>() => 2,
        None => 1,
    }
}

/// The top of the repository.
fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
