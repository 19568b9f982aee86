//! Streams between two hosts on a wire that loses, repeats and reorders frames (statements 17 to
//! 19). Time is the test's, so minutes pass in moments.

mod common;

use std::time::Duration;

use common::host::{Host, pair, two, until};
use common::wire::Weather;
use core_reactor::net::{NetEvent, SockId};

#[test]
fn s17_an_echo_comes_back() {
    let (platform, mut one, mut two) = two(Weather::CALM);
    let (near, far) = pair(&platform, &mut one, &mut two);
    one.send(near, b"hello");
    until(&platform, [&mut one, &mut two], Duration::from_secs(5), "an echo", |one, two| {
        let heard = two.pick(|event| match event {
            NetEvent::Received { buf, .. } => Ok(buf),
            other => Err(other),
        });
        if let Some(buf) = heard {
            assert_eq!(&*buf, b"hello");
            two.group.send(far, buf.into()).map_err(|refused| refused.why).expect("it is taken");
        }
        one.pick(|event| match event {
            NetEvent::Received { id, buf, .. } if id == near && *buf == *b"hello" => Ok(()),
            other => Err(other),
        })
        .is_some()
    });
}

/// A MiB and more each way, under loss, repetition and reordering, half-closed as soon as each side
/// has sent its own: every byte arrives, once and in order.
#[test]
fn s17_s19_streams_survive_a_bad_wire() {
    for seed in 1..=8 {
        // Said if the test fails.
        println!("seed {seed}");
        exchange(Weather::storm(seed), 1 << 20, 1_100_000);
    }
}

/// One side ends at once and listens on; what the other sends for long after arrives.
#[test]
fn s19_half_close_loses_nothing_on_a_bad_wire() {
    for seed in 100..=112 {
        println!("seed {seed}");
        exchange(Weather::storm(seed), 10, 400_000);
        exchange(Weather::storm(seed), 0, 50_000);
    }
}

/// In good weather many MiB and their end.
#[test]
fn s17_a_long_stream_arrives() {
    exchange(Weather::CALM, 16 << 20, 4 << 20);
}

fn exchange(weather: Weather, there: usize, back: usize) {
    let (platform, mut one, mut two) = two(weather);
    let (near, far) = pair(&platform, &mut one, &mut two);
    let (there, back) = (pattern(weather.seed, there), pattern(weather.seed + 1, back));
    let mut sides = [Side::new(near, there.clone(), back.clone()), Side::new(far, back, there)];
    until(&platform, [&mut one, &mut two], Duration::from_secs(3600), "both ends", |one, two| {
        sides[0].act(one);
        sides[1].act(two);
        sides.iter().all(|side| side.closed)
    });
    for (host, side) in [one, two].iter().zip(&sides) {
        assert_eq!((side.heard, side.sent), (side.hears.len(), side.says.len()));
        assert_eq!(host.group.stats().sockets, 0);
    }
}

/// One end of a stream.
struct Side {
    id: SockId,
    /// What it sends, and what it is to hear.
    says: Vec<u8>,
    hears: Vec<u8>,
    sent: usize,
    heard: usize,
    finished: bool,
    peer_closed: bool,
    closed: bool,
}

impl Side {
    fn new(id: SockId, says: Vec<u8>, hears: Vec<u8>) -> Self {
        Self { id, says, hears, sent: 0, heard: 0, finished: false, peer_closed: false, closed: false }
    }

    /// Hears what there is, and sends as much as is taken, then ends its side.
    fn act(&mut self, host: &mut Host) {
        for event in std::mem::take(&mut host.seen) {
            self.hear(event);
        }
        while self.sent < self.says.len() {
            let Some(mut buf) = host.group.buffer() else { break };
            let len = (self.says.len() - self.sent).min(1 + self.sent % 2048);
            buf.append(&self.says[self.sent..][..len]);
            if host.group.send(self.id, buf.into()).is_err() {
                break;
            }
            self.sent += len;
        }
        if self.sent == self.says.len() && !self.finished {
            host.group.shutdown(self.id).expect("it is there");
            self.finished = true;
        }
    }

    fn hear(&mut self, event: NetEvent) {
        match event {
            NetEvent::Received { buf, .. } => {
                assert!(!self.peer_closed && !self.closed);
                assert!(self.hears[self.heard..].starts_with(&buf), "the stream differs after byte {}", self.heard);
                self.heard += buf.len();
            }
            NetEvent::PeerClosed { .. } => self.peer_closed = true,
            NetEvent::Closed { id, why, .. } if id == self.id => {
                assert_eq!(why, None);
                self.closed = true;
            }
            // The listener's.
            NetEvent::Closed { .. } => {}
            other => panic!("{}", common::name(&other)),
        }
    }
}

/// Bytes that tell their place.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let byte = |at: usize| {
        let x = (at as u64 / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed;
        (x ^ x >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes()[at % 8]
    };
    (0..len).map(byte).collect()
}
