//! An NVMe/TCP initiator that loads a target and verifies every block, in the manner of
//! spdk_nvme_perf and fio, over lcore's reactors and socket groups.
//!
#![doc = include_str!("../README.md")]
//!
//! One `admin` queue on the first core brings the controller up and keeps it alive; on each core
//! of `-m` a `worker` has its I/O queues and its part of the namespace. What is done in which
//! order stands in `script`, from top to bottom.
//!
//! ```text
//!   script ──bring up, identify──► admin queue ───────────────► target
//!      │                                                          ▲
//!      ├──fill, run, read back──► worker of a core ──I/O queues───┘
//!      └──results, merged──► report
//! ```
#![forbid(unsafe_code)]

mod admin;
mod args;
mod auth;
mod discover;
mod error;
mod identify;
mod link;
mod pattern;
mod plan;
mod report;
mod script;
mod secure;
mod space;
mod target;
mod worker;

use std::process::ExitCode;

use clap::Parser;

pub use pattern::{Mismatch, Pattern};
pub use target::{Target, TargetError};

/// The whole program, from its command line to its exit code.
pub fn main() -> ExitCode {
    match lcore::parse_args("nvme_perf") {
        Ok(args) => script::run(args),
        Err(code) => code,
    }
}

/// The same with another command line, the program's name first, for who runs it in a process of
/// its own choosing. What is wrong with the line is not printed.
pub fn run(args: impl IntoIterator<Item = String>) -> ExitCode {
    match args::Args::try_parse_from(args) {
        Ok(args) => script::run(args),
        Err(said) => ExitCode::from(said.exit_code() as u8),
    }
}
