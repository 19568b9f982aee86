//! Whatever a peer sends: nothing panics, reads past the end or breaks a bound. The bodies are
//! those of the fuzz targets in `fuzz/`.

#[allow(unreachable_pub, reason = "a library to the fuzz targets, a module here")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use proptest::prelude::*;

/// Messages that are right, to start from.
const CORPUS: &[&[u8]] = &[
    include_bytes!("../../fuzz/seeds/negotiate/request"),
    include_bytes!("../../fuzz/seeds/negotiate/response"),
    include_bytes!("../../fuzz/seeds/data/empty"),
    include_bytes!("../../fuzz/seeds/data/payload"),
    include_bytes!("../../fuzz/seeds/conversation/three"),
];

fn all(bytes: &[u8]) {
    targets::negotiate_request(bytes);
    targets::negotiate_response(bytes);
    targets::data_transfer(bytes);
    targets::descriptors(bytes);
    targets::conversation(bytes);
}

/// Truncated at each byte, each byte changed, and each field of 2 and 4 bytes at its extremes.
#[test]
fn s33_no_change_of_a_right_message_does_harm() {
    for message in CORPUS {
        for length in 0..=message.len() {
            all(&message[..length]);
        }
        for at in 0..message.len() {
            for value in [&[0][..], &[1], &[0x7F], &[0x80], &[0xFF], &[0xFF; 2], &[0xFF; 4], &[0, 0, 0, 0x80], &[0xF8, 0xFF, 0xFF, 0xFF]] {
                let mut changed = message.to_vec();
                let end = changed.len().min(at + value.len());
                changed[at..end].copy_from_slice(&value[..end - at]);
                all(&changed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn s33_no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        all(&bytes);
    }

    #[test]
    fn s33_nearly_right_messages_do_no_harm(
        which in 0..CORPUS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = [CORPUS[which], &tail].concat();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        all(&bytes);
    }
}
