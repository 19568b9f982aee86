//! Queue pairs over RDMA verbs and the connection manager: the transport "rdma".
//!
#![doc = include_str!("../README.md")]
//!
//! `Rdma` makes listeners, queues and groups. A listener has an event channel of its own, also in a
//! group (`queue`). A group has one for its queues, and for each device that they are on a port: a
//! completion queue, a shared receive queue, and the group's pool, registered whole (`port`). What
//! all groups share of a device is its protection domain and the registrations of pools
//! (`registry`).
//!
//! A poll hands over what was posted (one list for each queue), takes completions, listens to the
//! connection manager now and then (`manager`), looks after queues that are being connected or
//! ended (`settle`), and posts receive buffers. `flush` hands over as well; exposing and
//! withdrawing a buffer registers its memory at once. While connections stand, polls enter the
//! system to hear the connection manager: one in 256, and where the core may sleep a few before it
//! does.
//!
//! # What is with the device
//!
//! What is posted, exposed or lies to be received into is owned by the types of `verbs` until the
//! device has let go of it. A queue that ends is first brought into the error state, which flushes;
//! then its queue pair is destroyed, and only when the completion queue was seen empty after that,
//! what is left is given back as flushed. A receive that a device does not give back is found by
//! counting (`verbs/receive.rs`, docs/decisions/0052).
//!
//! # Sleep
//!
//! With `Wait::Events` a poll that finds nothing asks for an event and looks once more (`wait`).
//!
//! Without the feature `rdma` this crate is empty (docs/decisions/0040).
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]
#![cfg(feature = "rdma")]

mod error;
mod group;
mod manager;
mod member;
mod poll;
mod port;
mod post;
mod queue;
mod registry;
mod settle;
mod verbs;
mod wait;

logging::part!("rdma");

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use core_reactor::Cx;
use core_reactor::transport::{self, Listener, Queue, QueueGroup, QueueGroupConfig, QueueOptions, Transport, TransportError};

use crate::group::Group;
use crate::queue::{RdmaListener, RdmaQueue};
use crate::registry::Registry;

pub(crate) const NAME: &str = "rdma";

transport::register!(
    /// What is registered. Public for programs that have to name it: of an archive a linker takes
    /// only what something refers to.
    #[doc(hidden)]
    pub static LINKED = RDMA
);

static RDMA: Rdma = Rdma::new();

/// The transport. Linked programs find it by its name, "rdma".
pub struct Rdma {
    registry: std::sync::OnceLock<Arc<Registry>>,
}

impl fmt::Debug for Rdma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rdma").finish_non_exhaustive()
    }
}

impl Rdma {
    /// The transport. What it knows of devices is shared by all that comes of it.
    pub const fn new() -> Self {
        Self { registry: std::sync::OnceLock::new() }
    }

    fn registry(&self) -> &Arc<Registry> {
        self.registry.get_or_init(Arc::default)
    }
}

impl Default for Rdma {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for Rdma {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Above a framing over sockets.
    fn priority(&self) -> u8 {
        core_reactor::net::DEFAULT_PRIORITY + 2
    }

    /// Opens the connection manager and a device, and makes a protection domain.
    fn probe(&self) -> Result<(), TransportError> {
        verbs::EventChannel::new().map_err(error::no_manager)?;
        self.registry().all().map(drop)
    }

    fn listen(&self, at: SocketAddr, options: &QueueOptions) -> Result<Box<dyn Listener>, TransportError> {
        Ok(Box::new(RdmaListener::new(self.registry(), at, options)?))
    }

    fn connect(&self, to: SocketAddr, options: &QueueOptions) -> Result<Box<dyn Queue>, TransportError> {
        self.registry().check(options)?;
        Ok(Box::new(RdmaQueue::to_connect(to, options)))
    }

    fn group(&self, cx: &mut Cx<'_>, config: QueueGroupConfig) -> Result<Box<dyn QueueGroup>, TransportError> {
        Ok(Box::new(Group::new(cx, config, self.registry().clone())?))
    }
}
