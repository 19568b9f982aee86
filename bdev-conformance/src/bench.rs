//! A device to be tested, and what a test needs around it.

use std::sync::Arc;
use std::time::Duration;

use bdev::{Bdev, BdevError, BdevEvent, Bdevs, Channel, Completion, Completions, Mode, Request, Token};
use core_reactor::sim::SimPlatform;
use core_reactor::{CoreId, Instant, Platform, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::{Buf, BufGroup};

/// A device to be tested.
#[derive(Clone, Copy)]
pub struct Subject {
    /// Makes it, of at least 300 blocks.
    pub make: fn(&Bdevs) -> Result<Bdev, BdevError>,
    /// Whether it holds what is written.
    pub keeps: bool,
    /// Whether its size can change.
    pub resizes: bool,
    /// Whether requests fail by themselves, with [`BdevError::Io`].
    pub fails: bool,
}

/// A device, and cores on which channels can be.
pub struct Bench {
    /// The devices.
    pub bdevs: Bdevs,
    /// The one that is tested.
    pub bdev: Bdev,
    platform: Arc<SimPlatform>,
    threads: Vec<Thread>,
    /// Buffers.
    pub bufs: BufGroup,
    events: Completions,
}

/// Blocks that a buffer holds.
pub(crate) const BUF_BLOCKS: u64 = 8;
/// Nothing that is waited for takes this long, on any machine: disks are slow at times.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is waited for, which ends the test if it does not come.
pub(crate) struct Patience(std::time::Instant);

impl Patience {
    pub(crate) fn new() -> Self {
        Self(std::time::Instant::now())
    }

    /// Looks on, and lets others work meanwhile.
    pub(crate) fn wait(&self, what: &str) {
        assert!(self.0.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

impl Bench {
    /// The device, and two cores.
    pub fn new(subject: &Subject) -> Self {
        let bdevs = Bdevs::new(1);
        let bdev = (subject.make)(&bdevs).expect("the device can be made");
        assert!(bdev.blocks() >= 300, "the suite wants 300 blocks");
        let platform = SimPlatform::new(2);
        let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default());
        let threads = (0..2).map(|core| lib.create(ThreadConfig::new("core"), CoreId(core)).expect("a thread")).collect();
        let bufs = BufGroup::new(256, BUF_BLOCKS as usize * bdev.shape().block_size as usize);
        Self { bdevs, bdev, platform, threads, bufs, events: Completions::new(64) }
    }

    /// A channel on one of the two cores.
    pub fn channel(&mut self, core: usize, depth: usize) -> Channel {
        let opened = self.bdev.open(Mode::ReadWrite).expect("it can be opened");
        self.threads[core].with(|cx| opened.channel(cx, depth)).expect("a channel")
    }

    /// Runs on one of the cores.
    pub fn on(&mut self, core: usize) -> &mut Thread {
        &mut self.threads[core]
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.platform.now()
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        self.bdev.shape().block_size as usize
    }

    /// A buffer of `blocks` blocks, its bytes out of a seed.
    pub fn filled(&self, blocks: u64, seed: u64) -> Buf {
        let mut buf = self.bufs.get().expect("a buffer");
        pattern(&mut buf.spare_mut()[..blocks as usize * self.bdev.shape().block_size as usize], seed);
        buf.grow(blocks as usize * self.block_size());
        buf
    }

    /// An empty one, which is not zero within.
    pub fn empty(&self) -> Buf {
        let mut buf = self.bufs.get().expect("a buffer");
        buf.spare_mut().fill(0xA5);
        buf
    }

    /// One poll of a channel.
    pub fn poll(&mut self, channel: &mut Channel) -> Vec<BdevEvent> {
        let now = self.now();
        let n = channel.poll(now, &mut self.events);
        assert_eq!(n, self.events.len(), "a poll tells how much it has appended");
        self.events.drain().collect()
    }

    /// Moves the clock on by a moment.
    pub fn moment(&self) {
        self.platform.advance(Duration::from_micros(10));
    }

    /// Moves the clock on.
    pub fn pass(&self, time: Duration) {
        self.platform.advance(time);
    }

    /// Polls until everything is back.
    pub fn settle(&mut self, channel: &mut Channel) -> Vec<Completion> {
        let (mut done, patience) = (Vec::new(), Patience::new());
        loop {
            for event in self.poll(channel) {
                match event {
                    BdevEvent::Done(completion) => done.push(completion),
                    other => panic!("{other:?} was not expected"),
                }
            }
            if channel.under_way() == 0 {
                return done;
            }
            self.moment();
            patience.wait("requests do not come back");
        }
    }

    /// One request, there and back.
    pub fn run(&mut self, channel: &mut Channel, request: Request) -> Completion {
        let now = self.now();
        channel.submit(now, request).map_err(|refused| refused.why).expect("it is taken");
        let mut done = self.settle(channel);
        assert_eq!(done.len(), 1);
        done.remove(0)
    }

    /// Why a request is refused; it comes back as it was.
    pub fn refused(&mut self, channel: &mut Channel, request: Request) -> BdevError {
        let (kind, bytes, parts) = (request.kind, request.data.bytes(), request.data.parts().len());
        let now = self.now();
        let refused = channel.submit(now, request.token(Token(77))).expect_err("it is refused");
        let item = refused.item;
        assert_eq!((item.kind, item.data.bytes(), item.data.parts().len(), item.token), (kind, bytes, parts, Token(77)));
        refused.why
    }
}

/// Bytes out of a seed.
pub(crate) fn pattern(bytes: &mut [u8], seed: u64) {
    fastrand::Rng::with_seed(seed).fill(bytes);
}
