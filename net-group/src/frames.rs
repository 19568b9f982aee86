//! The frames of all sockets of a group, and the reports about them.
//!
//! Queues are linked through one shared list of nodes, so that an idle socket costs nothing. The
//! list grows when more frames are queued at once than ever before, up to what
//! [`GroupConfig`](core_reactor::net::GroupConfig) allows, and not again: in a steady state nothing
//! is allocated.
//!
//! ```text
//!   free ── push ──► a socket's queue ── sent without a tag ──────────────► free
//!                          └─ sent with a tag, or cancelled ──► reports ──► free
//!   free ── closed ──────────────────────────────────────────────────┘
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use core_reactor::net::{Frame, NetError, NetEvent, SockId, Token};
use pool::Buf;

use crate::Limits;
use crate::slab::{REFUSED, STALLED, Slab, SlotState};

const NONE: u32 = u32::MAX;

/// Frames of one socket, first in, first out.
#[derive(Debug, Default)]
pub struct Queue {
    /// The only frame, where it is one buffer without a tag: all that an echo queues, and then no
    /// node is touched. It is not empty.
    single: Option<Buf>,
    list: List,
}

impl Queue {
    /// Whether nothing is in it.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// let state = slab.state_mut(place);
    /// assert!(state.queue.is_empty());
    /// frames.push(state, bufs.get().expect("one").into());
    /// assert!(!state.queue.is_empty(), "a frame without bytes is one as well");
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.single.is_none() && self.list.head == NONE
    }

    /// The bytes of a queue that holds one frame, without a tag and of one buffer, which is not
    /// empty. `None` also where such a frame is what is left of several.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// let state = slab.state_mut(place);
    /// for part in [b"one", b"two"] {
    ///     let mut buf = bufs.get().expect("one");
    ///     buf.append(part);
    ///     frames.push(state, buf.into());
    ///     assert_eq!(state.queue.single(), (state.frames == 1).then_some(&b"one"[..]));
    /// }
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn single(&self) -> Option<&[u8]> {
        self.single.as_deref()
    }

    /// Takes the frame that [`single`](Self::single) told of off the queue: it is sent.
    #[inline]
    pub fn drop_single(&mut self) {
        self.single = None;
    }
}

/// Nodes, first in, first out.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

/// All nodes of a group.
///
/// ```
/// use core_reactor::net::Token;
/// use net_group::{Frames, Limits, Slab};
///
/// let bufs = pool::BufGroup::new(2, 64);
/// let limits = Limits::new(&core_reactor::net::GroupConfig::new(bufs.clone()));
/// let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
/// let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
/// let state = slab.state_mut(place);
/// for part in [&b"hello "[..], b"world"] {
///     let mut buf = bufs.get().expect("one");
///     buf.append(part);
///     frames.push(state, buf.into());
/// }
/// // The system has taken 8 bytes: the first frame, which goes home, and 2 of the next one.
/// let id = state.id;
/// frames.written(&limits, state, id, 8);
/// assert_eq!((state.frames, state.written, state.queued), (1, 2, 3));
/// # Ok::<(), Box<&str>>(())
/// ```
pub struct Frames {
    nodes: Vec<Node>,
    free: u32,
    reports: List,
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

struct Node {
    frame: Frame,
    bytes: usize,
    next: u32,
    report: Report,
}

/// Bytes that the system has taken, and that are still to be counted. A buffer that goes home may
/// wake somebody who panics; the rest is counted all the same, else those bytes would be sent once
/// more.
struct Written<'a> {
    frames: &'a mut Frames,
    state: &'a mut SlotState,
    id: SockId,
    n: usize,
}

impl Written<'_> {
    fn count(&mut self) {
        while let Some(bytes) = self.frames.first(&self.state.queue.list) {
            let left = bytes - self.state.written;
            if self.n < left {
                self.state.written += core::mem::take(&mut self.n);
                return;
            }
            self.n -= left;
            self.state.written = 0;
            if let Some(frame) = self.frames.sent(&mut self.state.queue.list, self.id, self.state.token) {
                self.state.frames -= 1;
                drop(frame);
            }
        }
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        // After a panic what is left, and else nothing.
        self.count();
    }
}

/// What is told of a frame or a socket.
struct Report {
    id: SockId,
    token: Token,
    written: usize,
    what: What,
}

enum What {
    Sent,
    Cancelled,
    Writable,
    /// In a box, because it is rare and would make each node half as large again.
    Closed(Option<Box<NetError>>),
}

impl Report {
    const NOTHING: Self = Self { id: SockId::from_raw(u64::MAX), token: Token(0), written: 0, what: What::Sent };
}

impl Frames {
    /// Room for `nodes` before the list grows.
    pub fn new(nodes: usize) -> Self {
        Self { nodes: Vec::with_capacity(nodes), free: NONE, reports: List::default() }
    }

    /// Queues a frame behind those of a place.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// let state = slab.state_mut(place);
    /// let mut buf = bufs.get().expect("one");
    /// buf.append(b"hello");
    /// frames.push(state, buf.into());
    /// assert_eq!((state.queued, state.frames), (5, 1));
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn push(&mut self, state: &mut SlotState, frame: Frame) {
        let bytes = frame.bytes();
        state.queued += bytes;
        state.frames += 1;
        let queue = &mut state.queue;
        if queue.is_empty() && bytes > 0 {
            match frame.into_single() {
                Ok(buf) => queue.single = Some(buf),
                Err(frame) => self.push_node(queue, frame, bytes),
            }
        } else {
            self.push_node(queue, frame, bytes);
        }
    }

    /// Queues the first frame of a place, which is one buffer without a tag, and not empty.
    #[inline]
    pub fn push_first(state: &mut SlotState, frame: Frame) {
        if let Ok(buf) = frame.into_single() {
            (state.queued, state.frames) = (buf.len(), 1);
            state.queue.single = Some(buf);
        }
    }

    /// The same, for a frame that is not alone or not simple.
    #[inline(never)]
    fn push_node(&mut self, queue: &mut Queue, frame: Frame, bytes: usize) {
        self.spill(queue);
        let at = self.node();
        let node = &mut self.nodes[at as usize];
        node.frame = frame;
        node.bytes = bytes;
        self.append(&mut queue.list, at);
    }

    /// Gives a single frame a node.
    fn spill(&mut self, queue: &mut Queue) {
        if let Some(buf) = queue.single.take() {
            let bytes = buf.len();
            self.push_node(queue, Frame::from(buf), bytes);
        }
    }

    /// The buffers of a queue from the first on.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// let (mut head, mut body) = (bufs.get().expect("one"), bufs.get().expect("another"));
    /// head.append(b"4:");
    /// body.append(b"body");
    /// let state = slab.state_mut(place);
    /// frames.push(state, [head, body].into());
    /// let parts: Vec<&[u8]> = frames.parts(&state.queue).map(|buf| &buf[..]).collect();
    /// assert_eq!(parts, [&b"4:"[..], b"body"]);
    /// # Ok::<(), Box<&str>>(())
    /// ```
    pub fn parts<'a>(&'a self, queue: &'a Queue) -> impl Iterator<Item = &'a Buf> {
        let mut at = queue.list.head;
        let nodes = core::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.next;
            Some(&node.frame)
        });
        queue.single.iter().chain(nodes.flat_map(Frame::parts))
    }

    /// Bytes of the first frame.
    #[inline]
    fn first(&self, queue: &List) -> Option<usize> {
        self.nodes.get(queue.head as usize).map(|node| node.bytes)
    }

    /// Takes the first frame off a queue: it is sent. Without a tag it comes back, to be dropped;
    /// with one a report is made of it.
    #[inline]
    fn sent(&mut self, queue: &mut List, id: SockId, token: Token) -> Option<Frame> {
        let at = self.unlink(queue)?;
        let node = &mut self.nodes[at as usize];
        if node.frame.tag().is_none() {
            let frame = core::mem::take(&mut node.frame);
            self.release(at);
            return Some(frame);
        }
        node.report = Report { id, token, written: node.bytes, what: What::Sent };
        self.report(at);
        None
    }

    /// Counts `n` more bytes of a place's queue as the system's, and takes off it what is sent.
    /// `id` is the key of its socket, stale or not.
    pub fn written(&mut self, limits: &Limits, state: &mut SlotState, id: SockId, n: usize) {
        if n > 0 {
            state.flags &= !STALLED;
        }
        self.take_off(state, id, n);
        if state.is(REFUSED) {
            self.tell_room(limits, state);
        }
    }

    fn take_off(&mut self, state: &mut SlotState, id: SockId, n: usize) {
        state.queued -= n;
        if let Some(buf) = &state.queue.single {
            state.written += n;
            if state.written == buf.len() {
                (state.written, state.frames) = (0, state.frames - 1);
                // Last, since it may wake somebody, who may panic.
                state.queue.single = None;
            }
            return;
        }
        Written { frames: self, state, id, n }.count();
    }

    /// Reports that a socket which refused a send has room again, once it has enough.
    #[cold]
    fn tell_room(&mut self, limits: &Limits, state: &mut SlotState) {
        if limits.has_room(state) {
            state.flags &= !REFUSED;
            let at = self.node();
            self.nodes[at as usize].report = Report { id: state.id, token: state.token, written: 0, what: What::Writable };
            self.report(at);
        }
    }

    /// Makes a report of every frame of a queue: it is cancelled, with `written` bytes of the first
    /// with the system.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// # use core_reactor::net::{Frame, GroupConfig, NetError, NetEvent};
    /// # use net_group::Limits;
    /// # let limits = Limits::new(&GroupConfig::new(bufs.clone()));
    /// let state = slab.state_mut(place);
    /// frames.push(state, bufs.get().expect("one").into());
    /// let (id, mut queue) = (state.id, core::mem::take(&mut state.queue));
    /// frames.cancel(&mut queue, id, Token(0), 0);
    /// let event = frames.next_report(&limits, &mut slab).map(|(event, _)| event);
    /// assert!(matches!(event, Some(NetEvent::Sent { error: Some(NetError::Cancelled), .. })), "{event:?}");
    /// # Ok::<(), Box<&str>>(())
    /// ```
    pub fn cancel(&mut self, queue: &mut Queue, id: SockId, token: Token, written: usize) {
        let mut written = written;
        self.spill(queue);
        while let Some(at) = self.unlink(&mut queue.list) {
            self.nodes[at as usize].report = Report { id, token, written, what: What::Cancelled };
            self.report(at);
            written = 0;
        }
    }

    /// Reports the end of a socket.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// # use core_reactor::net::{GroupConfig, NetError, NetEvent};
    /// # use net_group::Limits;
    /// # let limits = Limits::new(&GroupConfig::new(bufs.clone()));
    /// let id = slab.state_mut(place).id;
    /// assert!(!frames.has_reports());
    /// frames.closed(id, Token(0), Some(NetError::Reset));
    /// let event = frames.next_report(&limits, &mut slab).map(|(event, _)| event);
    /// assert!(matches!(event, Some(NetEvent::Closed { why: Some(NetError::Reset), .. })), "{event:?}");
    /// # Ok::<(), Box<&str>>(())
    /// ```
    pub fn closed(&mut self, id: SockId, token: Token, why: Option<NetError>) {
        let at = self.node();
        self.nodes[at as usize].report = Report { id, token, written: 0, what: What::Closed(why.map(Box::new)) };
        self.report(at);
    }

    /// Whether there are reports.
    #[inline]
    pub fn has_reports(&self) -> bool {
        self.reports.head != NONE
    }

    /// The first report, as an event; and the place whose queue is shorter for it, if its socket is
    /// still there.
    pub fn next_report<S>(&mut self, limits: &Limits, slab: &mut Slab<S>) -> Option<(NetEvent, Option<usize>)> {
        loop {
            let event = self.take_report()?;
            let place = match &event {
                NetEvent::Sent { id, .. } => slab.find(*id),
                // Its socket was detached since.
                NetEvent::Writable { id, .. } if slab.find(*id).is_none() => continue,
                _ => None,
            };
            if let Some(place) = place {
                let state = slab.state_mut(place);
                state.frames -= 1;
                if state.is(REFUSED) {
                    self.tell_room(limits, state);
                }
            }
            return Some((event, place));
        }
    }

    fn take_report(&mut self) -> Option<NetEvent> {
        let mut reports = self.reports;
        let at = self.unlink(&mut reports)?;
        self.reports = reports;
        let node = &mut self.nodes[at as usize];
        let frame = core::mem::take(&mut node.frame);
        let Report { id, token, written, what } = core::mem::replace(&mut node.report, Report::NOTHING);
        self.release(at);
        Some(match what {
            What::Sent => NetEvent::Sent { id, token, frame, written, error: None },
            What::Cancelled => NetEvent::Sent { id, token, frame, written, error: Some(NetError::Cancelled) },
            What::Writable => NetEvent::Writable { id, token },
            What::Closed(why) => NetEvent::Closed { id, token, why: why.map(|why| *why) },
        })
    }

    #[inline]
    fn node(&mut self) -> u32 {
        match self.nodes.get(self.free as usize) {
            Some(node) => core::mem::replace(&mut self.free, node.next),
            None => self.another(),
        }
    }

    #[cold]
    fn another(&mut self) -> u32 {
        self.nodes.push(Node { frame: Frame::new(), bytes: 0, next: NONE, report: Report::NOTHING });
        (self.nodes.len() - 1) as u32
    }

    #[inline]
    fn release(&mut self, at: u32) {
        self.nodes[at as usize].next = core::mem::replace(&mut self.free, at);
    }

    #[inline]
    fn append(&mut self, queue: &mut List, at: u32) {
        self.nodes[at as usize].next = NONE;
        match self.nodes.get_mut(queue.tail as usize) {
            Some(last) => last.next = at,
            None => queue.head = at,
        }
        queue.tail = at;
    }

    #[inline]
    fn unlink(&mut self, queue: &mut List) -> Option<u32> {
        let at = queue.head;
        queue.head = self.nodes.get(at as usize)?.next;
        if queue.head == NONE {
            queue.tail = NONE;
        }
        Some(at)
    }

    fn report(&mut self, at: u32) {
        let mut reports = self.reports;
        self.append(&mut reports, at);
        self.reports = reports;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::task::Wake;

    use core_reactor::net::GroupConfig;
    use pool::{BufGroup, Class};

    use super::*;

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }

    /// Frames of four bytes on one socket, and somebody who waits for the first buffer that comes
    /// home and panics when woken.
    #[test]
    fn bytes_that_were_sent_are_counted_also_when_somebody_who_is_woken_panics() {
        for (count, sent, left) in [(1, 4, 0), (3, 9, 1), (3, 12, 0)] {
            let bufs = BufGroup::new(count, 4);
            let mut slab = Slab::new(1, 0);
            let place = slab.put(Box::new(()), 5, Token(0), 0).expect("there is room");
            let limits = Limits::new(&GroupConfig::new(bufs.clone()));
            let mut frames = Frames::new(4);
            let id = slab.state_mut(place).id;
            for _ in 0..count {
                let mut buf = bufs.get().expect("there is one for each");
                buf.append(b"four");
                frames.push(slab.state_mut(place), buf.into());
            }
            let mut request = bufs.request(Class::Small, 1, 0, &Arc::new(Panics).into()).expect("one may wait");
            assert!(catch_unwind(AssertUnwindSafe(|| frames.written(&limits, slab.state_mut(place), id, sent))).is_err());
            let state = slab.state_mut(place);
            assert_eq!((state.queued, state.frames, state.written), (4 * count - sent, left, sent % 4));
            assert_eq!(frames.parts(&state.queue).count(), left as usize);
            assert!(request.poll(0).is_some());
        }
    }
}
