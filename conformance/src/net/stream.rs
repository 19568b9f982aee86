//! Streams with everything drawn by lot: sizes, parts, tags, pauses, both directions at once. What
//! arrives is compared byte by byte.

use std::io::{Read, Write};
use std::thread::JoinHandle;

use core_reactor::net::{Frame, NetError, NetEvent, SockId, SockOptions, Token};

use super::driver::Setup;
use super::{Driver, Env, Peer, peer};

/// Against a socket of the standard library's that reads and writes by lot.
pub fn s17_s18_random_streams_with_a_plain_peer(env: &Env) {
    for seed in 1..=6 {
        let mut lot = Lot(seed);
        let mut driver = Driver::with(env, setup(&mut lot));
        let (id, far) = driver.pair_with(Token(1), &options(&mut lot));
        let (there, back) = (lot.below(600_000), lot.below(600_000));
        println!("seed {seed}: {there} bytes there, {back} back");
        let far = plain_peer(far, seed, there, back);
        let mut side = Side::new(id, there, back, seed);
        driver.until("the whole exchange", |driver| {
            while let Some(event) = driver.next_seen() {
                side.on(event);
            }
            side.act(driver, &mut lot);
            side.done()
        });
        far.into_iter().for_each(|thread| thread.join().expect("the peer is content"));
    }
}

/// The backend on both sides, in one group.
pub fn s17_s18_random_streams_between_two_of_its_own(env: &Env) {
    for seed in 11..=16 {
        let mut lot = Lot(seed);
        let mut setup = setup(&mut lot);
        // Both peers wait for the same buffers here: with half of them queued and not sent, nobody
        // whose own queue is not empty would be read (statement 73), and both would wait for ever.
        setup.bufs = 16 + 2 * 2 * setup.send_frames * Frame::PARTS;
        let mut driver = Driver::with(env, setup);
        let (_, at) = driver.listen_with(&options(&mut lot));
        let near = driver.connect(&[at], Token(1));
        driver.connected(near);
        let far = driver.wait("a connection", |event| match event {
            NetEvent::Accepted { socket, .. } => Ok(socket),
            other => Err(other),
        });
        let far = driver.attach(far, Token(2));
        let (there, back) = (lot.below(600_000), lot.below(600_000));
        println!("seed {seed}: {there} bytes there, {back} back");
        let mut sides = [Side::new(near, there, back, seed), Side::new(far, back, there, seed)];
        sides[1].seeds = (seed + 1000, seed);
        driver.until("the whole exchange", |driver| {
            while let Some(event) = driver.next_seen() {
                let side = usize::from(event_token(&event) == Token(2));
                sides[side].on(event);
            }
            sides.iter_mut().for_each(|side| side.act(driver, &mut lot));
            sides.iter().all(Side::done)
        });
    }
}

/// One end of a stream: what it has still to send and to hear.
struct Side {
    id: SockId,
    /// The patterns that it sends and hears.
    seeds: (u64, u64),
    to_send: usize,
    queued: usize,
    to_hear: usize,
    heard: usize,
    next_tag: u32,
    next_report: u32,
    paused: bool,
    finished: bool,
    peer_closed: bool,
    closed: bool,
    /// A send was refused, and that there is room again was not told yet.
    refused: bool,
    /// It was told, so the next send is taken.
    has_room: bool,
}

impl Side {
    fn new(id: SockId, to_send: usize, to_hear: usize, seed: u64) -> Self {
        Self {
            id,
            seeds: (seed, seed + 1000),
            to_send,
            queued: 0,
            to_hear,
            heard: 0,
            next_tag: 0,
            next_report: 0,
            paused: false,
            finished: false,
            peer_closed: false,
            closed: false,
            refused: false,
            has_room: false,
        }
    }

    fn on(&mut self, event: NetEvent) {
        assert!(!self.closed, "Closed is the last event");
        match event {
            NetEvent::Received { buf, .. } => {
                assert!(!self.paused && !self.peer_closed && !buf.is_empty());
                assert!(*buf == peer::pattern(self.seeds.1, self.heard, buf.len())[..], "the stream differs after byte {}", self.heard);
                self.heard += buf.len();
            }
            NetEvent::Sent { frame, written, error, .. } => {
                assert_eq!((frame.tag(), error), (Some(self.next_report), None));
                assert_eq!(written, frame.bytes());
                self.next_report += 1;
            }
            NetEvent::Writable { .. } => {
                assert!(self.refused && !self.finished, "told once, and only to whom a send was refused");
                (self.refused, self.has_room) = (false, true);
            }
            NetEvent::PeerClosed { .. } => {
                assert!(!self.peer_closed, "told once");
                assert_eq!(self.heard, self.to_hear, "all that was sent comes before the end");
                self.peer_closed = true;
            }
            NetEvent::Closed { why, .. } => {
                assert_eq!((why, self.peer_closed), (None, true));
                assert_eq!((self.heard, self.queued), (self.to_hear, self.to_send));
                self.closed = true;
            }
            other => panic!("{}", super::driver::name(&other)),
        }
    }

    /// One thing, by lot.
    fn act(&mut self, driver: &mut Driver, lot: &mut Lot) {
        if self.closed {
            return;
        }
        match lot.below(8) {
            0 if !self.finished => {
                self.paused = !self.paused;
                let group = driver.group();
                let done = if self.paused { group.pause(self.id) } else { group.resume(self.id) };
                done.expect("it is there");
            }
            1 => driver.group().flush(),
            2..=6 if self.queued < self.to_send && !self.refused => self.send(driver, lot),
            _ if self.queued == self.to_send && !self.finished => {
                driver.group().resume(self.id).expect("it is there");
                driver.group().shutdown(self.id).expect("it is there");
                self.finished = true;
                self.paused = false;
            }
            _ => {}
        }
    }

    fn send(&mut self, driver: &mut Driver, lot: &mut Lot) {
        let mut frame = Frame::new();
        let mut at = self.queued;
        for _ in 0..lot.below(Frame::PARTS + 1) {
            let Some(mut buf) = driver.group().buffer() else { break };
            let size = lot.below(buf.spare_capacity() + 1).min(self.to_send - at);
            at += buf.append(&peer::pattern(self.seeds.0, at, size));
            frame.push(buf).map_err(drop).expect("room for a part");
        }
        let tagged = lot.below(2) == 0;
        let frame = if tagged { frame.tagged(self.next_tag) } else { frame };
        match driver.group().send(self.id, frame) {
            Ok(()) => {
                self.queued = at;
                self.next_tag += u32::from(tagged);
                self.has_room = false;
            }
            Err(refused) => {
                assert!(matches!(refused.why, NetError::SendLimit { .. }) && !self.has_room, "{}", refused.why);
                self.refused = true;
            }
        }
    }

    fn done(&self) -> bool {
        self.closed && self.next_report == self.next_tag
    }
}

/// Threads that send and hear the other ends of both directions.
fn plain_peer(far: Peer, seed: u64, to_hear: usize, to_send: usize) -> [JoinHandle<()>; 2] {
    let mut out = far.clone();
    let writer = std::thread::spawn(move || {
        let (mut lot, mut at) = (Lot(seed + 500), 0);
        while at < to_send {
            let size = (1 + lot.below(20_000)).min(to_send - at);
            out.write_all(&peer::pattern(seed + 1000, at, size)).expect("sent");
            at += size;
            (0..lot.below(3)).for_each(|_| std::thread::yield_now());
        }
        out.shutdown().expect("allowed");
    });
    let mut far = far;
    let reader = std::thread::spawn(move || {
        let (mut lot, mut at) = (Lot(seed + 600), 0);
        let mut bytes = vec![0; 20_000];
        loop {
            let size = 1 + lot.below(20_000);
            let n = far.read(&mut bytes[..size]).expect("read");
            if n == 0 {
                break;
            }
            assert!(bytes[..n] == peer::pattern(seed, at, n)[..], "the stream differs after byte {at}");
            at += n;
        }
        assert_eq!(at, to_hear);
    });
    [writer, reader]
}

fn setup(lot: &mut Lot) -> Setup {
    Setup {
        room: 1 + lot.below(40),
        bufs: 16 + lot.below(40),
        buf_size: 100 + lot.below(9000),
        send_limit: 1 + lot.below(100_000),
        send_frames: 1 + lot.below(20),
        ..Setup::default()
    }
}

fn options(lot: &mut Lot) -> SockOptions {
    let small = |lot: &mut Lot| (lot.below(2) == 0).then(|| 4096 + lot.below(30_000));
    SockOptions::default().recv_buf(small(lot)).send_buf(small(lot)).no_delay(lot.below(2) == 0)
}

fn event_token(event: &NetEvent) -> Token {
    match event {
        NetEvent::Received { token, .. }
        | NetEvent::Sent { token, .. }
        | NetEvent::Writable { token, .. }
        | NetEvent::PeerClosed { token, .. }
        | NetEvent::Closed { token, .. } => *token,
        other => panic!("{}", super::driver::name(other)),
    }
}

/// Numbers that look drawn by lot and are the same in each run (xorshift).
struct Lot(u64);

impl Lot {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}
