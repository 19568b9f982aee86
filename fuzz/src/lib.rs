//! What the fuzz targets do with their bytes: one function for each decoder of what a peer sends.
//! smb-direct's tests include this file, so the same runs on stable.

use std::time::Duration;

use smb_direct::{Action, Agreed, Connection, Descriptor, Received, Settings, wire};
use zerocopy::IntoBytes;

const NOW: Duration = Duration::from_secs(1);

fn settings(base: Settings) -> Settings {
    Settings { credits: 8, preferred_send_size: 512, max_receive_size: 512, max_fragmented_size: 131_072, ..base }
}

fn end(role: fn(Settings, Duration) -> Result<Connection, smb_direct::SettingsError>, own: Settings) -> Connection {
    match role(settings(own), NOW) {
        Ok(conn) => conn,
        Err(why) => panic!("settings that can be had: {why}"),
    }
}

/// Does what is to be done; what is sent, and whether it ended.
fn act(conn: &mut Connection) -> (usize, bool) {
    let (mut sent, mut ended) = (0, false);
    // Each action brings the next one nearer to nothing.
    for _ in 0..8 {
        match conn.next_action(NOW) {
            None => return (sent, ended),
            Some(Action::PostReceives(count)) => {
                assert!(count <= 8, "no more than our own credits");
                conn.receives_posted(count);
            }
            Some(Action::Send(_)) => sent += 1,
            Some(Action::SendLast(..)) => (sent, ended) = (sent + 1, true),
            Some(Action::Disconnect(why)) => {
                assert!(!why.to_string().is_empty());
                ended = true;
            }
        }
    }
    panic!("it does not come to rest");
}

fn check(agreed: &Agreed) {
    assert!((128..=512).contains(&agreed.max_send_size), "{agreed:?}");
    assert!((128..=512).contains(&agreed.max_receive_size), "{agreed:?}");
    assert!(agreed.max_fragmented_send_size >= 131_072, "{agreed:?}");
}

/// As a request to a server.
pub fn negotiate_request(bytes: &[u8]) {
    let mut server = end(Connection::server, Settings::server());
    assert_eq!(server.on_message(NOW, bytes), Received::Nothing);
    let (sent, ended) = act(&mut server);
    match server.agreed() {
        Some(agreed) => {
            check(agreed);
            assert!(sent == 1 && !ended);
        }
        None => assert!(ended && sent <= 1),
    }
}

/// As a response to a client, lenient and not.
pub fn negotiate_response(bytes: &[u8]) {
    for lenient_short_response in [false, true] {
        let mut client = end(Connection::client, Settings { lenient_short_response, ..Settings::client() });
        let _ = act(&mut client);
        let received = client.on_message(NOW, bytes);
        let (_, ended) = act(&mut client);
        match received {
            Received::Negotiated(agreed) => {
                check(&agreed);
                assert!(agreed.max_read_write_size <= 1 << 20 && agreed.credits_granted > 0 && !ended);
            }
            _ => assert!(ended),
        }
    }
}

/// A server that is open.
fn open() -> Connection {
    let mut server = end(Connection::server, Settings::server());
    let request = wire::NegotiateRequest {
        min_version: wire::VERSION.into(),
        max_version: wire::VERSION.into(),
        reserved: 0.into(),
        credits_requested: 8.into(),
        preferred_send_size: 512.into(),
        max_receive_size: 512.into(),
        max_fragmented_size: 131_072.into(),
    };
    let _ = server.on_message(NOW, request.as_bytes());
    let _ = act(&mut server);
    assert!(server.agreed().is_some());
    server
}

/// As a data transfer message to an end that is open.
pub fn data_transfer(bytes: &[u8]) {
    let mut server = open();
    one(&mut server, bytes);
}

fn one(conn: &mut Connection, bytes: &[u8]) {
    let open = conn.agreed().is_some();
    if let Received::Fragment { bytes: range, remaining, .. } = conn.on_message(NOW, bytes) {
        assert!(open && !bytes[range.clone()].is_empty());
        assert!(range.len() + remaining <= 131_072);
    }
    if open {
        conn.receives_freed(1);
    }
    let _ = act(conn);
}

/// As an array of descriptors.
pub fn descriptors(bytes: &[u8]) {
    match Descriptor::array(bytes) {
        Some(array) => assert_eq!(array.as_bytes(), bytes),
        None => assert_ne!(bytes.len() % 16, 0),
    }
}

/// As a conversation with a server from its first message on: each message has a byte in front that
/// says how long it is. Between them the server says something itself whenever it may.
pub fn conversation(mut bytes: &[u8]) {
    let mut server = end(Connection::server, Settings::server());
    while let Some((length, rest)) = bytes.split_first() {
        let (message, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        one(&mut server, message);
        bytes = rest;
        if server.unsent() == 0 {
            // Refused unless it is open.
            let _ = server.start_message(1000);
        }
        while let Some(fragment) = server.next_fragment(300) {
            assert!((1..=300).contains(&fragment.length));
            if server.send_credits() > 1 << 16 {
                return;
            }
        }
        assert!(server.receive_credits() <= 8);
    }
}
