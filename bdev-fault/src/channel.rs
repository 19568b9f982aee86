//! The device on one core: what waits here, and what the device below has.

use alloc::vec::Vec;
use core::time::Duration;

use bdev::{BdevError, BdevEvent, Completion, Completions, DeviceChannel, Io, Kind, Request, Token};
use core_reactor::{Instant, Refused};

/// Says what becomes of each request.
pub(crate) trait Source: 'static {
    /// What becomes of this one, with so many in the hands of the device below.
    fn plan(&mut self, request: &Request, below: usize) -> Plan;

    /// How often those that are held have been asked for.
    fn resumes(&self) -> u32 {
        0
    }
}

/// What becomes of a request, and when.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) fate: Fate,
    /// How long it waits before the device below has it.
    pub(crate) before: Duration,
    /// How long it waits when that is done.
    pub(crate) after: Duration,
}

impl Plan {
    /// It happens at once.
    pub(crate) const fn of(fate: Fate) -> Self {
        Self { fate, before: Duration::ZERO, after: Duration::ZERO }
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Handed,
    Fails(BdevError),
    /// So many of its blocks are written.
    Torn(u64),
    Lost,
    /// A byte of its data has these bits the other way round.
    Corrupt(Corruption),
    /// It stays until it is asked for, or given up.
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corruption {
    pub(crate) offset: u64,
    pub(crate) bits: u8,
}

pub(crate) struct Channel<S> {
    base: bdev::Channel,
    source: S,
    /// Those that wait for their time, in no order.
    waiting: Vec<(Instant, Io, Plan)>,
    /// Those that the device below has, at the places that their tokens name there.
    below: Vec<Option<Below>>,
    /// Those that the device below has done, and that wait for their time, in no order.
    late: Vec<(Instant, Io, Result<(), BdevError>)>,
    held: Vec<Io>,
    /// What [`Source::resumes`] was.
    resumes: u32,
    events: Completions,
    is_removed: bool,
}

struct Below {
    io: Io,
    /// Of a torn write, the bytes that each buffer held.
    torn: Option<[usize; bdev::Frame::PARTS]>,
    corrupt: Option<Corruption>,
    after: Duration,
}

impl<S: Source> Channel<S> {
    pub(crate) fn new(base: bdev::Channel, depth: usize, source: S) -> Self {
        let mut below = Vec::new();
        below.resize_with(depth, || None);
        let events = Completions::new(depth + 2);
        let (waiting, late, held) = (Vec::with_capacity(depth), Vec::with_capacity(depth), Vec::with_capacity(depth));
        let resumes = source.resumes();
        Self { base, source, waiting, below, late, held, resumes, events, is_removed: false }
    }

    fn take(&mut self, now: Instant, io: Io) {
        let below = self.below.iter().flatten().count();
        let plan = self.source.plan(io.request(), below);
        if plan.before.is_zero() {
            self.begin(now, io, plan);
        } else {
            self.waiting.push((now + plan.before, io, plan));
        }
    }

    /// The time of a request has come.
    fn begin(&mut self, now: Instant, io: Io, plan: Plan) {
        let after = plan.after;
        match plan.fate {
            _ if self.is_removed => io.finish(Err(BdevError::Removed)),
            Fate::Fails(why) => io.finish(Err(why)),
            Fate::Torn(0) => io.finish(Err(BdevError::Io("a torn write that was asked for"))),
            Fate::Lost => io.finish(Ok(())),
            Fate::Held => self.held.push(io),
            Fate::Handed => self.hand_on(now, io, None, None, after),
            Fate::Torn(blocks) => self.hand_on(now, io, Some(blocks), None, after),
            Fate::Corrupt(corruption) => self.hand_on(now, io, None, Some(corruption), after),
        }
    }

    /// Hands a request to the device below, or so many of its blocks.
    fn hand_on(&mut self, now: Instant, mut io: Io, blocks: Option<u64>, corrupt: Option<Corruption>, after: Duration) {
        // There are as many places as requests are taken.
        let Some(place) = self.below.iter().position(Option::is_none) else { return };
        let block_size = u64::from(self.base.bdev().shape().block_size);
        let mut request = io.lend().token(Token(place as u64));
        let torn = blocks.map(|blocks| {
            request.blocks = blocks;
            cut(&mut request, (blocks * block_size) as usize)
        });
        if let Some(corruption) = corrupt
            && request.kind == Kind::Write
        {
            corruption.apply(&mut request);
        }
        match self.base.submit(now, request) {
            Ok(()) => self.below[place] = Some(Below { io, torn, corrupt, after }),
            Err(Refused { item, why }) => {
                let (io, result) = back(Below { io, torn, corrupt, after }, item, Err(why));
                io.finish(result);
            }
        }
    }

    /// Takes what the device below has done.
    fn take_back(&mut self, now: Instant) {
        let Self { base, below, events, waiting, late, held, is_removed, .. } = self;
        base.poll(now, events);
        for event in events.drain() {
            match event {
                BdevEvent::Done(Completion { request, result }) => {
                    let Some(below) = below.get_mut(request.token.0 as usize).and_then(Option::take) else { continue };
                    let after = below.after;
                    let (io, result) = back(below, request, result);
                    if after.is_zero() {
                        io.finish(result);
                    } else {
                        late.push((now + after, io, result));
                    }
                }
                BdevEvent::Removed => {
                    *is_removed = true;
                    waiting.drain(..).for_each(|(_, io, _)| io.finish(Err(BdevError::Removed)));
                    held.drain(..).for_each(|io| io.finish(Err(BdevError::Removed)));
                }
                // This device's size is its own.
                _ => {}
            }
        }
    }
}

impl Corruption {
    /// Done twice, nothing has happened.
    fn apply(self, request: &mut Request) {
        let mut offset = self.offset;
        for part in request.data.parts_mut() {
            match part.get_mut(offset as usize) {
                Some(byte) => return *byte ^= self.bits,
                None => offset -= part.len() as u64,
            }
        }
    }
}

/// A request as it came, with how it went.
fn back(below: Below, mut request: Request, result: Result<(), BdevError>) -> (Io, Result<(), BdevError>) {
    let Below { mut io, torn, corrupt, .. } = below;
    if let Some(corruption) = corrupt
        && (request.kind == Kind::Write || request.kind == Kind::Read && result.is_ok())
    {
        corruption.apply(&mut request);
    }
    let result = match torn {
        None => result,
        Some(held) => {
            for (part, held) in request.data.parts_mut().iter_mut().zip(held) {
                let missing = held - part.len();
                part.grow(missing);
            }
            result.and(Err(BdevError::Io("a torn write that was asked for")))
        }
    };
    io.put(request);
    (io, result)
}

/// Cuts the buffers to `bytes` in all; what each held.
fn cut(request: &mut Request, mut bytes: usize) -> [usize; bdev::Frame::PARTS] {
    let mut held = [0; bdev::Frame::PARTS];
    for (part, held) in request.data.parts_mut().iter_mut().zip(&mut held) {
        *held = part.len();
        part.truncate(bytes);
        bytes -= part.len();
    }
    held
}

impl<S: Source> DeviceChannel for Channel<S> {
    fn submit(&mut self, now: Instant, io: Io) {
        self.take(now, io);
    }

    fn poll(&mut self, now: Instant) {
        if self.source.resumes() != self.resumes {
            self.resumes = self.source.resumes();
            // Each may be held again.
            for io in core::mem::take(&mut self.held) {
                self.take(now, io);
            }
        }
        let mut at = 0;
        while at < self.waiting.len() {
            if self.waiting[at].0 <= now {
                let (_, io, plan) = self.waiting.swap_remove(at);
                self.begin(now, io, plan);
            } else {
                at += 1;
            }
        }
        self.take_back(now);
        let is_due = |(at, ..): &mut (Instant, Io, Result<(), BdevError>)| *at <= now;
        self.late.extract_if(.., is_due).for_each(|(_, io, result)| io.finish(result));
    }

    fn cancel(&mut self, which: &dyn Fn(&Request) -> bool) {
        let waiting = self.waiting.extract_if(.., |(_, io, _)| which(io.request())).map(|(_, io, _)| io);
        let late = self.late.extract_if(.., |(_, io, _)| which(io.request())).map(|(_, io, _)| io);
        let held = self.held.extract_if(.., |io| which(io.request()));
        waiting.chain(late).chain(held).for_each(|io| io.finish(Err(BdevError::Aborted)));
        for (place, below) in self.below.iter_mut().enumerate() {
            if let Some(below) = below.as_mut().filter(|below| which(below.io.request())) {
                // Nobody wants to wait for it any more.
                below.after = Duration::ZERO;
                self.base.abort(Token(place as u64));
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(at, ..)| *at).chain(self.late.iter().map(|(at, ..)| *at)).min()
    }
}
