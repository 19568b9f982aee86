//! The other side: plain sockets of the standard library.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;

/// A read or write that is stuck fails in the end.
pub(crate) fn patient(peer: &TcpStream) {
    peer.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout is allowed");
    peer.set_write_timeout(Some(Duration::from_secs(30))).expect("a timeout is allowed");
    peer.set_nodelay(true).expect("an option that each system has");
}

/// Ends a connection by a reset.
pub(crate) fn reset(peer: TcpStream) {
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("an option that each system has");
}

/// Reads exactly this many bytes.
pub(crate) fn read(peer: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    peer.read_exact(&mut all).expect("the bytes come");
    all
}

/// Reads up to the end of the stream.
pub(crate) fn read_to_end(peer: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    peer.read_to_end(&mut all).expect("an orderly end");
    all
}

/// Bytes that tell their place: two pieces of one stream never look alike.
pub(crate) fn pattern(seed: u64, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| byte(seed, at)).collect()
}

/// The byte of a pattern at a place.
pub(crate) fn byte(seed: u64, at: usize) -> u8 {
    let x = (at as u64 / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed;
    (x ^ x >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes()[at % 8]
}

/// Writes a pattern of seed 0 until the system has taken nothing for a while. Tells how much it took.
pub(crate) fn write_until_full(far: &mut TcpStream) -> usize {
    far.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout is allowed");
    let mut sent = 0;
    loop {
        match far.write(&pattern(0, sent, 65_536)) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => panic!("the peer cannot write: {e}"),
        }
    }
    patient(far);
    assert!(sent > 0);
    sent
}
