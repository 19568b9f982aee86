//! hello-sock: an echo server, a client for pipes and people, and a load generator.
#![forbid(unsafe_code)]

mod args;
mod client;
mod load;
mod pattern;
mod room;
mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use lcore::{App, Failure, net};

use crate::args::Args;

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("hello_sock") {
        Ok(args) => args,
        Err(code) => return code,
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
