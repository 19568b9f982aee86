//! `cargo xtask run nvmf`: a target and a verifying load against each other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Device, Target, free_port};
use crate::{program, run};

/// The load: reads and writes of 4 KiB, each compared.
const LOAD: &str = "-q 32 -o 4k -w randrw -M 70 --verify";
const SECONDS: f64 = 5.0;
/// How long the target is watched with nothing to do.
const IDLE: Duration = Duration::from_secs(3);

/// Builds nvmf-tgt and nvme-perf in release, serves a memory disk, runs five seconds of verified
/// random I/O, and prints what it came to and what it cost.
pub(crate) fn show() -> Result<()> {
    println!("building nvmf-tgt and nvme-perf in release");
    let (nvmf_tgt, nvme_perf) = (program::build("nvmf-tgt")?, program::build("nvme-perf")?);
    let cores = run::cores(&std::fs::read_to_string("/proc/self/status").context("could not read the cores of this process")?)?;
    let (own, last) = (cores[0], *cores.last().context("a process has a core")?);
    let device = Device::Malloc;
    let target = Target::ours(&nvmf_tgt, device, &[own], free_port()?)?;
    let ready = target.began.elapsed();
    println!("nvmf-tgt serves {} MiB of memory on port {}; nvme-perf {LOAD} runs for {SECONDS} s against it", device.mib(), target.port);
    let it = target.load(&nvme_perf, &[last], LOAD, SECONDS)?;
    let (idle, resident) = (target.idle(IDLE)?, target.resident()?);
    target.stop()?;
    let verify = it.run.verify.as_ref().context("nvme-perf did not say what it verified")?;
    ensure!(it.run.operations > 0 && verify.bytes > 0 && verify.mismatches == 0, "nvme-perf verified nothing");
    println!("\ntarget's core    [{own}]; nvme-perf's [{last}], over {}", it.run.backend);
    println!("listening        {:.0} ms after its start", ready.as_secs_f64() * 1e3);
    println!(
        "I/O              {:.0} IOPS, {:.1} MiB/s ({} in {:.1} s)",
        it.run.total.iops, it.run.total.mib_per_s, it.run.operations, it.run.seconds
    );
    let latency = &it.run.latency_us;
    println!(
        "latency          average {:.1} µs, p50 {:.1}, p99 {:.1}, p99.9 {:.1}",
        it.run.total.avg_us, latency.p50, latency.p99, latency.p999
    );
    println!("verified         {:.1} MiB compared, 0 wrong", verify.bytes as f64 / f64::from(1 << 20));
    println!(
        "CPU of a command {:.2} µs of the target ({:.0} % of a core), {:.2} µs of nvme-perf",
        it.each,
        it.share * 100.0,
        it.run.cpu_us_per_io
    );
    println!("idle afterwards  {:.2} % of a core over {} s", idle * 100.0, IDLE.as_secs());
    println!("resident memory  {resident:.1} MiB, the disk's {} among them", device.mib());
    println!("the target ended by SIGINT with exit code 0");
    Ok(())
}
