//! A namespace: a block device under a number.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use bdev::{Kind, Mode, Opened, Uuid};
use nvme::command::Sqe;
use nvme::target::{self, Kept, Reservations, ToOthers};
use nvme::{Code, command::io};
use spin::Mutex;

use crate::NvmfError;
use crate::keeping::{Keeping, ToKeep};

/// Who writes to a device that hosts have, as others are told: a device is to be opened by
/// [`bdev::Bdev::open_claimed`] with this.
pub const CLAIM: &str = "NVMe-oF Target";

/// Where the reservations of a namespace are kept beyond the end of the target: a file.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// What to call it: the name of that file.
    fn name(&self) -> &str;

    /// Keeps it in place of what was kept before: [begins](ToKeep::begin) when it is its turn, and
    /// [ends](ToKeep::end) when it will outlive a loss of power. Never blocks. What is asked for
    /// later is kept later.
    fn keep(&self, what: ToKeep);
}

/// What a namespace is to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NamespaceConfig {
    /// The device.
    pub device: Opened,
    /// NSID; the first that is free where there is none.
    pub nsid: Option<u32>,
    /// UUID; the device's where there is none.
    pub uuid: Option<Uuid>,
    /// NGUID; the UUID where there is none.
    pub nguid: Option<[u8; 16]>,
    /// EUI64.
    pub eui64: Option<[u8; 8]>,
    /// ANA group; the NSID where there is none.
    pub anagrpid: Option<u32>,
    /// Where its reservations are kept, if a host wants that.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// What was kept there.
    pub kept: Option<Kept>,
}

impl NamespaceConfig {
    /// Of this device, and all else as it comes.
    pub fn new(device: Opened) -> Self {
        Self { device, nsid: None, uuid: None, nguid: None, eui64: None, anagrpid: None, keeper: None, kept: None }
    }
}

/// A namespace of a subsystem.
#[derive(Debug)]
pub struct Namespace {
    nsid: u32,
    config: NamespaceConfig,
    shift: u8,
    /// Whether somebody has registered: one load for each command where nobody has.
    is_reserved: AtomicBool,
    reservations: Mutex<Reservations>,
    /// To where they are kept.
    keeping: Option<Arc<Keeping>>,
}

impl Namespace {
    pub(crate) fn new(nsid: u32, config: NamespaceConfig) -> Result<Self, NvmfError> {
        let block = config.device.bdev().shape().block_size;
        if !block.is_power_of_two() || block < 512 {
            let why = alloc::format!("{} has blocks of {block} bytes; hosts take powers of two from 512 on", config.device.bdev().name());
            return Err(NvmfError::invalid("bdev_name", why));
        }
        let reservations = match &config.kept {
            Some(kept) => Reservations::restored(kept).map_err(|why| NvmfError::invalid("ptpl_file", why))?,
            None => Reservations::new(config.keeper.is_some()),
        };
        let (is_reserved, reservations) = (AtomicBool::new(config.kept.is_some()), Mutex::new(reservations));
        let keeping = config.keeper.clone().map(Keeping::new);
        Ok(Self { nsid, config, shift: block.trailing_zeros() as u8, is_reserved, reservations, keeping })
    }

    /// NSID.
    pub fn nsid(&self) -> u32 {
        self.nsid
    }

    /// The device.
    pub fn device(&self) -> &Opened {
        &self.config.device
    }

    /// What it was asked to be: without what it was given by itself.
    pub fn config(&self) -> &NamespaceConfig {
        &self.config
    }

    /// UUID.
    pub fn uuid(&self) -> Uuid {
        self.config.uuid.unwrap_or(self.config.device.bdev().uuid())
    }

    /// NGUID.
    pub fn nguid(&self) -> [u8; 16] {
        self.config.nguid.unwrap_or(self.uuid().0.to_be_bytes())
    }

    /// EUI64; zeroes are none.
    pub fn eui64(&self) -> [u8; 8] {
        self.config.eui64.unwrap_or_default()
    }

    /// Its ANA group.
    pub fn anagrpid(&self) -> u32 {
        self.config.anagrpid.unwrap_or(self.nsid)
    }

    /// As controllers show it, as large as it is now.
    pub(crate) fn shown(&self) -> target::Namespace {
        let bdev = self.config.device.bdev();
        let reservations = self.reservations.lock();
        target::Namespace {
            blocks: bdev.blocks(),
            shift: self.shift,
            nguid: self.nguid(),
            eui64: self.eui64(),
            uuid: self.uuid().0.to_be_bytes(),
            read_only: self.config.device.mode() == Mode::ReadOnly,
            shared: true,
            zeroes: false,
            boundary: u16::try_from(bdev.shape().optimal_boundary).unwrap_or(0),
            group: self.anagrpid(),
            reservations: reservations.capabilities(),
            persists: reservations.persists(),
        }
    }

    /// The most blocks of a fused compare and write.
    pub(crate) fn fused(&self) -> u16 {
        let bdev = self.config.device.bdev();
        let shape = bdev.shape();
        if shape.kinds.contains(Kind::CompareAndWrite) { shape.most_compare_and_write.min(256) as u16 } else { 0 }
    }

    /// Whether reservations let a host's command through.
    #[inline]
    pub(crate) fn allows(&self, host: &[u8; 16], sqe: &Sqe) -> bool {
        !self.is_reserved.load(Ordering::Acquire) || self.reservations.lock().allows(host, sqe)
    }

    /// Does Reservation Register, Acquire or Release. Whether `kept` will hear if the outcome is
    /// kept.
    pub(crate) fn reserve(
        &self,
        from: target::Sender,
        sqe: &Sqe,
        data: &[u8],
        kept: impl FnOnce(bool) + Send + 'static,
    ) -> Result<(ToOthers, bool), Code> {
        // Before it takes effect, so that nobody overlooks it.
        self.is_reserved.store(true, Ordering::Release);
        self.change(|reservations| reservations.change(from, sqe, data), kept)
    }

    /// Has its reservations outlive a loss of power, or not. Whether `kept` will hear if they do.
    pub(crate) fn persist(&self, persists: bool, kept: impl FnOnce(bool) + Send + 'static) -> Result<bool, Code> {
        self.change(|reservations| reservations.persist(persists), kept).map(|((), keeps)| keeps)
    }

    fn change<R>(
        &self,
        change: impl FnOnce(&mut Reservations) -> Result<R, Code>,
        kept: impl FnOnce(bool) + Send + 'static,
    ) -> Result<(R, bool), Code> {
        let mut reservations = self.reservations.lock();
        let did = reservations.persists();
        let outcome = change(&mut reservations)?;
        let Some(keeping) = self.keeping.as_ref().filter(|_| did || reservations.persists()) else { return Ok((outcome, false)) };
        // Under the lock, so that what is kept last is what happened last.
        keeping.keep(reservations.kept(), kept);
        Ok((outcome, true))
    }

    /// Does Reservation Report.
    pub(crate) fn report(&self, sqe: &Sqe, out: &mut [u8]) -> Result<(), Code> {
        self.reservations.lock().report(sqe, out)
    }
}

/// Whether a command is about reservations.
pub(crate) fn is_of_reservations(opcode: u8) -> bool {
    matches!(opcode, io::RESERVATION_REGISTER | io::RESERVATION_REPORT | io::RESERVATION_ACQUIRE | io::RESERVATION_RELEASE)
}
