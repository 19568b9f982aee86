//! A device on one core: what is handed in is looked at here, and what comes back is counted.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::fmt;

use core_reactor::net::Token;
use core_reactor::{Bell, Cx, Instant, Refused, Watch};

use crate::device::DeviceChannel;
use crate::io::Home;
use crate::limits::{Limits, Throttle};
use crate::registry::Open;
use crate::stats::ChannelStats;
use crate::{Bdev, BdevError, BdevEvent, Completion, Completions, Io, Kind, Mode, Request};

/// A device on one core. Requests go in by [`submit`](Self::submit) and come back from
/// [`poll`](Self::poll), each exactly once. Dropped, it takes with it what is under way: buffers go
/// home.
///
/// It stays on its core:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// fn channel(channel: bdev::Channel) {
///     send(channel);
/// }
/// ```
pub struct Channel {
    // Before `home`, to which its requests go when it ends.
    device: Box<dyn DeviceChannel>,
    /// Where requests wait while the device has limits.
    throttle: Option<Box<Throttle>>,
    home: Rc<Home>,
    open: Arc<Open>,
    id: u64,
    depth: usize,
    /// Requests that were taken and not given back.
    taken: usize,
    /// What was last heard.
    epoch: u32,
    /// The last reset that was heard of, and the last of which others were told that nothing from
    /// before is left here.
    heard: u64,
    reached: u64,
    /// Resets that were asked for here, by their numbers, first one first.
    resets: VecDeque<(u64, Request)>,
    blocks: u64,
    /// A change of size that has not been told.
    resized: bool,
    removal: Removal,
    _watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    None,
    Heard,
    Told,
}

impl Channel {
    pub(crate) fn new(cx: &mut Cx<'_>, open: Arc<Open>, depth: usize) -> Result<Self, BdevError> {
        let depth = depth.max(1);
        let shared = &open.shared;
        let stats = Arc::new(ChannelStats::default());
        let device = shared.device.channel(cx, depth)?;
        let (id, news) = shared.enter(cx.handle(), cx.core(), stats.clone())?;
        let home = Rc::new(Home {
            ready: RefCell::new(VecDeque::with_capacity(depth)),
            outstanding: Cell::new(0),
            old: Cell::new(0),
            generation: Cell::new(0),
            now: Cell::new(cx.now()),
            due: Cell::new(None),
            stats,
            block_size: shared.shape.block_size,
        });
        let watch = cx.bell(home.clone());
        let throttle = Throttle::new(shared, depth);
        Ok(Self {
            device,
            throttle,
            home,
            open,
            id,
            depth,
            taken: 0,
            epoch: news.epoch,
            heard: news.resets,
            reached: news.resets,
            resets: VecDeque::with_capacity(depth),
            blocks: news.blocks,
            resized: false,
            removal: Removal::None,
            _watch: watch,
        })
    }

    /// The device.
    pub fn bdev(&self) -> Bdev {
        Bdev(self.open.shared.clone())
    }

    /// Requests under way: taken, and not yet given back.
    pub fn under_way(&self) -> usize {
        self.taken
    }

    /// Hands a request in. `now` is the time, as [`Cx::now`] has it.
    ///
    /// # Errors
    /// It cannot be done as it is, or the device is gone, or [`BdevError::Full`]; the request comes
    /// back as it was.
    #[inline]
    pub fn submit(&mut self, now: Instant, mut request: Request) -> Result<(), Refused<Request, BdevError>> {
        if let Err(why) = self.look_at(&mut request) {
            return Err(Refused { item: request, why });
        }
        self.taken += 1;
        self.home.now.set(now);
        if request.kind == Kind::Reset {
            self.resets.push_back((self.open.shared.reset(), request));
            return Ok(());
        }
        let (kind, io) = (request.kind, Io::new(request, self.home.clone()));
        if self.throttle.is_some() {
            self.submit_limited(now, kind, io);
        } else {
            self.device.submit(now, io);
            self.home.due.set(self.device.due());
        }
        Ok(())
    }

    /// Whether [`write_at_once`](Self::write_at_once) may ever do something: of devices that are
    /// memory it may.
    #[inline]
    pub fn writes_at_once(&self) -> bool {
        self.device.writes_at_once()
    }

    /// Writes `bytes`, which are `blocks` blocks, from `block` on, if the device can do that while
    /// the caller waits, and tells whether it has. If not nothing was written, and a
    /// [`Request::write`] is the way, which also tells what is wrong.
    ///
    /// ```
    /// # fn write(channel: &mut bdev::Channel, now: core_reactor::Instant) {
    /// let bytes = [7; 512];
    /// if !channel.write_at_once(now, 3, 1, &bytes) {
    ///     // It goes into a buffer, and that into a request.
    /// }
    /// # }
    /// ```
    #[inline]
    pub fn write_at_once(&mut self, now: Instant, block: u64, blocks: u64, bytes: &[u8]) -> bool {
        let shared = &*self.open.shared;
        let is_plain = shared.epoch() == self.epoch && self.removal == Removal::None && self.throttle.is_none();
        let may = self.open.mode != Mode::ReadOnly && shared.shape.kinds.contains(Kind::Write);
        let is_within = blocks > 0 && block.checked_add(blocks).is_some_and(|end| end <= shared.blocks());
        // Blocks that a device has make a number of bytes.
        if !(is_plain && may && is_within && bytes.len() as u64 == blocks * u64::from(shared.shape.block_size)) {
            return false;
        }
        self.home.now.set(now);
        let is_done = self.device.write_at_once(block, bytes);
        if is_done {
            self.home.stats.count_write(bytes.len() as u64);
        }
        is_done
    }

    /// Appends what has happened to `out`, as much as it has room for, and tells how many events
    /// that were. Never blocks.
    #[inline]
    pub fn poll(&mut self, now: Instant, out: &mut Completions) -> usize {
        let before = out.len();
        self.home.now.set(now);
        if self.open.shared.epoch() != self.epoch {
            self.hear();
        }
        if self.throttle.is_some() {
            self.poll_limited(now);
        } else {
            self.device.poll(now);
            self.home.due.set(self.device.due());
        }
        self.give_back(out);
        if self.is_odd() {
            self.tell(out);
        }
        out.len() - before
    }

    /// Asks for those requests under way that have this token to be given up. Each comes back, as
    /// [`BdevError::Aborted`], or as whatever it was when it was too late for that.
    pub fn abort(&mut self, token: Token) {
        self.cancel(&|request| request.token == token);
        self.set_due();
    }

    /// Takes a request of a device with limits.
    #[cold]
    fn submit_limited(&mut self, now: Instant, kind: Kind, io: Io) {
        match &mut self.throttle {
            Some(throttle) if Throttle::holds(kind) => {
                throttle.push(io);
                throttle.release(now, &mut *self.device);
            }
            _ => self.device.submit(now, io),
        }
        self.set_due();
    }

    #[cold]
    fn poll_limited(&mut self, now: Instant) {
        if let Some(throttle) = &mut self.throttle {
            throttle.release(now, &mut *self.device);
        }
        self.device.poll(now);
        self.set_due();
    }

    fn set_due(&self) {
        let waits = self.throttle.as_ref().and_then(|throttle| throttle.due(self.home.now.get()));
        self.home.due.set(self.device.due().into_iter().chain(waits).min());
    }

    /// Gives up those that have not begun, and asks the device to give up the others.
    fn cancel(&mut self, which: &dyn Fn(&Request) -> bool) {
        if let Some(throttle) = &mut self.throttle {
            throttle.cancel(which);
        }
        self.device.cancel(which);
    }

    /// Whether a request can be taken as it is.
    #[inline]
    fn look_at(&self, request: &mut Request) -> Result<(), BdevError> {
        let shared = &*self.open.shared;
        let kind = request.kind;
        if shared.epoch() != self.epoch && shared.is_removed() || self.removal != Removal::None {
            return Err(BdevError::Removed);
        }
        if !shared.shape.kinds.contains(kind) && kind != Kind::Reset {
            return Err(BdevError::Unsupported(kind));
        }
        if kind.changes() && self.open.mode == Mode::ReadOnly {
            return Err(BdevError::ReadOnly);
        }
        if self.taken >= self.depth {
            return Err(BdevError::Full(self.depth));
        }
        if matches!(kind, Kind::Flush | Kind::Reset) {
            return Ok(());
        }
        let Request { block, blocks, .. } = *request;
        let of = shared.blocks();
        if block.checked_add(blocks).is_none_or(|end| end > of) {
            return Err(BdevError::OutOfRange { block, blocks, of });
        }
        if blocks == 0 {
            return Err(BdevError::Empty);
        }
        // Blocks that a device has make a number of bytes.
        let bytes = blocks * u64::from(shared.shape.block_size);
        match kind {
            Kind::Read => look_at_room(request, bytes, shared.shape.align),
            Kind::CompareAndWrite => {
                let most = u64::from(shared.shape.most_compare_and_write);
                if blocks > most {
                    return Err(BdevError::TooLong { blocks, most });
                }
                look_at_bytes(request, 2 * bytes, shared.shape.align)
            }
            Kind::Write | Kind::Compare => look_at_bytes(request, bytes, shared.shape.align),
            _ => Ok(()),
        }
    }

    /// Looks what has happened to the device.
    #[cold]
    fn hear(&mut self) {
        let news = self.open.shared.news();
        self.epoch = news.epoch;
        self.limit();
        self.resized |= news.blocks != self.blocks;
        self.blocks = news.blocks;
        if news.is_removed && self.removal == Removal::None {
            self.removal = Removal::Heard;
            self.cancel(&|_| true);
            self.end_resets(u64::MAX, &Err(BdevError::Removed));
        }
        if news.resets > self.heard {
            self.heard = news.resets;
            self.home.generation.update(|generation| generation.wrapping_add(1));
            self.home.old.set(self.home.outstanding.get());
            self.cancel(&|_| true);
        }
        if !self.resets.is_empty() {
            self.end_resets(self.open.shared.all_reached(), &Ok(()));
        }
    }

    /// Begins to have requests wait, or ends that.
    fn limit(&mut self) {
        let is_limited = self.open.shared.throttles.limits() != Limits::default();
        match &mut self.throttle {
            Some(throttle) if !is_limited => {
                throttle.release_all(self.home.now.get(), &mut *self.device);
                self.throttle = None;
            }
            None if is_limited => self.throttle = Throttle::new(&self.open.shared, self.depth),
            _ => {}
        }
    }

    /// What was asked for here as resets up to this number comes back.
    fn end_resets(&mut self, reached: u64, result: &Result<(), BdevError>) {
        while let Some((_, request)) = self.resets.pop_front_if(|(number, _)| *number <= reached) {
            self.home.ready.borrow_mut().push_back(Completion { request, result: result.clone() });
        }
    }

    /// Gives back what the device has finished.
    #[inline]
    fn give_back(&mut self, out: &mut Completions) {
        let mut ready = self.home.ready.borrow_mut();
        let n = ready.len().min(out.room());
        self.taken -= n;
        ready.drain(..n).for_each(|done| out.append_with(|| BdevEvent::Done(done)));
    }

    /// Whether there is more to tell than what has come back.
    #[inline]
    fn is_odd(&self) -> bool {
        self.heard != self.reached || self.resized || self.removal == Removal::Heard
    }

    #[cold]
    fn tell(&mut self, out: &mut Completions) {
        if self.heard != self.reached && self.home.old.get() == 0 {
            self.reached = self.heard;
            // This core is woken too, and looks whether its own resets are done.
            self.open.shared.reach(self.id, self.heard);
        }
        if self.resized && out.push(BdevEvent::Resized { blocks: self.blocks }).is_ok() {
            self.resized = false;
        }
        if self.removal == Removal::Heard && self.taken == 0 && out.push(BdevEvent::Removed).is_ok() {
            self.removal = Removal::Told;
        }
    }
}

#[inline]
fn look_at_room(request: &mut Request, bytes: u64, align: u32) -> Result<(), BdevError> {
    let filled = request.data.bytes();
    if filled > 0 {
        return Err(BdevError::NotEmpty(filled));
    }
    let room = match request.data.parts() {
        [one] => one.spare_capacity() as u64,
        parts => parts.iter().map(|part| part.spare_capacity() as u64).sum(),
    };
    if room < bytes {
        return Err(BdevError::Data { bytes: room, wanted: bytes });
    }
    let is_aligned = |part: &mut pool::Buf| part.spare_mut().as_ptr().addr().is_multiple_of(align as usize);
    if align > 1 && !request.data.parts_mut().iter_mut().all(is_aligned) {
        return Err(BdevError::Unaligned(align));
    }
    Ok(())
}

fn look_at_bytes(request: &Request, wanted: u64, align: u32) -> Result<(), BdevError> {
    let bytes = request.data.bytes() as u64;
    if bytes != wanted {
        return Err(BdevError::Data { bytes, wanted });
    }
    let is_aligned = |part: &pool::Buf| part.as_ptr().addr().is_multiple_of(align as usize);
    if align > 1 && !request.data.parts().iter().all(is_aligned) {
        return Err(BdevError::Unaligned(align));
    }
    Ok(())
}

impl Drop for Channel {
    fn drop(&mut self) {
        // What is under way goes first, and with it who may have it yet: who waits for its end need
        // not ask again, and somebody's reset comes back when this channel has left. A box of
        // nothing allocates nothing.
        self.cancel(&|_| true);
        self.device = Box::new(Gone);
        self.open.shared.leave(self.id);
    }
}

/// The device's part of a channel that has ended.
struct Gone;

impl DeviceChannel for Gone {
    fn submit(&mut self, _: Instant, _: Io) {}

    fn poll(&mut self, _: Instant) {}

    fn cancel(&mut self, _: &dyn Fn(&Request) -> bool) {}
}

impl Bell for Home {
    fn arm(&self) -> bool {
        self.ready.borrow().is_empty()
    }

    fn disarm(&self) {}

    fn due(&self) -> Option<Instant> {
        self.due.get()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("bdev", &self.bdev()).field("under_way", &self.taken).finish_non_exhaustive()
    }
}
