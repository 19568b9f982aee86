//! Network settings of the kernel that are worth changing, with the reason for each.

use std::io::Write;

use anyhow::{Result, bail};

use super::host::Host;
use super::state::State;

struct Setting {
    name: &'static str,
    wanted: Wanted,
    why: &'static str,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(u64),
    Exactly(u64),
}

use Wanted::{AtLeast, Exactly};

const SETTINGS: [Setting; 7] = [
    Setting { name: "net.core.somaxconn", wanted: AtLeast(4096), why: "a listener's backlog is cut to this" },
    Setting { name: "net.ipv4.tcp_max_syn_backlog", wanted: AtLeast(4096), why: "handshakes under way at once, before SYN cookies" },
    Setting { name: "net.core.rmem_max", wanted: AtLeast(4 << 20), why: "the largest receive buffer that a socket may ask for" },
    Setting { name: "net.core.wmem_max", wanted: AtLeast(4 << 20), why: "the largest send buffer that a socket may ask for" },
    Setting { name: "net.core.optmem_max", wanted: AtLeast(128 << 10), why: "notes about zero-copy sends, for each socket" },
    Setting { name: "net.core.busy_poll", wanted: Exactly(0), why: "reactors spin by themselves; this would keep parked ones busy" },
    Setting { name: "net.core.busy_read", wanted: Exactly(0), why: "busy polling is a socket's option, not every socket's fate" },
];

impl Setting {
    fn file(&self) -> String {
        format!("proc/sys/{}", self.name.replace('.', "/"))
    }

    /// What to write, if the value is not as advised. A value that is no number is not ours to
    /// judge.
    fn advice(&self, value: &str) -> Option<u64> {
        let now: u64 = value.parse().ok()?;
        match self.wanted {
            AtLeast(n) => (now < n).then_some(n),
            Exactly(n) => (now != n).then_some(n),
        }
    }
}

/// Prints each value beside the advice.
pub(super) fn status(host: &Host, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "Network settings")?;
    for setting in &SETTINGS {
        let (name, why) = (setting.name, setting.why);
        if !host.exists(setting.file()) {
            writeln!(out, "  {name:<30} not in this kernel or network namespace")?;
            continue;
        }
        let value = host.read(setting.file())?;
        match setting.advice(&value) {
            None => writeln!(out, "  {name:<30} {value:>9}  ok")?,
            Some(advice) => writeln!(out, "  {name:<30} {value:>9}  better {advice}: {why}")?,
        }
    }
    Ok(())
}

/// Sets what is not as advised.
///
/// # Errors
/// Some could not be set; the others are.
pub(super) fn apply(host: &Host, state: &mut State, out: &mut dyn Write) -> Result<()> {
    let mut failed = Vec::new();
    for setting in &SETTINGS {
        let file = setting.file();
        if !host.exists(&file) {
            writeln!(out, "{}: not in this kernel or network namespace, left out", setting.name)?;
            continue;
        }
        let before = host.read(&file)?;
        let Some(advice) = setting.advice(&before) else { continue };
        state.remember(host, &file)?;
        let written = host.write(&file, &advice.to_string());
        state.settle(host, &file)?;
        match written {
            Ok(()) => writeln!(out, "{}: {before} is now {advice}", setting.name)?,
            Err(e) => failed.push(format!("{e:#}")),
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}
