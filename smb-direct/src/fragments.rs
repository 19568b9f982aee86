//! Sending: an upper-layer message in as many pieces as it takes.

use zerocopy::IntoBytes;

use crate::wire::{DATA_OFFSET, DataTransfer, HEADER};

/// One piece of an upper-layer message, to be sent as `header` and, right behind it, the next
/// `length` bytes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What goes in front.
    pub header: [u8; DATA_OFFSET],
    /// Bytes of the upper-layer message that follow.
    pub length: usize,
    /// Bytes of it that are left after this piece.
    pub remaining: usize,
}

/// Why an upper-layer message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It is longer than the peer can put together.
    #[error("a message of {length} bytes, where the peer takes at most {most}")]
    TooLong {
        /// Its bytes.
        length: usize,
        /// Bytes that the peer takes.
        most: u32,
    },
    /// It has no bytes, which cannot be told from no message.
    #[error("a message without bytes cannot be sent")]
    Empty,
    /// All of the one before has to be sent first.
    #[error("{0} bytes of the message before it are not sent yet")]
    Busy(usize),
    /// The connection is not negotiated yet, or has ended.
    #[error("the connection is not open")]
    NotOpen,
}

/// The upper-layer message that is being sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) remaining: usize,
}

impl Outgoing {
    //= MS-SMBD 3.1.4.2
    pub(crate) fn start(&mut self, length: usize, most: u32) -> Result<(), SendError> {
        match (self.remaining, length) {
            (1.., _) => Err(SendError::Busy(self.remaining)),
            (_, 0) => Err(SendError::Empty),
            _ if length as u64 > u64::from(most) => Err(SendError::TooLong { length, most }),
            _ => {
                self.remaining = length;
                Ok(())
            }
        }
    }

    /// Bytes of the next piece, of which so many are at hand.
    pub(crate) fn next(&self, at_hand: usize, max_send_size: u32) -> usize {
        self.remaining.min(at_hand).min(max_send_size as usize - DATA_OFFSET)
    }
}

/// The header of a data transfer message.
pub(crate) struct Header {
    pub(crate) requested: u16,
    pub(crate) granted: u16,
    pub(crate) flags: u16,
}

impl Header {
    /// In front of a piece of `length` bytes, with padding.
    pub(crate) fn of_piece(self, length: usize, remaining: usize) -> [u8; DATA_OFFSET] {
        let mut bytes = [0; DATA_OFFSET];
        // Neither is longer than the peer's MaxFragmentedSize, which has 32 bits.
        let header = self.data_transfer(remaining as u32, DATA_OFFSET as u32, length as u32);
        bytes[..HEADER].copy_from_slice(header.as_bytes());
        bytes
    }

    /// A message without payload.
    pub(crate) fn alone(self) -> DataTransfer {
        self.data_transfer(0, 0, 0)
    }

    fn data_transfer(self, remaining: u32, offset: u32, length: u32) -> DataTransfer {
        DataTransfer {
            credits_requested: self.requested.into(),
            credits_granted: self.granted.into(),
            flags: self.flags.into(),
            reserved: 0.into(),
            remaining_data_length: remaining.into(),
            data_offset: offset.into(),
            data_length: length.into(),
        }
    }
}
