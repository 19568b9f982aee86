//! What all groups share of the devices: protection domains, and pools that are registered once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use core_reactor::transport::{QueueGroupConfig, QueueOptions, Slab, TransportError};
use pool::DataPool;

use crate::error::{limit, memory, no_device, no_manager, os};
use crate::verbs::{Device, DeviceLimits, Domain, Region, devices};

/// What keys can name, and the numbers of receives.
const SLOTS: u32 = Slab::<()>::SLOTS;

/// The devices that are in use.
#[derive(Default)]
pub(crate) struct Registry {
    nodes: Mutex<Vec<Arc<Node>>>,
}

/// A device in use.
pub(crate) struct Node {
    pub(crate) domain: Arc<Domain>,
    pub(crate) name: String,
    limits: DeviceLimits,
    /// Bytes that it copies with a request.
    inline: u32,
    /// Registered pools, as long as a group has one.
    regions: Mutex<Vec<Weak<Region>>>,
    /// Queue pairs that have taken their last receive, as the device tells whoever asks first, and
    /// that nobody has asked for yet.
    at_their_end: Mutex<HashSet<u32>>,
}

impl Registry {
    /// All devices of this machine.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub(crate) fn all(&self) -> Result<Vec<Arc<Node>>, TransportError> {
        let found = devices().map_err(no_manager)?;
        if found.is_empty() {
            return Err(no_device());
        }
        found.into_iter().map(|device| self.node(device)).collect()
    }

    /// What is shared of this device.
    pub(crate) fn node(&self, device: Device) -> Result<Arc<Node>, TransportError> {
        let mut nodes = lock(&self.nodes);
        if let Some(known) = nodes.iter().find(|node| node.domain.device() == device) {
            return Ok(known.clone());
        }
        let node = Arc::new(Node::new(device)?);
        nodes.push(node.clone());
        Ok(node)
    }

    /// Whether a queue can be like this, on some device: which one, only its address tells.
    pub(crate) fn check(&self, options: &QueueOptions) -> Result<(), TransportError> {
        options.check()?;
        any(&self.all()?, |node| node.check(options))
    }

    /// Whether a group can be like this, on some device.
    pub(crate) fn check_group(&self, config: &QueueGroupConfig) -> Result<Vec<Arc<Node>>, TransportError> {
        config.check()?;
        let nodes = self.all()?;
        any(&nodes, |node| node.check_group(config))?;
        Ok(nodes)
    }
}

impl Node {
    fn new(device: Device) -> Result<Self, TransportError> {
        let limits = device.limits().map_err(|why| os("ask a device what it can do", why))?;
        let domain = Domain::new(device).map_err(|why| os("make a protection domain", why))?;
        let inline = domain.inline().map_err(|why| os("make a completion queue", why))?;
        Ok(Self { domain, name: device.name(), limits, inline, regions: Mutex::default(), at_their_end: Mutex::default() })
    }

    /// Whether the device has told that a queue pair, which is flushed, has taken its last receive
    /// (`LAST_WQE_REACHED`).
    pub(crate) fn is_at_its_end(&self, number: u32) -> bool {
        let mut told = lock(&self.at_their_end);
        told.extend(std::iter::from_fn(|| self.domain.next_at_its_end()).flatten());
        told.remove(&number)
    }

    /// The queue pair is gone, and another may get its number.
    pub(crate) fn forget(&self, number: u32) {
        lock(&self.at_their_end).remove(&number);
    }

    /// The pool, registered; once, whoever asks.
    pub(crate) fn region(&self, pool: &DataPool) -> Result<Arc<Region>, TransportError> {
        let mut regions = lock(&self.regions);
        regions.retain(|region| region.strong_count() > 0);
        if let Some(known) = regions.iter().filter_map(Weak::upgrade).find(|region| region.is_of(pool)) {
            return Ok(known);
        }
        let region = Region::new(&self.domain, pool.clone()).map_err(|why| memory(pool.region().1, why))?;
        let region = Arc::new(region);
        regions.push(Arc::downgrade(&region));
        Ok(region)
    }

    /// Whether a queue can be like this here.
    pub(crate) fn check(&self, options: &QueueOptions) -> Result<(), TransportError> {
        let QueueOptions { send_depth, reads, gather, inline, .. } = *options;
        limit("operations of a queue (QueueOptions::send_depth)", send_depth.into(), self.limits.send_depth)?;
        limit("reads of a queue (QueueOptions::reads)", reads.into(), self.limits.reads)?;
        limit("buffers of a frame (QueueOptions::gather)", gather.into(), self.limits.gather)?;
        limit("bytes that are copied (QueueOptions::inline)", inline.into(), self.inline)
    }

    /// Whether a group can be like this here.
    pub(crate) fn check_group(&self, config: &QueueGroupConfig) -> Result<(), TransportError> {
        let QueueGroupConfig { queues, operations, receives, exposures, .. } = *config;
        limit("queues (QueueGroupConfig::queues)", queues.into(), self.limits.queue_pairs.min(SLOTS))?;
        limit("receive buffers (QueueGroupConfig::receives)", receives.into(), self.limits.receives.min(SLOTS))?;
        limit("exposed buffers (QueueGroupConfig::exposures)", exposures.into(), self.limits.registrations.min(SLOTS))?;
        let completions = u64::from(operations) + u64::from(receives);
        limit("completions (QueueGroupConfig::operations and receives)", completions, self.limits.completions)
    }
}

/// Good if it is so for one of them; otherwise what the last one says.
fn any(nodes: &[Arc<Node>], check: impl Fn(&Node) -> Result<(), TransportError>) -> Result<(), TransportError> {
    let mut last = Err(no_device());
    for node in nodes {
        last = check(node);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// The lists are whole at any moment.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
