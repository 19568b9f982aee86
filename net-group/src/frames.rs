//! The frames of all sockets of a group, and the reports about them.
//!
//! Queues are linked through one shared list of nodes, so that an idle socket costs nothing. The list grows when more frames are queued at once than ever
//! before, up to what [`GroupConfig`](core_reactor::net::GroupConfig) allows, and not again: in a steady state nothing is allocated.
//!
//! ```text
//!   free ── push ──► a socket's queue ── sent without a tag ──────────────► free
//!                          └─ sent with a tag, or cancelled ──► reports ──► free
//!   free ── closed ──────────────────────────────────────────────────┘
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;

use core_reactor::net::{Frame, NetError, NetEvent, SockId, Token};

use crate::slab::Hot;

const NONE: u32 = u32::MAX;

/// Frames of one socket, or reports, first in, first out.
#[derive(Clone, Copy)]
pub struct Queue {
    head: u32,
    tail: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl Queue {
    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

/// All nodes of a group.
pub struct Frames {
    nodes: Vec<Node>,
    free: u32,
    reports: Queue,
}

struct Node {
    frame: Frame,
    bytes: usize,
    next: u32,
    report: Report,
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
    /// In a box, because it is rare and would make each node half as large again.
    Closed(Option<Box<NetError>>),
}

impl Report {
    const NOTHING: Self = Self { id: SockId::from_raw(u64::MAX), token: Token(0), written: 0, what: What::Sent };
}

impl Frames {
    /// Room for `nodes` before the list grows.
    pub fn new(nodes: usize) -> Self {
        Self { nodes: Vec::with_capacity(nodes), free: NONE, reports: Queue::default() }
    }

    /// Queues a frame of `bytes` bytes.
    #[inline]
    pub fn push(&mut self, queue: &mut Queue, frame: Frame, bytes: usize) {
        let at = self.node();
        let node = &mut self.nodes[at as usize];
        node.frame = frame;
        node.bytes = bytes;
        self.append(queue, at);
    }

    /// The frames of a queue from the first on.
    pub fn iter(&self, queue: &Queue) -> impl Iterator<Item = &Frame> {
        let mut at = queue.head;
        core::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.next;
            Some(&node.frame)
        })
    }

    /// The bytes of a queue that holds one frame, without a tag and of one buffer, which is not empty.
    #[inline]
    pub fn single(&self, queue: &Queue) -> Option<&[u8]> {
        let node = self.nodes.get(queue.head as usize)?;
        match node.frame.parts() {
            [part] if node.next == NONE && node.frame.tag().is_none() && !part.is_empty() => Some(part),
            _ => None,
        }
    }

    /// Takes the frame that [`single`](Self::single) told of off its queue: it is sent.
    #[inline]
    pub fn drop_single(&mut self, queue: &mut Queue) {
        let at = queue.head;
        *queue = Queue::default();
        self.nodes[at as usize].frame = Frame::new();
        self.release(at);
    }

    /// Bytes of the first frame.
    #[inline]
    fn first(&self, queue: &Queue) -> Option<usize> {
        self.nodes.get(queue.head as usize).map(|node| node.bytes)
    }

    /// Takes the first frame off a queue: it is sent. Without a tag its buffers go home at once; with one a report is made of it, and true is answered.
    #[inline]
    fn sent(&mut self, queue: &mut Queue, id: SockId, token: Token) -> bool {
        let Some(at) = self.unlink(queue) else { return false };
        let node = &mut self.nodes[at as usize];
        if node.frame.tag().is_none() {
            node.frame = Frame::new();
            self.release(at);
            return false;
        }
        node.report = Report { id, token, written: node.bytes, what: What::Sent };
        self.report(at);
        true
    }

    /// Counts `n` more bytes of a place's queue as the system's, and takes off it what is sent. `id` is the key of its socket, stale or not.
    pub fn written(&mut self, hot: &mut Hot, id: SockId, mut n: usize) {
        hot.queued -= n;
        while let Some(bytes) = self.first(&hot.queue) {
            let left = bytes - hot.written;
            if n < left {
                hot.written += n;
                return;
            }
            n -= left;
            hot.written = 0;
            if !self.sent(&mut hot.queue, id, hot.token) {
                hot.frames -= 1;
            }
        }
    }

    /// Makes a report of every frame of a queue: it is cancelled, with `written` bytes of the first with the system.
    pub fn cancel(&mut self, queue: &mut Queue, id: SockId, token: Token, written: usize) {
        let mut written = written;
        while let Some(at) = self.unlink(queue) {
            self.nodes[at as usize].report = Report { id, token, written, what: What::Cancelled };
            self.report(at);
            written = 0;
        }
    }

    /// Reports the end of a socket.
    pub fn closed(&mut self, id: SockId, token: Token, why: Option<NetError>) {
        let at = self.node();
        self.nodes[at as usize].report = Report { id, token, written: 0, what: What::Closed(why.map(Box::new)) };
        self.report(at);
    }

    /// Whether there are reports.
    #[inline]
    pub fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// The first report, as an event.
    pub fn next_report(&mut self) -> Option<NetEvent> {
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
    fn append(&mut self, queue: &mut Queue, at: u32) {
        self.nodes[at as usize].next = NONE;
        match self.nodes.get_mut(queue.tail as usize) {
            Some(last) => last.next = at,
            None => queue.head = at,
        }
        queue.tail = at;
    }

    #[inline]
    fn unlink(&mut self, queue: &mut Queue) -> Option<u32> {
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
