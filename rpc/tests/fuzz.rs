//! The fuzz target on stable: over its seeds, over what becomes of them by small changes, and over
//! drawn bytes.

mod fuzzed;

use fuzzed::values;

const SEEDS: [&[u8]; 2] = [include_bytes!("../../fuzz/seeds/rpc/call"), include_bytes!("../../fuzz/seeds/rpc/batch")];

#[test]
fn seeds_and_their_neighbours_are_told_apart_or_refused() {
    let mut random = fastrand::Rng::with_seed(7);
    for seed in SEEDS {
        values(seed);
        for _ in 0..2_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"{}[],:\"\\ 0-.e"[random.usize(..13)]),
                }
            }
            values(&bytes);
        }
    }
}

#[test]
fn drawn_bytes_are_too() {
    let mut random = fastrand::Rng::with_seed(8);
    for _ in 0..5_000 {
        let bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
        values(&bytes);
        let json: Vec<u8> = (0..random.usize(..40)).map(|_| b"{}[],:\"\\ 01-.eutrls"[random.usize(..19)]).collect();
        values(&json);
    }
}
