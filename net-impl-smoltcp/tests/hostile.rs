//! Nothing that arrives can stop a host or make it hold more than it was started with.

mod common;

use std::time::Duration;

use common::host::{Host, address, config, hardware};
use common::wire::{End, Weather, wire};
use core_reactor::net::{NetEvent, Token};
use core_reactor::sim::SimPlatform;
use net_impl_smoltcp::smoltcp::wire::{EthernetAddress, Ipv4Address};
use proptest::prelude::*;

const PEER: (EthernetAddress, Ipv4Address) = (EthernetAddress([2, 0, 0, 0, 0, 9]), Ipv4Address::new(10, 0, 0, 9));

/// A host that echoes, on a wire whose checksums all hold, so that nonsense gets as far as it can.
fn victim() -> (std::sync::Arc<SimPlatform>, Host, End) {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let mut host = Host::new(&platform, near.without_checksums(), &config(1));
    host.listen(7);
    (platform, host, far)
}

fn turn(platform: &SimPlatform, host: &mut Host, far: &End) {
    host.poll();
    while far.take().is_some() {}
    for event in std::mem::take(&mut host.seen) {
        match event {
            NetEvent::Accepted { socket, .. } => drop(host.group.attach(socket, Token(1))),
            NetEvent::Received { id, buf, .. } => drop(host.group.send(id, buf.into())),
            NetEvent::PeerClosed { id, .. } => drop(host.group.shutdown(id)),
            _ => {}
        }
    }
    platform.advance(Duration::from_millis(1));
}

fn still_there(platform: &std::sync::Arc<SimPlatform>, host: &mut Host, far: &End) {
    // Whatever was begun is given up in time, and a new connection is taken.
    for _ in 0..300 {
        platform.advance(Duration::from_secs(5));
        turn(platform, host, far);
    }
    far.inject(&common::syn(PEER.0, PEER.1, 5555, EthernetAddress(hardware(1)), Ipv4Address::new(10, 0, 0, 1), 7));
    let sent = host.net.stats().expect("it has a device").frames_in;
    host.poll();
    assert!(host.net.stats().expect("it has a device").frames_in > sent);
    assert!(host.group.stats().sockets <= 65);
    assert_eq!(host.net.addresses(), net_impl_smoltcp::Addresses::one(address(1), 24, None));
}

/// The frames of a conversation that could be: a handshake, data, an end, with fields as the peer
/// likes.
fn segment() -> impl Strategy<Value = Vec<u8>> {
    let fields =
        (0u16..4, any::<u32>(), any::<u32>(), any::<u8>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..60), any::<bool>());
    fields.prop_map(|(port, seq, ack, flags, window, payload, near)| {
        let mut bytes = common::syn(PEER.0, PEER.1, 4000 + port, EthernetAddress(hardware(1)), Ipv4Address::new(10, 0, 0, 1), 7);
        let tcp = 34;
        // Close to the sequence number of the SYN, half of the time.
        let seq = if near { 1000 + seq % 200 } else { seq };
        bytes[tcp + 4..tcp + 8].copy_from_slice(&seq.to_be_bytes());
        bytes[tcp + 8..tcp + 12].copy_from_slice(&ack.to_be_bytes());
        bytes[tcp + 13] = flags;
        bytes[tcp + 14..tcp + 16].copy_from_slice(&window.to_be_bytes());
        bytes.extend(payload);
        let len = (bytes.len() - 14) as u16;
        bytes[16..18].copy_from_slice(&len.to_be_bytes());
        bytes
    })
}

/// A frame of which some bytes are wrong.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (segment(), proptest::collection::vec((12usize..80, any::<u8>()), 0..6), 0usize..120).prop_map(|(mut bytes, wrong, len)| {
        for (at, byte) in wrong {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(len.max(14));
        bytes
    })
}

/// Any bytes behind a header that has the host look at them.
fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop_oneof![Just([8, 0]), Just([8, 6]), Just([0x86, 0xDD]), any::<[u8; 2]>()];
    (any::<bool>(), ethertype, proptest::collection::vec(any::<u8>(), 0..200)).prop_map(|(all, ethertype, payload)| {
        let to = if all { [0xFF; 6] } else { hardware(1) };
        [&to[..], &PEER.0.0, &ethertype, &payload].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_frames_stop_a_host(frames in proptest::collection::vec(prop_oneof![4 => segment(), 2 => damaged(), 2 => nonsense()], 1..200)) {
        let (platform, mut host, far) = victim();
        far.inject(&common::syn(PEER.0, PEER.1, 4000, EthernetAddress(hardware(1)), Ipv4Address::new(10, 0, 0, 1), 7));
        for frame in &frames {
            far.inject(frame);
            turn(&platform, &mut host, &far);
        }
        still_there(&platform, &mut host, &far);
    }
}
