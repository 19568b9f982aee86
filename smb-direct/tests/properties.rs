//! For any settings, sizes and delays: what is sent arrives, and credits are neither made nor lost
//! (the pair checks them in every step).

mod common;

use common::{CLIENT, Lot, Pair, SERVER};
use proptest::prelude::*;
use smb_direct::Settings;

prop_compose! {
    fn settings()(credits in 4_u16..40, send in 128_u32..3000, receive in 128_u32..3000, fragmented in 131_072_u32..300_000) -> Settings {
        Settings { credits, preferred_send_size: send, max_receive_size: receive, max_fragmented_size: fragmented, ..Settings::client() }
    }
}

/// Messages of drawn sizes, most of them short.
fn messages(lot: &mut Lot, count: usize) -> Vec<Vec<u8>> {
    let sizes: Vec<u64> = (0..count).map(|_| 1 + [10, 200, 5000, 131_072][lot.below(4) as usize].min(lot.below(131_072))).collect();
    sizes.into_iter().map(|size| lot.bytes(size as usize)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn s33_what_is_sent_arrives_whole_and_in_order(
        client in settings(),
        server in settings(),
        seed: u64,
        delay in 0_u64..200,
        counts in (0_usize..12, 0_usize..12),
    ) {
        // Each must be willing to receive what the other would like to send.
        let client = Settings { max_receive_size: client.max_receive_size.max(server.preferred_send_size), ..client };
        let mut pair = Pair::new(client, server, seed, delay);
        let mut lot = Lot(seed);
        let sent = [messages(&mut lot, counts.0), messages(&mut lot, counts.1)];
        pair.ends[CLIENT].to_send.extend(sent[0].iter().cloned());
        pair.ends[SERVER].to_send.extend(sent[1].iter().cloned());
        pair.settle();
        prop_assert_eq!((pair.ends[CLIENT].ended, pair.ends[SERVER].ended), (None, None));
        prop_assert!(pair.ends[SERVER].got == sent[0]);
        prop_assert!(pair.ends[CLIENT].got == sent[1]);
    }

    /// Applications that hold what they got, and transports that post late, at drawn moments.
    #[test]
    fn s33_applications_and_transports_that_dawdle_lose_nothing(settings in settings(), seed: u64, delay in 0_u64..50) {
        let settings = Settings { max_receive_size: settings.max_receive_size.max(settings.preferred_send_size), ..settings };
        let mut pair = Pair::new(settings, settings, seed, delay);
        let mut lot = Lot(seed);
        let sent = [messages(&mut lot, 6), messages(&mut lot, 6)];
        for (end, sent) in pair.ends.iter_mut().zip(&sent) {
            end.to_send.extend(sent.iter().cloned());
        }
        for _ in 0..3000 {
            for end in &mut pair.ends {
                end.takes = lot.below(3) == 0;
                end.posts = lot.below(3) == 0;
            }
            pair.step();
        }
        for end in &mut pair.ends {
            (end.takes, end.posts) = (true, true);
        }
        pair.settle();
        prop_assert!(pair.ends[SERVER].got == sent[0]);
        prop_assert!(pair.ends[CLIENT].got == sent[1]);
    }
}
