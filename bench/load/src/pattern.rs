//! The bytes that are sent: each connection its own stream, so that a byte in the wrong place or of
//! another connection is seen.

/// Where the table begins again: a prime, so that the pattern falls in step with no size of
/// message.
const PERIOD: usize = 65_521;

/// A table that each stream reads from its own place on, long enough that what is on the way is one
/// slice of it: nothing is copied to be sent.
#[derive(Debug)]
pub(crate) struct Pattern {
    table: Vec<u8>,
    span: usize,
}

impl Pattern {
    /// A pattern of which up to `span` bytes are read at once.
    pub(crate) fn new(span: usize) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut table: Vec<u8> = (0..PERIOD)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        for at in 0..span {
            table.push(table[at]);
        }
        Self { table, span }
    }

    /// `len` bytes of a stream from `offset` on; at most the span.
    pub(crate) fn slice(&self, stream: usize, offset: u64, len: usize) -> &[u8] {
        let at = place(stream, offset);
        &self.table[at..at + len]
    }

    /// Where `bytes` differ from the stream, if they do.
    pub(crate) fn mismatch(&self, stream: usize, offset: u64, bytes: &[u8]) -> Option<u64> {
        let mut done = 0;
        for part in bytes.chunks(self.span) {
            let expected = self.slice(stream, offset + done, part.len());
            if part != expected {
                let wrong = part.iter().zip(expected).position(|(a, b)| a != b);
                return Some(offset + done + wrong.unwrap_or(0) as u64);
            }
            done += part.len() as u64;
        }
        None
    }
}

fn place(stream: usize, offset: u64) -> usize {
    ((stream as u64 * 7919 + offset) % PERIOD as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_matches_itself_in_any_pieces_and_nothing_else() {
        let pattern = Pattern::new(1000);
        let mut bytes = Vec::new();
        while bytes.len() < 3 * PERIOD {
            bytes.extend_from_slice(pattern.slice(5, 77 + bytes.len() as u64, 1000));
        }
        assert_eq!(pattern.mismatch(5, 77, &bytes), None);
        assert_eq!(pattern.mismatch(5, 77 + 70_001, &bytes[70_001..]), None);
        assert!(pattern.mismatch(6, 77, &bytes[..64]).is_some());
        assert!(pattern.mismatch(5, 78, &bytes[..64]).is_some());
        bytes[100_000] ^= 1;
        assert_eq!(pattern.mismatch(5, 77, &bytes), Some(100_077));
    }
}
