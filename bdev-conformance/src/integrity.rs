//! What is written is what is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bdev::{BdevError, BdevEvent, Channel, Completion, Completions, Kind, Mode, Request, Token};
use conformance::heap::CountingHeap;
use core_reactor::sim::SimPlatform;
use core_reactor::{CoreId, Instant, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::{Buf, BufGroup};

use crate::bench::{BUF_BLOCKS, Patience, pattern};
use crate::{Bench, Subject};

/// Requests at a time on each channel.
const DEPTH: usize = 16;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Zero,
    /// The pattern of this seed, this block of it.
    Written(u64, u64),
    /// Nobody knows: a write has failed, or it was unmapped.
    Unknown,
}

/// A request under way.
struct Asked {
    kind: Kind,
    block: u64,
    blocks: u64,
    seed: u64,
}

/// Random requests on two channels against a model. Those under way never overlap, so that it knows
/// what comes of each.
pub fn model(subject: &Subject) {
    for seed in 0..3 {
        Model::new(subject, seed).run(400);
    }
}

struct Model<'a> {
    subject: &'a Subject,
    bench: Bench,
    channels: [Channel; 2],
    blocks: Vec<Block>,
    asked: Vec<Option<Asked>>,
    random: fastrand::Rng,
    finished: usize,
    /// Those of them that did not go well.
    failed: u64,
}

impl<'a> Model<'a> {
    fn new(subject: &'a Subject, seed: u64) -> Self {
        let mut bench = Bench::new(subject);
        let channels = [bench.channel(0, DEPTH), bench.channel(1, DEPTH)];
        let blocks = vec![Block::Zero; bench.bdev.blocks() as usize];
        let asked = (0..2 * DEPTH).map(|_| None).collect();
        Self { subject, bench, channels, blocks, asked, random: fastrand::Rng::with_seed(seed), finished: 0, failed: 0 }
    }

    fn run(&mut self, requests: usize) {
        let patience = Patience::new();
        loop {
            patience.wait("requests do not come back");
            if self.finished < requests {
                self.submit();
            } else if self.asked.iter().all(Option::is_none) {
                break;
            }
            if self.random.u32(..3) == 0 {
                self.bench.moment();
                let which = self.random.usize(..2);
                self.take(which);
            }
        }
        let stats = self.bench.bdev.stats();
        assert!(stats.read.ops > 0 && stats.write.ops > 0 && stats.errors == self.failed, "{} failed: {stats:?}", self.failed);
    }

    fn submit(&mut self) {
        let kinds =
            [Kind::Read, Kind::Read, Kind::Write, Kind::Write, Kind::Unmap, Kind::WriteZeroes, Kind::Compare, Kind::CompareAndWrite];
        let kind = kinds[self.random.usize(..kinds.len())];
        let most = if kind == Kind::CompareAndWrite { self.bench.bdev.shape().most_compare_and_write.into() } else { BUF_BLOCKS };
        let (which, blocks) = (self.random.usize(..2), self.random.u64(1..=most.clamp(1, BUF_BLOCKS / 2)));
        // Few enough that blocks meet again, and over the borders of stripes.
        let span = (self.blocks.len() as u64).min(300);
        let block = self.random.u64(..=span - blocks);
        let overlaps = |asked: &Asked| asked.block < block + blocks && block < asked.block + asked.blocks;
        let Some(place) = (which * DEPTH..(which + 1) * DEPTH).find(|place| self.asked[*place].is_none()) else { return };
        if self.asked.iter().flatten().any(overlaps) || !self.bench.bdev.shape().kinds.contains(kind) {
            return;
        }
        let seed = self.random.u64(1..);
        let request = match kind {
            Kind::Read => Request::read(block, blocks, self.bench.empty()),
            Kind::Write => Request::write(block, blocks, self.bench.filled(blocks, seed)),
            Kind::Unmap => Request::unmap(block, blocks),
            Kind::Compare => Request::compare(block, blocks, self.expected(block, blocks)),
            Kind::CompareAndWrite => {
                let mut buf = self.expected(block, blocks);
                buf.append(&self.bench.filled(blocks, seed));
                Request::compare_and_write(block, blocks, buf)
            }
            _ => Request::write_zeroes(block, blocks),
        };
        let now = self.bench.now();
        self.channels[which].submit(now, request.token(Token(place as u64))).map_err(|refused| refused.why).expect("it is taken");
        self.asked[place] = Some(Asked { kind, block, blocks, seed });
    }

    /// What the model has there; where it knows nothing, anything.
    fn expected(&self, block: u64, blocks: u64) -> Buf {
        let mut buf = self.bench.bufs.get().expect("a buffer");
        for at in block..block + blocks {
            buf.append(&self.bytes(at).unwrap_or_else(|| vec![0x5A; self.bench.block_size()]));
        }
        buf
    }

    fn bytes(&self, block: u64) -> Option<Vec<u8>> {
        let size = self.bench.block_size();
        match self.blocks[block as usize] {
            Block::Zero => Some(vec![0; size]),
            Block::Unknown => None,
            Block::Written(seed, at) => {
                let mut bytes = vec![0; (at as usize + 1) * size];
                pattern(&mut bytes, seed);
                Some(bytes.split_off(at as usize * size))
            }
        }
    }

    fn take(&mut self, which: usize) {
        for event in self.bench.poll(&mut self.channels[which]) {
            let BdevEvent::Done(done) = event else { panic!("{event:?} was not expected") };
            let place = done.request.token.0 as usize;
            assert_eq!(place / DEPTH, which, "it comes back where it was handed in");
            let asked = self.asked[place].take().expect("it comes back once");
            self.finished += 1;
            self.failed += u64::from(done.result.is_err());
            self.judge(&asked, &done);
        }
    }

    fn judge(&mut self, asked: &Asked, done: &Completion) {
        let (from, to) = (asked.block as usize, (asked.block + asked.blocks) as usize);
        let knows = !self.blocks[from..to].contains(&Block::Unknown) && self.subject.keeps;
        let written = |at: u64| Block::Written(asked.seed, at);
        match (asked.kind, &done.result) {
            (kind, Err(BdevError::Io(_))) if self.subject.fails => {
                if kind.changes() {
                    self.blocks[from..to].fill(Block::Unknown);
                }
            }
            (Kind::Read, Ok(())) => self.judge_read(asked, done),
            (Kind::Compare, Ok(())) => {}
            (Kind::Compare | Kind::CompareAndWrite, Err(BdevError::Miscompare(_))) if !knows => {}
            (Kind::Write | Kind::CompareAndWrite, Ok(())) => (0..asked.blocks).for_each(|at| self.blocks[from + at as usize] = written(at)),
            (Kind::WriteZeroes, Ok(())) => self.blocks[from..to].fill(Block::Zero),
            (Kind::Unmap, Ok(())) => self.blocks[from..to].fill(Block::Unknown),
            (kind, result) => panic!("{kind} of {from}..{to}: {result:?}"),
        }
    }

    fn judge_read(&self, asked: &Asked, done: &Completion) {
        let size = self.bench.block_size();
        let [buf] = done.request.data.parts() else { panic!("one buffer") };
        assert_eq!(buf.len(), asked.blocks as usize * size);
        for (at, read) in buf.chunks(size).enumerate() {
            let wanted = if self.subject.keeps { self.bytes(asked.block + at as u64) } else { Some(vec![0; size]) };
            assert!(wanted.is_none_or(|wanted| wanted == read), "block {}: not what was written", asked.block + at as u64);
        }
    }
}

/// Threads of the machine on one device: each block is one writer's, as a whole.
pub fn cores(subject: &Subject) {
    let bench = Bench::new(subject);
    let (bdev, size) = (bench.bdev.clone(), bench.block_size());
    let platform = SimPlatform::new(3);
    let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default());
    let is_over = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        for core in 0..3u16 {
            let (bdev, lib, is_over) = (&bdev, &lib, is_over.clone());
            scope.spawn(move || {
                let mut thread = lib.create(ThreadConfig::new("core"), CoreId(core)).expect("a thread");
                let mut channel = thread.with(|cx| bdev.open(Mode::ReadWrite).unwrap().channel(cx, 4)).unwrap();
                let mut random = fastrand::Rng::with_seed(u64::from(core));
                let (bufs, mut events) = (BufGroup::new(8, BUF_BLOCKS as usize * size), Completions::new(4));
                let mut now = Instant::ZERO;
                for round in 0..500 {
                    let block = random.u64(..4);
                    let mut buf = bufs.get().expect("a buffer");
                    let request = if random.bool() {
                        Request::read(block, 4, buf)
                    } else {
                        buf.spare_mut()[..4 * size].fill(core as u8 + 1);
                        buf.grow(4 * size);
                        Request::write(block, 4, buf)
                    };
                    channel.submit(now, request).map_err(|refused| refused.why).expect("there is room");
                    let patience = Patience::new();
                    while channel.under_way() > 0 {
                        patience.wait("requests do not come back");
                        now = now.plus_nanos(10_000);
                        channel.poll(now, &mut events);
                        events.drain().for_each(|event| are_whole(&event, size, round));
                    }
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
    });
    assert!(is_over.load(Ordering::Relaxed));
}

fn are_whole(event: &BdevEvent, size: usize, round: usize) {
    let BdevEvent::Done(Completion { request, .. }) = event else { panic!("{event:?}") };
    for block in request.data.parts().iter().flat_map(|part| part.chunks(size)) {
        assert!(block.iter().all(|byte| *byte == block[0]), "round {round}: a block is a mixture");
    }
}

/// In the steady state nothing is allocated.
pub fn steady(subject: &Subject, heap: &CountingHeap) {
    let mut bench = Bench::new(subject);
    let mut channel = bench.channel(0, DEPTH);
    let (mut events, bufs) = (Completions::new(DEPTH), bench.bufs.clone());
    let mut now = bench.now();
    let mut round = |n: u64| {
        for at in 0..DEPTH as u64 {
            let mut buf = bufs.get().expect("a buffer");
            let request = if (n + at).is_multiple_of(2) {
                Request::read(at, 1, buf)
            } else {
                buf.grow(bench.bdev.shape().block_size as usize);
                Request::write(at, 1, buf)
            };
            channel.submit(now, request).map_err(|refused| refused.why).expect("there is room");
        }
        let patience = Patience::new();
        while channel.under_way() > 0 {
            patience.wait("requests do not come back");
            now = now.plus_nanos(10_000);
            channel.poll(now, &mut events);
            events.drain().for_each(drop);
        }
    };
    (0..4).for_each(&mut round);
    let asked = heap.during(|| (0..100).for_each(&mut round));
    assert_eq!(asked.allocations, 0, "{asked:?}");
}
