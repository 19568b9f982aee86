//! What is on its way when the server is asked to end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::{Server, until};
use rustix::process::Signal;

/// A connection that takes little in, and on which so much has been sent that the server takes no
/// more of it.
fn stuck(server: &Server) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.connect(&server.at.into()).unwrap();
    let mut peer = TcpStream::from(socket);
    peer.set_nonblocking(true).unwrap();
    let (block, mut quiet_since) = (vec![7; 64 << 10], Instant::now());
    until("the peer to be held back", || {
        if peer.write(&block).is_ok() {
            quiet_since = Instant::now();
        }
        (quiet_since.elapsed() > Duration::from_millis(300)).then_some(())
    });
    peer
}

fn unsent(report: &[u8]) -> u64 {
    let report: serde_json::Value = serde_json::from_slice(report).expect("its report is there");
    report["groups"].as_array().unwrap().iter().map(|group| group["unsent"].as_u64().unwrap()).sum()
}

#[test]
fn s95_a_peer_that_reads_at_last_gets_what_was_on_its_way_at_a_stop() {
    let mut server = Server::start("--json");
    let mut peer = stuck(&server);
    server.program.signal(Signal::TERM);
    peer.set_nonblocking(false).unwrap();
    let mut block = [0; 64 << 10];
    // What the server had not even read is answered by a reset.
    while let Ok(1..) = peer.read(&mut block) {}
    let ended = server.program.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(unsent(&ended.stdout), 0, "{ended:?}");
    assert!(!ended.stderr.contains("dropped"), "{ended:?}");
}

#[test]
fn s95_what_a_peer_does_not_read_is_dropped_at_a_stop_after_a_while_and_said() {
    let mut server = Server::start("--json");
    let mut peer = stuck(&server);
    server.program.signal(Signal::TERM);
    let ended = server.program.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("by force"), "{ended:?}");
    let unsent = unsent(&ended.stdout);
    let said = format!("{unsent} bytes were dropped, which their peers had not read");
    assert!(unsent > 0 && ended.stderr.contains(&said), "{said:?} is wanted: {ended:?}");
    // It is told that something is missing, if it looks.
    peer.set_nonblocking(false).unwrap();
    let mut block = [0; 64 << 10];
    let end = loop {
        match peer.read(&mut block) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(why) => break Some(why.kind()),
        }
    };
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
}
