//! The fuzz targets on stable: over drawn bytes, and over conversations that begin right.

mod fuzzed;

use fastrand::Rng;

/// Bytes of which many are small, as those of fields are.
fn drawn(rng: &mut Rng, most: usize) -> Vec<u8> {
    let small = rng.bool();
    (0..rng.usize(..most)).map(|_| if small && rng.bool() { rng.u8(..8) } else { rng.u8(..) }).collect()
}

#[test]
fn s250_no_pdu_does_harm() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut bytes = drawn(&mut rng, 400);
        // Past the first check: a kind that may come, with its length.
        if bytes.len() > 11 && rng.bool() {
            let kind = [0, 2, 4, 6, 1, 3, 5, 7, 9][rng.usize(..9)];
            bytes[3] = kind;
            bytes[5] = [128, 24, 72, 24, 128, 24, 24, 24, 24][[0, 2, 4, 6, 1, 3, 5, 7, 9].iter().position(|it| *it == kind).unwrap_or(0)];
            bytes[8..11].fill(0);
        }
        fuzzed::pdus(&bytes);
    }
}

#[test]
fn s250_no_conversation_does_harm_to_a_target() {
    let mut rng = Rng::with_seed(2);
    for _ in 0..1_500 {
        fuzzed::target(&drawn(&mut rng, 900));
    }
}

#[test]
fn s250_no_conversation_does_harm_to_a_host() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..5_000 {
        fuzzed::host(&drawn(&mut rng, 600));
    }
}
