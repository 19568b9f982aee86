//! lcore-top: what an application over lcore does, on the terminal.
#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Not locked: whichever thread panics gives the terminal back first, through standard output.
    ExitCode::from(lcore_top::run(std::env::args_os(), &mut io::stdout(), &mut io::stderr()))
}
