//! One client: what it sends, what is to be sent to it, and what comes next of the two.
//!
//! ```text
//!            a value is whole            every call has begun, and of a batch been answered
//! scanning ───────────────────► calling ──────────────────────────────────────────────────► scanning
//! ```
//!
//! Nothing is read while calls are to begin, and none begins while much is unsent or many are
//! unanswered: so a client that sends without reading waits for itself, and what it takes of the
//! memory is bounded by what it has asked for.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::vec;

use core_reactor::Instant;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;

use crate::Text;
use crate::scan::{Bad, Scanner};

/// Bytes of a value, be it a call or a batch.
pub const VALUE: usize = 256 << 10;
/// Bytes of a call: what can be read in one go.
pub const CALL: usize = 16 << 10;
/// Bytes that are read at once.
pub(crate) const READ: usize = 8 << 10;
/// Bytes that are looked at at once: one by one, which takes longer than to read them.
const SCAN: usize = 2 << 10;
/// Bytes that are sent at once.
pub(crate) const WRITE: usize = 8 << 10;
/// Bytes that wait for the client before its next call begins.
const UNSENT: usize = 64 << 10;
/// Calls of one client that have begun and not been answered.
pub(crate) const IN_FLIGHT: usize = 32;

/// A client.
pub(crate) struct Client {
    pub(crate) key: u64,
    pub(crate) socket: Socket,
    readable: bool,
    writable: bool,
    /// Nothing more comes from it.
    ended: bool,
    /// Nothing more goes to it either.
    hung_up: bool,
    /// There until nothing more goes to it: what its calls go by who look whether they are wanted.
    here: Option<Arc<()>>,
    input: Vec<u8>,
    /// Where in it the next value begins, and how much of it has been looked at.
    from: usize,
    scanned: usize,
    scanner: Scanner,
    value: Option<Value>,
    in_flight: usize,
    /// The array of a batch's answers has begun.
    in_array: bool,
    /// Answers that wait for its end.
    behind: Vec<Text>,
    out: VecDeque<Vec<u8>>,
    /// What has been sent: its memory is given back when there is time.
    done: Vec<Vec<u8>>,
    /// How much of the first has been sent, and how much is unsent of all.
    sent: usize,
    unsent: usize,
    /// A value of it was whole, or bytes went to it, since that was last asked for.
    has_moved: bool,
    /// When that was, as far as it was asked for.
    moved_at: Instant,
}

/// A value that is whole.
struct Value {
    /// The calls that are still to begin.
    calls: vec::IntoIter<Range<usize>>,
    /// Its last byte.
    end: usize,
    /// Answers of a batch that are still to come.
    unanswered: Option<usize>,
}

/// What a step has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something with so many bytes, and there may be more.
    Did(usize),
    /// This call is to begin. Its answer goes to [`Client::answered`].
    Begin {
        /// Where it is, for [`Client::text`].
        at: Range<usize>,
        /// Whether it is of a batch.
        in_batch: bool,
    },
    /// There was a batch without calls, which is answered with an error at once.
    Empty,
    /// Nothing: the client, or an answer, is to come first.
    Waits,
    /// The client is gone, or has sent what nothing can follow.
    Gone(Option<String>),
}

impl Client {
    pub(crate) fn new(key: u64, socket: Socket, now: Instant) -> Self {
        Self {
            key,
            socket,
            readable: true,
            writable: true,
            ended: false,
            hung_up: false,
            here: Some(Arc::new(())),
            input: Vec::new(),
            from: 0,
            scanned: 0,
            scanner: Scanner::default(),
            value: None,
            in_flight: 0,
            in_array: false,
            behind: Vec::new(),
            out: VecDeque::new(),
            done: Vec::new(),
            sent: 0,
            unsent: 0,
            has_moved: false,
            moved_at: now,
        }
    }

    /// For how long nothing has come of it, no value that was whole and no byte that it took, since
    /// that `counts`.
    pub(crate) fn still_for(&mut self, now: Instant, counts: bool) -> Duration {
        if mem::take(&mut self.has_moved) || !counts {
            self.moved_at = now;
        }
        now.since(self.moved_at)
    }

    /// Hands over the memory of what has been sent.
    pub(crate) fn give_back(&mut self, to: &mut Vec<Vec<u8>>) {
        to.append(&mut self.done);
    }

    /// The memory that it leaves behind: what it sent, and what was to be sent to it.
    pub(crate) fn into_memory(self) -> impl Iterator<Item = Vec<u8>> {
        let behind = self.behind.into_iter().flat_map(Text::into_pieces);
        self.out.into_iter().chain(behind).chain([self.input])
    }

    /// The system says that something has changed.
    pub(crate) fn told(&mut self, readable: bool, writable: bool, hung_up: bool) {
        self.readable |= readable || hung_up;
        self.writable |= writable || hung_up;
        if hung_up {
            self.hung_up = true;
            self.here = None;
        }
    }

    /// What is there for as long as it can be answered.
    pub(crate) fn presence(&self) -> Weak<()> {
        self.here.as_ref().map(Arc::downgrade).unwrap_or_default()
    }

    /// Does the next thing, with at most [`READ`] bytes: that takes some microseconds.
    pub(crate) fn step(&mut self) -> Step {
        if self.writable && !self.out.is_empty() {
            return self.write();
        }
        if let Some(value) = &mut self.value {
            if self.unsent >= UNSENT || self.in_flight >= IN_FLIGHT {
                return Step::Waits;
            }
            return match value.calls.next() {
                Some(at) => {
                    let in_batch = value.unanswered.is_some();
                    self.in_flight += 1;
                    Step::Begin { at, in_batch }
                }
                None if value.unanswered.is_some() => self.waits(),
                None => {
                    self.next_value();
                    Step::Did(0)
                }
            };
        }
        match self.scan() {
            Ok(Some(step)) => return step,
            Ok(None) => {}
            Err(why) => return Step::Gone(Some(why.to_string())),
        }
        if self.readable && !self.ended { self.read() } else { self.waits() }
    }

    fn waits(&self) -> Step {
        let is_over = self.ended && (self.hung_up || self.in_flight == 0 && self.out.is_empty());
        if is_over { Step::Gone(None) } else { Step::Waits }
    }

    /// The bytes of a call.
    pub(crate) fn text(&self, at: Range<usize>) -> &[u8] {
        &self.input[at]
    }

    /// Takes the answer to one of its calls; nothing, where none is wanted.
    pub(crate) fn answered(&mut self, in_batch: bool, text: Option<Text>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if in_batch {
            self.batch_answered(text);
        } else if let Some(text) = text {
            self.put(text);
        }
    }

    /// Sends an answer on its own, as soon as it does not stand within a batch's.
    pub(crate) fn put(&mut self, mut text: Text) {
        text.push_str("\n");
        if self.in_array { self.behind.push(text) } else { self.send(text) }
    }

    fn batch_answered(&mut self, text: Option<Text>) {
        if let Some(text) = text {
            let mut part = Text::default();
            part.push_str(if self.in_array { "," } else { "[" });
            part.append(text);
            self.in_array = true;
            self.send(part);
        }
        let Some(Value { unanswered: Some(left), .. }) = &mut self.value else { return };
        *left -= 1;
        if *left > 0 {
            return;
        }
        if mem::take(&mut self.in_array) {
            let mut end = Text::default();
            end.push_str("]\n");
            self.send(end);
        }
        mem::take(&mut self.behind).into_iter().for_each(|text| self.send(text));
        self.next_value();
    }

    /// Sends some of what waits.
    pub(crate) fn flush(&mut self) -> Step {
        if self.writable { self.write() } else { Step::Waits }
    }

    fn send(&mut self, text: Text) {
        for piece in text.into_pieces() {
            self.unsent += piece.len();
            match self.out.back_mut() {
                // So that a thousand small answers are not a thousand system calls.
                Some(last) if last.len() + piece.len() <= WRITE => last.extend_from_slice(&piece),
                _ => self.out.push_back(piece),
            }
        }
    }

    fn write(&mut self) -> Step {
        let Some(piece) = self.out.front() else { return Step::Waits };
        let rest = &piece[self.sent..];
        match send(&self.socket, &rest[..rest.len().min(WRITE)], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => {
                self.sent += count;
                self.unsent -= count;
                if self.sent == piece.len() {
                    self.done.extend(self.out.pop_front());
                    self.sent = 0;
                }
                self.has_moved = true;
                Step::Did(count)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Step::Did(0)
            }
            Err(Errno::INTR) => Step::Did(0),
            Err(_) => Step::Gone(None),
        }
    }

    fn read(&mut self) -> Step {
        let mut bytes = [0; READ];
        match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.ended = true,
            Ok((count, _)) => {
                self.input.extend_from_slice(&bytes[..count]);
                return Step::Did(count);
            }
            Err(Errno::AGAIN) => self.readable = false,
            Err(Errno::INTR) => {}
            Err(_) => return Step::Gone(None),
        }
        Step::Did(0)
    }

    /// Looks at what has come; nothing, where all has been looked at.
    fn scan(&mut self) -> Result<Option<Step>, Bad> {
        if self.scanner.is_blank() {
            self.skip_blanks();
        }
        let rest = &self.input[self.scanned..];
        let (taken, mut is_whole) = self.scanner.feed(&rest[..rest.len().min(SCAN)])?;
        self.scanned += taken;
        is_whole |= self.ended && self.scanned == self.input.len() && self.scanner.finish();
        let whole = self.from..self.scanned;
        // One byte more is to come of what is not whole.
        if whole.len() + usize::from(!is_whole) > VALUE {
            return Ok(Some(Step::Gone(Some(format!("a value of more than {VALUE} bytes")))));
        }
        if !is_whole {
            return Ok((taken > 0).then_some(Step::Did(taken)));
        }
        self.has_moved = true;
        let Some(batch) = self.scanner.batch() else {
            self.value = Some(Value { end: whole.end, calls: vec![whole].into_iter(), unanswered: None });
            return Ok(Some(Step::Did(taken)));
        };
        let calls: Vec<_> = batch.into_iter().map(|at| at.start + whole.start..at.end + whole.start).collect();
        let (is_empty, unanswered) = (calls.is_empty(), Some(calls.len()));
        self.value = Some(Value { calls: calls.into_iter(), end: whole.end, unanswered });
        if is_empty {
            self.next_value();
            return Ok(Some(Step::Empty));
        }
        Ok(Some(Step::Did(taken)))
    }

    fn skip_blanks(&mut self) {
        let blanks = self.input[self.scanned..].iter().take_while(|byte| byte.is_ascii_whitespace() && **byte != b'\x0c').count();
        self.scanned += blanks;
        self.from = self.scanned;
        if self.from == self.input.len() {
            (self.from, self.scanned) = (0, 0);
            self.input.clear();
        }
    }

    /// Goes on behind the value that has been dealt with.
    fn next_value(&mut self) {
        let Some(value) = self.value.take() else { return };
        // No more than one read is behind it.
        self.input.drain(..value.end);
        self.input.shrink_to(2 * READ);
        (self.from, self.scanned, self.scanner) = (0, 0, Scanner::default());
    }
}
