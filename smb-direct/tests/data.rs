//! Every field of data transfer messages, right and wrong (MS-SMBD 3.1.5.8, 3.1.5.1, 3.1.4.2).

mod common;

use common::{CLIENT, Pair, SERVER};
use smb_direct::{Action, Descriptor, Ended, Reassembly, ReassemblyError, Received, SendError, Settings};

fn settings() -> Settings {
    Settings { credits: 10, preferred_send_size: 512, max_receive_size: 512, max_fragmented_size: 131_072, ..Settings::client() }
}

/// A message with these fields, `payload` bytes long behind byte 24.
fn message(fields: [u32; 7], payload: usize) -> Vec<u8> {
    let [requested, granted, flags, remaining, offset, length, total] = fields;
    let mut bytes: Vec<u8> =
        [requested as u16, granted as u16, flags as u16, 0xFFFF].iter().flat_map(|field| field.to_le_bytes()).collect();
    bytes.extend([remaining, offset, length].iter().flat_map(|field| field.to_le_bytes()));
    bytes.resize((total as usize).max(20), 0);
    bytes.extend((0..payload).map(|n| n as u8));
    bytes
}

/// What a server that is open makes of a message.
fn received(bytes: &[u8]) -> (Received, Option<Ended>) {
    let mut pair = Pair::open(settings(), 1);
    let now = pair.now;
    let server = &mut pair.ends[SERVER].conn;
    let got = server.on_message(now, bytes);
    let ended = std::iter::from_fn(|| server.next_action(now)).find_map(|action| match action {
        Action::Disconnect(why) => Some(why),
        _ => None,
    });
    (got, ended)
}

#[test]
fn s33_a_message_with_payload_is_delivered() {
    let (got, ended) = received(&message([10, 0, 0, 0, 24, 100, 24], 100));
    assert_eq!((got, ended), (Received::Fragment { bytes: 24..124, first: true, remaining: 0 }, None));
    // Payload may begin later, and end before the message does.
    let (got, ended) = received(&message([10, 0, 0, 7, 32, 10, 24], 100));
    assert_eq!((got, ended), (Received::Fragment { bytes: 32..42, first: true, remaining: 7 }, None));
    for empty in [message([10, 3, 0, 0, 0, 0, 20], 0), message([1, 0, 1, 0, 24, 0, 24], 0)] {
        assert_eq!(received(&empty), (Received::Nothing, None));
    }
}

#[test]
fn a_connection_says_whether_it_can_send_and_whether_it_is_ending() {
    let mut pair = Pair::open(settings(), 1);
    let now = pair.now;
    let server = &mut pair.ends[SERVER].conn;
    assert_eq!((server.can_send(), server.is_ending()), (true, false));
    // No credits requested.
    let _ = server.on_message(now, &message([0, 1, 0, 0, 24, 8, 24], 8));
    assert_eq!((server.can_send(), server.is_ending()), (false, true));
}

#[test]
fn s33_each_wrong_field_of_a_message_ends_the_connection() {
    for (bytes, field) in [
        (message([0, 1, 0, 0, 24, 8, 24], 8), "CreditsRequested"),
        (message([1, 1, 0, 0, 20, 8, 24], 8), "DataOffset"),
        (message([1, 1, 0, 0, 25, 7, 24], 8), "DataOffset"),
        (message([1, 1, 0, 0, 16, 8, 24], 8), "DataOffset"),
        (message([1, 1, 0, 0, 0, 32, 24], 8), "DataOffset"),
        (message([1, 1, 0, 0, 24, 9, 24], 8), "DataLength"),
        (message([1, 1, 0, 0, 40, 0, 24], 8), "DataLength"),
        (message([1, 1, 0, 0, 24, u32::MAX, 24], 8), "DataLength"),
        (message([1, 1, 0, 0, u32::MAX - 7, 8, 24], 8), "DataLength"),
        (message([1, 1, 0, 0, u32::MAX - 7, u32::MAX, 24], 8), "DataLength"),
        (message([1, 1, 0, 131_065, 24, 8, 24], 8), "RemainingDataLength"),
        (message([1, 1, 0, u32::MAX, 24, 8, 24], 8), "RemainingDataLength"),
    ] {
        let (got, ended) = received(&bytes);
        assert_eq!(got, Received::Nothing);
        let Some(Ended::Data { field: said, .. }) = ended else { panic!("{field}: {ended:?}") };
        assert_eq!(said, field, "{ended:?}");
    }
    assert_eq!(received(&message([1, 1, 0, 131_064, 24, 8, 24], 8)).1, None, "as long as it may be");
}

#[test]
fn s33_truncated_and_oversized_messages_end_the_connection() {
    let whole = message([10, 1, 0, 0, 24, 8, 24], 8);
    for length in 0..20 {
        assert_eq!(received(&whole[..length]).1, Some(Ended::Short { message: "a data transfer message", length, least: 20 }));
    }
    for length in 20..whole.len() {
        assert!(matches!(received(&whole[..length]).1, Some(Ended::Data { field: "DataLength", .. })), "{length}");
    }
    assert_eq!(received(&message([10, 1, 0, 0, 24, 8, 24], 489)).1, Some(Ended::Oversized { length: 513, most: 512 }));
    assert_eq!(received(&message([10, 1, 0, 0, 24, 488, 24], 488)).1, None);
}

#[test]
fn s33_pieces_that_do_not_add_up_end_the_connection() {
    for (second, said) in [([10, 1, 0, 50, 24, 8, 24], 58), ([10, 1, 0, 0, 24, 101, 24], 101), ([10, 1, 0, 0, 24, 99, 24], 99)] {
        let mut pair = Pair::open(settings(), 1);
        let (now, server) = (pair.now, &mut pair.ends[SERVER].conn);
        assert!(matches!(server.on_message(now, &message([10, 1, 0, 100, 24, 8, 24], 8)), Received::Fragment { remaining: 100, .. }));
        // One about credits only may come between.
        assert_eq!(server.on_message(now, &message([10, 1, 0, 0, 0, 0, 20], 0)), Received::Nothing);
        assert_eq!(server.on_message(now, &message(second, 101)), Received::Nothing);
        let last = std::iter::from_fn(|| server.next_action(now)).last();
        assert_eq!(last, Some(Action::Disconnect(Ended::Fragments { said, expected: 100 })));
    }
    assert!(matches!(received(&message([10, 1, 0, 5, 0, 0, 20], 0)).1, Some(Ended::Fragments { .. })), "bytes to come, behind none");
}

#[test]
fn s33_a_message_without_a_credit_ends_the_connection() {
    let mut pair = Pair::open(settings(), 1);
    let (now, server) = (pair.now, &mut pair.ends[SERVER].conn);
    for _ in 0..server.receive_credits() {
        assert!(matches!(server.on_message(now, &message([10, 0, 0, 0, 24, 8, 24], 8)), Received::Fragment { .. }));
    }
    assert_eq!(server.on_message(now, &message([10, 0, 0, 0, 24, 8, 24], 8)), Received::Nothing);
    assert_eq!(server.next_action(now), Some(Action::Disconnect(Ended::Credit)));
    assert_eq!(server.on_message(now, &message([10, 0, 0, 0, 24, 8, 24], 8)), Received::Nothing, "nothing more is taken in");
    assert_eq!((server.next_action(now), server.next_fragment(1)), (None, None));
}

#[test]
fn s33_any_number_of_credits_may_be_granted() {
    let mut pair = Pair::open(Settings { credits: 255, ..settings() }, 1);
    let (now, server) = (pair.now, &mut pair.ends[SERVER].conn);
    let before = server.send_credits();
    for _ in 0..200 {
        assert_eq!(server.on_message(now, &message([u32::from(u16::MAX), u32::from(u16::MAX), 0, 0, 0, 0, 20], 0)), Received::Nothing);
        server.receives_freed(1);
    }
    assert_eq!(server.send_credits(), before + 200 * u32::from(u16::MAX));
    assert!(server.agreed().is_some());
}

#[test]
fn s33_an_answer_is_sent_when_it_is_asked_for() {
    let mut pair = Pair::open(settings(), 1);
    let (now, server) = (pair.now, &mut pair.ends[SERVER].conn);
    assert_eq!(server.on_message(now, &message([10, 0, 1, 0, 0, 0, 20], 0)), Received::Nothing);
    let Some(Action::Send(answer)) = server.next_action(now) else { panic!("an answer") };
    assert_eq!(answer.len(), 20);
    assert_eq!(server.next_action(now), None, "once");
}

#[test]
fn s33_what_the_peer_cannot_put_together_is_an_error_here() {
    let mut pair = Pair::open(settings(), 1);
    let client = &mut pair.ends[CLIENT].conn;
    assert_eq!(client.start_message(131_073), Err(SendError::TooLong { length: 131_073, most: 131_072 }));
    assert_eq!(client.start_message(usize::MAX), Err(SendError::TooLong { length: usize::MAX, most: 131_072 }));
    assert_eq!(client.start_message(0), Err(SendError::Empty));
    assert_eq!(client.start_message(131_072), Ok(()));
    assert_eq!(client.start_message(1), Err(SendError::Busy(131_072)));
    assert_eq!(client.next_fragment(0), None, "none of it is at hand");
    let first = client.next_fragment(usize::MAX).expect("there are credits");
    assert_eq!((first.length, first.remaining), (488, 131_072 - 488));
    let second = client.next_fragment(3).expect("there are credits");
    assert_eq!((second.length, second.remaining), (3, 131_072 - 491));
    let mut new = smb_direct::Connection::client(settings(), pair.now).expect("settings that can be had");
    assert_eq!((new.start_message(1), new.next_fragment(1)), (Err(SendError::NotOpen), None));
}

#[test]
fn s33_descriptors_are_those_of_the_specification() {
    let one = Descriptor::new(0x0102_0304_0506_0708, 0x1112_1314, 0x2122_2324);
    let bytes = [8, 7, 6, 5, 4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0x24, 0x23, 0x22, 0x21];
    assert_eq!(zerocopy::IntoBytes::as_bytes(&one), bytes);
    let two = [bytes, bytes].concat();
    assert_eq!(Descriptor::array(&two), Some(&[one, one][..]));
    assert_eq!(Descriptor::array(&[]), Some(&[][..]));
    for length in (0..32).filter(|length| length % 16 != 0) {
        assert_eq!(Descriptor::array(&two[..length]), None, "{length}");
    }
}

#[test]
fn pieces_are_put_together() {
    let mut whole = Reassembly::new([0; 10]);
    assert_eq!(whole.push(b"abc", 4), Ok(None));
    assert_eq!(whole.push(b"defg", 0), Ok(Some(&b"abcdefg"[..])));
    assert_eq!(whole.push(b"0123456789", 0), Ok(Some(&b"0123456789"[..])));
    assert_eq!(whole.push(b"abc", 8), Err(ReassemblyError { length: 11, room: 10 }));
    assert_eq!(whole.push(b"abc", usize::MAX), Err(ReassemblyError { length: usize::MAX, room: 10 }));
    assert_eq!(whole.push(b"x", 0), Ok(Some(&b"x"[..])));
}
