//! What is drawn by lot, and bytes that are told apart by where they belong.

use core_reactor::transport::Frame;

/// A source of draws.
pub(super) struct Lot(pub(super) u64);

impl Lot {
    /// The next number (SplitMix64).
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let n = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ n >> 31
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.draw() % end as u64) as usize
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// `len` bytes that another `seed` would have made different.
pub(super) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut lot = Lot(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&lot.draw().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// All bytes of a frame.
pub(super) fn bytes_of(frame: &Frame) -> Vec<u8> {
    frame.parts().iter().flat_map(|buf| buf.iter().copied()).collect()
}
