//! Connections that their application has closed and that go on closing.

mod common;

use std::time::Duration;

use common::host::{Host, address, config, ended, until};
use common::wire::{Weather, wire};
use core_reactor::net::{NetError, NetEvent, SockId, Token};
use core_reactor::sim::SimPlatform;
use net_impl_smoltcp::StackConfig;

/// A reader with small buffers that does not read yet, and a writer that has closed with its buffer
/// full.
fn closed_and_full() -> (std::sync::Arc<SimPlatform>, Host, Host, SockId) {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let mut reader = Host::new(&platform, near, &StackConfig { recv_buf: 2048, ..config(1) });
    let mut writer = Host::new(&platform, far, &config(2));
    writer.listen(7);
    let id = reader.connect((address(2), 7).into(), Token(1));
    reader.group.pause(id).expect("it is there");
    let mut sent = false;
    until(&platform, [&mut reader, &mut writer], Duration::from_secs(5), "a full buffer", |_, writer| {
        let accepted = writer.pick(|event| match event {
            NetEvent::Accepted { socket, .. } => Ok(socket),
            other => Err(other),
        });
        if let Some(socket) = accepted {
            let far = writer.attach(socket, Token(2));
            (0..8).for_each(|_| writer.send(far, &[7; 2048]));
            writer.group.flush();
            writer.group.close(far).expect("it is there");
            sent = true;
        }
        sent
    });
    (platform, reader, writer, id)
}

fn closing(host: &Host) -> usize {
    host.net.stats().expect("it has a device").closing
}

/// Lets a second pass, in steps that timers need.
fn second(platform: &SimPlatform, hosts: [&mut Host; 2]) {
    let [one, other] = hosts;
    for _ in 0..20 {
        one.poll();
        other.poll();
        platform.advance(Duration::from_millis(50));
    }
}

/// Eight times half a minute: what is slow is not stuck.
#[test]
fn s19_who_closes_sends_the_rest_for_as_long_as_it_goes_on() {
    let (platform, mut reader, mut writer, id) = closed_and_full();
    let (mut heard, mut rounds) = (0, 0);
    while heard < 8 * 2048 {
        rounds += 1;
        for _ in 0..30 {
            second(&platform, [&mut reader, &mut writer]);
        }
        reader.group.resume(id).expect("it is there");
        reader.poll();
        reader.group.pause(id).expect("it is there");
        for event in std::mem::take(&mut reader.seen) {
            match event {
                NetEvent::Received { buf, .. } => heard += buf.len(),
                NetEvent::Connected { .. } | NetEvent::PeerClosed { .. } => {}
                other => panic!("after {heard} bytes: {}", common::name(&other)),
            }
        }
    }
    assert!(rounds >= 4, "it took {rounds} half minutes, which is no test of a minute");
}

#[test]
fn s19_who_closes_gives_up_a_peer_that_takes_nothing_for_a_minute() {
    let (platform, mut reader, mut writer, id) = closed_and_full();
    for _ in 0..58 {
        second(&platform, [&mut reader, &mut writer]);
    }
    assert_eq!(closing(&writer), 1, "not before its time");
    for _ in 0..6 {
        second(&platform, [&mut reader, &mut writer]);
    }
    assert_eq!(closing(&writer), 0);
    reader.group.resume(id).expect("it is there");
    reader.poll();
    assert_eq!(ended(&mut reader, id), Some(Some(NetError::Reset)));
}

/// Nor does a peer that never ends its side hold a socket.
#[test]
fn s19_who_closes_waits_a_minute_for_the_peers_end() {
    let (platform, mut one, mut two) = common::host::two(Weather::CALM);
    let (near, far) = common::host::pair(&platform, &mut one, &mut two);
    two.group.close(far).expect("it is there");
    for _ in 0..58 {
        second(&platform, [&mut one, &mut two]);
    }
    assert_eq!(closing(&two), 1, "not before its time");
    for _ in 0..6 {
        second(&platform, [&mut one, &mut two]);
    }
    assert_eq!(closing(&two), 0);
    assert_eq!(ended(&mut one, near), Some(Some(NetError::Reset)));
}
