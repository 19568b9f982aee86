//! Limits of the process that stop a fast program: locked memory and open files. They are shown,
//! with the line that raises them; they belong to the login, so no command can set them for the
//! shell that called it.

use std::io::Write;

use anyhow::{Context, Result};

use super::host::Host;

struct Limit {
    /// As `/proc/PID/limits` names it.
    name: &'static str,
    /// As limits.conf names it.
    item: &'static str,
    /// At least this many units of `/proc/PID/limits`.
    wanted: u64,
    /// What one unit of limits.conf is in those of `/proc/PID/limits`.
    unit: u64,
    why: &'static str,
}

const LIMITS: [Limit; 2] = [
    Limit {
        name: "Max locked memory",
        item: "memlock",
        wanted: 8 << 20,
        unit: 1024,
        why: "RDMA and io_uring lock the buffers that they register: 8 MiB at least",
    },
    Limit { name: "Max open files", item: "nofile", wanted: 65536, unit: 1, why: "each connection takes a descriptor" },
];

/// Prints each limit, and what to do where it is low.
pub(super) fn status(host: &Host, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "Limits of this login")?;
    let limits = host.read("proc/self/limits")?;
    for limit in &LIMITS {
        let line = limits
            .lines()
            .find_map(|l| l.strip_prefix(limit.name))
            .with_context(|| format!("/proc/self/limits has no line {}", limit.name))?;
        let soft = line.split_whitespace().next().unwrap_or_default();
        let enough = soft == "unlimited" || soft.parse::<u64>().is_ok_and(|n| n >= limit.wanted);
        if enough {
            writeln!(out, "  {:<18} {soft:>10}  ok", limit.item)?;
        } else {
            writeln!(out, "  {:<18} {soft:>10}  better {}: {}", limit.item, limit.wanted, limit.why)?;
            writeln!(out, "    add to /etc/security/limits.conf, then log in again:  *  -  {}  {}", limit.item, limit.wanted / limit.unit)?;
        }
    }
    Ok(())
}
