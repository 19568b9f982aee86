//! What a group of sockets tells whoever looks at it.

use alloc::vec::Vec;
use core::net::SocketAddr;

use pool::Class;

use super::{GroupStats, Token};

/// A group's window.
pub type GroupView = crate::View<GroupInfo>;

/// A group as it was when it was last asked.
#[derive(Clone, Debug, Default)]
pub struct GroupInfo {
    /// What it has done.
    pub stats: GroupStats,
    /// What became of its buffers, in the order of [`Class::ALL`].
    pub bufs: [pool::GroupStats; Class::COUNT],
    /// Sockets in it, those with the most unsent bytes first.
    pub sockets: Vec<SocketInfo>,
}

/// A socket as it was then.
#[derive(Clone, Debug)]
pub struct SocketInfo {
    /// The application's name for it.
    pub token: Token,
    /// Where in its life it is: a word in lower case.
    pub state: &'static str,
    /// Its own address, if the system tells.
    pub local: Option<SocketAddr>,
    /// The other side's, where there is one.
    pub peer: Option<SocketAddr>,
    /// Bytes that are queued and the system has not taken.
    pub unsent: usize,
    /// Whether the application has paused it.
    pub is_paused: bool,
}
