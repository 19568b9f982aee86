//! The bytes of a PDU that are not data.

use core::ops::Deref;

use crate::digest::digest;
use crate::pdu::{CommonHeader, DIGEST, HEADER_DIGEST, LONGEST_HEADER, TermReq};

/// Bytes to send: a header, its digest and the padding before data, or a whole PDU without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; Self::LONGEST],
    len: u8,
}

impl Head {
    /// The longest: a TermReq with the header that was wrong.
    pub const LONGEST: usize = size_of::<TermReq>() + LONGEST_HEADER;

    pub(crate) fn new(header: &[u8]) -> Self {
        let mut head = Self { bytes: [0; Self::LONGEST], len: 0 };
        head.push(header);
        head
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let len = usize::from(self.len);
        self.bytes[len..len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    /// A header with what `shape` has agreed, before `data` bytes of data.
    pub(crate) fn shaped(header: &[u8], shape: Shape, data: u32) -> Self {
        let mut head = Self::new(header);
        let (mut plen, mut flags) = (header.len(), header[1]);
        if shape.header_digest {
            plen += DIGEST;
            flags |= HEADER_DIGEST;
        }
        let mut pdo = 0;
        if data > 0 {
            plen = shape.aligned(plen);
            pdo = plen;
            plen += data as usize;
            if shape.data_digest {
                plen += DIGEST;
                flags |= crate::pdu::DATA_DIGEST;
            }
        }
        let ch = CommonHeader { kind: header[0], flags, hlen: header[2], pdo: pdo as u8, plen: (plen as u32).into() };
        head.bytes[..size_of::<CommonHeader>()].copy_from_slice(zerocopy::IntoBytes::as_bytes(&ch));
        if shape.header_digest {
            let sum = digest(&head.bytes[..header.len()]);
            head.push(&sum);
        }
        if data > 0 {
            head.len = pdo as u8;
        }
        head
    }
}

impl Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What the two ends have agreed about PDUs in one direction.
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
    pub(crate) fn aligned(self, offset: usize) -> usize {
        offset.next_multiple_of((usize::from(self.alignment) + 1) * 4)
    }
}
