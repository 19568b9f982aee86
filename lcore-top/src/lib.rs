//! What an application over lcore does, on the terminal: its threads, pollers, cores, poll groups,
//! pools, sockets and statistics, with rates.
//!
#![doc = include_str!("../README.md")]
//!
//! It knows the application by its RPC socket alone, so it watches SPDK's as well, as far as the
//! methods of the two are the same. A `Client` calls methods. `watch` does so in a thread of its
//! own, whose answers `Seen` keeps; a view makes a `Table` of them, which `screen` or `once` shows.
#![forbid(unsafe_code)]

mod args;
mod client;
mod draw;
mod once;
mod screen;
mod seen;
mod table;
mod terminal;
mod text;
mod views;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Parser;

use crate::args::Args;

/// The program with its command line, `args[0]` its name. What it prints goes to `out`, and what
/// went wrong to `err`; the screen takes the terminal. Gives the exit code: 0, 1 where it cannot do
/// what it was asked for, 2 where the command line is wrong.
pub fn run(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = match Args::try_parse_from(args) {
        Ok(args) if args.once => once::run(&args, out),
        Ok(args) => terminal::run(&args),
        Err(said) if said.use_stderr() => {
            // What is wrong may have nobody to read it.
            let _ = write!(err, "{}", said.render());
            return 2;
        }
        Err(help) => print(out, &help.render().to_string()),
    };
    match done {
        Ok(()) => 0,
        Err(why) => {
            let _ = writeln!(err, "lcore-top: {why}");
            1
        }
    }
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), String> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who has read enough closes its pipe.
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(format!("write standard output: {why}")),
        _ => Ok(()),
    }
}
