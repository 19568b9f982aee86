//! The network backend "mem".
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod socket;
mod sockets;

use alloc::boxed::Box;
use core::net::SocketAddr;
use core::ops::Deref;

use core_reactor::Cx;
use core_reactor::net::{DEFAULT_PRIORITY, GroupConfig, NetError, NetImpl, SockGroup, SockOptions, Socket};
use net_group::Group;
use sim_net::SimNet;
pub use sim_net::{self, Faults, SimSocket};

use crate::socket::MemSocket;
use crate::sockets::Sockets;

pub(crate) const NAME: &str = "mem";

/// A simulated network as a backend. It is that network besides ([`SimNet`]): its faults, its
/// clock, and the sockets that a test uses by hand ([`SimNet::dial`], [`SimNet::bind`]). Clones are
/// the same network.
#[derive(Clone, Debug)]
pub struct MemNet(SimNet);

impl MemNet {
    /// Over a network of its own with these faults.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(SimNet::new(seed, faults))
    }
}

impl Deref for MemNet {
    type Target = SimNet;

    fn deref(&self) -> &SimNet {
        &self.0
    }
}

impl NetImpl for MemNet {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> u8 {
        DEFAULT_PRIORITY
    }

    fn probe(&self) -> Result<(), NetError> {
        Ok(())
    }

    fn listen(&self, at: SocketAddr, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(MemSocket(self.bind(at, options)?)))
    }

    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(MemSocket(self.socket(to, options)?)))
    }

    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        config.check()?;
        let backend = Sockets::new(cx, self, &config);
        Ok(Box::new(Group::new(cx, config, backend)))
    }
}
