//! Who may touch which part of a file, over all cores.
//!
//! The kernel copies between a file and memory without a promise that a block is one writer's as a
//! whole, and a compare-and-write is two calls. So a request claims the parts that it touches:
//! shared with others, or for itself. What finds a part taken tries again later; nobody waits.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a part.
const PART: u64 = 4096;
/// Parts that are told apart: those that many further on share a word.
const WORDS: u64 = 4096;
/// The word is somebody's alone, or will be when those that share it have gone.
const ALONE: u32 = 1 << 31;

/// The words of a file: how many share a part, and [`ALONE`].
#[derive(Debug)]
pub(crate) struct Claims(Box<[AtomicU32]>);

/// How a request claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum How {
    #[default]
    Not,
    Shared,
    Alone,
}

/// What a request claims, and how far it has come. Parts are taken in ascending order of their
/// words, so that no two wait for each other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Claim {
    how: How,
    first: u64,
    words: u64,
    taken: u64,
    /// The next word is marked, and others still share it.
    is_marked: bool,
}

impl Claim {
    pub(crate) fn new(how: How, bytes: &Range<u64>) -> Self {
        let (first, end) = (bytes.start / PART, bytes.end.div_ceil(PART));
        let words = end.saturating_sub(first).min(WORDS);
        Self { how, first, words, taken: 0, is_marked: false }
    }

    /// The word that is the `n`th in ascending order.
    fn word(&self, n: u64) -> usize {
        let first = self.first % WORDS;
        let wrapped = (first + self.words).saturating_sub(WORDS);
        (if n < wrapped { n } else { first + n - wrapped }) as usize
    }
}

impl Claims {
    pub(crate) fn new() -> Self {
        Self((0..WORDS).map(|_| AtomicU32::new(0)).collect())
    }

    /// Goes on with a claim; whether all of it is had.
    #[inline]
    pub(crate) fn take(&self, claim: &mut Claim) -> bool {
        if claim.how == How::Not {
            return true;
        }
        while claim.taken < claim.words {
            let word = &self.0[claim.word(claim.taken)];
            let has = if claim.how == How::Shared { share(word) } else { own(word, &mut claim.is_marked) };
            if !has {
                return false;
            }
            claim.taken += 1;
        }
        true
    }

    /// Gives up what is had of a claim.
    #[inline]
    pub(crate) fn release(&self, claim: &mut Claim) {
        let had = claim.taken + u64::from(std::mem::take(&mut claim.is_marked));
        for n in 0..had {
            let word = &self.0[claim.word(n)];
            match claim.how {
                How::Shared => _ = word.fetch_sub(1, Ordering::Release),
                _ => _ = word.fetch_and(!ALONE, Ordering::Release),
            }
        }
        claim.taken = 0;
    }
}

#[inline]
fn share(word: &AtomicU32) -> bool {
    let shared = |word: u32| (word & ALONE == 0).then_some(word + 1);
    word.fetch_update(Ordering::Acquire, Ordering::Relaxed, shared).is_ok()
}

/// Marks it first, so that nobody joins those who share it.
#[inline]
fn own(word: &AtomicU32, is_marked: &mut bool) -> bool {
    if !*is_marked {
        let before = word.fetch_or(ALONE, Ordering::Acquire);
        if before & ALONE != 0 {
            return false;
        }
        *is_marked = before != 0;
        return before == 0;
    }
    *is_marked = word.load(Ordering::Acquire) != ALONE;
    !*is_marked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(how: How, bytes: Range<u64>) -> Claim {
        Claim::new(how, &bytes)
    }

    #[test]
    fn a_part_is_shared_or_one_alone_has_it() {
        let claims = Claims::new();
        let [mut a, mut b] = [claim(How::Shared, 0..4096), claim(How::Shared, 512..1024)];
        assert!(claims.take(&mut a) && claims.take(&mut b));
        let mut alone = claim(How::Alone, 1024..1536);
        assert!(!claims.take(&mut alone));
        assert!(!claims.take(&mut claim(How::Shared, 0..1)), "nobody joins while one waits");
        assert!(claims.take(&mut claim(How::Alone, 4096..4097)), "another part");
        claims.release(&mut a);
        assert!(!claims.take(&mut alone));
        claims.release(&mut b);
        assert!(claims.take(&mut alone));
        assert!(!claims.take(&mut claim(How::Alone, 0..1)) && !claims.take(&mut claim(How::Shared, 0..1)));
        claims.release(&mut alone);
        assert!(claims.take(&mut claim(How::Alone, 0..1)));
    }

    #[test]
    fn who_gives_up_half_way_leaves_nothing() {
        let claims = Claims::new();
        let mut held = claim(How::Shared, 8192..8193);
        assert!(claims.take(&mut held));
        let mut alone = claim(How::Alone, 0..16384);
        assert!(!claims.take(&mut alone));
        let mut other = claim(How::Alone, 8192..8193);
        assert!(!claims.take(&mut other));
        claims.release(&mut other);
        claims.release(&mut alone);
        claims.release(&mut held);
        assert!(claims.0.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn words_ascend_wherever_a_claim_begins_and_each_is_taken_once() {
        for (first, parts) in [(0, 1), (4095, 2), (4090, 100), (5000, 4095), (7, 4096), (9, 1 << 40), (3, 0)] {
            let claim = claim(How::Alone, first * PART..(first + parts) * PART);
            let words: Vec<_> = (0..claim.words).map(|n| claim.word(n)).collect();
            assert!(words.len() as u64 == parts.min(WORDS) && words.windows(2).all(|pair| pair[0] < pair[1]), "{first} {parts}");
            let wanted = |n: u64| words.contains(&(((first + n) % WORDS) as usize));
            assert!((0..claim.words).all(wanted));
        }
    }

    #[test]
    fn cores_that_claim_the_same_come_to_an_end() {
        let (claims, inside) = (Claims::new(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for n in 0..3u64 {
                let (claims, inside) = (&claims, &inside);
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let how = if (n + round) % 3 == 0 { How::Alone } else { How::Shared };
                        let mut claim = claim(how, n * 2048..n * 2048 + 8192);
                        while !claims.take(&mut claim) {
                            std::thread::yield_now();
                        }
                        let there = inside.fetch_add(if how == How::Alone { 1 << 16 } else { 1 }, Ordering::AcqRel);
                        assert!(there < 1 << 16 && (how == How::Shared || there == 0), "{there:x}");
                        inside.fetch_sub(if how == How::Alone { 1 << 16 } else { 1 }, Ordering::AcqRel);
                        claims.release(&mut claim);
                    }
                });
            }
        });
    }
}
