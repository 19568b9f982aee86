//! What the subcommands have in common on the command line: the machine itself, and what is carried
//! into it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::kernel::Choice;

/// Memory of a machine that carries little, MiB.
const MEMORY: u64 = 1024;

/// The machine.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "The machine")]
pub(super) struct Hardware {
    /// Processors (emulated, one thread of this computer for each).
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) smp: u8,
    /// Memory, in MiB [default: 1024, more where what is carried takes it].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(256..=1 << 20))]
    mem: Option<u32>,
    /// How much memory a process may lock: KiB, or `unlimited`. Registering RDMA memory takes some.
    #[arg(long, value_name = "KIB", default_value = "unlimited", value_parser = memlock)]
    pub(super) memlock: String,
    /// Hugepages of 2 MiB.
    #[arg(long, value_name = "PAGES", default_value_t = 0)]
    pub(super) hugepages: u32,
    /// The kernel: `installed` (the newest that is), a version such as 6.12 (of an installed one,
    /// or of another suite of the distribution), or `newest` (of all suites).
    #[arg(long, value_name = "WHICH", default_value = "installed")]
    pub(super) kernel: Choice,
    /// NVMe over TCP: the kernel's host and target (configfs is mounted), null_blk and loop to
    /// serve; nvme, fio and mkfs.ext4.
    #[arg(long)]
    pub(super) nvme: bool,
    /// Show the kernel's messages, and QEMU's command line.
    #[arg(long, short)]
    pub(super) verbose: bool,
}

/// What goes into the machine beside its own tools.
#[derive(clap::Args, Clone, Default)]
#[command(next_help_heading = "What goes into it")]
pub(super) struct Cargo {
    /// Build and carry the programs of this package of the workspace (may be repeated).
    #[arg(long, short, value_name = "NAME")]
    pub(super) package: Vec<String>,
    /// Build and carry this program of the workspace (may be repeated).
    #[arg(long, value_name = "NAME")]
    pub(super) bin: Vec<String>,
    /// Cargo features to build with.
    #[arg(long, short = 'F', value_name = "FEATURES", value_delimiter = ',')]
    pub(super) features: Vec<String>,
    /// Build in release: slower to build, faster to run.
    #[arg(long, short)]
    pub(super) release: bool,
    /// Carry a file (a program with its libraries) to PATH [default: /job, where the command runs
    /// and is looked for] (may be repeated).
    #[arg(long = "file", value_name = "FILE[:PATH]", value_parser = carried)]
    pub(super) files: Vec<Carried>,
    /// Set a variable (may be repeated). LCORE_RDMA_ADDR and LCORE_RDMA_PEER are set: the machine's
    /// own address and its peer's.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) env: Vec<(String, String)>,
}

/// A file of this computer and its place in the machine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Carried {
    pub(super) from: PathBuf,
    pub(super) to: String,
}

impl Hardware {
    /// MiB of memory for a machine that carries so many bytes, which take their room twice while
    /// they are unpacked.
    pub(super) fn memory(&self, carried: u64) -> Result<u64> {
        let needed = carried.div_ceil(1 << 20) * 3 + u64::from(self.hugepages) * 2;
        match self.mem.map(u64::from) {
            Some(mem) if mem < needed + 256 => bail!(
                "{} MiB of files and {} hugepages do not go into a machine of {mem} MiB: give it --mem {} or more",
                carried >> 20,
                self.hugepages,
                needed + 256
            ),
            Some(mem) => Ok(mem),
            None => Ok(MEMORY.max(needed + 512)),
        }
    }
}

/// TCP between one machine and this computer's loopback: QEMU's user network, shut off from all
/// else.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network to this computer")]
pub(super) struct Network {
    /// The machine reaches this port of 127.0.0.1 here at 10.0.2.100, and nothing else (may be
    /// repeated).
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) to_host: Vec<u16>,
    /// HERE on 127.0.0.1 leads to THERE in the machine (may be repeated).
    #[arg(long, value_name = "HERE:THERE", value_parser = ports)]
    pub(super) from_host: Vec<(u16, u16)>,
}

impl Network {
    pub(super) fn is_wanted(&self) -> bool {
        !self.to_host.is_empty() || !self.from_host.is_empty()
    }
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse().ok().filter(|&port: &u16| port != 0);
    let both = text.split_once(':').and_then(|(here, there)| Some((port(here)?, port(there)?)));
    both.ok_or_else(|| "it is two ports, such as 14420:4420".into())
}

/// The time limit around QEMU.
#[derive(clap::Args, Clone)]
pub(super) struct Limit {
    /// Seconds after which the machine is ended, with exit code 124 [default: 120, and 900 for
    /// tests].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: Option<u64>,
}

impl Limit {
    pub(super) fn or(&self, seconds: u64) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(seconds))
    }
}

fn memlock(text: &str) -> Result<String, String> {
    if text == "unlimited" || text.parse::<u32>().is_ok() {
        return Ok(text.into());
    }
    Err("neither a number of KiB nor `unlimited`".into())
}

fn carried(text: &str) -> Result<Carried, String> {
    let (from, to) = match text.split_once(':') {
        Some((_, to)) if !to.starts_with('/') => {
            return Err(format!("the place in the machine must begin with a slash, and {to:?} does not"));
        }
        Some((from, to)) => (PathBuf::from(from), to.to_owned()),
        None => {
            let from = PathBuf::from(text);
            let name = from.file_name().and_then(|name| name.to_str()).ok_or("it has no name")?;
            let to = format!("/job/{name}");
            (from, to)
        }
    };
    if !from.is_file() {
        return Err(format!("{} is not there, or no file", from.display()));
    }
    Ok(Carried { from, to })
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("there is no `=` in it")?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(word) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("{name:?} is no name of a variable"));
    }
    Ok((name.into(), value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_to_the_working_directory_unless_told() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(carried(manifest), Ok(Carried { from: manifest.into(), to: "/job/Cargo.toml".into() }));
        assert_eq!(carried(&format!("{manifest}:/etc/x")), Ok(Carried { from: manifest.into(), to: "/etc/x".into() }));
        assert!(carried(&format!("{manifest}:etc/x")).is_err_and(|why| why.contains("must begin with a slash")));
        assert_eq!(carried("/no/such"), Err("/no/such is not there, or no file".into()));
    }

    #[test]
    fn a_variable_has_a_name() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        for wrong in ["A", "=x", "1A=x", "A B=x", "A;reboot=x"] {
            assert!(variable(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_two_numbers_and_none_is_zero() {
        assert_eq!(ports("14420:4420"), Ok((14420, 4420)));
        for wrong in ["4420", "0:1", "1:0", "1:65536", "a:1", ":", "1:2:3"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_that_can_be_locked_is_a_number_or_unlimited() {
        assert_eq!(memlock("64"), Ok("64".into()));
        assert_eq!(memlock("unlimited"), Ok("unlimited".into()));
        assert!(memlock("64K").is_err() && memlock("-1").is_err() && memlock("").is_err());
    }

    #[test]
    fn memory_grows_with_what_is_carried_and_too_little_is_refused() {
        let hardware = |mem, hugepages| Hardware {
            smp: 2,
            mem,
            memlock: "64".into(),
            hugepages,
            kernel: Choice::Installed,
            nvme: false,
            verbose: false,
        };
        assert_eq!(hardware(None, 0).memory(20 << 20).expect("enough"), 1024);
        assert_eq!(hardware(None, 0).memory(1000 << 20).expect("enough"), 3512);
        assert_eq!(hardware(Some(600), 0).memory(100 << 20).expect("enough"), 600);
        let error = hardware(Some(600), 64).memory(100 << 20).expect_err("too little").to_string();
        assert_eq!(error, "100 MiB of files and 64 hugepages do not go into a machine of 600 MiB: give it --mem 684 or more");
    }
}
