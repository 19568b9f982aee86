//! The command line: the letters of spdk_nvme_perf and nvme-cli, and lcore's own.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use keyring::Key;
use lcore::AppOptions;
use nvme::auth::Secret;

use crate::target::Target;

/// Loads an NVMe/TCP target with reads and writes, and verifies what it holds.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    // Its -V is no letter of ours.
    disable_version_flag = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    // RPC is found by its long name; -r is the target, as in all tools of this kind.
    mut_args(|arg| if arg.get_long() == Some("rpc-socket") { arg.short(None) } else { arg }),
    after_help = "Examples:\n  \
        nvme-perf -r 'trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:4420 subnqn:nqn.2016-06.io.spdk:cnode1' \\\n            \
        -q 32 -o 4k -w randread -t 5            random reads, 32 at a time, for 5 seconds\n  \
        nvme-perf -r '…' -q 128 -o 4k -w randrw -M 70 -t 10 --verify --seed 7\n            \
        fills the namespace, then reads 70 % and writes 30 %, and compares each block; all that was there is lost\n  \
        nvme-perf -r '…' -q 8 -o 128K -w write -t 5 -m 0,1 -P 2 --json    2 queues on each of 2 cores\n  \
        nvme-perf identify -r '…'               what the controller and its namespaces say of themselves\n  \
        nvme-perf discover -r 'trtype:TCP traddr:127.0.0.1 trsvcid:8009'    which subsystems there are"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The target: 'trtype:TCP adrfam:IPv4 traddr:IP trsvcid:PORT subnqn:NQN [hostnqn:NQN]
    /// [ns:NSID]'.
    #[arg(short = 'r', long = "transport", value_name = "TARGET", required = true)]
    pub(crate) target: Option<Target>,
    /// Commands in flight on each core, over its queues.
    #[arg(short = 'q', long = "io-depth", value_name = "DEPTH", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) depth: u32,
    /// Bytes of each command, such as 512, 4k or 128K.
    #[arg(short = 'o', long = "io-size", value_name = "BYTES", default_value = "4k", value_parser = parse_io_size)]
    pub(crate) size: u64,
    /// What to do: read, write, randread, randwrite, rw or randrw.
    #[arg(short = 'w', long = "io-pattern", value_name = "PATTERN", default_value = "randread", hide_possible_values = true)]
    pub(crate) workload: Workload,
    /// Percent of reads, of rw and randrw. Default: 50.
    #[arg(short = 'M', long = "rwmixread", value_name = "READ%", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) reads: Option<u8>,
    /// Seconds.
    #[arg(short = 't', long = "time", value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    pub(crate) time: Duration,
    /// I/O queues on each core.
    #[arg(short = 'P', long = "num-qpairs", value_name = "QUEUES", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) queues: u16,
    /// Use only the first so many bytes of the namespace, such as 64M.
    #[arg(long = "size", value_name = "BYTES", value_parser = parse_size)]
    pub(crate) range: Option<u64>,
    /// Fill what is used with a pattern out of seed, block number and generation, compare each read
    /// with it, and read back what was written at the end. What was there is lost.
    #[arg(long)]
    pub(crate) verify: bool,
    /// What the pattern and the random blocks follow from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print the results as one JSON object on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// Poll all the time (as --busy-poll). Default: sleep when there has been nothing for 20 µs.
    #[arg(long, conflicts_with_all = ["parked", "idle_spin", "busy_poll"])]
    pub(crate) busy: bool,
    /// Sleep whenever there is nothing (as --idle-spin 0).
    #[arg(long, conflicts_with_all = ["idle_spin", "busy_poll"])]
    pub(crate) parked: bool,
    #[command(flatten)]
    pub(crate) host: Host,
    /// Print the version.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

/// What a host says of itself, and asks of a connection.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Host {
    /// The host's NQN. Default: one made of its identifier.
    #[arg(long, value_name = "NQN")]
    pub(crate) hostnqn: Option<String>,
    /// The secret by which this host shows who it is: DHHC-1:…, as nvme gen-dhchap-key prints it,
    /// or the file that holds it, which nobody else can read.
    #[arg(long = "dhchap-key", visible_alias = "dhchap-secret", value_name = "KEY|FILE", value_parser = parse_secret)]
    pub(crate) key: Option<Secret>,
    /// The secret by which the controller has to show who it is.
    #[arg(long = "dhchap-ctrlr-key", visible_alias = "dhchap-ctrl-secret", value_name = "KEY|FILE", value_parser = parse_secret, requires = "key")]
    pub(crate) controller_key: Option<Secret>,
    /// Header digests.
    #[arg(short = 'g', long = "hdgst", visible_alias = "hdr-digest", short_alias = 'H')]
    pub(crate) header_digest: bool,
    /// Secure all connections by TLS 1.3 with the key in this file, as `nvme gen-tls-key` writes
    /// it.
    #[arg(long = "tls-key", visible_alias = "psk-path", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Data digests.
    #[arg(short = 'G', long = "ddgst", visible_alias = "data-digest", short_alias = 'I')]
    pub(crate) data_digest: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what a controller and its namespaces say of themselves.
    Identify(Look),
    /// Print the discovery log: which subsystems there are, and where.
    Discover(Look),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Look {
    /// The target, as for the load; discover asks its discovery subsystem.
    #[arg(short = 'r', long = "transport", value_name = "TARGET")]
    pub(crate) target: Target,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) host: Host,
    /// Network backend. Default: the linked one with the highest priority that works here.
    #[arg(short = 'N', long = "sock-impl", value_name = "NAME")]
    pub(crate) net: Option<String>,
}

/// What is done, with SPDK's and fio's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    Read,
    Write,
    Randread,
    Randwrite,
    #[value(alias = "readwrite")]
    Rw,
    Randrw,
}

impl Workload {
    pub(crate) fn is_random(self) -> bool {
        matches!(self, Self::Randread | Self::Randwrite | Self::Randrw)
    }

    pub(crate) fn is_mixed(self) -> bool {
        matches!(self, Self::Rw | Self::Randrw)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Randread => "randread",
            Self::Randwrite => "randwrite",
            Self::Rw => "rw",
            Self::Randrw => "randrw",
        }
    }
}

impl Args {
    /// Percent of reads.
    ///
    /// # Errors
    /// One is given where it says nothing.
    pub(crate) fn reads(&self) -> Result<u8, String> {
        match (self.workload, self.reads) {
            (it, reads) if it.is_mixed() => Ok(reads.unwrap_or(50)),
            (it, Some(_)) => Err(format!("-M is for rw and randrw, not for {}", it.name())),
            (Workload::Read | Workload::Randread, None) => Ok(100),
            _ => Ok(0),
        }
    }

    /// The options of the application, with those of ours that are its in other words.
    pub(crate) fn app(&self) -> AppOptions {
        let mut app = self.app.clone();
        app.busy_poll |= self.busy;
        if self.parked {
            app.idle_spin = Some(0);
        }
        app
    }
}

/// A secret, or the file that it is in.
fn parse_secret(text: &str) -> Result<Secret, String> {
    if text.starts_with("DHHC-1:") {
        return Secret::read(text).map_err(|why| why.to_string());
    }
    let path = std::fs::canonicalize(text).map_err(|why| format!("neither a secret, DHHC-1:…, nor a file: {why}"))?;
    let path = path.to_str().ok_or("its whole path is no text")?;
    let key = Key::read(text, path).map_err(|why| why.to_string())?;
    Secret::read(key.text()).map_err(|why| format!("{path}: {why}"))
}

/// The most that a command moves.
const MOST: u64 = 16 << 20;

fn parse_io_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        size if size % 512 == 0 && size <= MOST => Ok(size),
        size => Err(format!("{size} bytes: a command moves a multiple of 512, and {MOST} at most")),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("{text:?} is no size; write 4096, 4k, 1M or 2G")),
    };
    let size = text[..digits].parse::<u64>().ok().and_then(|n| n.checked_mul(1 << unit)).filter(|size| *size > 0);
    size.ok_or_else(|| format!("{text:?} is no size above 0; write 4096, 4k, 1M or 2G"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 1e9 => Ok(Duration::from_secs_f64(s)),
        _ => Err(format!("{text:?} is not a time in seconds, above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("nvme-perf").chain(line.split(' ').filter(|part| !part.is_empty())))
    }

    #[test]
    fn the_command_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn s306_spdks_letters_mean_what_they_mean_there() {
        let it = args("-r traddr:127.0.0.1 -q 128 -o 128K -w randrw -M 70 -t 2.5 -P 4 -m 0x3 -g -G").unwrap();
        assert_eq!((it.depth, it.size, it.workload, it.reads(), it.queues), (128, 128 << 10, Workload::Randrw, Ok(70), 4));
        assert_eq!((it.time, it.host.header_digest, it.host.data_digest), (Duration::from_millis(2500), true, true));
        let it = args("-r traddr:127.0.0.1 -H -I -w write --parked").unwrap();
        assert_eq!((it.host.header_digest, it.host.data_digest, it.reads()), (true, true, Ok(0)));
        assert_eq!((it.app().idle_spin, it.app().busy_poll), (Some(0), false));
        assert!(args("-r traddr:127.0.0.1 --busy").unwrap().app().busy_poll);
        assert!(
            matches!(args("identify -r traddr:127.0.0.1 -g").unwrap().command, Some(Command::Identify(look)) if look.host.header_digest)
        );
    }

    #[test]
    fn s306_what_is_wrong_on_the_command_line_is_said() {
        for (line, part) in [
            ("", "--transport <TARGET>"),
            ("-r traddr:here", "names are not looked up"),
            ("-r traddr:127.0.0.1 -q 0", "0 is not in 1..=65535"),
            ("-r traddr:127.0.0.1 -o 1000", "a multiple of 512"),
            ("-r traddr:127.0.0.1 -o 32M", "16777216 at most"),
            ("-r traddr:127.0.0.1 -o 4x", "is no size"),
            ("-r traddr:127.0.0.1 -w randwirte", "randwirte"),
            ("-r traddr:127.0.0.1 -M 101", "101 is not in 0..=100"),
            ("-r traddr:127.0.0.1 -t 0", "not a time"),
            ("-r traddr:127.0.0.1 --busy --parked", "cannot be used with"),
            ("identify", "--transport <TARGET>"),
        ] {
            let why = args(line).unwrap_err().to_string();
            assert!(why.contains(part), "{line:?}: {why}");
        }
        assert!(args("-r traddr:127.0.0.1 -M 70").unwrap().reads().unwrap_err().contains("not for randread"));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert!(parse_size("99999999999G").is_err() && parse_size("k").is_err());
    }
}
