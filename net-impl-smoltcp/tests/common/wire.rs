//! A wire in memory between two Ethernet devices, with the faults that are asked of it, drawn from
//! a seed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use net_impl_smoltcp::NetDevice;
use net_impl_smoltcp::smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use net_impl_smoltcp::smoltcp::time::{Duration, Instant};

pub(crate) const MTU: usize = 1514;

/// What a wire does to frames. Chances are of 1000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) seed: u64,
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    /// Frames that take up to five times as long as the others, so that others overtake them.
    pub(crate) reordering: u32,
    /// How long a frame is under way.
    pub(crate) delay: Duration,
    /// The narrowest place of the way: frames that pass it in a second, and those that wait before
    /// it; more are lost.
    pub(crate) narrow: Option<(u64, u64)>,
}

impl Weather {
    pub(crate) const CALM: Self = Self { seed: 1, loss: 0, duplication: 0, reordering: 0, delay: Duration::ZERO, narrow: None };

    pub(crate) const fn storm(seed: u64) -> Self {
        Self { seed, loss: 20, duplication: 20, reordering: 50, delay: Duration::from_millis(1), narrow: None }
    }
}

/// One end of a wire, or what an observer holds of it.
#[derive(Clone)]
pub(crate) struct End {
    wire: Arc<Mutex<Wire>>,
    side: usize,
}

struct Wire {
    weather: Weather,
    lot: u64,
    /// Frames under way to each side, with the time at which they arrive.
    queues: [VecDeque<(Instant, Vec<u8>)>; 2],
    /// Most frames that may be under way to a side; others find no room.
    room: usize,
    sent: [u64; 2],
    /// When the narrowest place is free again, each way.
    free_at: [Instant; 2],
    /// Frames that have arrived, to be used again.
    spare: Vec<Vec<u8>>,
    /// Whether checksums of what arrives are looked at.
    checks: bool,
}

pub(crate) fn wire(weather: Weather) -> [End; 2] {
    let lot = weather.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let wire = Wire {
        weather,
        lot,
        queues: [VecDeque::with_capacity(512), VecDeque::with_capacity(512)],
        room: 256,
        sent: [0; 2],
        free_at: [Instant::ZERO; 2],
        spare: Vec::with_capacity(1024),
        checks: true,
    };
    let wire = Arc::new(Mutex::new(wire));
    [0, 1].map(|side| End { wire: wire.clone(), side })
}

impl Wire {
    fn below(&mut self, limit: u32) -> u32 {
        self.lot ^= self.lot << 13;
        self.lot ^= self.lot >> 7;
        self.lot ^= self.lot << 17;
        (self.lot.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as u32 % limit
    }

    fn send(&mut self, to: usize, at: Instant, frame: Vec<u8>) {
        self.sent[1 - to] += 1;
        let weather = self.weather;
        if self.below(1000) < weather.loss {
            return;
        }
        let Some(at) = self.through_the_narrow(to, at) else { return };
        if self.below(1000) < weather.duplication {
            self.put_slowly(to, at, frame.clone());
        }
        self.put_slowly(to, at, frame);
    }

    /// When a frame is through the narrowest place; `None` if too many wait before it.
    fn through_the_narrow(&mut self, to: usize, at: Instant) -> Option<Instant> {
        let Some((rate, wait)) = self.weather.narrow else { return Some(at) };
        let each = Duration::from_micros(1_000_000 / rate);
        let free = self.free_at[to].max(at);
        if free - at > each * wait as u32 {
            return None;
        }
        self.free_at[to] = free + each;
        Some(free + each)
    }

    fn put_slowly(&mut self, to: usize, at: Instant, frame: Vec<u8>) {
        let weather = self.weather;
        let slow = if self.below(1000) < weather.reordering { 1 + self.below(4) } else { 0 };
        self.put(to, at + weather.delay * (1 + slow), frame);
    }

    /// Queues a frame behind those that arrive no later.
    fn put(&mut self, to: usize, arrives: Instant, frame: Vec<u8>) {
        let queue = &mut self.queues[to];
        let behind = queue.iter().rposition(|(at, _)| *at <= arrives).map_or(0, |at| at + 1);
        queue.insert(behind, (arrives, frame));
    }
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().expect("nobody panics in here")
    }

    /// Sends a frame as if this end's device had.
    pub(crate) fn inject(&self, frame: &[u8]) {
        self.lock().put(1 - self.side, Instant::ZERO, frame.to_vec());
    }

    /// Has a frame arrive at this end, as if the other end's device had sent it.
    pub(crate) fn send_back(&self, frame: &[u8]) {
        self.lock().put(self.side, Instant::ZERO, frame.to_vec());
    }

    /// The next frame that has reached this end.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        self.lock().queues[self.side].pop_front().map(|(_, frame)| frame)
    }

    /// Has devices on this wire believe every checksum. Before they are used.
    pub(crate) fn without_checksums(self) -> Self {
        self.lock().checks = false;
        self
    }

    /// Frames that this end has sent.
    pub(crate) fn sent(&self) -> u64 {
        self.lock().sent[self.side]
    }

    /// When the next frame arrives at this end.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.lock().queues[self.side].front().map(|(at, _)| *at)
    }

    /// Sets how many frames may be under way to a side.
    pub(crate) fn set_room(&self, frames: usize) {
        self.lock().room = frames;
    }

    /// Changes the weather; what is under way stays.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }
}

impl Device for End {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx;

    fn receive(&mut self, now: Instant) -> Option<(Rx, Tx)> {
        let mut wire = self.lock();
        let due = wire.queues[self.side].front().is_some_and(|(at, _)| *at <= now);
        let frame = if due { wire.queues[self.side].pop_front()?.1 } else { return None };
        drop(wire);
        Some((Rx { frame, end: self.clone() }, Tx { end: self.clone(), now }))
    }

    fn transmit(&mut self, now: Instant) -> Option<Tx> {
        let room = {
            let wire = self.lock();
            wire.queues[1 - self.side].len() < wire.room
        };
        room.then(|| Tx { end: self.clone(), now })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        if !self.lock().checks {
            capabilities.checksum = ChecksumCapabilities::ignored();
        }
        capabilities
    }
}

impl NetDevice for End {}

pub(crate) struct Rx {
    frame: Vec<u8>,
    end: End,
}

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let done = f(&self.frame);
        self.end.lock().spare.push(self.frame);
        done
    }
}

pub(crate) struct Tx {
    end: End,
    now: Instant,
}

impl TxToken for Tx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.end.lock().spare.pop().unwrap_or_else(|| Vec::with_capacity(MTU));
        frame.clear();
        frame.resize(len, 0);
        let done = f(&mut frame);
        self.end.lock().send(1 - self.end.side, self.now, frame);
        done
    }
}
