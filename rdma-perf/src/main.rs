//! rdma-perf: latency and bandwidth of queues, without a protocol above them, beside perftest's
//! programs.
#![forbid(unsafe_code)]

mod args;
mod compare;
mod peer;
mod plan;
mod report;
mod run;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use lcore::{Failure, net};

use crate::args::Args;

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("rdma_perf") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let at = match net::parse_address(&args.host(), args.port) {
        Ok(at) => at,
        Err(why) => return fail(&Failure::Usage(format!("HOST: {why}"))),
    };
    if let Err(why) = args.plan().check() {
        return fail(&Failure::Usage(why.to_string()));
    }
    match (args.compare, args.server) {
        (true, _) => match compare::run(&args, at) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                let _ = writeln!(io::stderr(), "rdma_perf: {why}");
                ExitCode::FAILURE
            }
        },
        (_, true) => run::server(&args, at),
        _ => run::client(&args, at),
    }
}

fn fail(why: &Failure) -> ExitCode {
    let _ = writeln!(io::stderr(), "rdma_perf: {why}");
    ExitCode::from(why.exit_code())
}
