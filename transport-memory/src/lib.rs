//! A transport inside one process: what proves the traits, and what a framing over sockets would
//! have to be.
//!
#![doc = include_str!("../README.md")]
//!
//! Each operation is a message from one end of a wire to the other; reads and writes of remote
//! memory are served in the peer group's poll. Groups may be on different OS threads. Bytes are
//! copied at both ends, because buffers stay on their core.
//!
//! A [`Weather`] delays what is on its way and serves queues in a drawn order, so that whatever the
//! traits leave open does happen; within a queue nothing changes its order.
//!
//! Addresses are those of the loopback networks; there is no way to any other.
#![deny(missing_debug_implementations)]

mod exposed;
mod fabric;
mod group;
mod pair;
mod post;
mod queue;
mod serve;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use core_reactor::Cx;
use core_reactor::net::DEFAULT_PRIORITY;
use core_reactor::transport::{Listener, Queue, QueueGroup, QueueGroupConfig, QueueOptions, Slab, Transport, TransportError};

use fabric::{Fabric, Lot};
use group::Group;
use queue::{MemoryListener, MemoryQueue};

const NAME: &str = "memory";

/// What the device, if there were one, could do.
pub const DEPTH: u32 = 4096;
/// Reads under way on a queue.
pub const READS: u32 = 128;
/// Buffers in a frame.
pub const GATHER: u32 = 4;
/// Bytes copied when posted: all are, so this is a number without a meaning.
pub const INLINE: u32 = 256;
/// Bytes that one operation may move.
pub const MESSAGE: u32 = 1 << 20;
/// Buffers exposed by a group: what half of a memory key can count.
pub const EXPOSURES: u32 = 1 << 16;

/// How much the transport makes of the freedom that it has.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Where the draws begin.
    pub seed: u64,
    /// The most polls for which something stays on its way after it has arrived.
    pub delay: u32,
    /// Queues are served in a drawn order, not in rotation.
    pub shuffle: bool,
    /// Private data comes with zeros behind it, as much as fits.
    pub pad: bool,
}

impl Weather {
    /// Nothing is delayed, nothing is reordered.
    pub const CALM: Self = Self { seed: 0, delay: 0, shuffle: false, pad: false };
}

/// The transport. Each value is a network of its own.
pub struct MemoryTransport {
    weather: Weather,
    /// Made when it is first needed, so that a transport can be a static.
    fabric: OnceLock<Arc<Fabric>>,
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport").field("weather", &self.weather).finish_non_exhaustive()
    }
}

impl MemoryTransport {
    /// A network in this weather.
    pub const fn new(weather: Weather) -> Self {
        Self { weather, fabric: OnceLock::new() }
    }

    /// The same for the rest of the program, as a linked transport is.
    pub fn leak(self) -> &'static dyn Transport {
        Box::leak(Box::new(self))
    }

    fn fabric(&self) -> Arc<Fabric> {
        self.fabric.get_or_init(|| Arc::new(Fabric::new(self.weather))).clone()
    }
}

impl Transport for MemoryTransport {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> u8 {
        DEFAULT_PRIORITY
    }

    fn probe(&self) -> Result<(), TransportError> {
        Ok(())
    }

    fn listen(&self, at: SocketAddr, options: &QueueOptions) -> Result<Box<dyn Listener>, TransportError> {
        check(options)?;
        Ok(Box::new(MemoryListener::new(self.fabric(), at, options)?))
    }

    fn connect(&self, to: SocketAddr, options: &QueueOptions) -> Result<Box<dyn Queue>, TransportError> {
        check(options)?;
        Ok(Box::new(MemoryQueue::to_connect(self.fabric(), to, options)))
    }

    fn group(&self, cx: &mut Cx<'_>, config: QueueGroupConfig) -> Result<Box<dyn QueueGroup>, TransportError> {
        config.check()?;
        limit("QueueGroupConfig::exposures", config.exposures, EXPOSURES)?;
        limit("QueueGroupConfig::queues", config.queues, Slab::<()>::SLOTS)?;
        let lot = Lot(self.fabric().draw());
        Ok(Box::new(Group::new(cx, config, self.weather, lot)?))
    }
}

fn check(options: &QueueOptions) -> Result<(), TransportError> {
    options.check()?;
    limit("QueueOptions::send_depth", options.send_depth, DEPTH)?;
    limit("QueueOptions::reads", options.reads, READS)?;
    limit("QueueOptions::gather", options.gather, GATHER)?;
    limit("QueueOptions::inline", options.inline, INLINE)
}

/// Refuses to be asked for more than there can be.
fn limit(what: &'static str, asked: impl Into<u64>, limit: impl Into<u64>) -> Result<(), TransportError> {
    let (asked, limit) = (asked.into(), limit.into());
    if asked > limit { Err(TransportError::Limit { what, asked, limit }) } else { Ok(()) }
}
