//! Sockets over smoltcp and any Ethernet device: the network backend "smoltcp", for images that
//! have no operating system's.
//!
#![doc = include_str!("../README.md")]
//!
//! [`Smoltcp`] is one host: a device, its addresses, and a fixed number of TCP sockets with their
//! buffers. The one that is registered at link time is [`SMOLTCP`]; whoever starts the program
//! gives it a device ([`Smoltcp::start`]) before a backend is selected, and until then its probe
//! fails with words that say so. Tests make as many hosts as they need.
//!
//! ```text
//!   device ─ link ─ smoltcp's sockets ─ table ─ groups' sockets ─ engine
//!            └──── the stack, behind one lock ────┘
//! ```
//!
//! # Who drives it
//!
//! The polls of the groups: each takes what has arrived, serves its own sockets, and lets the stack
//! send. Time is the platform's, read once for each poll. When a core is about to sleep, the
//! group's [`Bell`](core_reactor::Bell) arms the device and tells when the stack has to be polled
//! next.
//!
//! # What smoltcp has not, and is added
//!
//! - A backlog: a listener is a pool of listening sockets (`listener`), and a SYN that finds none
//!   is dropped, so that its sender tries again.
//! - Half-open connections that end, connections that go on closing after their application has
//!   forgotten them (`closing`).
//! - By the link ([`net_link`]): room for those who are there while others flood a listener with
//!   SYNs, finding more than one neighbour in a second, frames of the host to itself, and some
//!   acknowledgements put right.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod bell;
mod closing;
mod config;
mod connection;
mod listener;
mod options;
mod socket;
mod sockets;
mod stack;
mod table;

logging::part!("smoltcp");

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;

use core_reactor::net::{self, GroupConfig, NetError, NetImpl, SockGroup, SockOptions, Socket};
use core_reactor::{Cx, Source, register_stats};
use net_group::Group;
use spin::Mutex;

pub use config::{StackConfig, StackStats};
pub use net_link::{Addresses, NetDevice, Network, PollOnly, smoltcp};

use crate::sockets::Sockets;
use crate::stack::{Shared, Stack};

pub(crate) const NAME: &str = "smoltcp";

/// The host that is registered at link time, without a device until [`Smoltcp::start`].
pub static SMOLTCP: Smoltcp = Smoltcp::new();

net::register!(
    /// What is registered. Public for programs that have to name it: of an archive a linker takes
    /// only what something refers to.
    #[doc(hidden)]
    pub static REGISTERED = SMOLTCP
);

// What the registered host tells whoever shows statistics.
register_stats!(Source::Process(|samples| {
    if samples.wants_any::<StackStats>()
        && let Some(stats) = SMOLTCP.stats()
    {
        samples.add(&[], &stats);
    }
}));

/// The backend: one host on one device. Linked programs find [`SMOLTCP`] by its name, "smoltcp".
pub struct Smoltcp {
    stack: Mutex<Option<Arc<Shared>>>,
}

impl fmt::Debug for Smoltcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smoltcp").finish_non_exhaustive()
    }
}

impl Smoltcp {
    /// A host without a device.
    pub const fn new() -> Self {
        Self { stack: Mutex::new(None) }
    }

    /// Gives the host its device and addresses. Its sockets and their buffers are allocated here;
    /// listeners and groups have some more.
    ///
    /// # Errors
    /// It has a device already; `config` asks for what cannot be.
    pub fn start<D: NetDevice + Send + 'static>(&self, device: D, config: &StackConfig) -> Result<(), NetError> {
        let mut stack = self.stack.lock();
        if stack.is_some() {
            return Err(NetError::Unusable("the smoltcp backend has a device already".into()));
        }
        *stack = Some(Arc::new(Shared::new(Stack::new(device, config)?)));
        Ok(())
    }

    /// What the host has done; `None` without a device.
    pub fn stats(&self) -> Option<StackStats> {
        self.shared().ok().map(|shared| shared.lock().stats())
    }

    /// Its addresses: those it was given, or those of its lease, if it has one.
    pub fn addresses(&self) -> Addresses {
        self.shared().map(|shared| shared.lock().addresses()).unwrap_or_default()
    }

    fn shared(&self) -> Result<Arc<Shared>, NetError> {
        let none =
            || NetError::Unusable("backend smoltcp has no device: call net_impl_smoltcp::SMOLTCP.start(device, config) first".into());
        self.stack.lock().clone().ok_or_else(none)
    }
}

impl Default for Smoltcp {
    fn default() -> Self {
        Self::new()
    }
}

impl NetImpl for Smoltcp {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Below the backends over a kernel's sockets: where one of those works, it is meant.
    fn priority(&self) -> u8 {
        core_reactor::net::DEFAULT_PRIORITY
    }

    fn probe(&self) -> Result<(), NetError> {
        self.shared().map(|_| ())
    }

    fn listen(&self, at: SocketAddr, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(socket::listen(self.shared()?, at, options)?))
    }

    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(socket::connect(self.shared()?, to, options)?))
    }

    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        config.check()?;
        let backend = Sockets::new(cx, self.shared()?, &config)?;
        Ok(Box::new(Group::new(cx, config, backend)))
    }
}
