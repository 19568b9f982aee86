//! Hugepages: how many there are, and getting more, for the machine or for each NUMA node.

use std::io::Write;

use anyhow::{Context, Result, bail};

use super::host::Host;
use super::state::State;

const GLOBAL: &str = "proc/sys/vm/nr_hugepages";

/// How many pages, and where.
pub(super) struct Wanted {
    /// MiB of memory; used where `pages` is not given.
    pub(super) mebibytes: u64,
    /// Pages of the machine's default size.
    pub(super) pages: Option<u64>,
    /// The nodes that each get this many; the whole machine if empty.
    pub(super) nodes: Vec<u32>,
}

/// The pages of one node, or of a machine that does not tell nodes apart.
struct Pool {
    name: String,
    /// The control file that holds the number of pages.
    control: String,
    free: Option<u64>,
    total: u64,
}

/// Prints the pages of each node.
pub(super) fn status(host: &Host, out: &mut dyn Write) -> Result<()> {
    let Some(size) = page_size(host)? else {
        writeln!(out, "Hugepages\n  this kernel has none")?;
        return Ok(());
    };
    writeln!(out, "Hugepages of {size} kB")?;
    for pool in pools(host, size)? {
        let free = pool.free.map(|f| format!(", {f} free")).unwrap_or_default();
        writeln!(out, "  {:<8} {} ({} MiB){free}", pool.name, pool.total, pool.total * size / 1024)?;
    }
    Ok(())
}

/// Gets pages. Never gives any up: what is already there may be someone else's.
///
/// # Errors
/// More than is free: nothing is taken, for it would starve all else that runs. Or fewer than asked
/// for could be had: those are kept.
pub(super) fn apply(host: &Host, state: &mut State, wanted: &Wanted, out: &mut dyn Write) -> Result<()> {
    let size = page_size(host)?.context("this kernel has no hugepages (/proc/meminfo has no line Hugepagesize)")?;
    let pages = wanted.pages.unwrap_or_else(|| (wanted.mebibytes * 1024).div_ceil(size));
    let targets = targets(host, size, &wanted.nodes)?;
    let missing: u64 = targets.iter().map(|t| pages.saturating_sub(t.before)).sum();
    let free = meminfo(host, "MemAvailable:")?.context("/proc/meminfo has no line MemAvailable")?;
    if missing > free / size {
        bail!("hugepages: {missing} more of {size} kB are asked for, but the memory that is free makes {}: none was taken", free / size);
    }
    let mut short = Vec::new();
    for target in &targets {
        let got = raise(host, state, target, pages)?;
        let name = &target.name;
        writeln!(out, "hugepages: {name} has {got} of {size} kB ({} MiB), {pages} asked for", got * size / 1024)?;
        if got < pages {
            short.push(format!("{name} got {got} of {pages}"));
        }
    }
    if !short.is_empty() {
        bail!("hugepages: {}; memory is in pieces: free some, or ask right after the machine's start", short.join(", "));
    }
    Ok(())
}

/// A control file to write a number of pages to.
struct Target {
    name: String,
    control: String,
    before: u64,
    /// The files that the kernel changes by it.
    changes: Vec<String>,
}

/// The nodes that are named, or the machine.
fn targets(host: &Host, size: u64, nodes: &[u32]) -> Result<Vec<Target>> {
    let pools = pools(host, size)?;
    if nodes.is_empty() {
        // The kernel spreads these over the nodes, so what each had is noted.
        let changes = pools.into_iter().map(|p| p.control).collect();
        return Ok(vec![Target { name: "the machine".into(), control: GLOBAL.into(), before: number(host, GLOBAL)?, changes }]);
    }
    let known = pools.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    let target = |node: &u32| {
        let name = format!("node{node}");
        let pool = pools.iter().find(|p| p.name == name);
        let pool = pool.with_context(|| format!("{name} is no NUMA node with hugepages of this machine (it has {known})"))?;
        Ok(Target { name, control: pool.control.clone(), before: pool.total, changes: vec![pool.control.clone()] })
    };
    nodes.iter().map(target).collect()
}

/// Sees to it that there are at least `pages`, as far as memory goes, and tells how many there are.
fn raise(host: &Host, state: &mut State, target: &Target, pages: u64) -> Result<u64> {
    if target.before >= pages {
        return Ok(target.before);
    }
    for file in &target.changes {
        state.remember(host, file)?;
    }
    host.write(&target.control, &pages.to_string())?;
    let mut got = number(host, &target.control)?;
    if got < pages && host.exists("proc/sys/vm/compact_memory") {
        // Free memory may be there in smaller pieces only.
        host.write("proc/sys/vm/compact_memory", "1")?;
        host.write(&target.control, &pages.to_string())?;
        got = number(host, &target.control)?;
    }
    for file in &target.changes {
        state.settle(host, file)?;
    }
    Ok(got)
}

/// In kB, the size that `mmap(MAP_HUGETLB)` gives; `None` on a kernel without hugepages.
fn page_size(host: &Host) -> Result<Option<u64>> {
    meminfo(host, "Hugepagesize:")
}

/// A line of `/proc/meminfo`, in kB.
fn meminfo(host: &Host, label: &str) -> Result<Option<u64>> {
    let meminfo = host.read("proc/meminfo")?;
    let Some(text) = meminfo.lines().find_map(|l| l.strip_prefix(label)) else { return Ok(None) };
    let kilobytes = text.trim().trim_end_matches("kB").trim();
    Ok(Some(kilobytes.parse().with_context(|| format!("/proc/meminfo says {label} {kilobytes:?}"))?))
}

fn pools(host: &Host, size: u64) -> Result<Vec<Pool>> {
    let mut pools = Vec::new();
    let nodes = host.list("sys/devices/system/node")?;
    let mut numbers: Vec<u32> = nodes.iter().filter_map(|n| n.strip_prefix("node")?.parse().ok()).collect();
    numbers.sort_unstable();
    for node in numbers {
        let folder = format!("sys/devices/system/node/node{node}/hugepages/hugepages-{size}kB");
        if host.exists(&folder) {
            let control = format!("{folder}/nr_hugepages");
            let free = Some(number(host, &format!("{folder}/free_hugepages"))?);
            pools.push(Pool { name: format!("node{node}"), total: number(host, &control)?, control, free });
        }
    }
    if pools.is_empty() {
        pools.push(Pool { name: "machine".into(), control: GLOBAL.into(), free: None, total: number(host, GLOBAL)? });
    }
    Ok(pools)
}

fn number(host: &Host, file: &str) -> Result<u64> {
    let text = host.read(file)?;
    text.parse().with_context(|| format!("/{file} holds no number but {text:?}"))
}
