//! A simulated network.
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod faults;
mod network;
mod options;
mod random;
mod ready;
mod socket;
mod watcher;

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;

use core_reactor::Platform;
use core_reactor::net::{NetError, SockOptions};

pub use crate::faults::Faults;
use crate::network::{Network, Shared};
pub use crate::ready::{Readiness, Role};
pub use crate::socket::SimSocket;
pub use crate::watcher::Watcher;

/// A network of one host, in memory. Clones are the same network.
#[derive(Clone)]
pub struct SimNet(Arc<Shared>);

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").finish_non_exhaustive()
    }
}

impl SimNet {
    /// A network with these faults, drawn from this seed.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(Arc::new(Shared::new(Network::new(seed, faults))))
    }

    /// Gives the network a clock. Without that it is that of the first watcher.
    pub fn set_clock(&self, clock: Arc<dyn Platform>) {
        self.0.with(|net| net.set_clock(clock));
    }

    /// Other faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.with(|net| net.set_faults(faults));
    }

    /// A listener.
    ///
    /// # Errors
    /// The address is in use or none of this network's; an option cannot be had.
    pub fn bind(&self, at: SocketAddr, options: &SockOptions) -> Result<SimSocket, NetError> {
        let options = options::complete(options)?;
        Ok(SimSocket::new(&self.0, self.0.with(|net| net.listen(at, options))?))
    }

    /// A connection, which is on its way.
    ///
    /// # Errors
    /// No port is free; an option cannot be had.
    pub fn dial(&self, to: SocketAddr, options: &SockOptions) -> Result<SimSocket, NetError> {
        let socket = self.socket(&[to], options)?;
        // Begins it. Nothing has come of it yet.
        let _ = socket.connected();
        Ok(socket)
    }

    /// A socket that is to be connected to the first of these addresses that takes it: when it is
    /// first asked whether it is [`connected`](SimSocket::connected).
    ///
    /// # Errors
    /// There is no address; an option cannot be had.
    pub fn socket(&self, to: &[SocketAddr], options: &SockOptions) -> Result<SimSocket, NetError> {
        let options = options::complete(options)?;
        Ok(SimSocket::new(&self.0, self.0.with(|net| net.connect(to, options))?))
    }

    /// Keeps a record of what happens from now on.
    pub fn record(&self) {
        self.0.with(Network::record);
    }

    /// What was recorded: what arrived where, and when.
    pub fn trace(&self) -> String {
        self.0.with(|net| net.trace())
    }
}
