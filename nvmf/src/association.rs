//! A controller, and what all of its queues know of it.
//!
//! The queues of a controller live on whatever cores; what they have in common is under one lock,
//! which admin commands and Connects take. I/O takes none: it leaves a note of when the host was
//! heard last.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use core_reactor::net::Token;
use nvme::target::Controller;
use spin::Mutex;

use crate::atomic::AtomicU64;
use crate::{Listener, Subsystem};

/// A host's controller of a subsystem.
pub struct Association {
    pub(crate) subsystem: Arc<Subsystem>,
    pub(crate) listener: Arc<Listener>,
    cntlid: u16,
    hostnqn: String,
    pub(crate) hostid: [u8; 16],
    pub(crate) controller: Mutex<Controller>,
    /// When something came last, in nanoseconds.
    heard: AtomicU64,
    is_over: AtomicBool,
    queues: Mutex<Vec<QueueInfo>>,
}

/// A queue of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// QID; 0 is the admin queue.
    pub qid: u16,
    /// The poll group that has it.
    pub group: usize,
    /// Its name there.
    pub(crate) key: QueueKey,
    /// Its entries.
    pub entries: u16,
    /// The target's address.
    pub local: SocketAddr,
    /// The host's.
    pub peer: Option<SocketAddr>,
}

/// A queue among those of a poll group: the place, and how often it was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueKey {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}

impl QueueKey {
    /// Bits of a place; 12 for a tag follow it, and the generation has the rest.
    pub(crate) const PLACE_BITS: u32 = 24;
    pub(crate) const TAG_BITS: u32 = 12;
    /// The most that a generation counts to: one bit is for listeners.
    pub(crate) const GENERATIONS: u32 = (1 << (63 - Self::PLACE_BITS - Self::TAG_BITS)) - 1;

    /// As the token of its socket, and of its commands.
    pub(crate) fn token(self) -> Token {
        Token(u64::from(self.place) | u64::from(self.generation) << (Self::PLACE_BITS + Self::TAG_BITS))
    }

    /// The queue, and which of its commands, that a token names.
    pub(crate) fn of(token: Token) -> (Self, usize) {
        let place = token.0 as u32 & ((1 << Self::PLACE_BITS) - 1);
        let tag = (token.0 >> Self::PLACE_BITS) as usize & ((1 << Self::TAG_BITS) - 1);
        let generation = (token.0 >> (Self::PLACE_BITS + Self::TAG_BITS)) as u32 & Self::GENERATIONS;
        (Self { place, generation }, tag)
    }
}

impl Association {
    pub(crate) fn new(subsystem: Arc<Subsystem>, listener: Arc<Listener>, controller: Controller, hostid: [u8; 16], now: Duration) -> Self {
        Self {
            subsystem,
            listener,
            cntlid: controller.config().cntlid,
            hostnqn: controller.hostnqn().into(),
            hostid,
            controller: Mutex::new(controller),
            heard: AtomicU64::new(now.as_nanos() as u64),
            is_over: AtomicBool::new(false),
            queues: Mutex::default(),
        }
    }

    /// CNTLID.
    pub fn cntlid(&self) -> u16 {
        self.cntlid
    }

    /// HOSTNQN.
    pub fn hostnqn(&self) -> &str {
        &self.hostnqn
    }

    /// HOSTID.
    pub fn hostid(&self) -> [u8; 16] {
        self.hostid
    }

    /// Its subsystem.
    pub fn subsystem(&self) -> &Arc<Subsystem> {
        &self.subsystem
    }

    /// Its queues, in the order in which they were connected.
    pub fn queues(&self) -> Vec<QueueInfo> {
        self.queues.lock().clone()
    }

    pub(crate) fn entered(&self, queue: QueueInfo) {
        self.queues.lock().push(queue);
    }

    pub(crate) fn left(&self, group: usize, key: QueueKey) {
        self.queues.lock().retain(|queue| queue.group != group || queue.key != key);
    }

    /// Where its admin queue is.
    pub(crate) fn admin(&self) -> Option<(usize, QueueKey)> {
        self.queues.lock().iter().find(|queue| queue.qid == 0).map(|queue| (queue.group, queue.key))
    }

    /// Something came from the host. A note every few milliseconds does.
    #[inline]
    pub(crate) fn hear(&self, now: Duration) {
        const OFTEN: u64 = 10_000_000;
        let now = now.as_nanos() as u64;
        if now > self.heard.load(Ordering::Relaxed).saturating_add(OFTEN) {
            self.heard.store(now, Ordering::Relaxed);
        }
    }

    /// Whether the host has been silent for too long.
    pub(crate) fn is_gone(&self, now: Duration) -> bool {
        let mut controller = self.controller.lock();
        controller.hear(Duration::from_nanos(self.heard.load(Ordering::Relaxed)));
        controller.is_gone(now)
    }

    /// Takes no queues any more. Whether it did until now.
    pub(crate) fn end(&self) -> bool {
        !self.is_over.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("Association");
        it.field("subsystem", &self.subsystem.nqn()).field("cntlid", &self.cntlid).field("hostnqn", &self.hostnqn).finish_non_exhaustive()
    }
}
