//! The bytes of a PDU that are not data.

use core::ops::Deref;

use zerocopy::IntoBytes;

use crate::digest::digest;
use crate::pdu::{CapsuleCmd, DATA_DIGEST, DIGEST, HEADER_DIGEST, LONGEST_HEADER, TermReq};

/// Bytes to send: a header, its digest and the padding before data, or a whole PDU without data.
/// Small, since one is made for each PDU: what may be long is padding, and that is zeroes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; Self::LONGEST],
    len: u8,
    padding: u8,
}

static ZEROES: [u8; LONGEST_HEADER] = [0; LONGEST_HEADER];

impl Head {
    /// The longest without padding: a command and its digest.
    const LONGEST: usize = size_of::<CapsuleCmd>() + DIGEST;

    /// The bytes, in two parts: the second is padding.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.bytes[..usize::from(self.len)], &ZEROES[..usize::from(self.padding)]]
    }

    /// How many bytes.
    pub fn length(&self) -> usize {
        usize::from(self.len) + usize::from(self.padding)
    }

    /// ICReq or ICResp, which are reserved bytes but for the first sixteen.
    pub(crate) fn initialize(pdu: &[u8; LONGEST_HEADER]) -> Self {
        const SAYS: usize = 16;
        let mut bytes = [0; Self::LONGEST];
        bytes[..SAYS].copy_from_slice(&pdu[..SAYS]);
        Self { bytes, len: SAYS as u8, padding: (LONGEST_HEADER - SAYS) as u8 }
    }

    /// A header with what `shape` has agreed, before `data` bytes of data.
    #[inline]
    pub(crate) fn shaped(header: &[u8], shape: Shape, data: u32) -> Self {
        let mut bytes = [0; Self::LONGEST];
        bytes[..header.len()].copy_from_slice(header);
        let digested = if shape.header_digest { DIGEST } else { 0 };
        let len = header.len() + digested;
        let (mut plen, mut padding) = (len as u32, 0);
        if shape.header_digest {
            bytes[1] |= HEADER_DIGEST;
        }
        if data > 0 {
            let pdo = shape.aligned(len);
            padding = (pdo - len) as u8;
            bytes[3] = pdo as u8;
            plen = pdo as u32 + data;
            if shape.data_digest {
                bytes[1] |= DATA_DIGEST;
                plen += DIGEST as u32;
            }
        }
        bytes[4..8].copy_from_slice(&plen.to_le_bytes());
        if shape.header_digest {
            let sum = digest(&bytes[..header.len()]);
            bytes[header.len()..len].copy_from_slice(&sum);
        }
        Self { bytes, len: len as u8, padding }
    }
}

/// The last PDU of a connection: a TermReq, with the header that was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastPdu {
    bytes: [u8; size_of::<TermReq>() + LONGEST_HEADER],
    len: u8,
}

impl LastPdu {
    pub(crate) fn new(pdu: &TermReq, header: &[u8]) -> Self {
        let mut last = Self { bytes: [0; _], len: (size_of::<TermReq>() + header.len()) as u8 };
        last.bytes[..size_of::<TermReq>()].copy_from_slice(pdu.as_bytes());
        last.bytes[size_of::<TermReq>()..][..header.len()].copy_from_slice(header);
        last
    }
}

impl Deref for LastPdu {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What the two ends have agreed about PDUs in one direction.
///
/// ```
/// use nvme::Shape;
///
/// let digests = Shape { header_digest: true, data_digest: true, ..Shape::default() };
/// assert_eq!(digests.alignment, 0, "data at any dword");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Whether headers have a digest.
    pub header_digest: bool,
    /// Whether data has a digest.
    pub data_digest: bool,
    /// HPDA or CPDA: alignment of data, in dwords less one.
    pub alignment: u8,
}

impl Shape {
    pub(crate) fn new(dgst: u8, alignment: u8) -> Self {
        Self { header_digest: dgst & 1 != 0, data_digest: dgst & 2 != 0, alignment }
    }

    /// DGST of ICReq and ICResp.
    pub(crate) fn dgst(self) -> u8 {
        u8::from(self.header_digest) | u8::from(self.data_digest) << 1
    }

    /// The next offset at which data may begin.
    #[inline]
    pub(crate) fn aligned(self, offset: usize) -> usize {
        if self.alignment == 0 {
            // What nearly all agree on, without a division.
            return offset.next_multiple_of(4);
        }
        offset.next_multiple_of((usize::from(self.alignment) + 1) * 4)
    }
}
