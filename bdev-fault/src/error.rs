//! A device whose errors are asked for one by one (SPDK's `bdev_error_create`).

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use bdev::{Bdev, BdevError, Bdevs, Device, DeviceChannel, Kind, NewBdev, Opened, Request, Shape, Uuid};
use core_reactor::Cx;
use spin::Mutex;

use crate::channel::{Channel, Corruption, Fate, Plan, Source};

/// An error that is to happen.
///
/// ```
/// use bdev_fault::{Injected, InjectedError};
///
/// // The next three requests fail with the NVMe status "write fault".
/// let faults = Injected { error: InjectedError::Status { sct: 2, sc: 0x80 }, count: 3, queue_depth: 0 };
/// assert_ne!(faults.error, InjectedError::Failure);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Which.
    pub error: InjectedError,
    /// To so many requests.
    pub count: u32,
    /// And only while the device below has so many of the same channel.
    pub queue_depth: u64,
}

/// What is to happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedError {
    /// It fails.
    Failure,
    /// It fails with this NVMe status.
    Status {
        /// The status code type.
        sct: u8,
        /// The status code.
        sc: u8,
    },
    /// It fails for want of memory.
    NoMemory,
    /// It stays until [`Errors::resume`], or until it is given up.
    Pending,
    /// A byte of what is read or written has these bits the other way round, and it succeeds.
    Corrupt {
        /// Which byte of it.
        offset: u64,
        /// Not 0.
        bits: u8,
    },
}

/// The kinds of requests that errors can be asked for.
const KINDS: [Kind; 4] = [Kind::Read, Kind::Write, Kind::Unmap, Kind::Flush];

/// Makes a device on top of `base` that does what that does until errors are asked for, and adds it
/// as `EE_` and the name of `base`.
///
/// ```
/// use bdev::Kind;
/// use bdev_fault::{Errors, Injected, InjectedError, errors};
/// use bdev_malloc::{Config, malloc};
///
/// let bdevs = bdev::Bdevs::new(1);
/// malloc(&bdevs, Config::new(512, 2048).name("Good"))?;
/// let disk = errors(&bdevs, "Good", None)?;
/// assert_eq!(disk.name(), "EE_Good");
/// let device = disk.device::<Errors>().expect("it is one");
/// let once = Injected { error: InjectedError::Failure, count: 1, queue_depth: 0 };
/// device.inject(Some(Kind::Write), once)?; // the next write fails
/// assert!(device.inject(Some(Kind::Reset), once).is_err(), "there are none for resets");
/// # Ok::<(), bdev::BdevError>(())
/// ```
///
/// # Errors
/// There is no `base`, or somebody writes to it; the name is taken.
pub fn errors(bdevs: &Bdevs, base: &str, uuid: Option<Uuid>) -> Result<Bdev, BdevError> {
    let base = bdevs.get(base)?;
    let shape = Shape { product: "Error Injection Disk", ..base.shape().clone() };
    let (name, blocks) = (format!("EE_{}", base.name()), base.blocks());
    let device = Errors { base: base.open_claimed("error")?, asked: Arc::default() };
    bdevs.add(NewBdev { name, aliases: Default::default(), uuid, blocks, shape }, Box::new(device))
}

/// A device whose errors are asked for, as [`Bdev::device`] finds it.
pub struct Errors {
    base: Opened,
    asked: Arc<Asked>,
}

/// What was asked for, which all channels share.
#[derive(Default)]
struct Asked {
    /// Requests for which there are errors left: 0 lets all pass without a lock.
    left: AtomicU32,
    resumes: AtomicU32,
    /// In the order of [`KINDS`]. Where errors are wanted, a lock for each request is cheap.
    of_kinds: Mutex<[Option<Injected>; KINDS.len()]>,
}

impl Errors {
    /// Asks for errors of these requests: of a kind, or of all. They take the place of what was
    /// asked for before.
    ///
    /// # Errors
    /// There are no errors for requests of this kind; a corruption of no bits.
    pub fn inject(&self, kind: Option<Kind>, what: Injected) -> Result<(), BdevError> {
        if kind.is_some_and(|kind| !KINDS.contains(&kind)) {
            return Err(BdevError::invalid("io_type", "errors are for read, write, unmap and flush"));
        }
        if matches!(what.error, InjectedError::Corrupt { bits: 0, .. }) {
            return Err(BdevError::invalid("corrupt_value", "0 changes nothing: 1 to 255"));
        }
        self.change(|of_kinds| {
            for (_, asked) in KINDS.iter().zip(of_kinds).filter(|(of, _)| kind.is_none_or(|kind| kind == **of)) {
                *asked = Some(what);
            }
        });
        Ok(())
    }

    /// Asks for no more errors.
    pub fn clear(&self) {
        self.change(|of_kinds| *of_kinds = Default::default());
    }

    /// Lets those go on that are pending.
    pub fn resume(&self, bdev: &Bdev) {
        self.asked.resumes.fetch_add(1, Relaxed);
        bdev.wake();
    }

    /// The device below.
    pub fn base(&self) -> Bdev {
        self.base.bdev()
    }

    fn change(&self, f: impl FnOnce(&mut [Option<Injected>; KINDS.len()])) {
        let mut of_kinds = self.asked.of_kinds.lock();
        f(&mut of_kinds);
        self.asked.count(&*of_kinds);
    }
}

impl Asked {
    fn count(&self, of_kinds: &[Option<Injected>]) {
        self.left.store(of_kinds.iter().flatten().fold(0, |sum, asked| sum.saturating_add(asked.count)), Relaxed);
    }

    /// What was asked for of a request, once less from now on.
    fn take(&self, kind: Kind, below: usize) -> Option<InjectedError> {
        if self.left.load(Relaxed) == 0 {
            return None;
        }
        let at = KINDS.iter().position(|of| *of == kind)?;
        let mut of_kinds = self.of_kinds.lock();
        let asked = of_kinds[at].as_mut().filter(|asked| asked.count > 0 && below as u64 >= asked.queue_depth)?;
        asked.count -= 1;
        let error = asked.error;
        self.count(&*of_kinds);
        Some(error)
    }
}

impl Device for Errors {
    fn channel(&self, cx: &mut Cx<'_>, depth: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        Ok(Box::new(Channel::new(self.base.channel(cx, depth)?, depth, self.asked.clone())))
    }

    fn below(&self) -> Option<Bdev> {
        Some(self.base.bdev())
    }

    fn resize(&self, blocks: u64) -> Result<(), BdevError> {
        self.base.bdev().resize(blocks)
    }

    #[cfg(feature = "rpc")]
    fn made(&self, bdev: &Bdev) -> Option<(&'static str, serde_json::Value)> {
        Some(crate::rpc::made_errors(bdev, self))
    }

    #[cfg(feature = "rpc")]
    fn told(&self) -> serde_json::Value {
        serde_json::json!({"error_disk": {"base_bdev": self.base().name()}})
    }
}

impl Source for Arc<Asked> {
    fn plan(&mut self, request: &Request, below: usize) -> Plan {
        Plan::of(match self.take(request.kind, below) {
            None => Fate::Handed,
            Some(InjectedError::Failure) => Fate::Fails(BdevError::Io("an error that was asked for")),
            Some(InjectedError::Status { sct, sc }) => Fate::Fails(BdevError::Status { sct, sc }),
            Some(InjectedError::NoMemory) => Fate::Fails(BdevError::NoMemory(request.data.bytes() as u64)),
            Some(InjectedError::Pending) => Fate::Held,
            Some(InjectedError::Corrupt { offset, bits }) => Fate::Corrupt(Corruption { offset, bits }),
        })
    }

    fn resumes(&self) -> u32 {
        self.resumes.load(Relaxed)
    }
}

impl fmt::Debug for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errors").field("base", &self.base()).finish_non_exhaustive()
    }
}
