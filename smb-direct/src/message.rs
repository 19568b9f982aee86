//! What goes out beside payload, and what is found in what comes in.

use core::ops::Range;

use zerocopy::{Immutable, IntoBytes};

use crate::wire::{self, DataTransfer, HEADER, NegotiateResponse};
use crate::{Agreed, Ended};

/// A message without payload, to be sent as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message {
    bytes: [u8; size_of::<NegotiateResponse>()],
    length: usize,
}

impl Message {
    pub(crate) fn new<T: IntoBytes + Immutable>(layout: &T) -> Self {
        let mut bytes = [0; size_of::<NegotiateResponse>()];
        let length = size_of::<T>();
        bytes[..length].copy_from_slice(layout.as_bytes());
        Self { bytes, length }
    }
}

impl core::ops::Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl core::fmt::Debug for Message {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Message({:02x?})", &self[..])
    }
}

/// What was in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// Nothing for the application.
    Nothing,
    /// The negotiation is over.
    Negotiated(Agreed),
    /// A piece of an upper-layer message.
    Fragment {
        /// Where in the message its bytes are.
        bytes: Range<usize>,
        /// Whether it is the first of its upper-layer message.
        first: bool,
        /// Bytes of the upper-layer message that are still to come; 0 with its last piece.
        remaining: usize,
    },
}

/// The fields of a data transfer message that is right in itself.
pub(crate) struct Data {
    pub(crate) credits_requested: u16,
    pub(crate) credits_granted: u16,
    pub(crate) flags: u16,
    pub(crate) bytes: Range<usize>,
    pub(crate) remaining: u32,
}

impl Data {
    /// Checks a message against itself and the sizes that were agreed on.
    //= MS-SMBD 3.1.5.8
    pub(crate) fn read(message: &[u8], agreed: &Agreed) -> Result<Self, Ended> {
        let length = message.len();
        if length > agreed.max_receive_size as usize {
            return Err(Ended::Oversized { length, most: agreed.max_receive_size as usize });
        }
        let Some(header) = wire::read::<DataTransfer>(message) else {
            return Err(Ended::Short { message: "a data transfer message", length, least: HEADER });
        };
        let (offset, bytes, remaining) = (header.data_offset.get(), header.data_length.get(), header.remaining_data_length.get());
        let wrong = |field, value, wrong| Err(Ended::Data { field, value, wrong });
        if header.credits_requested.get() == 0 {
            return wrong("CreditsRequested", 0, "has to be at least 1");
        }
        if offset % 8 != 0 {
            return wrong("DataOffset", offset, "is not a multiple of 8");
        }
        if u64::from(offset) + u64::from(bytes) > length as u64 {
            return wrong("DataLength", bytes, "reaches behind the end of the message");
        }
        if bytes > 0 && (offset as usize) < HEADER {
            return wrong("DataOffset", offset, "points into the header");
        }
        if u64::from(bytes) + u64::from(remaining) > agreed.max_fragmented_receive_size.into() {
            return wrong("RemainingDataLength", remaining, "makes the message longer than MaxFragmentedSize");
        }
        Ok(Self {
            credits_requested: header.credits_requested.get(),
            credits_granted: header.credits_granted.get(),
            flags: header.flags.get(),
            bytes: offset as usize..offset as usize + bytes as usize,
            remaining,
        })
    }
}
