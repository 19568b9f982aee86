//! `cargo xtask setup`: makes a machine ready, as SPDK's `scripts/setup.sh` does, and puts it back.
//!
//! Every file of the machine is reached through a [`host::Host`], which tests put over a tree of
//! their own. What `apply` changes is written down first ([`state::State`]), so `reset` finds it
//! also after a crash.

mod host;
mod hugepages;
mod limits;
mod pci;
mod state;
mod sysctl;
mod uses;
mod vfio;

#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Subcommand;

use host::Host;
use pci::{Bdf, Device, Kind};
use state::State;

/// Make this machine ready for fast I/O: hugepages, limits, network settings, devices.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// The machine's files are under this folder (for tests).
    #[arg(long, global = true, hide = true, default_value = "/")]
    root: PathBuf,
}

#[derive(Subcommand)]
enum What {
    /// Show hugepages, limits, network settings and devices, each beside what would be better.
    /// Changes nothing.
    Status,
    /// Get hugepages, set the network settings, and hand devices to vfio-pci if told to. Needs
    /// root.
    ///
    /// What is already good is left alone, and nothing that is mounted, up, or otherwise in use is
    /// touched. The old values are kept in /run/lcore/setup.json for `reset`. If a part fails the
    /// others are still done, and the exit code is 1.
    Apply(Apply),
    /// Put back what `apply` changed. What someone else has changed since is left alone. Needs
    /// root.
    Reset,
}

#[derive(clap::Args)]
struct Apply {
    /// Memory in hugepages, in MiB.
    #[arg(long, env = "HUGEMEM", value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(..=1 << 40))]
    hugemem: u64,
    /// The same as a number of pages of the default size; goes before --hugemem.
    #[arg(long, env = "NRHUGE", value_name = "PAGES")]
    nrhuge: Option<u64>,
    /// NUMA nodes that each get that much, as 0,1; without it the kernel spreads it over all.
    #[arg(long, env = "HUGENODE", value_name = "NODES", value_delimiter = ',')]
    hugenode: Vec<u32>,
    /// Hand this device to vfio-pci (3b:00.0 or 0000:3b:00.0; may be repeated).
    #[arg(long, value_name = "BDF")]
    bind: Vec<Bdf>,
    /// Hand every NVMe and network device to vfio-pci that nobody uses and that has no partitions.
    #[arg(long)]
    all_unused: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let host = Host::at(&args.root)?;
    let mut out = std::io::stdout().lock();
    match &args.what {
        What::Status => match status(&host, &mut out) {
            // `setup status | head` has seen enough.
            Err(e) if e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => Ok(()),
            done => done,
        },
        What::Apply(wanted) => apply(&host, wanted, &mut out),
        What::Reset => reset(&host, &mut out),
    }
}

fn status(host: &Host, out: &mut dyn Write) -> Result<()> {
    hugepages::status(host, out)?;
    limits::status(host, out)?;
    sysctl::status(host, out)?;
    writeln!(out, "NVMe and network devices")?;
    let devices = pci::devices(host)?;
    if devices.is_empty() {
        writeln!(out, "  none on this machine's PCI bus")?;
    }
    for device in &devices {
        let kind = if device.kind == Kind::Nvme { "NVMe" } else { "network" };
        let driver = device.driver.as_deref().unwrap_or("no driver");
        let parts = [&device.blocks[..], &device.interfaces[..]].concat().join(" ");
        let uses = if device.uses.is_empty() { "not in use".to_owned() } else { device.uses.join("; ") };
        writeln!(out, "  {} {kind:<8} {}  node {:<3} {driver:<12} {parts:<16} {uses}", device.bdf.0, device.id, device.node)?;
    }
    match vfio::usable(host) {
        Ok(()) => writeln!(out, "vfio-pci is here: `setup apply --bind BDF` hands an unused device to user space")?,
        Err(why) => writeln!(out, "devices stay with the kernel: {why:#}")?,
    }
    Ok(())
}

fn apply(host: &Host, wanted: &Apply, out: &mut dyn Write) -> Result<()> {
    ensure!(host.is_root()?, "setup apply changes the machine and must be run as root (sudo -E cargo xtask setup apply)");
    // Refused before anything is touched, so that a wrong address leaves the machine as it was.
    let devices = chosen(host, wanted, out)?;
    let claimed = devices.into_iter().map(|d| vfio::claim(host, &d).map(|claims| (d, claims))).collect::<Result<Vec<_>>>()?;
    let mut state = State::open(host)?;
    let pages = hugepages::Wanted { mebibytes: wanted.hugemem, pages: wanted.nrhuge, nodes: wanted.hugenode.clone() };
    let mut failed = Vec::new();
    failed.extend(hugepages::apply(host, &mut state, &pages, out).err());
    failed.extend(sysctl::apply(host, &mut state, out).err());
    for (device, claims) in claimed {
        failed.extend(vfio::bind(host, &mut state, &device, claims, out).err());
    }
    limits::status(host, out)?;
    summed_up(failed)
}

/// The devices to hand over, each checked for being one that can be.
fn chosen(host: &Host, wanted: &Apply, out: &mut dyn Write) -> Result<Vec<Device>> {
    if wanted.bind.is_empty() && !wanted.all_unused {
        return Ok(Vec::new());
    }
    vfio::usable(host)?;
    let devices = pci::devices(host)?;
    for bdf in &wanted.bind {
        let known = devices.iter().map(|d| d.bdf.0.as_str()).collect::<Vec<_>>().join(", ");
        ensure!(devices.iter().any(|d| d.bdf == *bdf), "{} is no NVMe or network device of this machine (there are: {known})", bdf.0);
    }
    let mut chosen = Vec::new();
    for device in devices {
        let named = wanted.bind.contains(&device.bdf);
        if device.is_handed_over() {
            if named {
                writeln!(out, "{}: already with {}", device.bdf.0, pci::VFIO)?;
            }
        } else if named || (wanted.all_unused && is_free(host, &device, out)?) {
            chosen.push(device);
        }
    }
    Ok(chosen)
}

/// Whether `--all-unused` means this device. Partitions are someone's data, which a program in user
/// space may overwrite.
fn is_free(host: &Host, device: &Device, out: &mut dyn Write) -> Result<bool> {
    let why = match vfio::claim(host, device) {
        Err(why) => format!("{why:#}"),
        Ok(_) if device.blocks.iter().any(|b| host.exists(format!("sys/class/block/{b}/partition"))) => {
            format!("{0} has partitions and is left as it is: name it with --bind {0} if you mean it", device.bdf.0)
        }
        Ok(_) => return Ok(true),
    };
    writeln!(out, "{why}")?;
    Ok(false)
}

fn reset(host: &Host, out: &mut dyn Write) -> Result<()> {
    ensure!(host.is_root()?, "setup reset changes the machine and must be run as root (sudo -E cargo xtask setup reset)");
    let mut state = State::open(host)?;
    let (values, bound) = (state.values(), state.devices());
    if values.is_empty() && bound.is_empty() {
        writeln!(out, "nothing to put back")?;
    }
    let mut failed = Vec::new();
    let devices = if bound.is_empty() { Vec::new() } else { pci::devices(host)? };
    for (name, before) in bound {
        let bdf = Bdf(name);
        let done = vfio::unbind(host, &bdf, &before, devices.iter().find(|d| d.bdf == bdf), out);
        failed.extend(done.and_then(|()| state.forget_device(&bdf.0)).err());
    }
    for (path, value) in values {
        failed.extend(restore(host, &mut state, &path, &value, out).err());
    }
    summed_up(failed)
}

fn restore(host: &Host, state: &mut State, path: &str, value: &state::Value, out: &mut dyn Write) -> Result<()> {
    let now = host.read(path)?;
    if now != value.new {
        writeln!(out, "/{path}: {now} by someone else since, left as it is")?;
        return state.forget_value(path);
    }
    host.write(path, &value.old)?;
    state.settle(host, path)?;
    let after = host.read(path)?;
    ensure!(after == value.old, "/{path}: is {after} and not {} again (in use? reset once more when its user has ended)", value.old);
    writeln!(out, "/{path}: {now} is {after} again")?;
    Ok(())
}

/// One error for all that failed, the rest having been done.
fn summed_up(mut failed: Vec<anyhow::Error>) -> Result<()> {
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.remove(0)),
        n => {
            let all = failed.iter().map(|e| format!("\n  {e:#}")).collect::<String>();
            bail!("{n} things could not be done:{all}")
        }
    }
}
