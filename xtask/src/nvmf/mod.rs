//! NVMe/TCP targets as processes: how one is started, what it costs, and nvme-perf against it.

pub(crate) mod bench;
mod cores;
pub(crate) mod show;
mod table;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use table::median;

use crate::child::Child;
use crate::run;

/// Starting and ending take this long at most, each.
const PATIENCE: Duration = Duration::from_secs(30);
/// The subsystem that is served.
const NQN: &str = "nqn.2016-06.io.spdk:cnode1";

/// What a target serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// Memory.
    Malloc,
    /// Nothing: what is written is forgotten.
    Null,
}

impl Device {
    fn name(self) -> &'static str {
        match self {
            Self::Malloc => "malloc",
            Self::Null => "null",
        }
    }

    /// The size, in MiB.
    fn mib(self) -> u64 {
        match self {
            Self::Malloc => 64,
            Self::Null => 1024,
        }
    }
}

/// A running target.
pub(crate) struct Target {
    child: Child,
    port: u16,
    /// From its start until it took a connection.
    began: Instant,
}

/// What nvme-perf told of a run.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) backend: String,
    pub(crate) seconds: f64,
    pub(crate) operations: u64,
    /// All commands, those before and after the measured time included.
    commands: u64,
    pub(crate) total: Row,
    pub(crate) latency_us: Latency,
    pub(crate) cpu_us_per_io: f64,
    pub(crate) verify: Option<Verify>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) iops: f64,
    pub(crate) mib_per_s: f64,
    pub(crate) avg_us: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Verify {
    pub(crate) bytes: u64,
    pub(crate) mismatches: u64,
}

/// A run, and what the target took for it.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) run: Run,
    /// Processor time of the target for each command, microseconds.
    pub(crate) each: f64,
    /// The share of a core that it used.
    pub(crate) share: f64,
}

impl Target {
    /// Starts `command`, which is to listen at `port` of 127.0.0.1.
    fn start(command: Command, port: u16) -> Result<Self> {
        let began = Instant::now();
        let mut target = Self { child: Child::start("target", command)?, port, began };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            // Its words are kept, and its end is seen.
            if target.child.has_ended() {
                bail!("the target ended before it listened on port {port}{}", target.child.said());
            }
            ensure!(began.elapsed() < PATIENCE, "the target does not listen on port {port} after {PATIENCE:?}{}", target.child.said());
            thread::sleep(Duration::from_millis(1));
        }
        Ok(target)
    }

    /// Our own target: `nvmf-tgt` on these cores.
    fn ours(program: &Path, device: Device, cores: &[u16], port: u16) -> Result<Self> {
        let mut command = Command::new(program);
        command.args([format!("--{}", device.name()), format!("{}M", device.mib())]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--nqn", NQN, "-m", &list(cores), "--no-cpumask-locks", "--no-rpc"]);
        Self::start(command, port)
    }

    /// nvme-perf against it, with these arguments.
    fn load(&self, nvme_perf: &Path, cores: &[u16], args: &str, seconds: f64) -> Result<Measured> {
        let mut command = Command::new(nvme_perf);
        command.arg("-r").arg(format!("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{} subnqn:{NQN}", self.port));
        command.args(args.split_whitespace()).args(["-t", &seconds.to_string(), "--json"]);
        command.args(["-m", &list(cores), "--no-cpumask-locks"]);
        let (before, began) = (cpu_time(self.child.id())?, Instant::now());
        let mut child = Child::start("nvme-perf", command)?;
        let status = run::ended(&mut child, Instant::now() + PATIENCE + Duration::from_secs_f64(seconds * 2.0))?;
        let (after, took) = (cpu_time(self.child.id())?, began.elapsed());
        ensure!(status.success(), "nvme-perf ended with {status}{}{}", child.said(), self.child.said());
        let run: Run = child.json("perf")?;
        let used = (after - before).as_secs_f64();
        let each = used * 1e6 / run.commands.max(1) as f64;
        Ok(Measured { each, share: used / took.as_secs_f64(), run })
    }

    /// The share of a core that it uses now, over so long.
    fn idle(&self, time: Duration) -> Result<f64> {
        let (before, began) = (cpu_time(self.child.id())?, Instant::now());
        thread::sleep(time);
        Ok((cpu_time(self.child.id())? - before).as_secs_f64() / began.elapsed().as_secs_f64())
    }

    /// Resident memory, in MiB.
    fn resident(&self) -> Result<f64> {
        Ok(crate::memory::resident(self.child.id())? as f64 / 1024.0)
    }

    /// Ends it by SIGINT, as ^C does.
    fn stop(mut self) -> Result<()> {
        self.child.interrupt()?;
        let status = run::ended(&mut self.child, Instant::now() + PATIENCE)?;
        ensure!(status.success(), "after SIGINT the target ended with {status}{}", self.child.said());
        Ok(())
    }
}

/// Processor time of all threads of a process that live.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let folder = format!("/proc/{process}/task");
    let mut sum = 0;
    for thread in fs::read_dir(&folder).with_context(|| format!("read {folder}: has the target ended?"))? {
        // One that ends meanwhile has little to tell.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let spent = text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
        sum += spent.with_context(|| format!("schedstat of a thread is {text:?}"))?;
    }
    Ok(Duration::from_nanos(sum))
}

/// Cores as a command line takes them.
fn list(cores: &[u16]) -> String {
    format!("[{}]", cores.iter().map(u16::to_string).collect::<Vec<_>>().join(","))
}

/// A port that nobody has now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// A target of SPDK's form: transport, device, subsystem and listener.
fn config(device: Device, port: u16) -> Value {
    let (method, blocks) = (format!("bdev_{}_create", device.name()), (device.mib() << 20) / 4096);
    let address = json!({"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": port.to_string()});
    let call = |method: &str, params: Value| json!({"method": method, "params": params});
    json!({"subsystems": [
        {"subsystem": "bdev", "config": [call(&method, json!({"name": "Disk0", "num_blocks": blocks, "block_size": 4096}))]},
        {"subsystem": "nvmf", "config": [
            call("nvmf_create_transport", json!({"trtype": "TCP"})),
            call("nvmf_create_subsystem", json!({"nqn": NQN, "allow_any_host": true, "serial_number": "BENCH"})),
            call("nvmf_subsystem_add_ns", json!({"nqn": NQN, "namespace": {"nsid": 1, "bdev_name": "Disk0"}})),
            call("nvmf_subsystem_add_listener", json!({"nqn": NQN, "listen_address": address})),
        ]},
    ]})
}
