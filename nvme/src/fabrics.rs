//! Fabrics commands (NVMe Base 2.0, 6) and properties (3.1.3).

use core::mem::offset_of;

use static_assertions::const_assert_eq;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// FCTYPE: Property Set (6.6).
pub const PROPERTY_SET: u8 = 0x00;
/// FCTYPE: Connect (6.3).
pub const CONNECT: u8 = 0x01;
/// FCTYPE: Property Get (6.5).
pub const PROPERTY_GET: u8 = 0x04;
/// FCTYPE: Authentication Send (6.2).
pub const AUTHENTICATION_SEND: u8 = 0x05;
/// FCTYPE: Authentication Receive (6.1).
pub const AUTHENTICATION_RECEIVE: u8 = 0x06;
/// FCTYPE: Disconnect (6.4).
pub const DISCONNECT: u8 = 0x08;

/// NQN of every discovery subsystem (4.5.1).
pub const DISCOVERY_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";

/// The longest NQN (4.5).
pub const LONGEST_NQN: usize = 223;

/// CNTLID in Connect: whichever controller the subsystem chooses (the dynamic model).
pub const ANY_CONTROLLER: u16 = 0xFFFF;

/// The largest CNTLID that a subsystem may give.
pub const LARGEST_CNTLID: u16 = 0xFFEF;

/// Words of Connect (6.3), CDW10 to CDW15.
///
/// ```
/// use nvme::fabrics::Connect;
/// use zerocopy::FromZeros;
///
/// let admin = Connect { sqsize: 31.into(), kato: 15_000.into(), ..Connect::new_zeroed() };
/// assert_eq!((admin.qid.get(), admin.sqsize.get() + 1), (0, 32));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Connect {
    /// RECFMT; there is 0.
    pub recfmt: U16,
    /// QID: 0 is the admin queue.
    pub qid: U16,
    /// SQSIZE: entries less one.
    pub sqsize: U16,
    /// CATTR: bit 2, no flow control of the submission queue.
    pub cattr: u8,
    /// Ignored.
    pub reserved1: u8,
    /// KATO in milliseconds; of the admin queue.
    pub kato: U32,
    /// Ignored.
    pub reserved2: [u8; 12],
}

/// CATTR: the host does not want SQHD.
pub const DISABLE_SQ_FLOW: u8 = 1 << 2;

/// Data of Connect (6.3).
///
/// ```
/// use nvme::fabrics::{ConnectData, LONGEST_NQN, nqn};
/// use zerocopy::{FromBytes, IntoBytes};
///
/// let sent = ConnectData::new([7; 16], 1, "nqn.2016-06.io.spdk:cnode1", "nqn.2014-08.org.example:host").expect("the names fit");
/// let came = ConnectData::read_from_bytes(sent.as_bytes()).expect("1024 bytes");
/// assert_eq!((came.cntlid.get(), nqn(&came.subnqn)), (1, Some("nqn.2016-06.io.spdk:cnode1")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConnectData {
    /// HOSTID.
    pub hostid: [u8; 16],
    /// CNTLID: [`ANY_CONTROLLER`] for an admin queue, that of the controller for the others.
    pub cntlid: U16,
    /// Ignored.
    pub reserved1: [u8; 238],
    /// SUBNQN, ended by a zero.
    pub subnqn: [u8; 256],
    /// HOSTNQN, ended by a zero.
    pub hostnqn: [u8; 256],
    /// Ignored.
    pub reserved2: [u8; 256],
}

impl core::fmt::Debug for ConnectData {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ConnectData {{ cntlid: {}, subnqn: {:?}, hostnqn: {:?} }}", self.cntlid, nqn(&self.subnqn), nqn(&self.hostnqn))
    }
}

impl ConnectData {
    /// For this controller of this subsystem, from this host. `None` if a name is too long.
    ///
    /// ```
    /// use nvme::fabrics::{ANY_CONTROLLER, ConnectData, DISCOVERY_NQN, nqn};
    ///
    /// let host = "nqn.2014-08.org.nvmexpress:uuid:0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11";
    /// let data = ConnectData::new([1; 16], ANY_CONTROLLER, DISCOVERY_NQN, host).expect("the names fit");
    /// assert_eq!(nqn(&data.hostnqn), Some(host));
    /// assert!(ConnectData::new([1; 16], ANY_CONTROLLER, DISCOVERY_NQN, &"n".repeat(224)).is_none());
    /// ```
    pub fn new(hostid: [u8; 16], cntlid: u16, subnqn: &str, hostnqn: &str) -> Option<Self> {
        let mut data = Self { hostid, cntlid: cntlid.into(), ..Self::new_zeroed() };
        for (field, name) in [(&mut data.subnqn, subnqn), (&mut data.hostnqn, hostnqn)] {
            if name.len() > LONGEST_NQN {
                return None;
            }
            field[..name.len()].copy_from_slice(name.as_bytes());
        }
        Some(data)
    }
}

/// The name in a field of 256 bytes: UTF-8, not empty, at most [`LONGEST_NQN`] bytes, ended by a
/// zero (4.5). Names get into logs, so control characters are refused.
///
/// ```
/// use nvme::fabrics::nqn;
///
/// let mut field = [0; 256];
/// assert_eq!(nqn(&field), None, "it is empty");
/// field[..8].copy_from_slice(b"nqn.here");
/// assert_eq!(nqn(&field), Some("nqn.here"));
/// assert_eq!(nqn(&[b'n'; 256]), None, "it has no end");
/// ```
pub fn nqn(field: &[u8; 256]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0)?;
    let name = field.get(..end).filter(|name| !name.is_empty() && name.len() <= LONGEST_NQN)?;
    core::str::from_utf8(name).ok().filter(|name| !name.contains(char::is_control))
}

/// DW0 of an accepted Connect (6.3): the controller, and what authentication it wants (AUTHREQ).
///
/// ```
/// use nvme::fabrics::{accepted, asks_who};
///
/// assert!(!asks_who(accepted(1, 0)) && asks_who(accepted(1, 0b10)));
/// ```
pub fn accepted(cntlid: u16, authreq: u16) -> u64 {
    u64::from(authreq) << 16 | u64::from(cntlid)
}

/// Whether the DW0 of an accepted Connect wants the host to show who it is (AUTHREQ.ATR).
///
/// ```
/// use nvme::fabrics::{accepted, asks_who};
///
/// let result = accepted(5, 1 << 1); // ATR
/// assert!(asks_who(result));
/// assert_eq!(result as u16, 5, "the controller");
/// ```
pub fn asks_who(result: u64) -> bool {
    result >> 16 & u64::from(AUTHREQ_ATR) != 0
}

/// ATR of AUTHREQ.
pub(crate) const AUTHREQ_ATR: u16 = 1 << 1;

/// DW0 of Connect Invalid Parameters (6.3): where the first one is, in the command or in its data.
///
/// ```
/// use nvme::fabrics::{Parameter, invalid};
///
/// assert_eq!(invalid(Parameter::CNTLID), 1 << 16 | 16, "in the data, at byte 16");
/// ```
pub fn invalid(at: Parameter) -> u64 {
    let (iattr, ipo) = match at {
        Parameter::Command(ipo) => (0, ipo),
        Parameter::Data(ipo) => (1, ipo),
    };
    iattr << 16 | u64::from(ipo)
}

/// A parameter that Connect does not accept.
///
/// ```
/// use nvme::fabrics::Parameter;
///
/// assert_eq!(Parameter::QID, Parameter::Command(42));
/// assert_eq!(Parameter::SUBNQN, Parameter::Data(256));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// Offset in the submission queue entry.
    Command(u16),
    /// Offset in the data.
    Data(u16),
}

impl Parameter {
    /// QID.
    pub const QID: Self = Self::Command(40 + offset_of!(Connect, qid) as u16);
    /// SQSIZE.
    pub const SQSIZE: Self = Self::Command(40 + offset_of!(Connect, sqsize) as u16);
    /// HOSTID.
    pub const HOSTID: Self = Self::Data(offset_of!(ConnectData, hostid) as u16);
    /// CNTLID.
    pub const CNTLID: Self = Self::Data(offset_of!(ConnectData, cntlid) as u16);
    /// SUBNQN.
    pub const SUBNQN: Self = Self::Data(offset_of!(ConnectData, subnqn) as u16);
    /// HOSTNQN.
    pub const HOSTNQN: Self = Self::Data(offset_of!(ConnectData, hostnqn) as u16);
}

/// Words of Property Get and Property Set (6.5, 6.6), CDW10 to CDW15.
///
/// ```
/// use nvme::Sqe;
/// use nvme::fabrics::{self, Property, cc, property};
/// use zerocopy::FromZeros;
///
/// let mut enable = Sqe::fabrics(fabrics::PROPERTY_SET);
/// let value = u64::from(cc::EN | cc::ENTRY_SIZES);
/// enable.set_words(&Property { offset: property::CC.into(), value: value.into(), ..Property::new_zeroed() });
/// assert_eq!(enable.cdw11.get(), property::CC);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Property {
    /// ATTRIB: bits 2:0 are 000b for 4 bytes, 001b for 8.
    pub attrib: u8,
    /// Ignored.
    pub reserved1: [u8; 3],
    /// OFST: one of [`property`].
    pub offset: U32,
    /// VALUE, of Property Set.
    pub value: U64,
    /// Ignored.
    pub reserved2: U64,
}

/// Words of Disconnect (6.4), CDW10 to CDW15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Disconnect {
    /// RECFMT; there is 0.
    pub recfmt: U16,
    /// Ignored.
    pub reserved: [u8; 22],
}

const_assert_eq!(size_of::<Connect>(), 24);
const_assert_eq!(size_of::<Property>(), 24);
const_assert_eq!(size_of::<Disconnect>(), 24);
const_assert_eq!(size_of::<ConnectData>(), 1024);

/// Offsets of properties (3.1.3).
pub mod property {
    /// Controller capabilities, 8 bytes.
    pub const CAP: u32 = 0x00;
    /// Version, 4 bytes.
    pub const VS: u32 = 0x08;
    /// Controller configuration, 4 bytes.
    pub const CC: u32 = 0x14;
    /// Controller status, 4 bytes.
    pub const CSTS: u32 = 0x1C;
    /// Subsystem reset, 4 bytes.
    pub const NSSR: u32 = 0x20;
}

/// CC (3.1.3.5).
pub mod cc {
    /// EN.
    pub const EN: u32 = 1 << 0;
    /// CSS: which command sets; 000b is NVM.
    pub const CSS: u32 = 0b111 << 4;
    /// MPS: memory page size.
    pub const MPS: u32 = 0xF << 7;
    /// AMS: arbitration.
    pub const AMS: u32 = 0b111 << 11;
    /// SHN: shutdown notification.
    pub const SHN: u32 = 0b11 << 14;
    /// IOSQES and IOCQES as they are to be: 2^6 and 2^4 bytes.
    pub const ENTRY_SIZES: u32 = 6 << 16 | 4 << 20;
    /// Where IOSQES and IOCQES are.
    pub const ENTRY_SIZES_MASK: u32 = 0xFF << 16;
}

/// CSTS (3.1.3.6).
pub mod csts {
    /// RDY.
    pub const RDY: u32 = 1 << 0;
    /// CFS: fatal status.
    pub const CFS: u32 = 1 << 1;
    /// SHST: shutdown complete.
    pub const SHUTDOWN_COMPLETE: u32 = 0b10 << 2;
    /// Where SHST is.
    pub const SHST: u32 = 0b11 << 2;
}

/// CAP (3.1.3.1).
pub mod cap {
    /// CQR: contiguous queues; must be set on fabrics.
    pub const CQR: u64 = 1 << 16;
    /// CSS: the NVM command set.
    pub const CSS_NVM: u64 = 1 << 37;

    /// CAP of a controller whose queues have `entries`, and which is ready within `half_seconds`.
    ///
    /// ```
    /// use nvme::fabrics::cap;
    ///
    /// let cap = cap::new(128, 30);
    /// assert_eq!((cap::mqes(cap), cap & cap::CQR), (127, cap::CQR));
    /// ```
    pub fn new(entries: u16, half_seconds: u8) -> u64 {
        u64::from(entries - 1) | CQR | u64::from(half_seconds) << 24 | CSS_NVM
    }

    /// MQES: entries of the longest queue, less one.
    pub fn mqes(cap: u64) -> u16 {
        cap as u16
    }
}
