//! Block devices on top of another, with faults: out of a seed ([`fault`]) requests that take their
//! time, that fail, writes that are torn or lost; as SPDK has them, [`errors`] that are asked for
//! one by one, and a [`delay`] of what was done.
//!
#![doc = include_str!("../README.md")]
//!
//! The device below is claimed: nobody else writes to it. The same seed, the same requests and
//! times, and the same faults.
#![no_std]
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod channel;
mod delay;
mod error;
#[cfg(feature = "rpc")]
mod rpc;

use alloc::boxed::Box;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use bdev::{Bdev, BdevError, BdevModule, Bdevs, Device, DeviceChannel, Kind, NewBdev, Opened, Params, Request, Shape, Uuid};
use core_reactor::Cx;

use crate::channel::{Channel, Fate, Plan, Source};
pub use crate::delay::{Delay, Latencies, Latency, delay};
pub use crate::error::{Errors, Injected, InjectedError, errors};

/// What goes wrong. Odds are of a million.
///
/// ```
/// use core::time::Duration;
/// use bdev_fault::Faults;
///
/// // A slow device that tears one write in a hundred.
/// let faults = Faults { delay: Duration::from_millis(1)..=Duration::from_millis(5), torn: 10_000, ..Faults::none(7) };
/// assert_eq!((faults.errors, faults.lost), (0, 0));
/// ```
#[derive(Clone, Debug)]
pub struct Faults {
    /// All that is drawn by lot is drawn with this.
    pub seed: u64,
    /// How long a request waits before the device below has it.
    pub delay: RangeInclusive<Duration>,
    /// Requests that fail, and are never handed on.
    pub errors: u32,
    /// Writes that fail after some of their blocks have been written.
    pub torn: u32,
    /// Writes that are said to have been written, and are not.
    pub lost: u32,
}

impl Faults {
    /// No faults.
    pub const fn none(seed: u64) -> Self {
        Self { seed, delay: Duration::ZERO..=Duration::ZERO, errors: 0, torn: 0, lost: 0 }
    }
}

/// Makes a device on top of `base`, and adds it as `name`.
///
/// ```
/// use bdev_fault::{Faults, fault};
/// use bdev_malloc::{Config, malloc};
///
/// let bdevs = bdev::Bdevs::new(1);
/// malloc(&bdevs, Config::new(512, 2048).name("Good"))?;
/// // Each thousandth request fails, and the same ones for the same seed.
/// let bad = fault(&bdevs, "Bad", "Good", Faults { errors: 1_000, ..Faults::none(7) })?;
/// assert_eq!((bad.blocks(), bdevs.get("Good")?.claim()), (2048, Some("fault")));
/// # Ok::<(), bdev::BdevError>(())
/// ```
///
/// # Errors
/// There is no `base`, or somebody writes to it; the name is taken.
pub fn fault(bdevs: &Bdevs, name: &str, base: &str, faults: Faults) -> Result<Bdev, BdevError> {
    make(bdevs, name, base, None, faults)
}

fn make(bdevs: &Bdevs, name: &str, base: &str, uuid: Option<Uuid>, faults: Faults) -> Result<Bdev, BdevError> {
    let base = bdevs.get(base)?;
    let shape = Shape { product: "Fault disk", ..base.shape().clone() };
    let blocks = base.blocks();
    let device = Fault { base: base.open_claimed("fault")?, faults, channels: AtomicU32::new(0) };
    bdevs.add(NewBdev { name: name.into(), aliases: Default::default(), uuid, blocks, shape }, Box::new(device))
}

struct Fault {
    base: Opened,
    faults: Faults,
    channels: AtomicU32,
}

impl Device for Fault {
    fn channel(&self, cx: &mut Cx<'_>, depth: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        // Each channel draws for itself, so that one's faults do not hang on the others' requests.
        let lot = Lot::of_channel(self.faults.seed, &self.channels);
        Ok(Box::new(Channel::new(self.base.channel(cx, depth)?, depth, Drawn { faults: self.faults.clone(), lot })))
    }

    fn below(&self) -> Option<Bdev> {
        Some(self.base.bdev())
    }

    fn resize(&self, blocks: u64) -> Result<(), BdevError> {
        self.base.bdev().resize(blocks)
    }

    #[cfg(feature = "rpc")]
    fn made(&self, bdev: &Bdev) -> Option<(&'static str, serde_json::Value)> {
        Some(rpc::made_fault(bdev, &self.base.bdev(), &self.faults))
    }
}

/// Faults as they are drawn.
struct Drawn {
    faults: Faults,
    lot: Lot,
}

impl Source for Drawn {
    fn plan(&mut self, request: &Request, _: usize) -> Plan {
        let (fate, before) = (self.fate(request), self.delay());
        Plan { before, ..Plan::of(fate) }
    }
}

impl Drawn {
    fn fate(&mut self, request: &Request) -> Fate {
        if self.lot.happens(self.faults.errors) {
            return Fate::Fails(BdevError::Io("a fault that was asked for"));
        }
        if request.kind != Kind::Write {
            return Fate::Handed;
        }
        if self.lot.happens(self.faults.torn) {
            return Fate::Torn(self.lot.below(request.blocks));
        }
        if self.lot.happens(self.faults.lost) { Fate::Lost } else { Fate::Handed }
    }

    fn delay(&mut self) -> Duration {
        let (least, most) = (*self.faults.delay.start(), *self.faults.delay.end());
        let span = most.saturating_sub(least).as_nanos() as u64;
        least + Duration::from_nanos(self.lot.below(span.saturating_add(1)))
    }
}

/// Numbers drawn by lot (SplitMix64).
struct Lot(u64);

impl Lot {
    /// That of the next channel of a device.
    fn of_channel(seed: u64, channels: &AtomicU32) -> Self {
        Self(seed ^ u64::from(channels.fetch_add(1, Ordering::Relaxed)) << 32)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    /// Whether something happens that does so `of` a million times.
    fn happens(&mut self, of: u32) -> bool {
        of > 0 && self.next() % 1_000_000 < u64::from(of)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

bdev::register!(Module);

struct Module;

impl BdevModule for Module {
    fn name(&self) -> &'static str {
        "fault"
    }

    fn create(&self, bdevs: &Bdevs, params: &Params<'_>) -> Result<Bdev, BdevError> {
        params.allow(&["name", "base", "seed", "delay_us", "errors", "torn", "lost"])?;
        let base = params.get("base").ok_or_else(|| BdevError::invalid("base", "it is missing; such as base=Malloc0"))?;
        let odds = |key| Ok::<_, BdevError>(params.number(key)?.unwrap_or(0).min(1_000_000) as u32);
        let delay = Duration::from_micros(params.number("delay_us")?.unwrap_or(0));
        let faults = Faults {
            seed: params.number("seed")?.unwrap_or(1),
            delay: delay..=delay,
            errors: odds("errors")?,
            torn: odds("torn")?,
            lost: odds("lost")?,
        };
        fault(bdevs, &bdevs.name_or(params.get("name"), "Fault"), base, faults)
    }
}
