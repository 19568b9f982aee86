//! What completions say of a socket, as a kernel answers them seldom.

use std::any::Any;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use core_reactor::net::{NetImpl, SockOptions};
use core_uring::Ring;

use super::*;
use crate::Uring;

/// `IORING_CQE_F_MORE`.
const MORE: u32 = 1 << 1;

fn completion(result: i32, flags: u32) -> Completion {
    Completion::new(Completion::NOTHING.key, result, flags)
}

/// A connection in no group, with nothing at the kernel, and its peer. `change` is made before it
/// joins.
fn connection(change: impl FnOnce(&mut UringSocket)) -> (SlotData, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let at = listener.local_addr().expect("its address");
    let connecting: Box<dyn Any> = Uring::new().connect(&[at], &SockOptions::default()).expect("a socket");
    let kept = connecting.downcast::<UringSocket>().expect("it is ours").kept;
    let stream = TcpStream::connect(at).expect("it listens");
    let (peer, _) = listener.accept().expect("a connection");
    let mut socket = Box::new(UringSocket::accepted(stream.into(), Some(at), kept));
    change(&mut socket);
    let member = Ring::new(Uring::new().sizes).expect("a ring").io().join(0).expect("the first");
    (SlotData::new(member, SockId::new(0, 1, 7), socket, &BufGroup::new(1, 8)), peer)
}

#[test]
fn a_poll_says_what_it_was_asked_for() {
    let (mut data, _peer) = connection(|_| ());
    data.reader().wait_for_room();
    assert!(matches!(data.polled(completion(4, 0)), News::Ready(ready) if ready == Ready::WRITE));
    assert!(data.reader().is_direct());
    assert!(matches!(data.polled(completion(1, 0)), News::Ready(ready) if ready == Ready::READ));
    assert!(matches!(data.polled(completion(-libc::ECANCELED, 0)), News::Nothing));
    assert!(matches!(data.polled(completion(-libc::ENOMEM, 0)), News::Short));
}

#[test]
fn s105_a_send_that_fails_is_told_when_nobody_reads_and_of_who_leaves_not_at_all() {
    let (mut data, _peer) = connection(|_| ());
    assert!(matches!(data.sent(&mut Gathers::default(), completion(-libc::ECONNRESET, 0)), News::Nothing));
    data.is_over();
    assert!(matches!(data.end_to_tell(), Some(Happened::SendFailed(_))));
    // Both at once are told as one.
    assert!(data.end_to_tell().is_none());
    let (mut data, _peer) = connection(|_| ());
    data.sent(&mut Gathers::default(), completion(-libc::ECONNRESET, 0));
    assert!(matches!(data.end_to_tell(), Some(Happened::SendFailed(_))));
    data.is_over();
    assert!(matches!(data.end_to_tell(), Some(Happened::Ready(_, ready)) if ready == Ready::READ.and(Ready::OVER)));
    data.leave(Release::Close);
    assert!(matches!(data.sent(&mut Gathers::default(), completion(-libc::ECONNRESET, 0)), News::Sent(0)));
}

#[test]
fn s105_who_joins_with_a_send_that_failed_is_broken_and_read_by_calls() {
    let (mut data, _peer) = connection(|socket| socket.failed = Some(NetError::Reset));
    assert_eq!(data.opened().kind, net_group::Kind::Broken);
    assert!(data.reader().is_direct());
    let (data, _peer) = connection(|_| ());
    assert_eq!(data.opened().kind, net_group::Kind::Stream);
}

#[test]
fn s17_a_buffer_that_was_filled_may_not_be_all() {
    let (mut data, mut peer) = connection(|_| ());
    let bufs = BufGroup::new(2, 16);
    peer.write_all(b"0123456789").expect("sent");
    data.reader().go_direct();
    for (room, bytes, there_is_more) in [(4, &b"0123"[..], true), (16, b"456789", false)] {
        let received = data.receive(bufs.get().expect("a buffer"), room);
        assert!(matches!(received, Ok(Recv::Bytes(buf, more)) if *buf == *bytes && more == there_is_more), "{room}");
        assert_eq!(data.reader().is_direct(), there_is_more);
    }
}

#[test]
fn s63_only_who_has_nothing_but_lent_memory_with_the_kernel_goes_on_elsewhere() {
    let lends = || {
        let (mut data, peer) = connection(|_| ());
        assert!(matches!(data.sent(&mut Gathers::default(), completion(5, MORE)), News::Nothing));
        (data, peer)
    };
    let (mut data, _peer) = lends();
    assert!(data.go_on_elsewhere().is_ok());
    let (mut data, _peer) = lends();
    data.watched = true;
    assert!(data.go_on_elsewhere().is_err());
    let (mut data, _peer) = lends();
    data.reader().step(true, false);
    assert!(data.go_on_elsewhere().is_err());
    let (mut data, _peer) = connection(|_| ());
    assert!(data.go_on_elsewhere().is_err(), "it lends nothing");
}

#[test]
fn a_socket_is_listed_once() {
    let (mut data, _peer) = connection(|_| ());
    assert_eq!([data.enlist(), data.enlist()], [true, false]);
}
