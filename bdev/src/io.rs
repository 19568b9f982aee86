//! A request in the hands of a device, which comes back exactly once.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::mem;

use core_reactor::Instant;

use crate::stats::ChannelStats;
use crate::{BdevError, Completion, Kind, Request};

/// A request in the hands of a [`DeviceChannel`](crate::DeviceChannel). It goes back to its channel
/// by [`finish`](Self::finish), or, as lost, when it is dropped: never twice, never to another
/// channel.
///
/// ```compile_fail,E0382
/// fn twice(io: bdev::Io) {
///     io.finish(Ok(()));
///     io.finish(Ok(()));
/// }
/// ```
pub struct Io {
    /// `None` when it has gone back.
    request: Option<Request>,
    home: Rc<Home>,
    began: Instant,
    /// Whether it began before the last reset that its channel has heard of.
    generation: u32,
}

static_assertions::assert_not_impl_any!(Io: Send, Sync, Clone);

/// Where the requests of a channel come back to.
pub(crate) struct Home {
    pub(crate) ready: RefCell<VecDeque<Completion>>,
    /// Requests that the device has.
    pub(crate) outstanding: Cell<usize>,
    /// Those of them that began before the last reset.
    pub(crate) old: Cell<usize>,
    pub(crate) generation: Cell<u32>,
    /// The time of the last call.
    pub(crate) now: Cell<Instant>,
    /// When the device wants to be polled.
    pub(crate) due: Cell<Option<Instant>>,
    pub(crate) stats: Arc<ChannelStats>,
    pub(crate) block_size: u32,
}

impl Io {
    pub(crate) fn new(request: Request, home: Rc<Home>) -> Self {
        home.outstanding.update(|n| n + 1);
        let (began, generation) = (home.now.get(), home.generation.get());
        Self { request: Some(request), home, began, generation }
    }

    /// What is asked for.
    ///
    /// # Panics
    /// Never: it is there until [`finish`](Self::finish) takes the whole.
    #[inline]
    pub fn request(&self) -> &Request {
        match &self.request {
            Some(request) => request,
            None => unreachable!("a finished request is in nobody's hands"),
        }
    }

    /// The same, to fill its buffers.
    ///
    /// # Panics
    /// Never, as [`request`](Self::request).
    #[inline]
    pub fn request_mut(&mut self) -> &mut Request {
        match &mut self.request {
            Some(request) => request,
            None => unreachable!("a finished request is in nobody's hands"),
        }
    }

    /// Takes the request out, to hand it to a device below, and leaves one without buffers in its
    /// place; [`put`](Self::put) puts it back. Its kind, blocks and token stay.
    pub fn lend(&mut self) -> Request {
        let request = self.request_mut();
        let Request { kind, fua, block, blocks, token, .. } = *request;
        Request { kind, fua, block, blocks, token, data: mem::take(&mut request.data) }
    }

    /// Puts back the buffers of what [`lend`](Self::lend) took out.
    pub fn put(&mut self, request: Request) {
        self.request_mut().data = request.data;
    }

    /// The request goes back to its channel, with this outcome.
    #[inline]
    pub fn finish(mut self, result: Result<(), BdevError>) {
        self.end(result);
    }

    #[inline(always)]
    fn end(&mut self, result: Result<(), BdevError>) {
        let Some(mut request) = self.request.take() else { return };
        let home = &self.home;
        if result.is_err() && request.kind == Kind::Read {
            // So that it can be handed in again, and shows nothing of what was not read.
            request.data.parts_mut().iter_mut().for_each(|part| part.clear());
        }
        home.stats.count(&request, &result, home.block_size, home.now.get().nanos_since(self.began));
        home.outstanding.update(|n| n - 1);
        if self.generation != home.generation.get() {
            home.old.update(|n| n - 1);
        }
        home.ready.borrow_mut().push_back(Completion { request, result });
    }
}

impl Io {
    #[cold]
    fn lose(&mut self) {
        self.end(Err(BdevError::Lost));
    }
}

impl Drop for Io {
    #[inline]
    fn drop(&mut self) {
        if self.request.is_some() {
            self.lose();
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Io").field(&self.request).finish()
    }
}
