//! The command line of nvmf-tgt.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser};
use lcore::{AppOptions, net};

/// Serves block devices over NVMe/TCP: those of a configuration (-c), those that are made by RPC
/// (-r), or, for a first try, one that is asked for here.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    disable_version_flag = true,
    after_help = "Examples:\n  nvmf-tgt --malloc 64M                      serves 64 MiB of memory at 127.0.0.1:4420, and prints how to connect\n  \
        nvmf-tgt -c target.json -m 0x3             what SPDK's save_config wrote, on two cores"
)]
pub(crate) struct Args {
    /// Serve so much memory. Can be given more than once.
    #[arg(long, value_name = "SIZE")]
    pub(crate) malloc: Vec<String>,
    /// Serve a file or a disk. Can be given more than once.
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Vec<String>,
    /// Serve a device of this size that forgets what is written, for measurements.
    #[arg(long, value_name = "SIZE")]
    pub(crate) null: Vec<String>,
    /// Serve a device: MODULE:KEY=VALUE,… such as malloc:name=Malloc0,size=64M,block_size=4096.
    #[arg(long = "bdev", value_name = "DEVICE")]
    pub(crate) make: Vec<String>,
    /// Where to listen: ADDRESS:PORT; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4420", value_parser = parse_listen)]
    pub(crate) listen: Vec<SocketAddr>,
    /// The name of the subsystem that serves these devices.
    #[arg(long, value_name = "NQN", default_value = "nqn.2016-06.io.spdk:cnode1")]
    pub(crate) nqn: String,
    /// Let only this host connect. Default: any.
    #[arg(long = "host", value_name = "NQN")]
    pub(crate) host: Option<String>,
    /// The file with the secret (DHHC-1:…, as nvme gen-dhchap-key prints it) by which that host has
    /// to show who it is.
    #[arg(long = "dhchap-key", value_name = "FILE", requires = "host")]
    pub(crate) key: Option<PathBuf>,
    /// The file with the secret by which the target shows who it is to a host that asks.
    #[arg(long = "dhchap-ctrlr-key", value_name = "FILE", requires = "key")]
    pub(crate) controller_key: Option<PathBuf>,
    /// Connections that each core has room for.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) connections: u32,
    /// Print the version.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("{text:?} is no ADDRESS:PORT, such as 127.0.0.1:4420 or [::1]:4420");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    net::parse_address(host, port).map_err(|why| why.to_string())
}

impl Args {
    /// The devices that are asked for, as their modules take them.
    pub(crate) fn devices(&self) -> impl Iterator<Item = (String, String)> {
        let of =
            |module: &'static str, option: &'static str| move |size: &String| (format!("{option} {size}"), format!("{module}:size={size}"));
        let malloc = self.malloc.iter().map(of("malloc", "--malloc"));
        let null = self.null.iter().map(of("null", "--null"));
        malloc.chain(null).chain(self.make.iter().map(|line| (format!("--bdev {line}"), line.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn an_address_has_a_port() {
        assert_eq!(parse_listen("127.0.0.1:4420"), Ok(([127, 0, 0, 1], 4420).into()));
        assert!(parse_listen("[::1]:0").is_ok_and(|at| at.is_ipv6()));
        for wrong in ["", "4420", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "host:4420"] {
            assert!(parse_listen(wrong).is_err(), "{wrong}");
        }
    }
}
