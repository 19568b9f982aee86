//! What had happened to a connection before anybody looked (statement 83): each is told as it would
//! have been one by one.

mod common;

use std::time::Duration;

use common::host::{Host, address, config, ended, pair, two, until};
use common::wire::{Weather, wire};
use core_reactor::net::{NetError, NetEvent, NetImpl, SockId, SockOptions, Socket, Token};
use core_reactor::sim::SimPlatform;
use net_impl_smoltcp::StackConfig;
use net_impl_smoltcp::smoltcp::time::Duration as SmolDuration;

/// What a peer does behind its handshake.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Reset,
    SendAndReset,
    SendAndEnd,
    SendEndAndReset,
}

const ALL: [Does; 4] = [Does::Reset, Does::SendAndReset, Does::SendAndEnd, Does::SendEndAndReset];

fn does(what: Does, host: &mut Host, id: SockId) {
    if what != Does::Reset {
        host.send(id, b"hello");
        host.group.flush();
    }
    if matches!(what, Does::SendAndEnd | Does::SendEndAndReset) {
        host.group.shutdown(id).expect("it is there");
        host.group.flush();
    }
    if what != Does::SendAndEnd {
        host.group.abort(id).expect("it is there");
        host.group.flush();
    }
}

/// The bytes, whether the stream has ended, and how the connection did, as host 2 is told of it.
fn told(host: &mut Host, of: SockId) -> (Vec<u8>, bool, Option<Option<NetError>>) {
    let (mut bytes, mut eof, mut end) = (Vec::new(), false, None);
    for event in std::mem::take(&mut host.seen) {
        assert_eq!(end, None, "Closed is the last");
        match event {
            NetEvent::Received { id, buf, .. } if id == of => bytes.extend(&*buf),
            NetEvent::PeerClosed { id, .. } if id == of => eof = true,
            NetEvent::Closed { id, why, .. } if id == of => end = Some(why),
            other => panic!("{}", common::name(&other)),
        }
    }
    (bytes, eof, end)
}

fn check(what: Does, host: &mut Host, of: SockId) {
    for _ in 0..4 {
        host.poll();
    }
    let (bytes, eof, end) = told(host, of);
    let sent: &[u8] = if what == Does::Reset { b"" } else { b"hello" };
    assert_eq!(bytes, sent, "{what:?}");
    match what {
        Does::SendAndEnd => assert_eq!((eof, end), (true, None), "{what:?}"),
        _ => assert_eq!(end, Some(Some(NetError::Reset)), "{what:?}"),
    }
}

fn accepted(host: &mut Host) -> Option<Box<dyn Socket>> {
    host.pick(|event| match event {
        NetEvent::Accepted { socket, .. } => Ok(socket),
        other => Err(other),
    })
}

/// Host 1 is connected, and host 2 has not seen the last segment of the handshake.
fn nearly(platform: &SimPlatform, one: &mut Host, two: &mut Host) -> SockId {
    let id = one.connect((address(2), 7).into(), Token(1));
    for _ in 0..100 {
        if one.seen.iter().any(|event| matches!(event, NetEvent::Connected { .. })) {
            one.seen.clear();
            return id;
        }
        two.poll();
        one.poll();
        platform.advance(Duration::from_millis(1));
    }
    panic!("no connection");
}

#[test]
fn s83_all_of_it_in_the_poll_that_ends_the_handshake() {
    for what in ALL {
        let (platform, mut one, mut two) = two(Weather::CALM);
        two.listen(7);
        let near = nearly(&platform, &mut one, &mut two);
        does(what, &mut one, near);
        two.poll();
        let socket = accepted(&mut two).unwrap_or_else(|| panic!("{what:?}: a connection that was made"));
        assert_eq!(socket.peer_addr().map(|peer| peer.ip()), Some(address(1)));
        let far = two.attach(socket, Token(2));
        check(what, &mut two, far);
    }
}

#[test]
fn s83_before_it_is_accepted() {
    for what in ALL {
        let (platform, mut one, mut two) = two(Weather::CALM);
        let listener = two.listen(7);
        two.group.pause(listener).expect("it is there");
        let near = nearly(&platform, &mut one, &mut two);
        two.poll();
        does(what, &mut one, near);
        for _ in 0..4 {
            two.poll();
        }
        two.group.resume(listener).expect("it is there");
        two.poll();
        let socket = accepted(&mut two).unwrap_or_else(|| panic!("{what:?}: a connection that was made"));
        let far = two.attach(socket, Token(2));
        check(what, &mut two, far);
    }
}

#[test]
fn s83_before_it_is_attached_or_while_it_is_in_no_group() {
    for what in ALL {
        let (platform, mut one, mut two) = two(Weather::CALM);
        let (near, far) = pair(&platform, &mut one, &mut two);
        // The end of the listener.
        two.poll();
        two.seen.clear();
        let socket = two.group.detach(far).expect("it is there");
        does(what, &mut one, near);
        for _ in 0..4 {
            two.poll();
        }
        let far = two.attach(socket, Token(2));
        check(what, &mut two, far);
    }
}

#[test]
fn s83_while_it_is_paused_or_under_its_low_water_mark() {
    for what in ALL {
        for low_water in [1, 1000] {
            let (platform, mut one, mut two) = two(Weather::CALM);
            two.listen_with(7, &SockOptions::default().low_water(low_water));
            let near = nearly(&platform, &mut one, &mut two);
            two.poll();
            let far = accepted(&mut two).expect("a connection");
            let far = two.attach(far, Token(2));
            two.group.pause(far).expect("it is there");
            does(what, &mut one, near);
            for _ in 0..4 {
                two.poll();
            }
            two.group.resume(far).expect("it is there");
            check(what, &mut two, far);
        }
    }
}

/// Behind one's own end, the peer's reset is still told; its end is the end of both.
#[test]
fn s83_after_ones_own_end() {
    for what in ALL {
        let (platform, mut one, mut two) = two(Weather::CALM);
        let (near, far) = pair(&platform, &mut one, &mut two);
        // The end of the listener.
        two.poll();
        two.seen.clear();
        two.group.shutdown(far).expect("it is there");
        // It has not reached the peer, which does as it would.
        does(what, &mut one, near);
        for _ in 0..4 {
            two.poll();
        }
        let (bytes, _, end) = told(&mut two, far);
        assert_eq!(bytes.is_empty(), what == Does::Reset, "{what:?}");
        assert!(end.is_some(), "{what:?}");
        // Where both sides have ended theirs a reset says nothing new.
        let both_ended = matches!(what, Does::SendAndEnd | Does::SendEndAndReset);
        assert!(both_ended || end != Some(None), "{what:?}: {end:?}");
    }
}

/// The refusal is there before the group of the connect is polled for the first time, or while the
/// connect is in no group.
#[test]
fn s83_a_connect_that_was_refused_before_anybody_looked() {
    for detached in [false, true] {
        let (platform, mut one, mut two) = two(Weather::CALM);
        let nobody = (address(2), 99).into();
        // The neighbours know each other by now.
        pair(&platform, &mut one, &mut two);
        let id = one.connect(nobody, Token(5));
        one.group.flush();
        let socket = detached.then(|| one.group.detach(id).expect("it is there"));
        two.poll();
        let id = match socket {
            None => id,
            Some(socket) => {
                one.poll();
                one.attach(socket, Token(6))
            }
        };
        one.poll();
        assert_eq!(ended(&mut one, id), Some(Some(NetError::ConnectRefused(nobody))), "detached: {detached}");
    }
}

/// The time that an earlier connection of a socket was given is none of the next one's, whose
/// handshake takes longer.
#[test]
fn s83_a_socket_has_no_time_limit_of_its_last_connection() {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather { delay: SmolDuration::from_millis(250), ..Weather::CALM });
    let mut one = Host::new(&platform, near, &config(1));
    let mut two = Host::new(&platform, far, &StackConfig { sockets: 1, ..config(2) });
    let options = SockOptions::default().user_timeout(Duration::from_millis(300));
    let socket = two.net.connect(&[(address(77), 7).into()], &options).expect("the only socket");
    let gone = two.attach(socket, Token(1));
    until(&platform, [&mut one, &mut two], Duration::from_secs(3), "its end", |_, two| ended(two, gone).is_some());
    until(&platform, [&mut one, &mut two], Duration::from_secs(10), "a free socket", |_, two| {
        two.net.stats().is_some_and(|stats| stats.free == 1)
    });
    two.listen(7);
    let near = one.connect((address(2), 7).into(), Token(1));
    let mut taken = None;
    until(&platform, [&mut one, &mut two], Duration::from_secs(3), "a connection", |_, two| {
        taken = accepted(two);
        taken.is_some()
    });
    let far = two.attach(taken.expect("it was accepted"), Token(2));
    for _ in 0..1000 {
        one.poll();
        two.poll();
        platform.advance(Duration::from_millis(1));
    }
    assert_eq!((ended(&mut one, near), ended(&mut two, far)), (None, None));
}
