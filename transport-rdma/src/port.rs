//! What a group has of a device: a completion queue, a shared receive queue, its pool registered.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use core_reactor::transport::{QueueGroupConfig, TransportError, Wait};

use crate::error::os;
use crate::registry::Node;
use crate::verbs::{CompletionQueue, Region, SharedReceive};

/// Polls after which an event is no longer expected that a completion has announced.
const LOOKS: u8 = 16;

pub(crate) struct Port {
    pub(crate) node: Arc<Node>,
    pub(crate) region: Arc<Region>,
    pub(crate) completions: Rc<CompletionQueue>,
    pub(crate) receive: Rc<SharedReceive>,
    /// Which place has a queue pair of this number.
    pub(crate) places: HashMap<u32, usize, BuildHasherDefault<Number>>,
    /// Receives are to be looked for now and then: some are out, or nothing has come since a queue
    /// pair ended, which may have had the one that was next.
    pub(crate) doubts: bool,
    /// How many receives were known to be taken when a queue pair ended last.
    taken: u64,
    /// An event was asked for and has not been taken.
    armed: bool,
    /// How often it is still to be looked for. A completion is there a moment before its event.
    looks: u8,
}

impl Port {
    pub(crate) fn new(node: Arc<Node>, config: &QueueGroupConfig) -> Result<Self, TransportError> {
        node.check_group(config)?;
        let region = node.region(&config.bufs.pool())?;
        let completions = config.operations + config.receives;
        let completions = CompletionQueue::new(node.domain.device(), completions.max(1), config.wait == Wait::Events)
            .map_err(|why| os("make a completion queue", why))?;
        let receive = SharedReceive::new(&node.domain, &region, config.receives).map_err(|why| os("make a shared receive queue", why))?;
        let places = HashMap::with_capacity_and_hasher(2 * config.queues as usize, BuildHasherDefault::default());
        Ok(Self { node, region, completions, receive, places, doubts: false, taken: 0, armed: false, looks: 0 })
    }

    /// A queue pair is gone.
    pub(crate) fn forget(&mut self, number: u32) -> u64 {
        self.places.remove(&number);
        self.node.forget(number);
        self.taken = self.receive.taken();
        self.recover()
    }

    /// Looks for receives that were lost with queue pairs; tells how many were found, which are
    /// posted anew with the next refill.
    pub(crate) fn recover(&mut self) -> u64 {
        let found = self.receive.recover();
        self.doubts = self.receive.out() > 0 || self.receive.taken() == self.taken;
        if found > 0 {
            log::info!(
                "device {}: {found} receives were lost with queues whose peers died in the middle of a message, and are posted anew",
                self.node.name
            );
        }
        found as u64
    }

    /// Asks for an event, if none was asked for. Tells whether it was now.
    pub(crate) fn arm(&mut self) -> bool {
        if self.armed {
            return false;
        }
        match self.completions.arm() {
            Ok(()) => self.armed = true,
            Err(why) => log::error!("device {}: a completion queue gives no events (error {})", self.node.name, why.0),
        }
        self.armed
    }

    /// After completions were found: the event that tells of them is taken before it wakes anybody.
    pub(crate) fn found(&mut self) {
        if self.armed {
            self.looks = LOOKS;
            self.look();
        }
    }

    /// After none were found. The system is entered only if an event is expected, or `anyway`.
    pub(crate) fn found_nothing(&mut self, anyway: bool) {
        if self.armed && (self.looks > 0 || anyway) {
            self.looks = self.looks.saturating_sub(1);
            self.look();
        }
    }

    fn look(&mut self) {
        if self.completions.take_event() {
            (self.armed, self.looks) = (false, 0);
        }
    }
}

/// Queue pairs' numbers, spread by one multiplication: they are the device's, so nobody chooses
/// them to collide.
#[derive(Default)]
pub(crate) struct Number(u64);

impl Hasher for Number {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
