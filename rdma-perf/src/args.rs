//! The command line.

use clap::{ArgGroup, Parser, ValueEnum};
use lcore::AppOptions;
use lcore::transport::Wait;

use crate::plan::{Plan, Test};

/// The variable that says where the machine's RDMA device is.
const HERE: &str = "LCORE_RDMA_ADDR";

/// Measures queues of a transport: a server and a client, one process each, as perftest's programs
/// do.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    group(ArgGroup::new("side").args(["server", "compare", "host"]).multiple(true).required(true)),
    after_help = "Examples:\n  rdma-perf --server                        serve one client\n  \
        rdma-perf 10.77.0.1 --test write-bw --size 1048576\n  \
        rdma-perf --compare --runs 5              beside ib_send_lat, ib_write_bw and ib_read_bw, on this machine"
)]
pub(crate) struct Args {
    /// Address of the server; with --server, to listen at (default: all), with --compare, of this
    /// machine's device (default: the variable LCORE_RDMA_ADDR).
    pub(crate) host: Option<String>,
    /// Be the server of one client, which says what is measured.
    #[arg(long)]
    pub(crate) server: bool,
    /// Run in turn with perftest's programs, both ends on this machine, and print the ratios.
    #[arg(long, conflicts_with_all = ["server", "test", "size", "iterations", "wait"])]
    pub(crate) compare: bool,
    /// Port. 0 lets a server take a free one, which it prints.
    #[arg(short = 'P', long, default_value_t = 18600)]
    pub(crate) port: u16,
    /// What to measure.
    #[arg(short = 't', long, value_enum, default_value_t = Test::SendLat, conflicts_with = "server")]
    pub(crate) test: Test,
    /// Bytes of each operation.
    #[arg(short = 's', long, default_value_t = 64, conflicts_with = "server")]
    pub(crate) size: u32,
    /// Operations.
    #[arg(short = 'n', long, default_value_t = 1000, conflicts_with = "server")]
    pub(crate) iterations: u32,
    /// Operations on the way at a time, of a test of bandwidth.
    #[arg(short = 'd', long, default_value_t = 16, conflicts_with = "server")]
    pub(crate) depth: u16,
    /// How this end's core waits.
    #[arg(short = 'w', long, value_enum, default_value_t = Waits::Polled)]
    pub(crate) wait: Waits,
    /// Runs of each program, of --compare.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99), requires = "compare")]
    pub(crate) runs: u32,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

/// [`Wait`], as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Waits {
    /// It polls all the time.
    Polled,
    /// It sleeps until the device tells.
    Event,
}

impl From<Waits> for Wait {
    fn from(waits: Waits) -> Self {
        match waits {
            Waits::Polled => Self::Polled,
            Waits::Event => Self::Events,
        }
    }
}

impl Args {
    /// The address that was given, or what stands for it.
    pub(crate) fn host(&self) -> String {
        let default = || if self.compare { std::env::var(HERE).unwrap_or_default() } else { "0.0.0.0".into() };
        self.host.clone().unwrap_or_else(default)
    }

    /// What is asked for.
    pub(crate) fn plan(&self) -> Plan {
        Plan { test: self.test, size: self.size, iterations: self.iterations, depth: self.depth }
    }
}
