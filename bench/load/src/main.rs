//! A load generator for echo servers: one thread, many connections, every byte checked.
//!
//! It connects, has each connection echo one message, warms up, measures, lets everything come
//! back, and closes the busy connections half by half. Standard output is one JSON object (see
//! [`report::Report`]). A server that loses, changes or reorders a byte ends it with exit code 1.
//! Nothing of lcore is in it, so that it favours no server.

mod args;
mod connections;
mod engine;
mod pattern;
mod report;
mod run;
mod streams;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Engine};
use crate::connections::Connections;
use crate::run::Run;

fn main() -> ExitCode {
    match load(&Args::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: &Args) -> anyhow::Result<String> {
    args.check()?;
    args.pin()?;
    let mut run = Run::new(args)?;
    let mut connections = Connections::open(args, &mut run)?;
    match args.engine {
        Engine::Epoll => engine::epoll::run(&mut connections, &mut run)?,
        Engine::Uring => engine::uring::run(&mut connections, &mut run)?,
    }
    connections.finish(&mut run)?;
    Ok(serde_json::to_string(&run.report()?)?)
}
