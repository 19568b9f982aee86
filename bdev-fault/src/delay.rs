//! A device that takes its time (SPDK's `bdev_delay_create`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::array;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

#[cfg(target_has_atomic = "64")]
use core::sync::atomic::AtomicU64;
#[cfg(not(target_has_atomic = "64"))]
use portable_atomic::AtomicU64;

use bdev::{Bdev, BdevError, Bdevs, Device, DeviceChannel, Kind, NewBdev, Opened, Request, Shape, Uuid};
use core_reactor::Cx;

use crate::Lot;
use crate::channel::{Channel, Fate, Plan, Source};

/// How long it waits when the device below is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// With a read.
    pub avg_read: Duration,
    /// With one read out of a hundred, drawn by lot.
    pub p99_read: Duration,
    /// With a write.
    pub avg_write: Duration,
    /// With one write out of a hundred.
    pub p99_write: Duration,
}

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// [`Latencies::avg_read`].
    AvgRead,
    /// [`Latencies::p99_read`].
    P99Read,
    /// [`Latencies::avg_write`].
    AvgWrite,
    /// [`Latencies::p99_write`].
    P99Write,
}

/// Makes a device on top of `base` that gives reads and writes back late, and adds it as `name`.
/// What is drawn by lot is drawn with `seed`.
///
/// ```
/// use core::time::Duration;
/// use bdev_fault::{Delay, Latencies, Latency, delay};
/// use bdev_malloc::{Config, malloc};
///
/// let bdevs = bdev::Bdevs::new(1);
/// malloc(&bdevs, Config::new(512, 2048).name("Fast"))?;
/// let latencies = Latencies { avg_read: Duration::from_millis(1), ..Latencies::default() };
/// let slow = delay(&bdevs, "Slow", "Fast", None, latencies, 7)?;
/// let device = slow.device::<Delay>().expect("it is one");
/// device.set(Latency::AvgWrite, Duration::from_millis(2));
/// assert_eq!(device.latencies().avg_write, Duration::from_millis(2));
/// # Ok::<(), bdev::BdevError>(())
/// ```
///
/// # Errors
/// There is no `base`, or somebody writes to it; the name is taken.
pub fn delay(bdevs: &Bdevs, name: &str, base: &str, uuid: Option<Uuid>, latencies: Latencies, seed: u64) -> Result<Bdev, BdevError> {
    let base = bdevs.get(base)?;
    let shape = Shape { product: "delay", ..base.shape().clone() };
    let blocks = base.blocks();
    let device = Delay {
        base: base.open_claimed("delay")?,
        nanos: Arc::new(array::from_fn(|_| AtomicU64::new(0))),
        seed,
        channels: AtomicU32::new(0),
    };
    device.set(Latency::AvgRead, latencies.avg_read);
    device.set(Latency::P99Read, latencies.p99_read);
    device.set(Latency::AvgWrite, latencies.avg_write);
    device.set(Latency::P99Write, latencies.p99_write);
    bdevs.add(NewBdev { name: name.into(), aliases: Default::default(), uuid, blocks, shape }, Box::new(device))
}

/// A device that takes its time, as [`Bdev::device`] finds it.
pub struct Delay {
    base: Opened,
    /// In the order of [`Latency`].
    nanos: Arc<[AtomicU64; 4]>,
    seed: u64,
    channels: AtomicU32,
}

impl Delay {
    /// Changes one, for what the device below does from now on.
    pub fn set(&self, which: Latency, to: Duration) {
        self.nanos[which as usize].store(u64::try_from(to.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// All four as they are now.
    pub fn latencies(&self) -> Latencies {
        let get = |which: Latency| Duration::from_nanos(self.nanos[which as usize].load(Relaxed));
        Latencies {
            avg_read: get(Latency::AvgRead),
            p99_read: get(Latency::P99Read),
            avg_write: get(Latency::AvgWrite),
            p99_write: get(Latency::P99Write),
        }
    }

    /// What is drawn by lot is drawn with this.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The device below.
    pub fn base(&self) -> Bdev {
        self.base.bdev()
    }
}

impl Device for Delay {
    fn channel(&self, cx: &mut Cx<'_>, depth: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        let source = Drawn { nanos: self.nanos.clone(), lot: Lot::of_channel(self.seed, &self.channels) };
        Ok(Box::new(Channel::new(self.base.channel(cx, depth)?, depth, source)))
    }

    fn below(&self) -> Option<Bdev> {
        Some(self.base.bdev())
    }

    fn resize(&self, blocks: u64) -> Result<(), BdevError> {
        self.base.bdev().resize(blocks)
    }

    #[cfg(feature = "rpc")]
    fn made(&self, bdev: &Bdev) -> Option<(&'static str, serde_json::Value)> {
        Some(crate::rpc::made_delay(bdev, self))
    }

    #[cfg(feature = "rpc")]
    fn told(&self) -> serde_json::Value {
        serde_json::json!({"delay": crate::rpc::told_delay(self)})
    }
}

struct Drawn {
    nanos: Arc<[AtomicU64; 4]>,
    lot: Lot,
}

impl Source for Drawn {
    fn plan(&mut self, request: &Request, _: usize) -> Plan {
        let is_late = self.lot.below(100) == 0;
        let which = match request.kind {
            Kind::Read if is_late => Latency::P99Read,
            Kind::Read => Latency::AvgRead,
            Kind::Write if is_late => Latency::P99Write,
            Kind::Write => Latency::AvgWrite,
            _ => return Plan::of(Fate::Handed),
        };
        Plan { after: Duration::from_nanos(self.nanos[which as usize].load(Relaxed)), ..Plan::of(Fate::Handed) }
    }
}

impl core::fmt::Debug for Delay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Delay").field("base", &self.base()).field("latencies", &self.latencies()).finish_non_exhaustive()
    }
}
