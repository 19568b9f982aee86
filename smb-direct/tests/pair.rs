//! Both ends together, on a simulated link (statement 33).

mod common;

use std::time::Duration;

use common::{CLIENT, Lot, Pair, SERVER};
use smb_direct::{Ended, Settings};

fn small(credits: u16) -> Settings {
    Settings { credits, preferred_send_size: 256, max_receive_size: 256, max_fragmented_size: 131_072, ..Settings::client() }
}

#[test]
fn s33_two_ends_negotiate_what_both_can() {
    let client =
        Settings { preferred_send_size: 4096, max_receive_size: 1364, max_fragmented_size: 173_910, credits: 20, ..Settings::client() };
    let server =
        Settings { preferred_send_size: 8192, max_receive_size: 2048, max_read_write_size: 65_536, credits: 30, ..Settings::server() };
    let mut pair = Pair::new(client, server, 1, 10);
    pair.settle();
    let [near, far] = [CLIENT, SERVER].map(|who| *pair.ends[who].conn.agreed().expect("it was negotiated"));
    assert_eq!((near.max_send_size, near.max_receive_size), (2048, 1364));
    assert_eq!((far.max_send_size, far.max_receive_size), (1364, 2048));
    assert_eq!((near.max_fragmented_send_size, far.max_fragmented_send_size), (1 << 20, 173_910));
    assert_eq!(near.max_read_write_size, 65_536);
    assert_eq!((near.credits_requested, near.credits_granted, far.credits_requested), (30, 20, 20));
    // The server learns at once that it may send.
    assert!(pair.ends[SERVER].conn.send_credits() > 0);
}

#[test]
fn s33_a_stream_is_echoed_through_fragmentation() {
    for (credits, seed) in [(4, 1), (5, 2), (16, 3), (255, 4)] {
        let mut pair = Pair::open(small(credits), seed);
        let mut lot = Lot(seed);
        let sizes: Vec<usize> = (0..40).map(|_| 1 + lot.below(20_000) as usize).chain([1, 131_072]).collect();
        let messages: Vec<Vec<u8>> = sizes.iter().map(|size| lot.bytes(*size)).collect();
        pair.ends[CLIENT].to_send.extend(messages.iter().cloned());
        let mut echoed = 0;
        while pair.step() {
            while let Some(message) = pair.ends[SERVER].got.get(echoed).cloned() {
                pair.ends[SERVER].to_send.push_back(message);
                echoed += 1;
            }
        }
        assert_eq!(pair.ends[CLIENT].got, messages, "{credits} credits");
    }
}

#[test]
fn s33_both_ends_stream_at_once_with_the_fewest_credits() {
    let mut pair = Pair::open(small(Settings::LEAST_CREDITS), 9);
    let messages: Vec<Vec<u8>> = (0..30).map(|n| vec![n; 5000]).collect();
    for end in &mut pair.ends {
        end.to_send.extend(messages.iter().cloned());
    }
    pair.settle();
    for end in &pair.ends {
        assert_eq!(end.got, messages);
        assert_eq!(end.ended, None);
    }
}

#[test]
fn s33_ends_with_nothing_to_say_come_to_rest() {
    for credits in [4, 5, 6, 7, 8, 255] {
        let pair = Pair::open(small(credits), credits.into());
        let empties: u64 = pair.ends.iter().map(|end| end.empties).sum();
        assert!(empties <= 6, "{empties} messages of negotiation and credits with {credits} credits");
    }
}

#[test]
fn s33_a_slow_reader_stops_the_sender_and_loses_nothing() {
    let mut pair = Pair::open(small(8), 5);
    pair.ends[SERVER].takes = false;
    let message = Lot(5).bytes(50_000);
    pair.ends[CLIENT].to_send.push_back(message.clone());
    pair.settle();
    assert!(pair.ends[SERVER].got.is_empty());
    let server = &pair.ends[SERVER];
    assert_eq!(server.unread + server.conn.receive_credits(), 8, "it has as many buffers as it had");
    assert!(server.conn.receive_credits() <= 1, "all are used but the last credit, which may have to bring some");
    assert!(!pair.ends[CLIENT].conn.can_send());
    pair.ends[SERVER].takes = true;
    pair.settle();
    assert_eq!(pair.ends[SERVER].got, [message]);
}

#[test]
fn s33_no_more_is_granted_than_was_posted() {
    let mut pair = Pair::new(small(20), small(20), 6, 10);
    pair.ends[SERVER].posts = false;
    pair.settle();
    assert!(pair.ends[CLIENT].conn.agreed().is_none(), "there is nothing to grant yet, so no response");
    pair.ends[SERVER].post(3);
    pair.settle();
    assert_eq!(pair.ends[CLIENT].conn.agreed().expect("now there is").credits_granted, 3);
    assert_eq!(pair.ends[SERVER].owed, 18, "all but three, and the one in which the client has granted some");
}

#[test]
fn s33_a_silent_peer_is_asked_and_answers() {
    let mut pair = Pair::open(small(10), 7);
    for _ in 0..5 {
        let before: Vec<u64> = pair.ends.iter().map(|end| end.sends).collect();
        pair.now += Settings::client().idle;
        pair.settle();
        for (end, before) in pair.ends.iter().zip(before) {
            assert_eq!(end.ended, None);
            assert!((1..=2).contains(&(end.sends - before)), "{} messages to show life", end.sends - before);
        }
    }
}

#[test]
fn s33_a_peer_that_does_not_answer_is_given_up() {
    let mut pair = Pair::open(small(10), 8);
    pair.now += Settings::client().idle;
    pair.ends[CLIENT].conn.on_time(pair.now);
    let Some(smb_direct::Action::Send(asks)) = pair.ends[CLIENT].conn.next_action(pair.now) else { panic!("it asks for an answer") };
    assert_eq!(asks[4], 1, "SMB_DIRECT_RESPONSE_REQUESTED");
    pair.now += Settings::client().keep_alive - Duration::from_nanos(1);
    pair.ends[CLIENT].conn.on_time(pair.now);
    assert!(pair.ends[CLIENT].conn.agreed().is_some(), "it has some time left");
    pair.now += Duration::from_nanos(1);
    pair.ends[CLIENT].conn.on_time(pair.now);
    assert_eq!(pair.ends[CLIENT].conn.next_action(pair.now), Some(smb_direct::Action::Disconnect(Ended::KeepAlive)));
    assert_eq!(pair.ends[CLIENT].conn.next_action(pair.now), None, "it is told once");
}

#[test]
fn s33_negotiation_does_not_wait_for_ever() {
    for (who, limit) in [(CLIENT, 120), (SERVER, 5)] {
        let mut pair = Pair::new(Settings::client(), Settings::server(), 1, 0);
        let began = pair.now;
        let _ = pair.ends[who].conn.next_action(pair.now);
        assert_eq!(pair.ends[who].conn.deadline() - began, Duration::from_secs(limit));
        pair.ends[who].conn.on_time(began + Duration::from_secs(limit));
        assert_eq!(pair.ends[who].conn.next_action(pair.now), Some(smb_direct::Action::Disconnect(Ended::NegotiateTimeout)));
        assert_eq!(pair.ends[who].conn.deadline(), Duration::MAX);
    }
}

/// A data message of 8 bytes is as long as a negotiate response, which its grant must not be taken
/// for.
#[test]
fn s33_credits_of_messages_as_long_as_a_negotiate_response_count() {
    let mut pair = Pair::open(Settings { credits: 4, ..Settings::client() }, 1);
    for _ in 0..50 {
        pair.ends[CLIENT].to_send.push_back(vec![7; 8]);
        pair.ends[SERVER].to_send.push_back(vec![8; 8]);
    }
    pair.settle();
    assert_eq!((pair.ends[CLIENT].got.len(), pair.ends[SERVER].got.len()), (50, 50));
}
