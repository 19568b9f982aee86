//! Every field of the negotiate messages, right and wrong, in both directions (MS-SMBD 3.1.5.6,
//! 3.1.5.7).

use std::time::Duration;

use smb_direct::{Action, Connection, Ended, Message, Received, Rule, Settings};

const NOW: Duration = Duration::from_secs(1);

/// The request of the example in MS-SMBD 4.1.
const REQUEST: [u8; 20] = [0, 1, 0, 1, 0, 0, 10, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 2, 0];

/// Its response.
const RESPONSE: [u8; 32] = [0, 1, 0, 1, 0, 1, 0, 0, 10, 0, 10, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 2, 0];

fn of_the_example(base: Settings) -> Settings {
    Settings { credits: 10, preferred_send_size: 1024, max_receive_size: 1024, max_fragmented_size: 131_072, ..base }
}

fn with<const N: usize>(mut message: [u8; N], at: usize, value: &[u8]) -> [u8; N] {
    message[at..at + value.len()].copy_from_slice(value);
    message
}

/// What a server does about a request, when it has posted what it wanted to.
fn served(settings: Settings, request: &[u8]) -> (Connection, Option<Action>) {
    let mut server = Connection::server(settings, NOW).expect("settings that can be had");
    assert_eq!(server.on_message(NOW, request), Received::Nothing);
    let mut action = server.next_action(NOW);
    if let Some(Action::PostReceives(count)) = action {
        server.receives_posted(count);
        action = server.next_action(NOW);
    }
    (server, action)
}

/// What a client makes of a response.
fn concluded(settings: Settings, response: &[u8]) -> (Connection, Received, Option<Action>) {
    let mut client = Connection::client(settings, NOW).expect("settings that can be had");
    assert!(matches!(client.next_action(NOW), Some(Action::Send(_))));
    let received = client.on_message(NOW, response);
    let action = client.next_action(NOW);
    (client, received, action)
}

fn sent(action: Option<Action>) -> Message {
    match action {
        Some(Action::Send(message)) => message,
        other => panic!("a message, not {other:?}"),
    }
}

#[test]
fn s33_both_messages_are_those_of_the_specification() {
    let mut client = Connection::client(of_the_example(Settings::client()), NOW).expect("settings that can be had");
    assert_eq!(sent(client.next_action(NOW))[..], REQUEST);
    let (_, answer) = served(of_the_example(Settings::server()), &REQUEST);
    assert_eq!(sent(answer)[..], RESPONSE);
}

#[test]
fn s33_a_short_request_ends_without_an_answer() {
    for length in 0..20 {
        let (_, action) = served(Settings::server(), &REQUEST[..length]);
        let why = Ended::Short { message: "a negotiate request", length, least: 20 };
        assert_eq!(action, Some(Action::Disconnect(why)));
    }
}

#[test]
fn s33_a_request_without_a_common_version_is_told_so() {
    for (min, max) in [(0x0101, 0x0200), (0, 0x00FF), (0x0200, 0x0100), (0xFFFF, 0xFFFF)] {
        let request = with(with(REQUEST, 0, &u16::to_le_bytes(min)), 2, &u16::to_le_bytes(max));
        // The version comes first, whatever else is wrong.
        let (mut server, action) = served(Settings::server(), &with(request, 6, &[0; 14]));
        let Some(Action::SendLast(message, why)) = action else { panic!("a last message, not {action:?}") };
        let mut expected = [0; 32];
        expected[..4].copy_from_slice(&[0, 1, 0, 1]);
        expected[12..16].copy_from_slice(&0xC000_00BB_u32.to_le_bytes());
        assert_eq!(message[..], expected);
        assert_eq!(why, Ended::Version { min, max });
        assert_eq!(server.next_action(NOW), None);
    }
    // Any range that has it will do.
    for (min, max) in [(0x0100, 0x0100), (0, 0xFFFF), (0x0100, 0x0300)] {
        let request = with(with(REQUEST, 0, &u16::to_le_bytes(min)), 2, &u16::to_le_bytes(max));
        assert!(matches!(served(Settings::server(), &request).1, Some(Action::Send(_))));
    }
}

#[test]
fn s33_each_wrong_field_of_a_request_ends_without_an_answer() {
    for (at, value, field, rule) in [
        (6, &0_u16.to_le_bytes()[..], "CreditsRequested", Rule::AtLeast(1)),
        (12, &0_u32.to_le_bytes()[..], "MaxReceiveSize", Rule::AtLeast(128)),
        (12, &127_u32.to_le_bytes()[..], "MaxReceiveSize", Rule::AtLeast(128)),
        (16, &0_u32.to_le_bytes()[..], "MaxFragmentedSize", Rule::AtLeast(131_072)),
        (16, &131_071_u32.to_le_bytes()[..], "MaxFragmentedSize", Rule::AtLeast(131_072)),
    ] {
        let (_, action) = served(Settings::server(), &with(REQUEST, at, value));
        let Some(Action::Disconnect(Ended::Negotiate { message, field: said, rule: must, .. })) = action else {
            panic!("{field}: {action:?}");
        };
        assert_eq!((message, said, must), ("request", field, rule));
    }
}

#[test]
fn s33_what_a_request_may_have_is_taken() {
    for (at, value) in [
        (4, &0xFFFF_u16.to_le_bytes()[..]),
        (6, &1_u16.to_le_bytes()),
        (6, &u16::MAX.to_le_bytes()),
        (8, &0_u32.to_le_bytes()),
        (8, &u32::MAX.to_le_bytes()),
        (12, &128_u32.to_le_bytes()),
        (12, &u32::MAX.to_le_bytes()),
        (16, &u32::MAX.to_le_bytes()),
    ] {
        let (server, action) = served(Settings::server(), &with(REQUEST, at, value));
        assert!(matches!(action, Some(Action::Send(_))), "{at}: {action:?}");
        let agreed = server.agreed().expect("it is open");
        assert!(agreed.max_send_size <= 8192 && (128..=8192).contains(&agreed.max_receive_size), "{agreed:?}");
    }
    // A longer one is a later version's, and its beginning is the same.
    assert!(matches!(served(Settings::server(), &[&REQUEST[..], &[7; 100]].concat()).1, Some(Action::Send(_))));
}

#[test]
fn s33_a_response_of_the_specification_is_taken() {
    let (client, received, _) = concluded(of_the_example(Settings::client()), &RESPONSE);
    let Received::Negotiated(agreed) = received else { panic!("{received:?}") };
    assert_eq!((agreed.max_send_size, agreed.max_receive_size, agreed.max_read_write_size), (1024, 1024, 1 << 20));
    assert_eq!(client.send_credits(), 10);
}

#[test]
fn s33_each_wrong_field_of_a_response_ends() {
    let own = of_the_example(Settings::client());
    for (at, value, field, rule) in [
        (4, &0x0200_u16.to_le_bytes()[..], "NegotiatedVersion", Rule::Exactly(0x0100)),
        (4, &0_u16.to_le_bytes()[..], "NegotiatedVersion", Rule::Exactly(0x0100)),
        (8, &0_u16.to_le_bytes()[..], "CreditsRequested", Rule::AtLeast(1)),
        (10, &0_u16.to_le_bytes()[..], "CreditsGranted", Rule::AtLeast(1)),
        (20, &1025_u32.to_le_bytes()[..], "PreferredSendSize", Rule::AtMost(1024)),
        (24, &127_u32.to_le_bytes()[..], "MaxReceiveSize", Rule::AtLeast(128)),
        (28, &131_071_u32.to_le_bytes()[..], "MaxFragmentedSize", Rule::AtLeast(131_072)),
    ] {
        let (client, received, action) = concluded(own, &with(RESPONSE, at, value));
        assert_eq!(received, Received::Nothing);
        let Some(Action::Disconnect(Ended::Negotiate { message, field: said, rule: must, .. })) = action else {
            panic!("{field}: {action:?}");
        };
        assert_eq!((message, said, must), ("response", field, rule));
        assert_eq!(client.agreed(), None);
    }
    let (.., action) = concluded(own, &with(RESPONSE, 12, &0xC000_000D_u32.to_le_bytes()));
    assert_eq!(action, Some(Action::Disconnect(Ended::Refused(0xC000_000D))));
    let (.., action) = concluded(own, &with(with(RESPONSE, 0, &[0, 2, 0, 3]), 12, &0xC000_00BB_u32.to_le_bytes()));
    assert_eq!(action, Some(Action::Disconnect(Ended::Version { min: 0x0200, max: 0x0300 })));
}

#[test]
fn s33_a_short_response_is_refused_unless_it_is_to_be_taken() {
    for length in 0..32 {
        let (.., action) = concluded(of_the_example(Settings::client()), &RESPONSE[..length]);
        assert_eq!(action, Some(Action::Disconnect(Ended::Short { message: "a negotiate response", length, least: 32 })));
    }
    let lenient = Settings { lenient_short_response: true, ..of_the_example(Settings::client()) };
    let (.., action) = concluded(lenient, &RESPONSE[..19]);
    assert!(matches!(action, Some(Action::Disconnect(Ended::Short { length: 19, .. }))));
    let (_, received, _) = concluded(lenient, &RESPONSE[..20]);
    let Received::Negotiated(agreed) = received else { panic!("{received:?}") };
    assert_eq!((agreed.max_send_size, agreed.max_fragmented_send_size, agreed.max_read_write_size), (128, 131_072, 1 << 20));
    let wrong = with(RESPONSE, 10, &[0, 0]);
    assert!(matches!(concluded(lenient, &wrong[..20]).2, Some(Action::Disconnect(Ended::Negotiate { .. }))), "the rest is checked as ever");
}

#[test]
fn s33_messages_before_their_time_end_the_connection() {
    let mut client = Connection::client(Settings::client(), NOW).expect("settings that can be had");
    assert_eq!(client.on_message(NOW, &RESPONSE), Received::Nothing);
    assert_eq!(client.next_action(NOW), Some(Action::Disconnect(Ended::Credit)), "a response to nothing");
    let mut server = Connection::server(Settings::server(), NOW).expect("settings that can be had");
    for _ in 0..2 {
        assert_eq!(server.on_message(NOW, &REQUEST), Received::Nothing);
    }
    assert_eq!(server.next_action(NOW), Some(Action::Disconnect(Ended::Credit)), "a second request, with the first unanswered");
}

#[test]
fn settings_that_a_peer_would_refuse_are_refused_here() {
    for (settings, setting) in [
        (Settings { credits: 3, ..Settings::client() }, "credits"),
        (Settings { max_receive_size: 127, ..Settings::client() }, "max_receive_size"),
        (Settings { preferred_send_size: 127, ..Settings::client() }, "preferred_send_size"),
        (Settings { max_fragmented_size: 131_071, ..Settings::client() }, "max_fragmented_size"),
        (Settings { negotiate_timeout: Duration::ZERO, ..Settings::client() }, "negotiate_timeout"),
        (Settings { idle: Duration::ZERO, ..Settings::client() }, "idle"),
        (Settings { keep_alive: Duration::ZERO, ..Settings::client() }, "keep_alive"),
    ] {
        let why = Connection::client(settings, NOW).expect_err("too small");
        assert_eq!(why.setting, setting);
        assert_eq!(Connection::server(settings, NOW).expect_err("too small"), why);
        assert!(why.to_string().starts_with(setting), "{why}");
    }
    let least =
        Settings { credits: Settings::LEAST_CREDITS, idle: Settings::LEAST_TIME, keep_alive: Settings::LEAST_TIME, ..Settings::client() };
    assert!(Connection::client(least, NOW).is_ok());
}

/// Statement 85, for each state: past its deadline there is something to do, also if the peer never
/// sends anything.
#[test]
fn s85_every_state_has_a_deadline() {
    let (client, server) = (Settings::client(), Settings::server());
    let refused = with(REQUEST, 0, &[0, 2, 0, 2]);
    let asking = Connection::client(client, NOW).expect("settings that can be had");
    let mut awaiting = asking.clone();
    assert!(matches!(awaiting.next_action(NOW), Some(Action::Send(_))));
    let mut granting = Connection::server(server, NOW).expect("settings that can be had");
    assert_eq!(granting.on_message(NOW, &REQUEST), Received::Nothing);
    let mut refusing = Connection::server(server, NOW).expect("settings that can be had");
    assert_eq!(refusing.on_message(NOW, &refused), Received::Nothing);
    for (mut conn, limit, state) in [
        (asking, client.negotiate_timeout, "Asking"),
        (awaiting, client.negotiate_timeout, "Awaiting"),
        (granting, server.negotiate_timeout, "Granting"),
        (refusing, server.negotiate_timeout, "Refusing"),
    ] {
        assert_eq!(conn.deadline(), NOW + limit, "{state}");
        conn.on_time(NOW + limit);
        assert!(conn.is_ending(), "{state}");
        assert_eq!(conn.next_action(NOW + limit), Some(Action::Disconnect(Ended::NegotiateTimeout)), "{state}");
    }
    let (mut open, _) = served(server, &REQUEST);
    assert_eq!(open.deadline(), NOW + server.idle);
    open.on_time(NOW + server.idle);
    assert_eq!(open.deadline(), NOW + server.idle + server.keep_alive);
    open.on_time(NOW + server.idle + server.keep_alive);
    assert_eq!(open.next_action(NOW), Some(Action::Disconnect(Ended::KeepAlive)));
}

#[test]
fn s85_a_refused_client_that_does_not_take_the_refusal_is_kept_no_longer_than_an_answer_may_take() {
    let settings = Settings::server();
    let (mut server, action) = served(settings, &with(REQUEST, 0, &[0, 2, 0, 2]));
    assert!(matches!(action, Some(Action::SendLast(..))));
    assert_eq!(server.deadline(), NOW + settings.keep_alive);
    // Whatever it sends meanwhile puts off nothing.
    let soon = NOW + settings.keep_alive - Duration::from_nanos(1);
    assert_eq!(server.on_message(soon, &REQUEST), Received::Nothing);
    server.on_time(soon);
    assert_eq!(server.next_action(soon), None);
    let then = NOW + settings.keep_alive;
    server.on_time(then);
    assert_eq!(server.next_action(then), Some(Action::Disconnect(Ended::Version { min: 0x0200, max: 0x0200 })));
    assert_eq!((server.next_action(then), server.deadline()), (None, Duration::MAX), "once");
}

#[test]
fn an_answer_may_be_asked_for_before_there_is_silence() {
    let settings = Settings::server();
    let (mut server, action) = served(settings, &REQUEST);
    assert!(matches!(action, Some(Action::Send(_))));
    // A message that grants credits, without which nothing can be asked.
    let mut grant = [0_u8; 20];
    (grant[0], grant[2]) = (10, 10);
    assert_eq!(server.on_message(NOW, &grant), Received::Nothing);
    server.receives_freed(1);
    server.ask_for_answer(NOW);
    let mut asked = 0;
    while let Some(action) = server.next_action(NOW) {
        match action {
            Action::PostReceives(count) => server.receives_posted(count),
            Action::Send(message) => asked += u32::from(message[4] == 1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((asked, server.deadline()), (1, NOW + settings.keep_alive));
    // A second time changes nothing, and a sign of life settles it.
    server.ask_for_answer(NOW + settings.keep_alive / 2);
    assert_eq!(server.deadline(), NOW + settings.keep_alive);
    assert_eq!(server.on_message(NOW, &grant), Received::Nothing);
    assert_eq!(server.deadline(), NOW + settings.idle);
}
