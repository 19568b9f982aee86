//! Hosts that are not there keep nobody from finding those that are (statement 81).

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::host::{Host, address, config, hardware, until};
use common::wire::{End, Weather, wire};
use core_reactor::Platform;
use core_reactor::net::{NetEvent, SockId, Token};
use core_reactor::sim::SimPlatform;
use net_impl_smoltcp::smoltcp::wire::EthernetAddress;
use net_impl_smoltcp::{Addresses, Network, StackConfig};

const STRANGER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);

/// A network behind a router; host 2 has an address in it too.
fn beyond(host: u8) -> IpAddr {
    [203, 0, 113, host].into()
}

fn v6(host: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into()
}

fn at(number: u8, gateways: Vec<IpAddr>, more: &[IpAddr]) -> StackConfig {
    let v4 = [address(number)].into_iter().chain(more.iter().copied()).map(|address| Network { address, prefix: 24 });
    let own = v4.chain([Network { address: v6(number.into()), prefix: 64 }]).collect();
    StackConfig { addresses: Addresses::Static { own, gateways }, ..config(number) }
}

/// Hosts 1 and 2, of which the first has this router; host 2 listens at all of its addresses.
fn world(gateway: Option<IpAddr>) -> (Arc<SimPlatform>, Host, Host, End) {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let observer = near.clone();
    let one = Host::new(&platform, near, &at(1, gateway.into_iter().collect(), &[]));
    let mut two = Host::new(&platform, far, &at(2, Vec::new(), &[beyond(2)]));
    for ip in [address(2), v6(2), beyond(2)] {
        let listener = core_reactor::net::NetImpl::listen(two.net, (ip, 7).into(), &Default::default()).expect("it can listen");
        two.attach(listener, Token(u64::MAX));
    }
    (platform, one, two, observer)
}

/// Host 1 connects, and does so within three seconds.
fn connects(platform: &SimPlatform, one: &mut Host, two: &mut Host, to: SocketAddr) -> SockId {
    let wanted = one.connect(to, Token(1));
    let what = format!("the connection to {to}");
    until(platform, [one, two], Duration::from_secs(3), &what, |one, _| {
        one.pick(|event| match event {
            NetEvent::Connected { id, .. } if id == wanted => Ok(()),
            other => Err(other),
        })
        .is_some()
    });
    wanted
}

/// Lets time pass.
fn wait(platform: &SimPlatform, one: &mut Host, two: &mut Host, millis: u64) {
    for _ in 0..millis {
        one.poll();
        two.poll();
        platform.advance(Duration::from_millis(1));
    }
}

#[test]
fn s81_absent_hosts_do_not_hide_one_that_is_there() {
    for absent in 1..=20 {
        let to = [(address as fn(u8) -> IpAddr, address(2)), (|host| v6(host.into()), v6(2))];
        for (name, there) in to {
            let (platform, mut one, mut two, _) = world(None);
            for host in 0..absent {
                one.connect((name(100 + host), 7).into(), Token(9));
            }
            // Whenever it comes: at once, or while the others are being asked for.
            for pause in [0, 700, 5_000] {
                wait(&platform, &mut one, &mut two, pause);
                let id = connects(&platform, &mut one, &mut two, (there, 7).into());
                one.group.close(id).expect("it is there");
            }
        }
    }
}

#[test]
fn s81_an_absent_router_does_not_hide_a_neighbour() {
    let (platform, mut one, mut two, _) = world(Some(address(254)));
    for host in 0..20 {
        one.connect((beyond(100 + host), 7).into(), Token(9));
    }
    wait(&platform, &mut one, &mut two, 1_500);
    connects(&platform, &mut one, &mut two, (address(2), 7).into());
}

#[test]
fn s81_absent_neighbours_do_not_hide_the_router() {
    let (platform, mut one, mut two, _) = world(Some(address(2)));
    for host in 0..20 {
        one.connect((address(100 + host), 7).into(), Token(9));
    }
    wait(&platform, &mut one, &mut two, 1_500);
    connects(&platform, &mut one, &mut two, (beyond(2), 7).into());
}

#[test]
fn s81_absent_hosts_do_not_hide_the_host_from_itself() {
    let (platform, mut one, mut two, _) = world(None);
    let listener = one.listen(8);
    one.connect((address(100), 7).into(), Token(9));
    wait(&platform, &mut one, &mut two, 1_500);
    connects(&platform, &mut one, &mut two, (address(1), 8).into());
    one.group.close(listener).expect("it is there");
}

/// After a minute of silence smoltcp has forgotten where the peer is, and has to ask before it
/// answers.
#[test]
fn s81_who_answers_finds_its_peer_among_absent_ones() {
    for absent in 1..=20u16 {
        let (platform, mut one, mut two, wire) = world(None);
        connects(&platform, &mut one, &mut two, (address(2), 7).into());
        let far = two.pick(|event| match event {
            NetEvent::Accepted { socket, .. } => Ok(socket),
            other => Err(other),
        });
        let far = two.attach(far.expect("it was accepted"), Token(2));
        wait(&platform, &mut one, &mut two, 70_000);
        for host in 0..absent {
            let from = (STRANGER, SocketAddr::from((address(100 + host as u8), 1024)));
            wire.inject(&common::syn_between(from, (EthernetAddress(hardware(2)), (address(2), 7).into())));
        }
        wait(&platform, &mut one, &mut two, 1_500);
        two.send(far, b"are you there?");
        until(&platform, [&mut one, &mut two], Duration::from_secs(3), "what was sent", |one, _| {
            one.seen.iter().any(|event| matches!(event, NetEvent::Received { .. }))
        });
    }
}

fn free(host: &Host) -> usize {
    host.net.stats().expect("it has a device").free
}

/// A reset that cannot go out, because nobody tells where its peer is, does not hold its socket for
/// long.
#[test]
fn s81_resets_for_absent_hosts_hold_no_socket() {
    let (platform, mut one, mut two, wire) = world(None);
    let listener = one.listen(8);
    for host in 0..16 {
        let from = (STRANGER, SocketAddr::from((address(100 + host), 1024)));
        wire.send_back(&common::syn_between(from, (EthernetAddress(hardware(1)), (address(1), 8).into())));
    }
    wait(&platform, &mut one, &mut two, 1_500);
    one.group.close(listener).expect("it is there");
    wait(&platform, &mut one, &mut two, 1_000);
    assert_eq!(free(&one), 48, "they wait for a neighbour that may still answer");
    wait(&platform, &mut one, &mut two, 3_000);
    assert_eq!(free(&one), 64);
}

/// The place of a connection to somebody who was not there is used again for one who is.
#[test]
fn s81_a_socket_that_waited_for_one_neighbour_goes_to_the_next() {
    let (platform, mut one, mut two, _) = world(None);
    let gone = one.connect((address(100), 7).into(), Token(9));
    wait(&platform, &mut one, &mut two, 1_500);
    one.group.abort(gone).expect("it is there");
    wait(&platform, &mut one, &mut two, 1);
    assert_eq!(free(&one), 64, "nobody has heard of it, so it is free at once");
    let began = platform.now();
    connects(&platform, &mut one, &mut two, (address(2), 7).into());
    assert!(platform.now() < began + Duration::from_millis(50), "at once");
}

#[test]
fn s81_a_listening_socket_that_had_waited_for_a_neighbour_answers_at_once() {
    let (platform, mut one, mut two, _) = world(None);
    let gone = [100, 101].map(|host| one.connect((address(host), 7).into(), Token(9)));
    wait(&platform, &mut one, &mut two, 1_500);
    for gone in gone {
        one.group.abort(gone).expect("it is there");
    }
    wait(&platform, &mut one, &mut two, 1);
    one.listen(8);
    let began = platform.now();
    connects(&platform, &mut two, &mut one, (address(1), 8).into());
    assert!(platform.now() < began + Duration::from_millis(50), "at once");
}

#[test]
fn s81_each_neighbour_is_asked_for_about_once_a_second() {
    let (platform, mut one, mut two, wire) = world(None);
    for host in 0..20 {
        one.connect((address(100 + host), 7).into(), Token(9));
    }
    let before = wire.sent();
    wait(&platform, &mut one, &mut two, 10_000);
    let asked = wire.sent() - before;
    // One of ours for each, and one of smoltcp's for the first.
    assert!((190..=235).contains(&asked), "{asked} frames");
}

/// Where everybody is there, one question is asked of each.
#[test]
fn s81_who_is_there_is_asked_for_once() {
    let (platform, mut one, mut two, wire) = world(None);
    connects(&platform, &mut one, &mut two, (address(2), 7).into());
    wait(&platform, &mut one, &mut two, 100);
    // The question, the SYN, the acknowledgement of the answer.
    assert_eq!(wire.sent(), 3);
}
