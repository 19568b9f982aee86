//! What a block holds: words that follow from the seed, the block's number and how often it was
//! written.

use std::fmt;

/// The words of a block ascend by this: odd, so that all of a block differ.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
const WORD: usize = size_of::<u64>();

/// The contents of all blocks.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    seed: u64,
    /// Bytes of a block, a power of two.
    block: u64,
}

/// A part of the data of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The command's first block.
    pub slba: u64,
    /// How often its blocks were written, this one included.
    pub generation: u32,
    /// Where the part begins in the command's data, in bytes.
    pub offset: u64,
}

/// A byte that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The block.
    pub lba: u64,
    /// Where in the block.
    pub byte: u64,
    /// What belongs there.
    pub wanted: u8,
    /// What is there.
    pub got: u8,
    /// How often the block was written.
    pub generation: u32,
    /// The generation that these bytes are of, if it is an earlier one.
    pub stale: Option<u32>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lba, byte, wanted, got, generation, stale } = self;
        write!(f, "LBA {lba}, byte {byte}: wanted {wanted:#04x}, got {got:#04x} (generation {generation}")?;
        match stale {
            Some(old) => write!(f, "; what is there is generation {old})"),
            None => f.write_str(")"),
        }
    }
}

impl Pattern {
    /// The contents that follow from `seed`, of blocks of `block` bytes, a power of two of 8 or
    /// more.
    pub fn new(seed: u64, block: u64) -> Self {
        Self { seed, block }
    }

    /// Fills a part of a command's data.
    pub fn fill(&self, part: Part, out: &mut [u8]) {
        self.pieces(part, out.len(), |base, byte, range| fill_block(base, byte, &mut out[range]));
    }

    /// Compares a part of a command's data.
    ///
    /// # Errors
    /// The first byte that differs.
    pub fn check(&self, part: Part, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut wrong = None;
        self.pieces(part, bytes.len(), |base, byte, range| {
            if wrong.is_none() && !is_block(base, byte, &bytes[range.clone()]) {
                wrong = Some(range.start);
            }
        });
        wrong.map_or(Ok(()), |from| Err(self.explain(part, from, bytes)))
    }

    /// Calls `each` for the part of each block: its first word, where in the block the part begins,
    /// and where it is in the data.
    #[inline]
    fn pieces(&self, part: Part, length: usize, mut each: impl FnMut(u64, usize, std::ops::Range<usize>)) {
        let mut done = 0;
        while done < length {
            let at = part.offset + done as u64;
            let (lba, byte) = (part.slba + at / self.block, at % self.block);
            let some = (self.block - byte).min((length - done) as u64) as usize;
            each(self.base(lba, part.generation), byte as usize, done..done + some);
            done += some;
        }
    }

    fn base(&self, lba: u64, generation: u32) -> u64 {
        mix(mix(self.seed ^ lba).wrapping_add(u64::from(generation)))
    }

    /// Names the first byte that differs, which is in the block that `from` is in.
    #[cold]
    fn explain(&self, part: Part, from: usize, bytes: &[u8]) -> Mismatch {
        let at = part.offset + from as u64;
        let (lba, first) = (part.slba + at / self.block, at % self.block);
        let base = self.base(lba, part.generation);
        let bytes = &bytes[from..][..((self.block - first) as usize).min(bytes.len() - from)];
        let differs = |(index, got): &(usize, &u8)| byte_of(base, first as usize + index) != **got;
        let (index, got) = bytes.iter().enumerate().find(differs).unwrap_or((0, &0));
        let byte = first as usize + index;
        let stale = (0..part.generation).rev().take(1000).find(|old| is_block(self.base(lba, *old), first as usize, bytes));
        Mismatch {
            lba,
            byte: byte as u64,
            wanted: byte_of(base, byte),
            got: *got,
            generation: part.generation,
            stale: stale.filter(|old| *old > 0),
        }
    }
}

/// The finalizer of SplitMix64, a bijection.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn word(base: u64, index: usize) -> u64 {
    base.wrapping_add(STEP.wrapping_mul(index as u64))
}

fn byte_of(base: u64, byte: usize) -> u8 {
    word(base, byte / WORD).to_le_bytes()[byte % WORD]
}

/// How many bytes of `length` come before the next whole word.
fn lead(byte: usize, length: usize) -> usize {
    (byte.next_multiple_of(WORD) - byte).min(length)
}

fn fill_block(base: u64, byte: usize, out: &mut [u8]) {
    let (head, rest) = out.split_at_mut(lead(byte, out.len()));
    head.iter_mut().enumerate().for_each(|(index, to)| *to = byte_of(base, byte + index));
    let first = byte + head.len();
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    let mut next = word(base, first / WORD);
    for to in words.iter_mut() {
        *to = next.to_le_bytes();
        next = next.wrapping_add(STEP);
    }
    let last = first + words.len() * WORD;
    tail.iter_mut().enumerate().for_each(|(index, to)| *to = byte_of(base, last + index));
}

fn is_block(base: u64, byte: usize, bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at(lead(byte, bytes.len()));
    let first = byte + head.len();
    let (words, tail) = rest.as_chunks::<WORD>();
    let last = first + words.len() * WORD;
    let same = |from: usize| move |(index, got): (usize, &u8)| byte_of(base, from + index) == *got;
    // All words without a branch for each, nor a product: so they are compared several at a time.
    let (mut next, mut differing) = (word(base, first / WORD), 0);
    for got in words {
        differing |= u64::from_le_bytes(*got) ^ next;
        next = next.wrapping_add(STEP);
    }
    differing == 0 && head.iter().enumerate().all(same(byte)) && tail.iter().enumerate().all(same(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERN: Pattern = Pattern { seed: 42, block: 512 };

    fn part(slba: u64, generation: u32, offset: u64) -> Part {
        Part { slba, generation, offset }
    }

    #[test]
    fn s307_a_block_cut_anywhere_is_the_same_block() {
        let mut whole = vec![0; 4096];
        PATTERN.fill(part(100, 3, 0), &mut whole);
        for (begin, end) in [(0, 1), (1, 2), (3, 9), (7, 8), (510, 514), (511, 1025), (5, 4091), (8, 16), (4095, 4096)] {
            let mut cut = vec![0; end - begin];
            PATTERN.fill(part(100, 3, begin as u64), &mut cut);
            assert_eq!(cut, whole[begin..end], "{begin}..{end}");
            assert_eq!(PATTERN.check(part(100, 3, begin as u64), &cut), Ok(()));
        }
        // The third block of a command is the first of another.
        assert_eq!(PATTERN.check(part(102, 3, 0), &whole[1024..]), Ok(()));
    }

    #[test]
    fn s307_each_wrong_byte_is_named() {
        let mut bytes = vec![0; 1024];
        PATTERN.fill(part(7, 1, 0), &mut bytes);
        for (begin, end) in [(0, 1024), (3, 1021)] {
            for at in begin..end {
                let right = bytes[at];
                bytes[at] ^= 1 << (at % 8);
                let wrong = PATTERN.check(part(7, 1, begin as u64), &bytes[begin..end]).unwrap_err();
                let (lba, byte) = (7 + at as u64 / 512, at as u64 % 512);
                assert_eq!(wrong, Mismatch { lba, byte, wanted: right, got: bytes[at], generation: 1, stale: None });
                bytes[at] = right;
            }
        }
    }

    #[test]
    fn s307_another_block_generation_or_seed_is_none_of_it() {
        let mut bytes = vec![0; 512];
        PATTERN.fill(part(7, 3, 0), &mut bytes);
        assert!(PATTERN.check(part(8, 3, 0), &bytes).is_err());
        assert!(Pattern::new(43, 512).check(part(7, 3, 0), &bytes).is_err());
        assert!(PATTERN.check(part(7, 2, 0), &bytes).is_err());
        let stale = PATTERN.check(part(7, 5, 0), &bytes).unwrap_err();
        assert_eq!((stale.lba, stale.stale), (7, Some(3)));
        assert!(stale.to_string().ends_with("(generation 5; what is there is generation 3)"), "{stale}");
        assert!(PATTERN.check(part(7, 3, 0), &[0; 512]).is_err_and(|wrong| wrong.stale.is_none()));
    }
}
