//! The fuzz targets on stable: over drawn bytes, and over conversations that begin right.

mod fuzzed;

use std::path::Path;

use fastrand::Rng;
use fuzzed::seeds;

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

/// Conversations that go right, as our own encoders make them, and what becomes of them by small
/// changes. They lie in fuzz/seeds for the fuzzer; with LCORE_WRITE_SEEDS set they are written
/// there.
#[test]
fn s250_seeds_and_their_neighbours_do_no_harm() {
    let mut rng = Rng::with_seed(4);
    for (target, name, seed) in seeds::all() {
        let run: fn(&[u8]) = match target {
            "nvme_pdus" => fuzzed::pdus,
            "nvme_target" => fuzzed::target,
            _ => fuzzed::host,
        };
        run(&seed);
        for _ in 0..200 {
            let mut bytes = seed.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            run(&bytes);
        }
        let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target).join(name);
        if std::env::var_os("LCORE_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(&at, &seed).unwrap();
        }
        assert!(std::fs::read(&at).is_ok_and(|there| there == seed), "{target}/{name} is another: run this with LCORE_WRITE_SEEDS=1");
    }
}
