//! The bytes that the load generator sends: each connection its own stream, so that a byte in the
//! wrong place or of another connection is seen.

/// Length of the table: a prime, so that the pattern falls in step with no buffer size.
const PERIOD: usize = 65_521;

/// A table that every stream reads at its own offset.
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let byte = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        Self((0..PERIOD).map(byte).collect())
    }

    /// Writes the bytes of stream `of` from `offset` on.
    pub(crate) fn fill(&self, of: usize, offset: u64, mut into: &mut [u8]) {
        let mut at = Self::place(of, offset);
        while !into.is_empty() {
            let n = into.len().min(PERIOD - at);
            let (now, rest) = into.split_at_mut(n);
            now.copy_from_slice(&self.0[at..at + n]);
            (into, at) = (rest, 0);
        }
    }

    /// Whether `bytes` are those of stream `of` from `offset` on.
    pub(crate) fn matches(&self, of: usize, offset: u64, mut bytes: &[u8]) -> bool {
        let mut at = Self::place(of, offset);
        while !bytes.is_empty() {
            let n = bytes.len().min(PERIOD - at);
            let (now, rest) = bytes.split_at(n);
            if now != &self.0[at..at + n] {
                return false;
            }
            (bytes, at) = (rest, 0);
        }
        true
    }

    fn place(of: usize, offset: u64) -> usize {
        ((of as u64 * 7919 + offset) % PERIOD as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_matches_itself_in_any_pieces_and_nothing_else() {
        let pattern = Pattern::new();
        let mut bytes = vec![0; 3 * PERIOD];
        pattern.fill(5, 1000, &mut bytes);
        assert!(pattern.matches(5, 1000, &bytes));
        assert!(pattern.matches(5, 1000 + 70_000, &bytes[70_000..]));
        assert!(!pattern.matches(6, 1000, &bytes[..64]));
        assert!(!pattern.matches(5, 1001, &bytes[..64]));
        bytes[100_000] ^= 1;
        assert!(!pattern.matches(5, 1000, &bytes));
    }
}
