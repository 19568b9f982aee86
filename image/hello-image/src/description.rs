//! What this image is, as its description says: a value of [`Description`] that `cargo xtask image
//! build` writes out of the TOML file.

use core::net::IpAddr;

/// An image's description.
#[cfg_attr(not(feature = "smoltcp"), allow(dead_code, reason = "without a backend some of it has no use"))]
pub(crate) struct Description {
    /// Its name: the file's, without the ending.
    pub(crate) name: &'static str,
    /// Its address, the length of its network's prefix, and the router; `None` for DHCP.
    pub(crate) address: Option<(IpAddr, u8, Option<IpAddr>)>,
    /// Where it listens.
    pub(crate) port: u16,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Connections that wait to be accepted.
    pub(crate) backlog: u32,
    /// Bytes that each connection can hold received, and sent and not acknowledged.
    pub(crate) window: usize,
    /// Data buffers, how many of them are set aside for the poll group, and bytes of each.
    pub(crate) buffers: usize,
    pub(crate) reserve: usize,
    pub(crate) buffer_size: usize,
    /// Messages that a thread's mailbox holds.
    pub(crate) mailbox: usize,
    /// How much is told.
    pub(crate) log: log::LevelFilter,
}

pub(crate) const IMAGE: Description = include!(env!("LCORE_IMAGE", "is not set: images are built by `cargo xtask image build`"));
