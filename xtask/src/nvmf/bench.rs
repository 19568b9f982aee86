//! `cargo xtask bench nvme`: our target beside others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result};

use super::cores::Cores;
use super::table::Table;
use super::{Device, Measured, Target, config, free_port};
use crate::{program, run};

/// NVMe/TCP targets side by side: 4 KiB random reads and writes, and large ones in order, over null
/// and memory devices.
///
/// Builds nvmf-tgt and nvme-perf in release. In each round each target in turn is started anew on
/// the first core and loaded by nvme-perf, which polls, from the second. The table has medians, the
/// processor time of a target for each command, its rate by the core's time that it used, and for
/// each other target the ratio of ours to it, as the median of the rounds' ratios. Last, ours on
/// two cores against one, with the initiators on other cores where there are some.
#[derive(clap::Args)]
#[command(after_help = "A COMMAND runs in a shell; it must listen on 127.0.0.1 at {port} and serve a namespace as subsystem\n\
    nqn.2016-06.io.spdk:cnode1, on core {core} alone. {config} is a file in SPDK's form that says all this: transport, device,\n\
    subsystem, listener. {device} is malloc or null, {mib} its size in MiB.\n\n\
    Example:\n  cargo xtask bench nvme --peer spdk='/opt/spdk/build/bin/nvmf_tgt -m [{core}] --no-huge -s 512 -c {config}'")]
pub(crate) struct Args {
    /// Another target: a name for the table and a command, which is told where to listen by {port}
    /// or {config}. Can be given more than once.
    #[arg(long, value_name = "NAME='COMMAND'")]
    peer: Vec<Peer>,
    /// Be done in a minute or two: one short round.
    #[arg(long)]
    quick: bool,
    /// Rounds. Default: 3; with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..100))]
    rounds: Option<u32>,
    /// Seconds of one measurement. Default: 2; with --quick 0.5.
    #[arg(long)]
    seconds: Option<f64>,
    /// Only these devices: null, malloc.
    #[arg(long, value_delimiter = ',', default_value = "null,malloc", value_parser = device)]
    device: Vec<Device>,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
}

/// A target that the user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    name: String,
    command: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, command)) = text.split_once('=').filter(|(name, command)| !name.is_empty() && !command.is_empty()) else {
            return Err("not NAME='COMMAND'".into());
        };
        if !command.contains("{port}") && !command.contains("{config}") {
            return Err(format!("the command of {name} has neither {{port}} nor {{config}}: it would not be told where to listen"));
        }
        if name == OURS {
            return Err(format!("{OURS} is there already: take another name"));
        }
        Ok(Self { name: name.into(), command: command.into() })
    }
}

fn device(text: &str) -> Result<Device, String> {
    [Device::Null, Device::Malloc].into_iter().find(|it| it.name() == text).ok_or_else(|| format!("{text:?} is neither null nor malloc"))
}

/// The name of our target.
pub(super) const OURS: &str = "lcore";

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) size: &'static str,
    pub(super) workload: &'static str,
    pub(super) depth: u32,
}

/// Large writes come first: afterwards all of a memory device is there.
pub(super) const POINTS: [Point; 8] = [
    Point { size: "128k", workload: "write", depth: 8 },
    Point { size: "128k", workload: "read", depth: 8 },
    Point { size: "4k", workload: "randread", depth: 1 },
    Point { size: "4k", workload: "randread", depth: 32 },
    Point { size: "4k", workload: "randread", depth: 128 },
    Point { size: "4k", workload: "randwrite", depth: 1 },
    Point { size: "4k", workload: "randwrite", depth: 32 },
    Point { size: "4k", workload: "randwrite", depth: 128 },
];

/// What one target did in one round over one device.
pub(super) struct Round {
    pub(super) device: Device,
    pub(super) target: usize,
    pub(super) points: Vec<Measured>,
    /// MiB before the first I/O.
    pub(super) resident: f64,
    /// Seconds from its start to the end of a first I/O.
    pub(super) first: f64,
    /// The share of a core that it uses with nothing to do.
    pub(super) idle: f64,
}

struct Bench<'a> {
    peers: &'a [Peer],
    nvmf_tgt: PathBuf,
    nvme_perf: PathBuf,
    cores: (u16, u16),
    seconds: f64,
    folder: &'a Path,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    say(args, "building nvmf-tgt and nvme-perf in release");
    let folder = tempfile::tempdir().context("a folder for configurations")?;
    let cores = run::all_cores(&std::fs::read_to_string("/proc/self/status").context("could not read the cores of this process")?)?;
    let bench = Bench {
        peers: &args.peer,
        nvmf_tgt: program::build("nvmf-tgt")?,
        nvme_perf: program::build("nvme-perf")?,
        cores: (cores[0], *cores.get(1).unwrap_or(&cores[0])),
        seconds: args.seconds.unwrap_or(if args.quick { 0.5 } else { 2.0 }),
        folder: folder.path(),
    };
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    let (mut all, mut on_two) = (Vec::new(), Cores::new(cores));
    for round in 1..=rounds {
        for &device in &args.device {
            for target in 0..=args.peer.len() {
                let name = bench.name(target);
                say(args, &format!("round {round} of {rounds}: {name}, {}", device.name()));
                all.push(bench.round(device, target).with_context(|| format!("{name}, {}", device.name()))?);
            }
        }
        if on_two.can() {
            say(args, &format!("round {round} of {rounds}: {OURS}, on one core and on two"));
            on_two.round(&bench.nvmf_tgt, &bench.nvme_perf, bench.seconds).context("one core and two")?;
        }
    }
    let names = (0..=args.peer.len()).map(|target| bench.name(target).to_owned()).collect();
    let table = Table::new(names, &args.device, &all);
    if args.json {
        let mut table = table.json();
        table["cores"] = on_two.json();
        println!("{table}")
    } else {
        print!("{table}{on_two}")
    }
    Ok(())
}

/// What goes on, where people read.
fn say(args: &Args, text: &str) {
    if !args.json {
        println!("{text}");
    }
}

impl Bench<'_> {
    fn name(&self, target: usize) -> &str {
        target.checked_sub(1).map_or(OURS, |peer| &self.peers[peer].name)
    }

    fn round(&self, device: Device, target: usize) -> Result<Round> {
        let (core, last) = self.cores;
        let port = free_port()?;
        let process = match target.checked_sub(1) {
            None => Target::ours(&self.nvmf_tgt, device, &[core], port)?,
            Some(peer) => Target::start(self.command(&self.peers[peer], device, port)?, port)?,
        };
        let resident = process.resident()?;
        process.load(&self.nvme_perf, &[last], "-q 1 -o 4k -w randread --busy", 0.01)?;
        let first = process.began.elapsed().as_secs_f64();
        let idle = process.idle(std::time::Duration::from_secs_f64(self.seconds))?;
        let load = |point: &Point| {
            let Point { size, workload, depth } = point;
            process.load(&self.nvme_perf, &[last], &format!("-q {depth} -o {size} -w {workload} --busy"), self.seconds)
        };
        let points = POINTS.iter().map(load).collect::<Result<_>>()?;
        process.stop()?;
        Ok(Round { device, target, points, resident, first, idle })
    }

    fn command(&self, peer: &Peer, device: Device, port: u16) -> Result<Command> {
        let file = self.folder.join(format!("{}-{port}.json", device.name()));
        std::fs::write(&file, config(device, port).to_string()).with_context(|| format!("write {}", file.display()))?;
        let text = peer.command.replace("{port}", &port.to_string()).replace("{core}", &self.cores.0.to_string());
        let text = text.replace("{config}", &file.display().to_string()).replace("{device}", device.name());
        let mut command = Command::new("sh");
        // It is to be the target itself, whose time is counted and which hears SIGINT.
        command.args(["-c", &format!("exec {}", text.replace("{mib}", &device.mib().to_string()))]);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_where_to_listen() {
        let peer: Peer = "spdk=/opt/nvmf_tgt -m [{core}] -c {config}".parse().expect("a peer");
        assert_eq!((peer.name.as_str(), peer.command.as_str()), ("spdk", "/opt/nvmf_tgt -m [{core}] -c {config}"));
        for (text, part) in
            [("spdk", "NAME="), ("=x {port}", "NAME="), ("a=b", "neither {port} nor {config}"), ("lcore=x {port}", "there already")]
        {
            let why = text.parse::<Peer>().expect_err("none");
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn a_configuration_has_the_device_the_names_and_the_port() {
        let it = config(Device::Null, 4242);
        let calls: Vec<_> =
            it["subsystems"].as_array().expect("a list").iter().flat_map(|it| it["config"].as_array().expect("calls")).collect();
        assert_eq!(calls[0]["method"], "bdev_null_create");
        assert_eq!(calls[0]["params"]["num_blocks"], 262_144);
        assert_eq!(calls[4]["params"]["listen_address"]["trsvcid"], "4242");
        assert!(calls[2..].iter().all(|call| call["params"]["nqn"] == "nqn.2016-06.io.spdk:cnode1"));
    }
}
