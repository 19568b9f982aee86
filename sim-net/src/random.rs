//! Chance, the same for the same seed.

/// A generator of numbers (xorshift64*).
#[derive(Default)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds begin far apart; of 0 nothing else would ever come.
        Self((seed ^ 0x5DEE_CE66_D1CE_4E5B).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number of 1 to `most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        1 + (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % most.max(1)
    }

    /// Whether something happens that does so many times in a thousand.
    pub(crate) fn happens(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.up_to(1000) <= per_mille.into()
    }
}
