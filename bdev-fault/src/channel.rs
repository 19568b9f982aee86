//! The device on one core: what waits here, and what the device below has.

use alloc::vec::Vec;
use core::time::Duration;

use bdev::{BdevError, BdevEvent, Completion, Completions, DeviceChannel, Io, Kind, Request, Token};
use core_reactor::{Instant, Refused};

use crate::{Faults, Lot};

pub(crate) struct Channel {
    base: bdev::Channel,
    faults: Faults,
    lot: Lot,
    /// Those that wait for their time, in no order.
    waiting: Vec<(Instant, Io, Fate)>,
    /// Those that the device below has, at the places that their tokens name there.
    below: Vec<Option<Below>>,
    events: Completions,
    is_removed: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Handed,
    Fails,
    /// So many of its blocks are written.
    Torn(u64),
    Lost,
}

struct Below {
    io: Io,
    /// Of a torn write, the bytes that each buffer held.
    torn: Option<[usize; bdev::Frame::PARTS]>,
}

impl Channel {
    pub(crate) fn new(base: bdev::Channel, depth: usize, faults: Faults, lot: Lot) -> Self {
        let mut below = Vec::new();
        below.resize_with(depth, || None);
        Self { base, faults, lot, waiting: Vec::with_capacity(depth), below, events: Completions::new(depth + 2), is_removed: false }
    }

    fn draw(&mut self, request: &Request) -> Fate {
        if self.lot.happens(self.faults.errors) {
            return Fate::Fails;
        }
        if request.kind != Kind::Write {
            return Fate::Handed;
        }
        if self.lot.happens(self.faults.torn) {
            return Fate::Torn(self.lot.below(request.blocks));
        }
        if self.lot.happens(self.faults.lost) { Fate::Lost } else { Fate::Handed }
    }

    fn delay(&mut self) -> Duration {
        let (least, most) = (*self.faults.delay.start(), *self.faults.delay.end());
        let span = most.saturating_sub(least).as_nanos() as u64;
        least + Duration::from_nanos(self.lot.below(span.saturating_add(1)))
    }

    /// The time of a request has come.
    fn begin(&mut self, now: Instant, io: Io, fate: Fate) {
        match fate {
            _ if self.is_removed => io.finish(Err(BdevError::Removed)),
            Fate::Fails => io.finish(Err(BdevError::Io("a fault that was asked for"))),
            Fate::Torn(0) => io.finish(Err(BdevError::Io("a torn write that was asked for"))),
            Fate::Lost => io.finish(Ok(())),
            Fate::Handed => self.hand_on(now, io, None),
            Fate::Torn(blocks) => self.hand_on(now, io, Some(blocks)),
        }
    }

    /// Hands a request to the device below, or so many of its blocks.
    fn hand_on(&mut self, now: Instant, mut io: Io, blocks: Option<u64>) {
        // There are as many places as requests are taken.
        let Some(place) = self.below.iter().position(Option::is_none) else { return };
        let block_size = u64::from(self.base.bdev().shape().block_size);
        let mut request = io.lend().token(Token(place as u64));
        let torn = blocks.map(|blocks| {
            request.blocks = blocks;
            cut(&mut request, (blocks * block_size) as usize)
        });
        match self.base.submit(now, request) {
            Ok(()) => self.below[place] = Some(Below { io, torn }),
            Err(Refused { item, why }) => finish(Below { io, torn }, item, Err(why)),
        }
    }
}

/// Gives a request back as it came.
fn finish(below: Below, mut request: Request, result: Result<(), BdevError>) {
    let Below { mut io, torn } = below;
    let Some(held) = torn else {
        io.put(request);
        return io.finish(result);
    };
    for (part, held) in request.data.parts_mut().iter_mut().zip(held) {
        let missing = held - part.len();
        part.grow(missing);
    }
    io.put(request);
    io.finish(result.and(Err(BdevError::Io("a torn write that was asked for"))));
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

impl DeviceChannel for Channel {
    fn submit(&mut self, now: Instant, io: Io) {
        let fate = self.draw(io.request());
        let delay = self.delay();
        if delay.is_zero() {
            self.begin(now, io, fate);
        } else {
            self.waiting.push((now + delay, io, fate));
        }
    }

    fn poll(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.waiting.len() {
            if self.waiting[at].0 <= now {
                let (_, io, fate) = self.waiting.swap_remove(at);
                self.begin(now, io, fate);
            } else {
                at += 1;
            }
        }
        let Self { base, below, events, waiting, is_removed, .. } = self;
        base.poll(now, events);
        for event in events.drain() {
            match event {
                BdevEvent::Done(Completion { request, result }) => {
                    if let Some(below) = below.get_mut(request.token.0 as usize).and_then(Option::take) {
                        finish(below, request, result);
                    }
                }
                BdevEvent::Removed => {
                    *is_removed = true;
                    waiting.drain(..).for_each(|(_, io, _)| io.finish(Err(BdevError::Removed)));
                }
                // This device's size is its own.
                _ => {}
            }
        }
    }

    fn cancel(&mut self, which: &dyn Fn(&Request) -> bool) {
        let mut at = 0;
        while at < self.waiting.len() {
            if which(self.waiting[at].1.request()) {
                let (_, io, _) = self.waiting.swap_remove(at);
                io.finish(Err(BdevError::Aborted));
            } else {
                at += 1;
            }
        }
        for (place, below) in self.below.iter().enumerate() {
            if below.as_ref().is_some_and(|below| which(below.io.request())) {
                self.base.abort(Token(place as u64));
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(at, _, _)| *at).min()
    }
}
