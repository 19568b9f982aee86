//! Bytes that any position of can be made again, so that neither end has to keep what it sent.

/// A stream of bytes out of a seed (xorshift of the position's index, eight bytes at a time).
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    seed: u64,
    at: u64,
}

impl Pattern {
    /// From its beginning. Streams of different seeds differ.
    pub fn new(seed: u64) -> Self {
        Self { seed: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), at: 0 }
    }

    /// From byte `at`.
    pub fn from(self, at: u64) -> Self {
        Self { at, ..self }
    }

    /// Fills `out` with the next bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for byte in &mut *out {
            *byte = self.word(self.at / 8).to_le_bytes()[(self.at % 8) as usize];
            self.at += 1;
        }
    }

    /// Whether `bytes` are the next ones.
    pub fn matches(&mut self, bytes: &[u8]) -> bool {
        let mut all = true;
        for byte in bytes {
            all &= *byte == self.word(self.at / 8).to_le_bytes()[(self.at % 8) as usize];
            self.at += 1;
        }
        all
    }

    fn word(&self, index: u64) -> u64 {
        let n = (index ^ self.seed).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (n ^ n >> 29).wrapping_mul(0x94D0_49BB_1331_11EB) ^ n >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_can_be_made_again() {
        let mut whole = [0; 1000];
        Pattern::new(7).fill(&mut whole);
        for at in [0, 1, 7, 8, 500] {
            assert!(Pattern::new(7).from(at as u64).matches(&whole[at..]));
        }
        whole[999] ^= 1;
        assert!(!Pattern::new(7).matches(&whole));
        assert!(!Pattern::new(8).matches(&whole[..8]));
    }
}
