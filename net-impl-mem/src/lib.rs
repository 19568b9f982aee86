//! The network backend "mem".
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod members;
mod network;
mod socket;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::time::Duration;

use core_reactor::net::{DEFAULT_PRIORITY, GroupConfig, NetError, NetImpl, SockGroup, SockOptions, Socket};
use core_reactor::{Cx, Platform};
use net_group::Group;

use crate::members::Members;
use crate::network::Network;
pub use crate::socket::MemSocket;
use crate::socket::{Shared, effective};

pub(crate) const NAME: &str = "mem";

/// The weather of a network. The default is calm: nothing is late or lost.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Time that everything takes to the other side: connects, their answers, bytes, ends.
    pub delay: Duration,
    /// As much more, or less than that, by lot. Nothing overtakes what was sent before it on the
    /// same connection.
    pub jitter: Duration,
    /// Most bytes that a side of a connection has unread or under way to it, whatever its options
    /// say; for sockets that are made from then on. The rest waits with the writer, who has
    /// [`SockOptions::send_buf`].
    pub window: usize,
    /// Of a thousand reads and writes, so many take a part of what they could.
    pub short_per_mille: u32,
    /// Of a thousand writes, so many break their connection: a reset to both sides.
    pub reset_per_mille: u32,
    /// Of a thousand connects, so many are refused.
    pub refuse_per_mille: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            window: usize::MAX,
            short_per_mille: 0,
            reset_per_mille: 0,
            refuse_per_mille: 0,
        }
    }
}

/// A network of one host, in memory. Clones are the same network.
#[derive(Clone)]
pub struct MemNet(Arc<Shared>);

impl MemNet {
    /// A network with this weather.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(Arc::new(Shared::new(Network::new(seed, faults))))
    }

    /// Gives the network a clock. Without that it is that of the first group.
    pub fn set_clock(&self, clock: Arc<dyn Platform>) {
        self.0.with(|net| net.set_clock(clock));
    }

    /// Other weather from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.with(|net| net.faults = faults);
    }

    /// A listener for a test that accepts by hand.
    ///
    /// # Errors
    /// As [`NetImpl::listen`].
    pub fn bind(&self, at: SocketAddr, options: &SockOptions) -> Result<MemSocket, NetError> {
        let id = self.0.with(|net| net.listen(at, effective(options)?))?;
        Ok(MemSocket { net: self.0.clone(), id })
    }

    /// A connection for a test that reads and writes by hand.
    ///
    /// # Errors
    /// As [`NetImpl::connect`].
    pub fn dial(&self, to: SocketAddr, options: &SockOptions) -> Result<MemSocket, NetError> {
        let id = self.0.with(|net| {
            let id = net.connect(&[to], effective(options)?)?;
            net.begin(id);
            Ok::<_, NetError>(id)
        })?;
        Ok(MemSocket { net: self.0.clone(), id })
    }

    /// Keeps a record of what happens from now on.
    pub fn record(&self) {
        self.0.with(|net| net.trace = Some(String::new()));
    }

    /// What was recorded.
    pub fn trace(&self) -> String {
        self.0.with(|net| net.trace.clone().unwrap_or_default())
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
        Ok(Box::new(self.bind(at, options)?))
    }

    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        let id = self.0.with(|net| net.connect(to, effective(options)?))?;
        Ok(Box::new(MemSocket { net: self.0.clone(), id }))
    }

    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        config.check()?;
        let members = Members::new(cx, &self.0, &config);
        Ok(Box::new(Group::new(cx, config, members)))
    }
}
