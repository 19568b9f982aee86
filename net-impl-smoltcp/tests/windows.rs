//! How much a connection sends at once: over a long way, beside others over a narrow one, and in a
//! socket whose last connection had a bad one (statement 82).

mod common;

use std::time::Duration;

use common::host::{Host, address, config, until};
use common::wire::{End, Weather, wire};
use core_reactor::Platform;
use core_reactor::net::{NetEvent, SockId, SockOptions, Token};
use core_reactor::sim::SimPlatform;
use net_impl_smoltcp::StackConfig;
use net_impl_smoltcp::smoltcp::time::Duration as SmolDuration;

/// A round trip of so many milliseconds.
fn far(millis: u64) -> Weather {
    Weather { delay: SmolDuration::from_micros(500 * millis), ..Weather::CALM }
}

/// 10 Mbit/s with room for 20 frames.
fn narrow(seed: u64) -> Weather {
    Weather { seed, narrow: Some((833, 20)), ..far(20) }
}

struct World {
    platform: std::sync::Arc<SimPlatform>,
    reader: Host,
    writer: Host,
    wire: End,
}

impl World {
    /// Both hosts have buffers of so many bytes; the writer has one socket beyond those that it is
    /// to use.
    fn new(weather: Weather, buffers: usize, connections: usize) -> Self {
        let platform = SimPlatform::new(1);
        let [near, far] = wire(weather);
        let observer = far.clone();
        observer.set_room(1 << 14);
        let sized = |number, sockets| StackConfig { sockets, send_buf: buffers, recv_buf: buffers, ..config(number) };
        let reader = Host::new(&platform, near, &sized(1, 64));
        let mut writer = Host::new(&platform, far, &sized(2, connections));
        writer.listen(7);
        Self { platform, reader, writer, wire: observer }
    }

    /// How long it takes until each of so many connections has brought so many bytes.
    fn transfer(&mut self, connections: usize, bytes: usize) -> Duration {
        let began = self.platform.now();
        let ids: Vec<_> = (0..connections).map(|n| self.reader.connect((address(2), 7).into(), Token(n as u64))).collect();
        let mut senders: Vec<(SockId, usize)> = Vec::new();
        let mut heard = 0;
        until(&self.platform, [&mut self.reader, &mut self.writer], Duration::from_secs(600), "every byte", |reader, writer| {
            for event in std::mem::take(&mut writer.seen) {
                if let NetEvent::Accepted { socket, .. } = event {
                    senders.push((writer.attach(socket, Token(1)), 0));
                }
            }
            for (id, sent) in &mut senders {
                write(writer, *id, sent, bytes);
            }
            for event in std::mem::take(&mut reader.seen) {
                if let NetEvent::Received { buf, .. } = event {
                    heard += buf.len();
                }
            }
            heard == bytes * connections
        });
        let took = self.platform.now().since(began);
        for (id, (far, _)) in ids.into_iter().zip(senders) {
            self.reader.group.abort(id).expect("it is there");
            self.writer.group.abort(far).expect("it is there");
        }
        took
    }
}

fn write(host: &mut Host, id: SockId, sent: &mut usize, bytes: usize) {
    while *sent < bytes {
        let Some(mut buf) = host.group.buffer() else { return };
        let len = (bytes - *sent).min(2048);
        buf.append(&[7; 2048][..len]);
        if host.group.send(id, buf.into()).is_err() {
            return;
        }
        *sent += len;
    }
}

/// With the usual buffers all that fits is sent at once, as eleven segments are by everybody: 64
/// KiB in four round trips and two for the beginning.
#[test]
fn s82_a_connection_with_the_usual_buffers_begins_with_a_full_one() {
    let took = World::new(far(100), 16 << 10, 16).transfer(1, 64 << 10);
    assert!(took < Duration::from_millis(700), "{took:?}");
}

/// More at once than a way carries would be lost, and sent again all at once: 1 MiB took eight
/// minutes.
#[test]
fn s82_large_buffers_do_not_flood_a_narrow_way() {
    for buffers in [64 << 10, 256 << 10] {
        for (connections, bytes) in [(1, 1 << 20), (8, 256 << 10)] {
            for seed in 1..=3 {
                let took = World::new(narrow(seed), buffers, 16).transfer(connections, bytes);
                // Twice as long as the narrowest place takes for two MiB, and some.
                assert!(took < Duration::from_secs(8), "buffers of {buffers}, {connections} connections, seed {seed}: {took:?}");
            }
        }
    }
}

/// Nor do many connections with the usual buffers.
#[test]
fn s82_the_usual_buffers_do_not_flood_a_narrow_way() {
    for seed in 1..=3 {
        let took = World::new(narrow(seed), 16 << 10, 16).transfer(8, 256 << 10);
        assert!(took < Duration::from_secs(8), "seed {seed}: {took:?}");
    }
}

#[test]
fn s82_a_bad_way_leaves_no_small_window_to_the_next_connection() {
    let fresh = World::new(far(20), 64 << 10, 1).transfer(1, 64 << 10);
    let mut world = World::new(far(20), 64 << 10, 1);
    // A connection of which nothing arrives any more.
    let near = world.reader.connect((address(2), 7).into(), Token(1));
    let mut accepted = None;
    until(&world.platform, [&mut world.reader, &mut world.writer], Duration::from_secs(1), "a connection", |_, writer| {
        accepted = writer.pick(|event| if let NetEvent::Accepted { socket, .. } = event { Ok(socket) } else { Err(event) });
        accepted.is_some()
    });
    let far_end = world.writer.attach(accepted.expect("it was accepted"), Token(2));
    world.wire.set_weather(Weather { loss: 1000, ..far(20) });
    write(&mut world.writer, far_end, &mut 0, 64 << 10);
    for _ in 0..10_000 {
        world.writer.poll();
        world.platform.advance(Duration::from_millis(1));
    }
    world.writer.group.abort(far_end).expect("it is there");
    world.reader.group.abort(near).expect("it is there");
    world.wire.set_weather(far(20));
    // Until the socket is free, which is the only one.
    until(&world.platform, [&mut world.reader, &mut world.writer], Duration::from_secs(100), "the end", |_, writer| {
        let stats = writer.net.stats().expect("it has a device");
        stats.closing == 0
    });
    let again = world.transfer(1, 64 << 10);
    assert!(again <= fresh, "{fresh:?}, and {again:?} in a socket that had a bad way before");
}

/// 256 KiB are told in units of eight bytes and segments are none, so that who fills the window is
/// four bytes past its end when it is closed. What it acknowledges counts all the same, or a host
/// that reads only while its answers are taken would never read again.
#[test]
fn s72_acknowledgements_count_while_the_window_is_closed() {
    const ANSWERS: usize = 64 << 10;
    let platform = SimPlatform::new(1);
    // Segments arrive, and are acknowledged, one by one.
    let [near, far] = wire(Weather { narrow: Some((833, 200)), ..Weather::CALM });
    let mut reader = Host::new(&platform, near, &StackConfig { recv_buf: 256 << 10, send_buf: 16 << 10, ..config(1) });
    let mut writer = Host::new(&platform, far, &StackConfig { send_buf: 256 << 10, ..config(2) });
    reader.listen_with(7, &SockOptions::default().quick_ack(true));
    let far = writer.connect((address(1), 7).into(), Token(2));
    let (mut near, mut asked, mut answered, mut heard) = (None, 0, 0, 0);
    let end = platform.now() + Duration::from_secs(2);
    until(&platform, [&mut reader, &mut writer], Duration::from_secs(3), "a full window", |reader, writer| {
        if let Some(socket) = reader.pick(|event| if let NetEvent::Accepted { socket, .. } = event { Ok(socket) } else { Err(event) }) {
            let id = reader.attach(socket, Token(1));
            reader.group.pause(id).expect("it is there");
            near = Some(id);
        }
        if near.is_some() {
            write(writer, far, &mut asked, 400 << 10);
        }
        platform.now() >= end
    });
    let near = near.expect("it was accepted");
    until(&platform, [&mut reader, &mut writer], Duration::from_secs(2), "every answer", |reader, writer| {
        write(reader, near, &mut answered, ANSWERS);
        for event in std::mem::take(&mut writer.seen) {
            heard += if let NetEvent::Received { buf, .. } = event { buf.len() } else { 0 };
        }
        heard == ANSWERS
    });
}
