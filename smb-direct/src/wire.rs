//! The layouts of MS-SMBD 2.2, as they are on the wire. Any bytes of the right length are one of
//! each: what the fields may be is checked elsewhere.

use static_assertions::const_assert_eq;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version there is.
pub const VERSION: u16 = 0x0100;

/// STATUS_SUCCESS.
pub const SUCCESS: u32 = 0;

/// STATUS_NOT_SUPPORTED: no common version.
pub const NOT_SUPPORTED: u32 = 0xC000_00BB;

/// SMB_DIRECT_RESPONSE_REQUESTED: answer promptly (2.2.3).
pub const RESPONSE_REQUESTED: u16 = 1;

/// Bytes of an empty data transfer message.
pub const HEADER: usize = size_of::<DataTransfer>();

/// Where payload begins in what we send: the first multiple of 8 behind the header.
pub const DATA_OFFSET: usize = 24;

/// The least that MaxReceiveSize may be (3.1.5.6).
pub const LEAST_RECEIVE_SIZE: u32 = 128;

/// The least that MaxFragmentedSize may be (3.1.5.6).
pub const LEAST_FRAGMENTED_SIZE: u32 = 131_072;

/// Negotiate request (2.2.1).
///
/// ```
/// use smb_direct::wire::{NegotiateRequest, read};
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let asked = NegotiateRequest { min_version: 0x0100.into(), credits_requested: 255.into(), ..NegotiateRequest::new_zeroed() };
/// let came: NegotiateRequest = read(asked.as_bytes()).expect("20 bytes");
/// assert_eq!(came.credits_requested.get(), 255);
/// assert!(read::<NegotiateRequest>(&asked.as_bytes()[1..]).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NegotiateRequest {
    /// The lowest version that the client speaks.
    pub min_version: U16,
    /// The highest.
    pub max_version: U16,
    /// Ignored.
    pub reserved: U16,
    /// Send credits that the client would like to have.
    pub credits_requested: U16,
    /// Bytes of the longest message that the client would like to send.
    pub preferred_send_size: U32,
    /// Bytes of the longest message that the client can receive.
    pub max_receive_size: U32,
    /// Bytes of the longest upper-layer message that the client can put together.
    pub max_fragmented_size: U32,
}

/// Negotiate response (2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NegotiateResponse {
    /// The lowest version that the server speaks.
    pub min_version: U16,
    /// The highest.
    pub max_version: U16,
    /// The one to speak.
    pub negotiated_version: U16,
    /// Ignored.
    pub reserved: U16,
    /// Send credits that the server would like to have.
    pub credits_requested: U16,
    /// Send credits that the client has from now on.
    pub credits_granted: U16,
    /// An NTSTATUS.
    pub status: U32,
    /// Bytes of the largest transfer by RDMA read or write.
    pub max_read_write_size: U32,
    /// Bytes of the longest message that the server would like to send.
    pub preferred_send_size: U32,
    /// Bytes of the longest message that the server can receive.
    pub max_receive_size: U32,
    /// Bytes of the longest upper-layer message that the server can put together.
    pub max_fragmented_size: U32,
}

/// The header of a data transfer message (2.2.3).
///
/// ```
/// use smb_direct::wire::{DATA_OFFSET, DataTransfer, HEADER};
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let header = DataTransfer { data_offset: (DATA_OFFSET as u32).into(), data_length: 512.into(), ..DataTransfer::new_zeroed() };
/// assert_eq!((header.as_bytes().len(), DATA_OFFSET % 8), (HEADER, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DataTransfer {
    /// Send credits that the sender would like to have in all.
    pub credits_requested: U16,
    /// Send credits that the receiver has from now on beside those it had.
    pub credits_granted: U16,
    /// [`RESPONSE_REQUESTED`] or 0.
    pub flags: U16,
    /// Ignored.
    pub reserved: U16,
    /// Bytes of the upper-layer message that are still to come.
    pub remaining_data_length: U32,
    /// Where the payload begins, from the first byte of the header; 0 without payload.
    pub data_offset: U32,
    /// Bytes of payload.
    pub data_length: U32,
}

/// A piece of memory at the peer (2.2.3.1, SMB_DIRECT_BUFFER_DESCRIPTOR_1). Upper layers carry
/// arrays of these.
///
/// ```
/// use smb_direct::wire::Descriptor;
/// use zerocopy::IntoBytes;
///
/// let sent = [Descriptor::new(0x1000, 7, 4096), Descriptor::new(0x4000, 8, 512)];
/// let came = Descriptor::array(sent.as_bytes()).expect("whole descriptors");
/// assert_eq!((came.len(), came[1].token.get()), (2, 8));
/// assert!(Descriptor::array(&sent.as_bytes()[1..]).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Descriptor {
    /// Where it begins, in its owner's numbering.
    pub offset: U64,
    /// The key to it.
    pub token: U32,
    /// Bytes.
    pub length: U32,
}

const_assert_eq!(size_of::<NegotiateRequest>(), 20);
const_assert_eq!(size_of::<NegotiateResponse>(), 32);
const_assert_eq!(size_of::<DataTransfer>(), 20);
const_assert_eq!(size_of::<Descriptor>(), 16);
const_assert_eq!(DATA_OFFSET, HEADER.next_multiple_of(8));

impl Descriptor {
    /// A descriptor of `length` bytes at `offset`, reached with `token`.
    pub fn new(offset: u64, token: u32, length: u32) -> Self {
        Self { offset: offset.into(), token: token.into(), length: length.into() }
    }

    /// The descriptors that `bytes` hold, one after the other; `None` if a part of one is left
    /// over.
    pub fn array(bytes: &[u8]) -> Option<&[Self]> {
        <[Self]>::ref_from_bytes(bytes).ok()
    }
}

/// The first bytes of a message as one of these layouts; `None` if there are too few. To look at a
/// message: a [`Connection`](crate::Connection) reads its own.
pub fn read<T: FromBytes>(message: &[u8]) -> Option<T> {
    T::read_from_prefix(message).ok().map(|(value, _)| value)
}
