//! Receiving: pieces that have to add up, and a buffer to put them together in.

use core::fmt;

use crate::Ended;
use crate::message::{Data, Received};

/// The upper-layer message that is being received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Incoming {
    /// Bytes to come (Connection.FragmentReassemblyRemaining); 0 between messages.
    expected: u32,
}

impl Incoming {
    /// Takes in what a message carries.
    //= MS-SMBD 3.1.5.8
    pub(crate) fn take(&mut self, data: Data) -> Result<Received, Ended> {
        let first = self.expected == 0;
        // Both are within MaxFragmentedSize, and so is their sum.
        let said = data.bytes.len() as u64 + u64::from(data.remaining);
        if data.bytes.is_empty() {
            // Without payload it is about credits only, also between two pieces.
            return if data.remaining == 0 { Ok(Received::Nothing) } else { Err(self.mismatch(said)) };
        }
        if !first && said != u64::from(self.expected) {
            return Err(self.mismatch(said));
        }
        self.expected = data.remaining;
        Ok(Received::Fragment { bytes: data.bytes, first, remaining: data.remaining as usize })
    }

    fn mismatch(&self, said: u64) -> Ended {
        Ended::Fragments { said, expected: self.expected }
    }
}

/// Puts the pieces of upper-layer messages together, in memory of the caller's. One piece after the
/// other is copied behind the last.
pub struct Reassembly<M> {
    memory: M,
    filled: usize,
    whole: bool,
}

impl<M> fmt::Debug for Reassembly<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reassembly").field("filled", &self.filled).field("whole", &self.whole).finish_non_exhaustive()
    }
}

/// A message that does not fit into the memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes or more does not fit into {room} bytes")]
pub struct ReassemblyError {
    /// Bytes of the message, as far as they are known.
    pub length: usize,
    /// Bytes of the memory.
    pub room: usize,
}

impl<M: AsMut<[u8]> + AsRef<[u8]>> Reassembly<M> {
    /// In this memory, which should have
    /// [`max_fragmented_size`](crate::Settings::max_fragmented_size) bytes.
    pub fn new(memory: M) -> Self {
        Self { memory, filled: 0, whole: false }
    }

    /// Appends a piece, as [`Received::Fragment`] describes it; the whole message, if it was the
    /// last.
    ///
    /// ```
    /// use smb_direct::Reassembly;
    ///
    /// let mut memory = Reassembly::new([0; 16]);
    /// assert_eq!(memory.push(b"in two ", 6)?, None);
    /// assert_eq!(memory.push(b"pieces", 0)?, Some(&b"in two pieces"[..]));
    /// assert!(memory.push(b"more", 100).is_err(), "it does not fit");
    /// # Ok::<(), smb_direct::ReassemblyError>(())
    /// ```
    ///
    /// # Errors
    /// The memory is too small; what was there of the message is forgotten.
    pub fn push(&mut self, piece: &[u8], remaining: usize) -> Result<Option<&[u8]>, ReassemblyError> {
        if core::mem::take(&mut self.whole) {
            self.filled = 0;
        }
        let (from, length) = (self.filled, self.filled.saturating_add(piece.len()).saturating_add(remaining));
        let room = self.memory.as_ref().len();
        if length > room {
            self.filled = 0;
            return Err(ReassemblyError { length, room });
        }
        self.filled = from + piece.len();
        self.memory.as_mut()[from..self.filled].copy_from_slice(piece);
        self.whole = remaining == 0;
        Ok(self.whole.then(|| &self.memory.as_ref()[..self.filled]))
    }
}
