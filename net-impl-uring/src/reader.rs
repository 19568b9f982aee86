//! The request of a socket that reads, and what has arrived by it.
//!
//! ```text
//!            ┌─► Asks ── a multishot receive brings bytes, again and again ──┐
//!            │    │ └────────────────────────────────────────────────────────┘
//!            │    │ no buffer lay ready; the end came; the connection is over (Drain);
//!            │    │ or a poll told that there is something: of listeners, while buffers are low
//!            │    ▼
//!            └── Direct, Drain: told as ready, and read by system calls when it is its turn,
//!                until there is no more
//! ```
//!
//! In the calm the kernel fills buffers by itself. Where it matters who has the next one (few are
//! left, or none), or what comes last, it only tells, and the engine reads as over epoll (decision
//! 0036). Both are never at once: bytes would change places. A Unix socket is always read so
//! (decision 0147).

use std::collections::VecDeque;

use net_sockets::options::Kept;
use pool::Buf;

use crate::key::Op;

/// See the module's documentation.
pub(crate) struct Reader {
    /// With the kernel. There is one at most.
    request: Option<Request>,
    /// It has been asked to give that up.
    stopping: bool,
    /// What is asked for in the calm.
    calm: Request,
    mode: Mode,
    /// What a connection asks for in the calm.
    of_stream: Request,
    wanted: bool,
    /// The first attempt of the next receive would be in vain.
    wait: bool,
    low_water: bool,
    /// Received and not handed out, first ones first. While there are any nothing is asked for.
    kept: VecDeque<Buf>,
}

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Bytes, again and again. If nothing is there yet, it may be told to wait before its first
    /// attempt.
    Receive { wait: bool },
    /// To be told that there is something to be read, or a connection.
    Readable,
    /// To be told that there is room to send, or that a connect is decided.
    Writable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Asks,
    Direct,
    /// As `Direct`, but a short read does not say that there is no more.
    Drain,
    /// Waits for room to send, which the engine does while buffers are low.
    Room,
    /// Waits until the machine may have again what it was short of.
    Short,
    /// Nothing more comes.
    Ended,
}

/// What is to be done with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Start(Request),
    Stop(Op),
}

impl Request {
    const RECEIVE: Self = Self::Receive { wait: false };

    pub(crate) fn op(self) -> Op {
        if self.receives() { Op::Recv } else { Op::Poll }
    }

    fn receives(self) -> bool {
        matches!(self, Self::Receive { .. })
    }
}

/// Buffers that have room in a connection's line: more of them are rare.
const KEPT: usize = 4;

impl Reader {
    /// Of a connection, a listener, or a socket that is to be connected; this has arrived before.
    pub(crate) fn new(kind: &net_sockets::Kind, options: &Kept, mut kept: VecDeque<Buf>) -> Self {
        // With room from the start, since keeping what comes out of turn is part of an echo.
        kept.reserve(KEPT);
        let of_stream = if options.unix { Request::Readable } else { Request::RECEIVE };
        let calm = match kind {
            net_sockets::Kind::Stream => of_stream,
            net_sockets::Kind::Listener => Request::Readable,
            net_sockets::Kind::Connect(_) => Request::Writable,
        };
        Self {
            request: None,
            stopping: false,
            calm,
            mode: Mode::Asks,
            of_stream,
            wanted: true,
            wait: true,
            low_water: options.low_water,
            kept,
        }
    }

    // ---- The request

    /// What comes next, which is taken for done. Nothing is asked for unless it `may`.
    pub(crate) fn step(&mut self, may: bool, low: bool) -> Step {
        let wanted = self.wanted_request(low).filter(|_| may);
        match (self.request, wanted) {
            (None, Some(request)) => {
                self.request = wanted;
                let wait = std::mem::take(&mut self.wait) || self.low_water;
                Step::Start(if request.receives() { Request::Receive { wait } } else { request })
            }
            // It tells soon enough.
            (Some(Request::Readable), Some(Request::Receive { .. })) => Step::Nothing,
            (Some(request), _) if wanted != Some(request) => self.stop().map_or(Step::Nothing, Step::Stop),
            _ => Step::Nothing,
        }
    }

    fn wanted_request(&self, low: bool) -> Option<Request> {
        match self.mode {
            Mode::Room => Some(Request::Writable),
            // A connect is brought to its end whatever is wanted.
            Mode::Asks if self.calm != Request::Writable && (!self.wanted || !self.kept.is_empty()) => None,
            Mode::Asks if self.calm.receives() && low => Some(Request::Readable),
            Mode::Asks => Some(self.calm),
            Mode::Direct | Mode::Drain | Mode::Short | Mode::Ended => None,
        }
    }

    /// The request is to be given up: what is to be cancelled, if it was not before.
    pub(crate) fn stop(&mut self) -> Option<Op> {
        let request = self.request.filter(|_| !self.stopping)?;
        self.stopping = true;
        Some(request.op())
    }

    /// The same, if it receives. It has no bytes now, or they are in a completion: the next one
    /// waits for some, and does not look for a buffer before.
    pub(crate) fn stop_receiving(&mut self) -> Option<Op> {
        self.wait |= self.is_receiving();
        if self.is_receiving() { self.stop() } else { None }
    }

    /// The last completion of the request has come.
    pub(crate) fn end(&mut self) {
        (self.request, self.stopping) = (None, false);
    }

    /// Whether something is with the kernel.
    pub(crate) fn is_busy(&self) -> bool {
        self.request.is_some()
    }

    /// Whether the request receives into buffers that lie ready.
    pub(crate) fn is_receiving(&self) -> bool {
        self.request.is_some_and(Request::receives)
    }

    pub(crate) fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// The connect has come to its end.
    pub(crate) fn connected(&mut self) {
        (self.calm, self.mode) = (self.of_stream, Mode::Asks);
    }

    // ---- What has arrived

    /// Keeps bytes behind those that there are. Whether there were any.
    pub(crate) fn keep(&mut self, buf: Buf) -> bool {
        self.kept.push_back(buf);
        self.kept.len() > 1
    }

    /// The bytes that came first, and whether there is more.
    pub(crate) fn next(&mut self) -> Option<(Buf, bool)> {
        let buf = self.kept.pop_front()?;
        Some((buf, !self.kept.is_empty() || self.is_direct()))
    }

    pub(crate) fn keeps_some(&self) -> bool {
        !self.kept.is_empty()
    }

    pub(crate) fn take_all(&mut self) -> VecDeque<Buf> {
        std::mem::take(&mut self.kept)
    }

    // ---- Reading by system calls

    /// Whether it is read by system calls now.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.mode, Mode::Direct | Mode::Drain)
    }

    /// It is, from here on: nothing of it is with the kernel, and there is something to be read.
    pub(crate) fn go_direct(&mut self) {
        self.go_on(Mode::Direct);
    }

    /// The same down to the very end.
    pub(crate) fn drain(&mut self) {
        self.go_on(Mode::Drain);
    }

    fn go_on(&mut self, mode: Mode) {
        debug_assert!(self.request.is_none(), "bytes would change places");
        if self.mode != Mode::Ended {
            self.mode = mode;
        }
    }

    /// A call has read less than there was room for. Whether there may be more all the same.
    pub(crate) fn read_short(&mut self) -> bool {
        if self.mode == Mode::Direct {
            self.ask_again();
        }
        self.mode == Mode::Drain
    }

    /// There is nothing to be read.
    pub(crate) fn ask_again(&mut self) {
        (self.mode, self.wait) = (Mode::Asks, true);
    }

    /// Nothing more comes.
    pub(crate) fn read_end(&mut self) {
        self.mode = Mode::Ended;
    }

    /// Reading goes on when there is room to send.
    pub(crate) fn wait_for_room(&mut self) {
        self.mode = Mode::Room;
    }

    pub(crate) fn waits_for_room(&self) -> bool {
        self.mode == Mode::Room
    }

    /// The machine is short of something.
    pub(crate) fn fall_short(&mut self) {
        self.mode = Mode::Short;
    }

    /// It may have that again.
    pub(crate) fn retry(&mut self) {
        if self.mode == Mode::Short {
            self.mode = Mode::Asks;
        }
    }
}

#[cfg(test)]
mod tests;
