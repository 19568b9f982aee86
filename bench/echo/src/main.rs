//! Runs echo servers side by side, one after the other in rounds, and prints how they compare.
//!
//! The servers: bare loops on each kernel interface ([`servers`]), which are the limit, other
//! runtimes, ours, and any that the user names. The load comes from the program `load`, in a
//! process of its own. What is printed is medians of interleaved runs and ratios of these medians.
#![forbid(unsafe_code)]

mod args;
mod build;
mod child;
mod host;
mod instructions;
mod measure;
mod output;
mod plot;
mod points;
mod servers;
mod stats;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

/// A command line that names something which is not there: exit code 2.
#[derive(Debug)]
struct Usage(String);

impl std::error::Error for Usage {}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn main() -> ExitCode {
    match output::run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if child::interrupted() => {
            eprintln!("echo: interrupted; all servers have been ended");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("echo: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}
