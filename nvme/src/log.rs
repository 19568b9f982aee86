//! What Get Log Page returns (NVMe Base 2.0, 5.16), and the events that say when to look (5.2).

use core::mem::offset_of;

use static_assertions::const_assert_eq;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::command::Sqe;

/// LID (5.16.1).
pub mod lid {
    /// Supported log pages.
    pub const SUPPORTED: u8 = 0x00;
    /// Error information.
    pub const ERRORS: u8 = 0x01;
    /// SMART / health.
    pub const SMART: u8 = 0x02;
    /// Firmware slots.
    pub const FIRMWARE: u8 = 0x03;
    /// Changed namespaces.
    pub const CHANGED_NAMESPACES: u8 = 0x04;
    /// Commands supported and effects.
    pub const EFFECTS: u8 = 0x05;
    /// Asymmetric namespace access.
    pub const ANA: u8 = 0x0C;
    /// Discovery.
    pub const DISCOVERY: u8 = 0x70;
    /// Reservation notification.
    pub const RESERVATIONS: u8 = 0x80;
}

/// Words of Get Log Page, CDW10 to CDW15.
///
/// ```
/// use nvme::Sqe;
/// use nvme::command::ALL_NAMESPACES;
/// use nvme::log::{GetLogPage, lid};
///
/// let sqe = Sqe::get_log_page(ALL_NAMESPACES, &GetLogPage::new(lid::DISCOVERY, GetLogPage::RETAIN, 0, 1024));
/// assert_eq!(sqe.words::<GetLogPage>().length(), 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GetLogPage {
    /// LID.
    pub lid: u8,
    /// Bits 3:0 LSP; bit 7 RAE, the event stays.
    pub flags: u8,
    /// NUMDL: dwords less one, low half.
    pub numdl: U16,
    /// NUMDU: high half.
    pub numdu: U16,
    /// LSI.
    pub lsi: U16,
    /// LPO: offset in bytes.
    pub offset: U64,
    /// UUID index and offset type.
    pub reserved: [u8; 3],
    /// CSI.
    pub csi: u8,
    /// CDW15.
    pub cdw15: U32,
}

impl GetLogPage {
    /// RAE: the event stays.
    pub const RETAIN: u8 = 1 << 7;

    /// `length` bytes, a multiple of four, at `offset`.
    pub fn new(lid: u8, flags: u8, offset: u64, length: u32) -> Self {
        let dwords = (length / 4).saturating_sub(1);
        let (numdl, numdu) = ((dwords as u16).into(), ((dwords >> 16) as u16).into());
        Self { lid, flags, numdl, numdu, offset: offset.into(), ..Self::new_zeroed() }
    }

    /// Bytes that are asked for.
    ///
    /// ```
    /// use nvme::log::{GetLogPage, lid};
    ///
    /// // More dwords than the low half counts.
    /// assert_eq!(GetLogPage::new(lid::ERRORS, 0, 0, 1 << 20).length(), 1 << 20);
    /// ```
    pub fn length(&self) -> u64 {
        ((u64::from(self.numdu.get()) << 16 | u64::from(self.numdl.get())) + 1) * 4
    }
}

/// SMART / health information (5.16.1.3).
///
/// ```
/// use nvme::log::Smart;
/// use zerocopy::FromZeros;
///
/// let health = Smart { temperature: 300.into(), spare: 100, ..Smart::new_zeroed() };
/// assert_eq!(health.temperature.get() - 273, 27, "degrees Celsius");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Smart {
    /// Critical warnings.
    pub warning: u8,
    /// Composite temperature, kelvin.
    pub temperature: U16,
    /// Available spare, percent.
    pub spare: u8,
    /// Available spare threshold, percent.
    pub spare_threshold: u8,
    /// Percentage used.
    pub used: u8,
    /// Endurance group warnings and reserved.
    pub reserved1: [u8; 26],
    /// Data units read and written, host reads and writes, busy minutes, power cycles, power-on
    /// hours, unsafe shutdowns, media errors, errors: each of 16 bytes.
    pub counters: [[u8; 16]; 10],
    /// Times and sensors, and reserved.
    pub rest: [u8; 320],
}

/// Firmware slots (5.16.1.4).
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FirmwareSlots {
    /// AFI: bits 2:0, the active slot.
    pub active: u8,
    /// Reserved.
    pub reserved1: [u8; 7],
    /// FRS1 to FRS7.
    pub revisions: [[u8; 8]; 7],
    /// Reserved.
    pub reserved2: [u8; 448],
}

/// Commands supported and effects (5.16.1.6).
///
/// ```
/// use nvme::command::io;
/// use nvme::log::Effects;
/// use zerocopy::FromZeros;
///
/// let mut effects = Effects::new_zeroed();
/// effects.io[usize::from(io::WRITE)] = (Effects::SUPPORTED | Effects::CHANGES_BLOCKS).into();
/// assert_eq!(effects.io[usize::from(io::READ)].get() & Effects::SUPPORTED, 0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Effects {
    /// Admin commands, by opcode.
    pub admin: [U32; 256],
    /// I/O commands, by opcode.
    pub io: [U32; 256],
    /// Reserved.
    pub reserved: [u8; 2048],
}

impl Effects {
    /// CSUPP: the command is there.
    pub const SUPPORTED: u32 = 1 << 0;
    /// LBCC: it changes blocks.
    pub const CHANGES_BLOCKS: u32 = 1 << 1;
}

/// Header of the ANA log (5.16.1.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AnaHeader {
    /// Changes so far.
    pub changes: U64,
    /// Group descriptors that follow.
    pub groups: U16,
    /// Reserved.
    pub reserved: [u8; 6],
}

/// Descriptor of an ANA group (5.16.1.13); its NSIDs follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AnaGroup {
    /// ANAGRPID.
    pub id: U32,
    /// How many NSIDs follow.
    pub namespaces: U32,
    /// Changes so far.
    pub changes: U64,
    /// An [`AnaState`].
    pub state: u8,
    /// Reserved.
    pub reserved: [u8; 15],
}

/// RGO in LSP of the ANA log: groups only, no NSIDs.
pub const ANA_GROUPS_ONLY: u8 = 1 << 0;

/// ANA state (8.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AnaState {
    /// The best way to the namespace.
    Optimized = 0x01,
    /// A way.
    NonOptimized = 0x02,
    /// No way for now.
    Inaccessible = 0x03,
    /// No way any more.
    PersistentLoss = 0x04,
    /// About to change.
    Change = 0x0F,
}

/// Header of the discovery log (5.16.1.23).
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiscoveryHeader {
    /// GENCTR: changes whenever the rest has.
    pub generation: U64,
    /// NUMREC: entries that follow.
    pub records: U64,
    /// RECFMT; there is 0.
    pub recfmt: U16,
    /// Reserved.
    pub reserved: [u8; 1006],
}

/// Entry of the discovery log (5.16.1.23).
///
/// ```
/// use nvme::identify::text;
/// use nvme::log::DiscoveryEntry;
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let entry = DiscoveryEntry { trsvcid: text("4420"), traddr: text("10.0.0.1"), ..DiscoveryEntry::new_zeroed() };
/// assert_eq!(entry.as_bytes()[512..520], *b"10.0.0.1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiscoveryEntry {
    /// TRTYPE: 1 RDMA, 3 TCP.
    pub trtype: u8,
    /// ADRFAM: 1 IPv4, 2 IPv6.
    pub adrfam: u8,
    /// SUBTYPE: 1 referral, 2 NVM, 3 this discovery subsystem.
    pub subtype: u8,
    /// TREQ: bits 1:0 secure channel, bit 2 no flow control possible.
    pub treq: u8,
    /// PORTID.
    pub portid: U16,
    /// CNTLID: FFFFh, any.
    pub cntlid: U16,
    /// ASQSZ: the longest admin submission queue.
    pub asqsz: U16,
    /// EFLAGS.
    pub eflags: U16,
    /// Reserved.
    pub reserved1: [u8; 20],
    /// TRSVCID: the port, padded with spaces.
    pub trsvcid: [u8; 32],
    /// Reserved.
    pub reserved2: [u8; 192],
    /// SUBNQN, ended by a zero.
    pub subnqn: [u8; 256],
    /// TRADDR, padded with spaces.
    pub traddr: [u8; 256],
    /// TSAS: SECTYPE in the first byte.
    pub tsas: [u8; 256],
}

/// Reservation notification (5.16.1.24): the oldest that was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ReservationPage {
    /// Notices so far, this one included; 0 where there is none.
    pub count: U64,
    /// A [`Notice`], or 0.
    pub kind: u8,
    /// Notices behind this one, 255 at the most.
    pub behind: u8,
    /// Reserved.
    pub reserved1: [u8; 2],
    /// Of which namespace.
    pub nsid: U32,
    /// Reserved.
    pub reserved2: [u8; 48],
}

/// What a reservation notification tells a host (5.16.1.24).
///
/// ```
/// use nvme::log::Notice;
///
/// assert_eq!(Notice::ReservationReleased.bit(), 1 << 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Notice {
    /// Another host has ended its registration.
    RegistrationPreempted = 1,
    /// What others held is held no longer.
    ReservationReleased = 2,
    /// Another host has cleared all of it.
    ReservationPreempted = 3,
}

impl Notice {
    /// Its bit in feature 82h, which keeps it away (5.27.1.25).
    pub fn bit(self) -> u32 {
        1 << self as u8
    }
}

const_assert_eq!(size_of::<ReservationPage>(), 64);
const_assert_eq!(size_of::<GetLogPage>(), 24);
const_assert_eq!(size_of::<Smart>(), 512);
const_assert_eq!(offset_of!(Smart, counters), 32);
const_assert_eq!(size_of::<FirmwareSlots>(), 512);
const_assert_eq!(size_of::<Effects>(), 4096);
const_assert_eq!(size_of::<AnaHeader>(), 16);
const_assert_eq!(size_of::<AnaGroup>(), 32);
const_assert_eq!(size_of::<DiscoveryHeader>(), 1024);
const_assert_eq!(size_of::<DiscoveryEntry>(), 1024);
const_assert_eq!(offset_of!(DiscoveryEntry, trsvcid), 32);
const_assert_eq!(offset_of!(DiscoveryEntry, traddr), 512);

/// Event of an Asynchronous Event Request (5.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Namespaces came, went or grew: see [`lid::CHANGED_NAMESPACES`].
    Namespaces,
    /// ANA states changed: see [`lid::ANA`].
    Ana,
    /// The discovery log changed: see [`lid::DISCOVERY`].
    Discovery,
    /// Something was done to a reservation: see [`lid::RESERVATIONS`].
    Reservations,
}

impl Event {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Namespaces, Self::Ana, Self::Discovery, Self::Reservations];

    /// DW0 of the completion: type, information and log page.
    ///
    /// ```
    /// use nvme::log::{Event, lid};
    ///
    /// let dw0 = Event::Ana.dw0();
    /// assert_eq!((dw0 >> 16, Event::of(dw0)), (u32::from(lid::ANA), Some(Event::Ana)));
    /// ```
    pub fn dw0(self) -> u32 {
        const NOTICE: u32 = 0x2;
        const OF_COMMAND_SET: u32 = 0x6;
        let (kind, info, lid) = match self {
            Self::Namespaces => (NOTICE, 0x00, lid::CHANGED_NAMESPACES),
            Self::Ana => (NOTICE, 0x03, lid::ANA),
            Self::Discovery => (NOTICE, 0xF0, lid::DISCOVERY),
            Self::Reservations => (OF_COMMAND_SET, 0x00, lid::RESERVATIONS),
        };
        u32::from(lid) << 16 | info << 8 | kind
    }

    /// The event that DW0 tells of.
    pub fn of(dw0: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.dw0() == dw0)
    }

    /// Its bit in OAES and in feature 0Bh; none if it always comes.
    pub fn bit(self) -> u32 {
        match self {
            Self::Namespaces => 1 << 8,
            Self::Ana => 1 << 11,
            Self::Discovery => 1 << 31,
            Self::Reservations => 0,
        }
    }

    /// The log page that, once read, lets it come again.
    pub fn lid(self) -> u8 {
        (self.dw0() >> 16) as u8
    }
}

/// Feature identifiers of Get and Set Features (5.15, 5.27).
pub mod feature {
    /// Arbitration.
    pub const ARBITRATION: u8 = 0x01;
    /// Power management.
    pub const POWER: u8 = 0x02;
    /// Temperature threshold.
    pub const TEMPERATURE: u8 = 0x04;
    /// Error recovery.
    pub const ERROR_RECOVERY: u8 = 0x05;
    /// Volatile write cache.
    pub const WRITE_CACHE: u8 = 0x06;
    /// Number of queues.
    pub const QUEUES: u8 = 0x07;
    /// Write atomicity.
    pub const ATOMICITY: u8 = 0x0A;
    /// Asynchronous event configuration.
    pub const EVENTS: u8 = 0x0B;
    /// Keep alive timer.
    pub const KEEP_ALIVE: u8 = 0x0F;
    /// Host identifier.
    pub const HOST_ID: u8 = 0x81;
    /// Reservation notification mask.
    pub const RESERVATION_MASK: u8 = 0x82;
    /// Reservation persistence.
    pub const RESERVATION_PERSISTENCE: u8 = 0x83;
}

/// Writes a log, of which a host may want any part, without having all of it at once: what falls
/// into the wanted part is kept.
#[derive(Debug)]
pub struct Window<'a> {
    /// Where in the log the wanted part begins.
    offset: u64,
    out: &'a mut [u8],
    /// Bytes of the log so far.
    at: u64,
}

impl<'a> Window<'a> {
    /// The part at `offset` of a log goes to `out`, which is zeroed where the log has ended.
    pub fn new(offset: u64, out: &'a mut [u8]) -> Self {
        out.fill(0);
        Self { offset, out, at: 0 }
    }

    /// The next bytes of the log.
    pub fn put(&mut self, bytes: &[u8]) {
        let (begin, end) = (self.at, self.at.saturating_add(bytes.len() as u64));
        self.at = end;
        let from = begin.max(self.offset);
        let to = end.min(self.offset.saturating_add(self.out.len() as u64));
        if from < to {
            let source = &bytes[(from - begin) as usize..(to - begin) as usize];
            self.out[(from - self.offset) as usize..(to - self.offset) as usize].copy_from_slice(source);
        }
    }

    /// Bytes of the log so far.
    pub fn length(&self) -> u64 {
        self.at
    }

    /// Whether what comes next can no longer be in the wanted part.
    pub fn is_full(&self) -> bool {
        self.at >= self.offset.saturating_add(self.out.len() as u64)
    }
}

impl Sqe {
    /// Get Log Page of `length` bytes at `offset`.
    pub fn get_log_page(nsid: u32, page: &GetLogPage) -> Self {
        let mut sqe = Self::new(crate::command::admin::GET_LOG_PAGE, nsid);
        sqe.set_words(page);
        sqe
    }
}
