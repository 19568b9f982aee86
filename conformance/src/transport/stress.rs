//! Everything at once, by lot, beside a model that knows what must come of it (statements 31 and
//! 32).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use core_reactor::transport::{Access, ExposedKey, Frame, Op, QueueEvent, QueueId, QueueOptions, RemoteMemory, Token, TransportError};
use pool::Buf;

use super::Env;
use super::driver::{Driver, Setup};
use super::lot::{Lot, bytes_of, pattern};
use super::world::{DEADLINE, LISTENER, World};

const GROUPS: usize = 3;
const LINKS: usize = 8;
const STEPS: usize = 6_000;
/// Bytes that each end exposes.
const REGION: usize = 600;
/// Operations that a group has posted at a time.
const UNDER_WAY: usize = 16;

/// A receiver is often not ready.
fn setup() -> Setup {
    let bufs = 6 + 2 * UNDER_WAY + 2 * LINKS + 10;
    Setup { receives: 6, bufs, buf_size: 1024, room: 7, ..Setup::default() }
}

/// Messages, reads, writes, disconnects, deaths of whole groups; buffers held back; polls now here
/// and now there.
pub fn s31_s32_random_work_comes_to_its_end(env: &Env) {
    for seed in 1..=6 {
        println!("seed {seed}");
        let mut play = Play::new(env, seed);
        for _ in 0..STEPS {
            play.step();
        }
        play.finish();
    }
}

struct Play {
    /// Messages that are held back, and the group that they belong to. First, so that they are home
    /// when the groups end.
    held: Vec<(usize, Buf)>,
    world: World,
    env: Env,
    lot: Lot,
    links: Vec<Link>,
    /// Where each group listens.
    at: Vec<SocketAddr>,
    tags: u64,
}

/// A connection as the model knows it.
struct Link {
    ends: [End; 2],
    /// One of its groups died: what it knew is lost.
    died: bool,
    /// Somebody has ended it.
    ending: bool,
}

struct End {
    who: usize,
    id: QueueId,
    /// What tells the messages of this end from all others.
    seed: u64,
    sent: u64,
    /// Messages sent whose `Done` said that they were received.
    done: u64,
    heard: u64,
    memory: RemoteMemory,
    key: ExposedKey,
    /// What the region holds when the peer's writes are done.
    region: Vec<u8>,
    /// What it held when it came back.
    back: Option<Vec<u8>>,
    /// What each read under way must find.
    reads: VecDeque<Vec<u8>>,
    /// A write of this end's was flushed: nobody knows whether it was made.
    lost_write: bool,
    closed: bool,
}

impl Play {
    fn new(env: &Env, seed: u64) -> Self {
        let mut world = World::with(env, &[setup(); GROUPS]);
        let at = (0..GROUPS).map(|who| world.listen(who, &QueueOptions::default()).1).collect();
        let (lot, links, held) = (Lot(seed), Vec::new(), Vec::new());
        let mut play = Self { world, env: env.clone(), lot, links, at, held, tags: 0 };
        for place in 0..LINKS {
            let link = play.link(place);
            play.links.push(link);
        }
        play
    }

    /// A new connection between two groups, or of one with itself.
    fn link(&mut self, place: usize) -> Link {
        let (from, to) = (self.lot.below(GROUPS), self.lot.below(GROUPS));
        // The places' tokens are even at the one end and odd at the other.
        let queue = self.env.transport.connect(self.at[to], &QueueOptions::default()).expect("a queue");
        let near = self.world.at(from).attach(queue, Token(2 * place as u64), &[]);
        let queue = self.world.requested(to);
        let far = self.world.at(to).attach(queue, Token(2 * place as u64 + 1), &[]);
        self.world.established(from, near);
        self.world.established(to, far);
        Link { ends: [self.end(from, near), self.end(to, far)], died: false, ending: false }
    }

    fn end(&mut self, who: usize, id: QueueId) -> End {
        let seed = self.lot.draw();
        let region = pattern(seed, REGION);
        let deadline = Instant::now() + DEADLINE;
        let mut buf = loop {
            if let Some(buf) = self.world.at(who).group().buffer() {
                break buf;
            }
            assert!(Instant::now() < deadline, "no buffer comes home");
            self.held.clear();
            self.poll_all();
        };
        buf.append(&region);
        let (memory, key) = self.world.at(who).try_expose(id, buf, Access::ReadWrite).map_err(|refused| refused.why).expect("it is taken");
        End {
            who,
            id,
            seed,
            sent: 0,
            done: 0,
            heard: 0,
            memory,
            key,
            region,
            back: None,
            reads: VecDeque::new(),
            lost_write: false,
            closed: false,
        }
    }

    fn step(&mut self) {
        let (place, side) = (self.lot.below(LINKS), self.lot.below(2));
        let may_post = self.may_post(self.links[place].ends[side].who);
        match self.lot.below(400) {
            0..=119 if may_post => self.send(place, side),
            120..=169 if may_post => self.write(place, side),
            170..=219 if may_post => self.read(place, side),
            220..=239 => self.held.truncate(self.held.len() / 2),
            240..=241 => self.disconnect(place, side),
            242 if self.lot.once_in(8) => self.kill(side),
            _ => {
                let who = self.lot.below(GROUPS);
                self.world.at(who).poll();
                self.absorb(who);
            }
        }
    }

    fn send(&mut self, place: usize, side: usize) {
        let Link { ends, ending: false, .. } = &mut self.links[place] else { return };
        let end = &mut ends[side];
        let len = self.lot.below(1000);
        let Some(frame) = frame(self.world.at(end.who), &pattern(end.seed + end.sent, len), &mut self.lot) else { return };
        self.tags += 1;
        if may_be_full(self.world.at(end.who).try_send(end.id, frame, None, self.tags)) {
            end.sent += 1;
        }
    }

    fn write(&mut self, place: usize, side: usize) {
        let Link { ends, ending: false, .. } = &mut self.links[place] else { return };
        // A read under way may or may not see it.
        if !ends[side].reads.is_empty() {
            return;
        }
        let from = self.lot.below(REGION);
        let bytes = pattern(self.lot.draw(), self.lot.below(REGION - from));
        let imm = self.lot.once_in(2).then_some(place as u32);
        let to = ends[1 - side].memory.part(from as u32, bytes.len() as u32).expect("it lies inside");
        let Some(frame) = frame(self.world.at(ends[side].who), &bytes, &mut self.lot) else { return };
        self.tags += 1;
        if may_be_full(self.world.at(ends[side].who).try_write(ends[side].id, frame, to, imm, self.tags)) {
            ends[1 - side].region[from..from + bytes.len()].copy_from_slice(&bytes);
        }
    }

    fn read(&mut self, place: usize, side: usize) {
        let Link { ends, ending: false, .. } = &mut self.links[place] else { return };
        let from = self.lot.below(REGION);
        let len = self.lot.below(REGION - from);
        let there = ends[1 - side].memory.part(from as u32, len as u32).expect("it lies inside");
        let Some(into) = self.world.at(ends[side].who).group().buffer() else { return };
        self.tags += 1;
        if may_be_full(self.world.at(ends[side].who).try_read(ends[side].id, into.into(), there, self.tags)) {
            let expected = ends[1 - side].region[from..from + len].to_vec();
            ends[side].reads.push_back(expected);
        }
    }

    /// One end of a connection ends it; another connection takes its place when it is over.
    fn disconnect(&mut self, place: usize, side: usize) {
        if !self.links[place].ending {
            self.links[place].ending = true;
            let End { who, id, .. } = self.links[place].ends[side];
            self.world.at(who).disconnect(id);
            self.bury(place);
        }
    }

    /// A whole group dies, and another takes its place.
    fn kill(&mut self, who: usize) {
        self.held.retain(|(of, _)| *of != who);
        self.world.drivers[who] = Driver::new(&self.env, setup());
        self.at[who] = self.world.listen(who, &QueueOptions::default()).1;
        for link in &mut self.links {
            for side in 0..2 {
                if link.ends[side].who == who {
                    (link.died, link.ending, link.ends[side].closed) = (true, true, true);
                }
            }
        }
        (0..LINKS).filter(|place| self.links[*place].ending).collect::<Vec<_>>().into_iter().for_each(|place| self.bury(place));
    }

    /// Waits for the end of a connection, judges it, and makes another.
    fn bury(&mut self, place: usize) {
        self.await_end(place);
        self.links[place].judge();
        self.links[place] = self.link(place);
    }

    fn await_end(&mut self, place: usize) {
        let deadline = Instant::now() + DEADLINE;
        while !self.links[place].ends.iter().all(|end| end.closed) {
            assert!(Instant::now() < deadline, "a connection does not end");
            self.poll_all();
        }
    }

    /// Gives everything back, lets what is under way come to its end, and ends all connections.
    fn finish(mut self) {
        self.held.clear();
        let deadline = Instant::now() + DEADLINE;
        while self.links.iter().any(|link| link.ends.iter().any(|end| self.world.drivers[end.who].outstanding(end.id) > 0)) {
            assert!(Instant::now() < deadline, "something posted does not come back");
            self.held.clear();
            self.poll_all();
        }
        for place in 0..LINKS {
            let link = &mut self.links[place];
            link.ending = true;
            assert!(link.ends.iter().all(|end| end.done == end.sent), "in an open connection everything succeeds");
            let End { who, id, .. } = link.ends[self.lot.below(2)];
            self.world.at(who).disconnect(id);
            self.await_end(place);
            self.links[place].judge();
        }
    }

    fn poll_all(&mut self) {
        for who in 0..GROUPS {
            self.world.at(who).poll();
            self.absorb(who);
        }
        std::thread::yield_now();
    }

    /// Whether a group may post more. Were all its buffers posted, none would be left to receive
    /// into, and two such groups would wait for each other.
    fn may_post(&self, who: usize) -> bool {
        let its = self.links.iter().flat_map(|link| &link.ends).filter(|end| end.who == who);
        its.map(|end| self.world.drivers[who].outstanding(end.id)).sum::<usize>() < UNDER_WAY
    }

    /// Compares what a group has told with what the model knows.
    fn absorb(&mut self, who: usize) {
        while let Some(event) = self.world.at(who).take(Ok) {
            let (_, Token(token)) = super::ledger::whose(&event);
            if Token(token) == LISTENER {
                continue;
            }
            let link = &mut self.links[token as usize / 2];
            if let Some(buf) = link.enter(token as usize % 2, event)
                && self.lot.once_in(2)
            {
                self.held.push((who, buf));
            }
        }
    }
}

impl Link {
    /// What an event says about one of the ends; a message's buffer.
    fn enter(&mut self, side: usize, event: QueueEvent) -> Option<Buf> {
        let theirs = self.ends[1 - side].seed;
        let end = &mut self.ends[side];
        match event {
            QueueEvent::Received { buf, .. } => {
                assert_eq!(&buf[..], pattern(theirs + end.heard, buf.len()), "message {}", end.heard);
                end.heard += 1;
                return Some(buf);
            }
            QueueEvent::Done { op, frame, error, .. } => {
                assert!(error.is_none() || self.ending, "{op:?} failed in an open connection: {error:?}");
                match (op, error) {
                    (Op::Message, error) => end.done += u64::from(error.is_none()),
                    (Op::Write, error) => end.lost_write |= error.is_some(),
                    (Op::Read, error) => {
                        let expected = end.reads.pop_front().expect("a read was posted");
                        assert!(error.is_some() || bytes_of(&frame) == expected, "a read found something else");
                    }
                }
            }
            QueueEvent::Withdrawn { key, buf, .. } => {
                assert_eq!(key, end.key);
                end.back = Some(buf.to_vec());
            }
            QueueEvent::Closed { why, .. } => {
                let lost = matches!(why, Some(TransportError::PeerGone | TransportError::TimedOut));
                assert!(why.is_none() || (self.died && lost), "{why:?}");
                end.closed = true;
            }
            _ => {}
        }
        None
    }

    /// After its end: whatever was done has arrived.
    fn judge(&self) {
        for side in 0..2 {
            let (end, peer) = (&self.ends[side], &self.ends[1 - side]);
            assert!(end.reads.is_empty() || self.died, "a read did not come back");
            if self.died {
                continue;
            }
            assert!(peer.heard >= end.done, "{} messages were done and {} have arrived", end.done, peer.heard);
            assert!(end.heard <= peer.sent);
            if !peer.lost_write {
                assert!(end.back.as_ref() == Some(&end.region), "exposed memory holds what was written to it");
            }
        }
    }
}

/// A frame of one or two buffers with these bytes.
fn frame(driver: &mut Driver, bytes: &[u8], lot: &mut Lot) -> Option<Frame> {
    let (first, second) = bytes.split_at(lot.below(bytes.len() + 1));
    let mut frame = Frame::new();
    for part in [first, second] {
        let mut buf = driver.group().buffer()?;
        buf.append(part);
        frame.push(buf).ok()?;
    }
    Some(frame)
}

/// Whether it was taken; there is one good reason for a refusal.
fn may_be_full<T>(posted: Result<(), core_reactor::Refused<T, TransportError>>) -> bool {
    match posted {
        Ok(()) => true,
        Err(refused) => {
            assert!(matches!(refused.why, TransportError::QueueFull { .. }), "{}", refused.why);
            false
        }
    }
}
