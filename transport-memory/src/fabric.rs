//! The network: who listens where, and the draws of its weather.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use core_reactor::transport::{QueueOptions, TransportError};

use crate::Weather;
use crate::queue::MemoryQueue;
use crate::wire::{Waker, lock};

/// Ports that are given out to who asks for none.
const FREE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

pub(crate) struct Fabric {
    pub(crate) weather: Weather,
    listening: Mutex<BTreeMap<SocketAddr, Arc<Listening>>>,
    draws: AtomicU64,
    ports: AtomicU64,
}

/// An address where somebody listens.
pub(crate) struct Listening {
    pub(crate) at: SocketAddr,
    pub(crate) options: QueueOptions,
    door: Mutex<Door>,
}

struct Door {
    waiting: VecDeque<MemoryQueue>,
    waker: Option<Arc<Waker>>,
    open: bool,
}

impl Fabric {
    pub(crate) fn new(weather: Weather) -> Self {
        Self { weather, listening: Mutex::default(), draws: AtomicU64::new(weather.seed), ports: AtomicU64::new(0) }
    }

    /// A number by lot.
    pub(crate) fn draw(&self) -> u64 {
        mix(self.draws.fetch_add(1, Ordering::Relaxed))
    }

    /// Private data on its way, where at most so much of it fits.
    pub(crate) fn private(&self, data: &[u8], most: usize) -> Box<[u8]> {
        let mut data = data.to_vec();
        if self.weather.pad {
            data.resize(most, 0);
        }
        data.into()
    }

    /// An address of the own side of a connection.
    pub(crate) fn own_addr(&self, to: SocketAddr) -> SocketAddr {
        SocketAddr::new(to.ip(), self.next_port())
    }

    pub(crate) fn listen(&self, at: SocketAddr, options: &QueueOptions) -> Result<Arc<Listening>, TransportError> {
        if !at.ip().is_loopback() {
            return Err(TransportError::AddressUnavailable(at));
        }
        let mut listening = lock(&self.listening);
        let at = match at.port() {
            0 => FREE_PORTS.map(|_| self.own_addr(at)).find(|at| !listening.contains_key(at)).ok_or(TransportError::AddressInUse(at))?,
            _ => at,
        };
        if listening.contains_key(&at) {
            return Err(TransportError::AddressInUse(at));
        }
        let door = Mutex::new(Door { waiting: VecDeque::new(), waker: None, open: true });
        let made = Arc::new(Listening { at, options: options.clone(), door });
        listening.insert(at, made.clone());
        Ok(made)
    }

    /// Nobody listens there any more; requests that wait are rejected.
    pub(crate) fn unlisten(&self, listening: &Listening) {
        lock(&self.listening).remove(&listening.at);
        let mut door = lock(&listening.door);
        door.open = false;
        door.waker = None;
        let waiting = std::mem::take(&mut door.waiting);
        drop(door);
        drop(waiting);
    }

    /// Who listens at `to`.
    pub(crate) fn find(&self, to: SocketAddr) -> Result<Arc<Listening>, TransportError> {
        if !to.ip().is_loopback() {
            return Err(TransportError::Unreachable(to));
        }
        lock(&self.listening).get(&to).cloned().ok_or(TransportError::ConnectRefused(to))
    }

    fn next_port(&self) -> u16 {
        let count = FREE_PORTS.len() as u64;
        FREE_PORTS.start() + (self.ports.fetch_add(1, Ordering::Relaxed) % count) as u16
    }
}

impl Listening {
    /// Puts a request at the door; false if there is no room, or nobody there any more.
    pub(crate) fn knock(&self, queue: MemoryQueue) -> Result<(), TransportError> {
        let mut door = lock(&self.door);
        if !door.open || door.waiting.len() >= self.options.backlog as usize {
            // Outside of the lock, as a queue that is dropped says so to its peer.
            drop(door);
            queue.forget();
            return Err(TransportError::ConnectRefused(self.at));
        }
        door.waiting.push_back(queue);
        if let Some(waker) = &door.waker {
            waker.wake();
        }
        Ok(())
    }

    pub(crate) fn next(&self) -> Option<MemoryQueue> {
        lock(&self.door).waiting.pop_front()
    }

    pub(crate) fn set_waker(&self, waker: Arc<Waker>) {
        lock(&self.door).waker = Some(waker);
    }
}

/// A source of draws.
pub(crate) struct Lot(pub(crate) u64);

impl Lot {
    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (mix(self.0) % end as u64) as usize
    }
}

/// The finishing steps of SplitMix64: neighbours in, far apart out.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ n >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ n >> 31
}
