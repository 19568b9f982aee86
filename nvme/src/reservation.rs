//! Reservations (NVMe Base 2.0, 7.2 to 7.5 and 8.19), as they are on the wire.

use static_assertions::const_assert_eq;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Data of Reservation Register (7.3): the action is in CDW10 2:0, IEKEY in bit 3, CPTPL in 31:30.
///
/// ```
/// use nvme::reservation::Register;
/// use zerocopy::{FromBytes, IntoBytes};
///
/// let first = Register { current: 0.into(), new: 0xABCD.into() };
/// assert_eq!(Register::read_from_bytes(first.as_bytes()), Ok(first));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Register {
    /// CRKEY: the key there is.
    pub current: U64,
    /// NRKEY: the key there is to be.
    pub new: U64,
}

/// Data of Reservation Acquire (7.2): the action is in CDW10 2:0, IEKEY in bit 3, RTYPE in 15:8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Acquire {
    /// CRKEY: the host's key.
    pub current: U64,
    /// PRKEY: the key whose host is preempted.
    pub preempted: U64,
}

/// Data of Reservation Release (7.4): the action is in CDW10 2:0, IEKEY in bit 3, RTYPE in 15:8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Release {
    /// CRKEY: the host's key.
    pub current: U64,
}

/// Header of what Reservation Report returns (7.5), extended (EDS in CDW11) as fabrics need it,
/// since hosts have identifiers of 16 bytes.
///
/// ```
/// use nvme::reservation::{Kind, Report};
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let report = Report { kind: Kind::WriteExclusive as u8, controllers: 2.into(), ..Report::new_zeroed() };
/// assert_eq!(report.as_bytes()[4..7], [1, 2, 0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Report {
    /// GEN: registrations and preemptions so far.
    pub generation: U32,
    /// RTYPE: a [`Kind`], or 0.
    pub kind: u8,
    /// REGCTL: controllers that follow.
    pub controllers: U16,
    /// Reserved.
    pub reserved1: U16,
    /// PTPLS: whether it outlives a loss of power.
    pub persists: u8,
    /// Reserved.
    pub reserved2: [u8; 54],
}

/// A registered controller, extended (7.5).
///
/// ```
/// use nvme::reservation::Registrant;
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let holder = Registrant { cntlid: 1.into(), status: 1, key: 7.into(), ..Registrant::new_zeroed() };
/// assert_eq!((holder.as_bytes()[2], holder.as_bytes()[8]), (1, 7));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Registrant {
    /// CNTLID.
    pub cntlid: U16,
    /// RCSTS: bit 0, holds the reservation.
    pub status: u8,
    /// Reserved.
    pub reserved1: [u8; 5],
    /// RKEY.
    pub key: U64,
    /// HOSTID.
    pub host: [u8; 16],
    /// Reserved.
    pub reserved2: [u8; 32],
}

const_assert_eq!(size_of::<Register>(), 16);
const_assert_eq!(size_of::<Acquire>(), 16);
const_assert_eq!(size_of::<Release>(), 8);
const_assert_eq!(size_of::<Report>(), 64);
const_assert_eq!(size_of::<Registrant>(), 64);

/// RTYPE: who may still read and write.
///
/// ```
/// use nvme::reservation::Kind;
///
/// assert_eq!(Kind::of(Kind::ExclusiveAccess as u8), Some(Kind::ExclusiveAccess));
/// assert_eq!(Kind::of(0), None, "there is no reservation");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The holder writes, all read.
    WriteExclusive = 1,
    /// The holder writes and reads.
    ExclusiveAccess = 2,
    /// Registrants write, all read.
    WriteExclusiveRegistrants = 3,
    /// Registrants write and read.
    ExclusiveAccessRegistrants = 4,
    /// As 3; every registrant holds it.
    WriteExclusiveAll = 5,
    /// As 4; every registrant holds it.
    ExclusiveAccessAll = 6,
}

impl Kind {
    /// The kind of this RTYPE.
    pub fn of(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::WriteExclusive,
            2 => Self::ExclusiveAccess,
            3 => Self::WriteExclusiveRegistrants,
            4 => Self::ExclusiveAccessRegistrants,
            5 => Self::WriteExclusiveAll,
            6 => Self::ExclusiveAccessAll,
            _ => return None,
        })
    }
}
