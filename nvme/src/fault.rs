//! What ends a connection, and how the peer is told (NVMe/TCP 1.0, 3.5).

use core::mem::offset_of;

use crate::pdu::{CommonHeader, H2cData, Kind};
use thiserror::Error;

/// Fatal error status (3.6.2.4, 3.6.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Fes {
    /// A field of a header is wrong; FEI is its offset.
    InvalidHeaderField = 0x01,
    /// A PDU came when it may not.
    SequenceError = 0x02,
    /// The header digest is wrong; FEI is the one that came.
    HeaderDigest = 0x03,
    /// Data outside of what was asked for.
    OutOfRange = 0x04,
    /// More data than is allowed (from a controller), or more R2Ts (from a host).
    LimitExceeded = 0x05,
    /// A parameter is not supported; FEI is its offset.
    UnsupportedParameter = 0x06,
}

/// A PDU after which nothing can be trusted: the peer is told by a TermReq, which the one that
/// found it has, and the connection ends.
///
/// ```
/// use nvme::{Fault, Wrong};
///
/// let fault = Fault { why: Wrong::Version(1) };
/// assert_eq!(fault.to_string(), "the peer broke the protocol: version 1 of the PDU format");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the peer broke the protocol: {why}")]
pub struct Fault {
    /// What was wrong.
    pub why: Wrong,
}

/// What is wrong with a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Wrong {
    /// Of no kind that this end may get.
    #[error("PDU type {0:#04x} is none that it may send")]
    Kind(u8),
    /// Not now: before the connection was initialized, or again.
    #[error("{0:?} came when it may not")]
    Sequence(Kind),
    /// Digests that were not agreed, or that are missing.
    #[error("flags {0:#04x} do not fit the digests agreed")]
    Flags(u8),
    /// HLEN.
    #[error("a header of {0} bytes")]
    HeaderLength(u8),
    /// PDO: inside the header, behind the end, or not aligned.
    #[error("data at offset {0}")]
    DataOffset(u8),
    /// PLEN does not fit the rest.
    #[error("a PDU of {0} bytes")]
    Length(u32),
    /// The header digest.
    #[error("header digest {0:#010x} is wrong")]
    HeaderDigest(u32),
    /// More data than is allowed in the capsule, or in one H2CData.
    #[error("{0} bytes of data in one PDU")]
    TooMuchData(u32),
    /// PFV.
    #[error("version {0} of the PDU format")]
    Version(u16),
    /// HPDA or CPDA.
    #[error("data alignment {0}")]
    Alignment(u8),
    /// MAXH2CDATA.
    #[error("MAXH2CDATA of {0}")]
    MaxData(u32),
    /// DGST is not what was asked for.
    #[error("digests {0:#04x} that were not asked for")]
    Digests(u8),
    /// No command in flight has this identifier.
    #[error("{0:?} for command {1:#06x}, which is not in flight")]
    Command(Kind, u16),
    /// No R2T went out with this tag, or for this command.
    #[error("data for transfer tag {0:#06x}, which asked for none")]
    Tag(u16),
    /// Data at an offset that was not asked for next.
    #[error("{length} bytes at offset {offset} of the data, which is not what comes next")]
    Range {
        /// DATAO or R2TO.
        offset: u32,
        /// DATAL or R2TL.
        length: u32,
    },
    /// LAST_PDU before the end, or not at the end; SUCCESS without it.
    #[error("flags {0:#04x} do not fit where the data ends")]
    Last(u8),
    /// A second R2T of a command.
    #[error("a R2T for command {0:#06x} before the last one was answered")]
    R2tLimit(u16),
    /// More commands than the queue has entries.
    #[error("command {0:#06x} does not fit into the queue")]
    QueueFull(u16),
}

impl Wrong {
    /// FES and FEI.
    pub fn status(self) -> (Fes, u32) {
        use Fes::{HeaderDigest, InvalidHeaderField, LimitExceeded, OutOfRange, SequenceError, UnsupportedParameter};
        let at = |offset: usize| offset as u32;
        match self {
            Self::Kind(_) => (InvalidHeaderField, at(offset_of!(CommonHeader, kind))),
            Self::Flags(_) | Self::Last(_) => (InvalidHeaderField, at(offset_of!(CommonHeader, flags))),
            Self::HeaderLength(_) => (InvalidHeaderField, at(offset_of!(CommonHeader, hlen))),
            Self::DataOffset(_) => (InvalidHeaderField, at(offset_of!(CommonHeader, pdo))),
            Self::Length(_) => (InvalidHeaderField, at(offset_of!(CommonHeader, plen))),
            Self::Sequence(_) | Self::QueueFull(_) => (SequenceError, 0),
            Self::HeaderDigest(digest) => (HeaderDigest, digest),
            Self::TooMuchData(_) | Self::R2tLimit(_) => (LimitExceeded, 0),
            Self::Version(_) => (UnsupportedParameter, 8),
            Self::Alignment(_) => (InvalidHeaderField, 10),
            Self::Digests(_) => (InvalidHeaderField, 11),
            Self::MaxData(_) => (InvalidHeaderField, 12),
            Self::Command(..) => (InvalidHeaderField, at(offset_of!(H2cData, cccid))),
            Self::Tag(_) => (InvalidHeaderField, at(offset_of!(H2cData, ttag))),
            Self::Range { .. } => (OutOfRange, 0),
        }
    }
}
