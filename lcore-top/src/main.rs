//! lcore-top: what an application over lcore does, on the terminal.
#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(lcore_top::run(std::env::args_os(), &mut io::stdout().lock(), &mut io::stderr()))
}
