//! hello-sock: an echo server, a client for pipes and people, and a load generator.
#![forbid(unsafe_code)]

mod args;
mod client;
mod load;
mod pattern;
mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use lcore::{App, Failure, net};

use crate::args::Args;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(said) => return print(&said),
    };
    let at = match net::parse_address(&args.host, args.port) {
        Ok(at) => at,
        Err(why) => {
            let why = Failure::Usage(format!("-H: {why}"));
            let _ = writeln!(io::stderr(), "hello_sock: {why}");
            return ExitCode::from(why.exit_code());
        }
    };
    let app = App::new("hello_sock").options(args.app.clone()).network();
    match args.load {
        _ if args.server => serve::run(app, args, at),
        Some(load) => load::run(app, args, at, load),
        None => client::run(app, args, at),
    }
}

/// Prints what clap has to say: help on standard output, which may be full, or what is wrong with the arguments.
fn print(said: &clap::Error) -> ExitCode {
    let code = said.exit_code() as u8;
    match said.print().and_then(|()| io::stdout().flush()) {
        // Who has read enough of the help closes its pipe.
        Err(why) if code == 0 && why.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "hello_sock: write standard output: {why}");
            ExitCode::FAILURE
        }
        _ => ExitCode::from(code),
    }
}

/// What every JSON report starts with.
fn report_head(app: &lcore::AppHandle, mode: &str) -> serde_json::Value {
    serde_json::json!({
        "mode": mode,
        "backend": app.net().name(),
        "why": app.selected().reason().to_string(),
        "linked": lcore::net_backends(),
        "cores": app.cores().to_string(),
    })
}
