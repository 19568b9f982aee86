//! Bytes that any position of can be made again, so that neither end has to keep what it sent.

/// A stream of bytes out of a seed (xorshift of the position's index, eight bytes at a time).
///
/// ```
/// use smbd::Pattern;
///
/// let (mut sent, mut bytes) = (Pattern::new(7), [0; 100]);
/// sent.fill(&mut bytes);
/// let mut wanted = Pattern::new(7);
/// assert!(wanted.matches(&bytes[..33]) && wanted.matches(&bytes[33..]), "in whatever pieces");
/// assert!(Pattern::new(7).from(50).matches(&bytes[50..]));
/// ```
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
        self.each(out.chunks_mut(8), |out, bytes| out.copy_from_slice(bytes));
    }

    /// Whether `bytes` are the next ones.
    pub fn matches(&mut self, bytes: &[u8]) -> bool {
        let mut all = true;
        self.each(bytes.chunks(8), |part, bytes| all &= *part == *bytes);
        all
    }

    /// Calls `each` with every part, of 8 bytes or less, and what belongs there.
    fn each<T: std::ops::Deref<Target = [u8]>>(&mut self, parts: impl Iterator<Item = T>, mut each: impl FnMut(T, &[u8])) {
        let from = (self.at % 8) as usize;
        let mut word = self.word(self.at / 8);
        for part in parts {
            let next = self.word(self.at / 8 + 1);
            // Two words side by side, as a part may begin anywhere in the first.
            let both = (u128::from(word) | u128::from(next) << 64).to_le_bytes();
            let length = part.len();
            each(part, &both[from..from + length]);
            self.at += length as u64;
            word = next;
        }
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
