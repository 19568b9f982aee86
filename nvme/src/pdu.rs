//! The PDUs of NVMe/TCP, as they are on the wire (NVMe/TCP 1.0, 3.6.2). Any bytes of the right
//! length are one of each: what the fields may be is checked by the [`Decoder`](crate::Decoder).

use core::mem::offset_of;

use static_assertions::const_assert_eq;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::command::{Cqe, Sqe};

/// Bytes of a header digest or a data digest.
pub const DIGEST: usize = 4;

/// Bytes of the longest header: that of ICReq and ICResp.
pub const LONGEST_HEADER: usize = 128;

/// The most that a controller or host may ask data to be aligned to: (31 + 1) dwords.
pub const LARGEST_ALIGNMENT: u8 = 31;

/// The least that MAXH2CDATA may be.
pub const LEAST_MAXH2CDATA: u32 = 4096;

/// HDGSTF: a header digest follows the header.
pub const HEADER_DIGEST: u8 = 1 << 0;

/// DDGSTF: a data digest follows the data.
pub const DATA_DIGEST: u8 = 1 << 1;

/// LAST_PDU: the last of the data that a R2T asked for, or that a command reads.
pub const LAST: u8 = 1 << 2;

/// SUCCESS: the command is done, no response follows.
pub const SUCCESS: u8 = 1 << 3;

/// PDU-Type (3.6.2.1).
///
/// ```
/// use nvme::pdu::Kind;
///
/// assert_eq!((Kind::of(0x09), Kind::of(0x08)), (Some(Kind::R2t), None));
/// assert!(Kind::H2cData.is_from_host() && !Kind::IcReq.has_digests());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Initialize connection request.
    IcReq = 0x00,
    /// Initialize connection response.
    IcResp = 0x01,
    /// Host to controller terminate connection request.
    H2cTermReq = 0x02,
    /// Controller to host terminate connection request.
    C2hTermReq = 0x03,
    /// Command capsule.
    CapsuleCmd = 0x04,
    /// Response capsule.
    CapsuleResp = 0x05,
    /// Host to controller data.
    H2cData = 0x06,
    /// Controller to host data.
    C2hData = 0x07,
    /// Ready to transfer.
    R2t = 0x09,
}

impl Kind {
    /// The kind that `value` stands for; `None` if it is reserved.
    #[inline]
    pub fn of(value: u8) -> Option<Self> {
        Some(match value {
            0x00 => Self::IcReq,
            0x01 => Self::IcResp,
            0x02 => Self::H2cTermReq,
            0x03 => Self::C2hTermReq,
            0x04 => Self::CapsuleCmd,
            0x05 => Self::CapsuleResp,
            0x06 => Self::H2cData,
            0x07 => Self::C2hData,
            0x09 => Self::R2t,
            _ => return None,
        })
    }

    /// HLEN: bytes of the header, a digest not counted.
    ///
    /// ```
    /// use nvme::pdu::Kind;
    ///
    /// assert_eq!((Kind::IcReq.header_len(), Kind::CapsuleCmd.header_len(), Kind::R2t.header_len()), (128, 72, 24));
    /// ```
    #[inline]
    pub fn header_len(self) -> usize {
        match self {
            Self::IcReq => size_of::<IcReq>(),
            Self::IcResp => size_of::<IcResp>(),
            Self::H2cTermReq | Self::C2hTermReq => size_of::<TermReq>(),
            Self::CapsuleCmd => size_of::<CapsuleCmd>(),
            Self::CapsuleResp => size_of::<CapsuleResp>(),
            Self::H2cData => size_of::<H2cData>(),
            Self::C2hData => size_of::<C2hData>(),
            Self::R2t => size_of::<R2t>(),
        }
    }

    /// Whether it comes from the host.
    #[inline]
    pub fn is_from_host(self) -> bool {
        matches!(self, Self::IcReq | Self::H2cTermReq | Self::CapsuleCmd | Self::H2cData)
    }

    /// Whether digests belong to it, once agreed. Those that open or end a connection have none.
    #[inline]
    pub fn has_digests(self) -> bool {
        !matches!(self, Self::IcReq | Self::IcResp | Self::H2cTermReq | Self::C2hTermReq)
    }
}

/// Common header (3.6.2.1).
///
/// ```
/// use nvme::pdu::{CommonHeader, Kind};
/// use zerocopy::FromBytes;
///
/// let bytes = [0x04, 0, 72, 0, 72, 0, 0, 0];
/// assert_eq!(CommonHeader::read_from_bytes(&bytes), Ok(CommonHeader::new(Kind::CapsuleCmd)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CommonHeader {
    /// PDU-Type, a [`Kind`].
    pub kind: u8,
    /// FLAGS: [`HEADER_DIGEST`], [`DATA_DIGEST`], [`LAST`], [`SUCCESS`].
    pub flags: u8,
    /// HLEN: bytes of the header, its digest not counted.
    pub hlen: u8,
    /// PDO: where the data begins, from the first byte of the PDU.
    pub pdo: u8,
    /// PLEN: bytes of the whole PDU.
    pub plen: U32,
}

/// ICReq (3.6.2.2).
///
/// ```
/// use nvme::pdu::{DATA_DIGEST, HEADER_DIGEST, IcReq};
/// use zerocopy::IntoBytes;
///
/// let request = IcReq::new(0, 0b11, 0);
/// assert_eq!((request.as_bytes().len(), request.as_bytes()[11]), (128, 0b11));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IcReq {
    /// Common header.
    pub ch: CommonHeader,
    /// PFV: version of the PDU format; there is 0.
    pub pfv: U16,
    /// HPDA: alignment of data that the host wants, in dwords less one.
    pub hpda: u8,
    /// DGST: bit 0 header digest, bit 1 data digest.
    pub dgst: u8,
    /// MAXR2T: R2Ts of one command that may be under way, less one.
    pub maxr2t: U32,
    /// Ignored.
    pub reserved: [u8; 112],
}

/// ICResp (3.6.2.3).
///
/// ```
/// use nvme::pdu::{IcResp, LEAST_MAXH2CDATA};
///
/// let response = IcResp::new(0, 0b01, 128 << 10);
/// assert!(response.dgst == 0b01 && response.maxh2cdata.get() >= LEAST_MAXH2CDATA);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IcResp {
    /// Common header.
    pub ch: CommonHeader,
    /// PFV.
    pub pfv: U16,
    /// CPDA: alignment of data that the controller wants, in dwords less one.
    pub cpda: u8,
    /// DGST: which digests are used from here on.
    pub dgst: u8,
    /// MAXH2CDATA: the most data of one H2CData.
    pub maxh2cdata: U32,
    /// Ignored.
    pub reserved: [u8; 112],
}

/// H2CTermReq and C2HTermReq (3.6.2.4, 3.6.2.5), without the copy of the header that follows.
///
/// ```
/// use nvme::Fes;
/// use nvme::pdu::{CommonHeader, Kind, TermReq};
/// use zerocopy::FromZeros;
///
/// let ch = CommonHeader::new(Kind::H2cTermReq);
/// let end = TermReq { ch, fes: (Fes::InvalidHeaderField as u16).into(), fei: 2.into(), ..TermReq::new_zeroed() };
/// assert_eq!((end.fes.get(), end.fei.get()), (1, 2), "the byte that is wrong");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TermReq {
    /// Common header.
    pub ch: CommonHeader,
    /// FES: fatal error status, a [`Fes`](crate::Fes).
    pub fes: U16,
    /// FEI: fatal error information: the offset of a field, or the digest that was wrong.
    pub fei: U32,
    /// Ignored.
    pub reserved: [u8; 10],
}

/// CapsuleCmd (3.6.2.6).
///
/// ```
/// use nvme::Sqe;
/// use nvme::command::io;
/// use nvme::pdu::{CapsuleCmd, CommonHeader, Kind};
/// use zerocopy::IntoBytes;
///
/// let pdu = CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe: Sqe::new(io::FLUSH, 1) };
/// assert_eq!((pdu.as_bytes().len(), pdu.ch.plen.get()), (72, 72));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CapsuleCmd {
    /// Common header.
    pub ch: CommonHeader,
    /// CCSQE.
    pub sqe: Sqe,
}

/// CapsuleResp (3.6.2.7).
///
/// ```
/// use nvme::pdu::{CapsuleResp, CommonHeader, Kind};
/// use nvme::{Cqe, Status};
/// use zerocopy::{FromBytes, FromZeros, IntoBytes};
///
/// let sent = CapsuleResp { ch: CommonHeader::new(Kind::CapsuleResp), cqe: Cqe { cid: 3.into(), ..Cqe::new_zeroed() } };
/// let came = CapsuleResp::read_from_bytes(sent.as_bytes()).expect("it is as long");
/// assert_eq!((came.cqe.cid.get(), came.cqe.status), (3, Status::SUCCESS));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CapsuleResp {
    /// Common header.
    pub ch: CommonHeader,
    /// RCCQE.
    pub cqe: Cqe,
}

/// H2CData (3.6.2.8).
///
/// ```
/// use nvme::pdu::{CommonHeader, H2cData, Kind, LAST};
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let ch = CommonHeader { flags: LAST, ..CommonHeader::new(Kind::H2cData) };
/// let data = H2cData { ch, cccid: 5.into(), ttag: 1.into(), datal: 4096.into(), ..H2cData::new_zeroed() };
/// assert_eq!(data.as_bytes()[8..12], [5, 0, 1, 0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct H2cData {
    /// Common header.
    pub ch: CommonHeader,
    /// CCCID: the command.
    pub cccid: U16,
    /// TTAG: the tag of the R2T.
    pub ttag: U16,
    /// DATAO: offset within the command's data.
    pub datao: U32,
    /// DATAL: bytes of data.
    pub datal: U32,
    /// Ignored.
    pub reserved: U32,
}

/// C2HData (3.6.2.9).
///
/// ```
/// use nvme::pdu::{C2hData, CommonHeader, Kind, LAST, SUCCESS};
/// use zerocopy::FromZeros;
///
/// // The last data of a read, and no response behind it.
/// let ch = CommonHeader { flags: LAST | SUCCESS, ..CommonHeader::new(Kind::C2hData) };
/// let data = C2hData { ch, datao: 4096.into(), datal: 4096.into(), ..C2hData::new_zeroed() };
/// assert_eq!(data.datao.get() + data.datal.get(), 8192);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct C2hData {
    /// Common header.
    pub ch: CommonHeader,
    /// CCCID: the command.
    pub cccid: U16,
    /// Ignored.
    pub reserved1: U16,
    /// DATAO: offset within the command's data.
    pub datao: U32,
    /// DATAL: bytes of data.
    pub datal: U32,
    /// Ignored.
    pub reserved2: U32,
}

/// R2T (3.6.2.10).
///
/// ```
/// use nvme::pdu::{CommonHeader, Kind, R2t};
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let ch = CommonHeader::new(Kind::R2t);
/// let ask = R2t { ch, cccid: 5.into(), r2tl: 4096.into(), ..R2t::new_zeroed() };
/// assert_eq!(ask.as_bytes()[16..20], 4096u32.to_le_bytes());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct R2t {
    /// Common header.
    pub ch: CommonHeader,
    /// CCCID: the command.
    pub cccid: U16,
    /// TTAG: what the data is to be sent under.
    pub ttag: U16,
    /// R2TO: offset within the command's data.
    pub r2to: U32,
    /// R2TL: bytes that are asked for.
    pub r2tl: U32,
    /// Ignored.
    pub reserved: U32,
}

const_assert_eq!(size_of::<CommonHeader>(), 8);
const_assert_eq!(size_of::<IcReq>(), 128);
const_assert_eq!(size_of::<IcResp>(), 128);
const_assert_eq!(size_of::<TermReq>(), 24);
const_assert_eq!(offset_of!(TermReq, fei), 10);
const_assert_eq!(size_of::<CapsuleCmd>(), 72);
const_assert_eq!(size_of::<CapsuleResp>(), 24);
const_assert_eq!(size_of::<H2cData>(), 24);
const_assert_eq!(size_of::<C2hData>(), 24);
const_assert_eq!(size_of::<R2t>(), 24);

impl CommonHeader {
    /// A header without data and digests.
    #[inline]
    pub fn new(kind: Kind) -> Self {
        let len = kind.header_len();
        Self { kind: kind as u8, flags: 0, hlen: len as u8, pdo: 0, plen: (len as u32).into() }
    }
}

impl IcReq {
    /// A request of this version.
    pub fn new(hpda: u8, dgst: u8, maxr2t: u32) -> Self {
        Self { ch: CommonHeader::new(Kind::IcReq), hpda, dgst, maxr2t: maxr2t.into(), ..Self::new_zeroed() }
    }
}

impl IcResp {
    /// A response of this version.
    pub fn new(cpda: u8, dgst: u8, maxh2cdata: u32) -> Self {
        Self { ch: CommonHeader::new(Kind::IcResp), cpda, dgst, maxh2cdata: maxh2cdata.into(), ..Self::new_zeroed() }
    }
}
