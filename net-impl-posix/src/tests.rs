//! Connects, of which it is asked how far they are.

use std::net::Ipv4Addr;

use conformance::net::{Peers, Plain};
use core_reactor::net::SockOptions;

use net_sockets::connect::{outcome, start};

use crate::PosixSocket;

/// What epoll tells may be the news of a socket that was in this place before, so it is the socket
/// that is asked.
#[test]
fn s15_a_connect_that_nobody_has_answered_is_not_decided() {
    let (silent, _guard) = Plain.silent(Ipv4Addr::LOCALHOST.into());
    let mut socket = PosixSocket::connect(&[silent], &SockOptions::default()).expect("a socket");
    start(&mut socket).expect("it is under way");
    assert_eq!(outcome(&socket), None);
}

#[test]
fn s15_a_connect_is_decided_by_an_answer() {
    let listener = Plain.listen(Ipv4Addr::LOCALHOST.into()).expect("a free port");
    let mut socket = PosixSocket::connect(&[listener.local_addr().expect("its address")], &SockOptions::default()).expect("a socket");
    start(&mut socket).expect("over loopback it succeeds at once");
    assert_eq!(outcome(&socket), Some(Ok(())));
}
