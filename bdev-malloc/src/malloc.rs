//! The device that remembers.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use bdev::{Bdev, BdevError, Bdevs, Device, DeviceChannel, Io, Kind, Kinds, NewBdev, Request, Shape};
use core_reactor::{Cx, Instant};

use crate::Config;
use crate::memory::Stripes;

/// Bytes that one call zeroes at most: the whole device takes many.
const BUDGET: usize = 256 << 10;

/// Makes a device of memory, and adds it. The memory is zeroed, and the system's until it is
/// written to.
///
/// ```
/// use bdev::Bdevs;
/// use bdev_malloc::{Config, malloc};
///
/// let bdevs = Bdevs::new(1);
/// let disk = malloc(&bdevs, Config::new(512, 2048))?;
/// assert_eq!((disk.name(), disk.blocks()), ("Malloc0", 2048));
/// // As a command line says it:
/// let second = bdev::create(&bdevs, "malloc:size=1M")?;
/// assert_eq!((second.name(), second.blocks()), ("Malloc1", 2048));
/// bdevs.remove("Malloc0")?;
/// assert!(disk.is_removed() && bdevs.list().len() == 1);
/// # Ok::<(), bdev::BdevError>(())
/// ```
///
/// # Errors
/// What it is to be makes no device; its name is taken; there is no memory.
pub fn malloc(bdevs: &Bdevs, config: Config) -> Result<Bdev, BdevError> {
    let bytes = config.check()?;
    let name = bdevs.name_or(config.name.as_deref(), "Malloc");
    if bdevs.get(&name).is_ok() {
        // Before memory is asked for.
        return Err(BdevError::NameTaken(name.into()));
    }
    let memory = Arc::new(Stripes::new(bytes, config.block_size)?);
    let shape = Shape {
        product: "Malloc disk",
        block_size: config.block_size,
        align: 1,
        optimal_boundary: config.optimal_boundary,
        most_compare_and_write: (memory.stripe() / config.block_size as usize) as u32,
        kinds: Kinds::ALL,
        has_write_cache: false,
    };
    let new = NewBdev { name, aliases: Default::default(), uuid: config.uuid, blocks: config.blocks, shape };
    bdevs.add(new, Box::new(Malloc { memory, block_size: config.block_size as usize }))
}

struct Malloc {
    memory: Arc<Stripes>,
    block_size: usize,
}

impl Device for Malloc {
    fn channel(&self, _: &mut Cx<'_>, depth: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        let waiting = VecDeque::with_capacity(depth);
        Ok(Box::new(Channel { memory: self.memory.clone(), block_size: self.block_size, waiting }))
    }

    #[cfg(feature = "rpc")]
    fn made(&self, bdev: &Bdev) -> Option<(&'static str, serde_json::Value)> {
        Some(("bdev_malloc_create", crate::rpc::made(bdev)))
    }
}

struct Channel {
    memory: Arc<Stripes>,
    block_size: usize,
    /// Requests that found a stripe taken, or would take too long, and how many bytes of each are
    /// done.
    waiting: VecDeque<(Io, usize)>,
}

/// Where a request stands.
enum Step {
    Done(Result<(), BdevError>),
    /// So many of its bytes are done.
    Waits(usize),
}

impl DeviceChannel for Channel {
    #[inline]
    fn submit(&mut self, _: Instant, io: Io) {
        self.run(io, 0);
    }

    #[inline]
    fn poll(&mut self, _: Instant) {
        for _ in 0..self.waiting.len() {
            if let Some((io, done)) = self.waiting.pop_front() {
                self.run(io, done);
            }
        }
    }

    #[inline]
    fn writes_at_once(&self) -> bool {
        true
    }

    #[inline]
    fn write_at_once(&mut self, block: u64, bytes: &[u8]) -> bool {
        let at = block as usize * self.block_size;
        // In one stripe, so that it is all or nothing.
        self.memory.within(at, bytes.len()) == bytes.len() && self.memory.write(at, bytes.len(), |to| to.copy_from_slice(bytes)).is_some()
    }

    fn cancel(&mut self, which: &dyn Fn(&Request) -> bool) {
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some((io, _)) if which(io.request()) => io.finish(Err(BdevError::Aborted)),
                other => self.waiting.extend(other),
            }
        }
    }

    /// Whoever has the stripe has it for microseconds.
    fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(Instant::ZERO)
    }
}

impl Channel {
    #[inline]
    fn run(&mut self, mut io: Io, done: usize) {
        match self.step(io.request_mut(), done) {
            Step::Done(result) => io.finish(result),
            Step::Waits(done) => self.waiting.push_back((io, done)),
        }
    }

    #[inline]
    fn step(&self, request: &mut Request, done: usize) -> Step {
        // Within the device, whose bytes can be counted.
        let (at, len) = (request.block as usize * self.block_size, request.blocks as usize * self.block_size);
        match request.kind {
            Kind::Read => self.stripes(at, len, done, |_, at, n| self.memory.read(at, n, |bytes| request.fill(bytes)).map(Ok)),
            Kind::Write => {
                self.stripes(at, len, done, |done, at, n| self.memory.write(at, n, |bytes| request.copy_to(done, bytes)).map(Ok))
            }
            Kind::Compare => self.stripes(at, len, done, |done, at, n| {
                let differs = self.memory.read(at, n, |bytes| request.differs(done, bytes))?;
                Some(differs.map_or(Ok(()), |n| Err(BdevError::Miscompare((done + n) as u64))))
            }),
            Kind::WriteZeroes | Kind::Unmap => {
                let mut left = BUDGET;
                self.stripes(at, len, done, |_, at, n| {
                    if left == 0 {
                        return None;
                    }
                    left = left.saturating_sub(self.memory.zero(at, n)?);
                    Some(Ok(()))
                })
            }
            Kind::CompareAndWrite => self.compare_and_write(request, at, len),
            // What was written is where it stays.
            Kind::Flush | Kind::Reset => Step::Done(Ok(())),
        }
    }

    /// Goes through `len` bytes from `at` on, stripe by stripe, from those on that are done. `f`
    /// gets what is done, and a piece; `None` from it leaves the rest for later.
    #[inline]
    fn stripes(
        &self,
        at: usize,
        len: usize,
        mut done: usize,
        mut f: impl FnMut(usize, usize, usize) -> Option<Result<(), BdevError>>,
    ) -> Step {
        while done < len {
            let n = self.memory.within(at + done, len - done);
            match f(done, at + done, n) {
                None => return Step::Waits(done),
                Some(Err(why)) => return Step::Done(Err(why)),
                Some(Ok(())) => done += n,
            }
        }
        Step::Done(Ok(()))
    }

    /// In two stripes at most, as one.
    fn compare_and_write(&self, request: &Request, at: usize, len: usize) -> Step {
        let done = self.memory.write_both(at, len, |low, high| {
            let differs = request.differs(0, low).or_else(|| request.differs(low.len(), high).map(|n| low.len() + n));
            if let Some(n) = differs {
                return Err(BdevError::Miscompare(n as u64));
            }
            request.copy_to(len, low);
            request.copy_to(len + low.len(), high);
            Ok(())
        });
        done.map_or(Step::Waits(0), Step::Done)
    }
}
