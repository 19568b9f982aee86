//! One end of a measurement: what it posts, and what it makes of events. It knows no reactor and no
//! transport.
//!
//! ```text
//!   client                         server
//!     connect (plan) ──────────────► accept
//!            ◄──────────────────────  the memory that may be reached ("ready")
//!     its own memory (write-lat) ──►
//!     the operations ..............  answers (send-lat, write-lat)
//!     disconnect ──────────────────►
//! ```

use std::time::Duration;

use hdrhistogram::Histogram;
use lcore::Instant;
use lcore::pool::Buf;
use lcore::transport::{Access, Frame, QueueEvent, QueueEvents, QueueGroup, QueueId, RemoteMemory, TransportError};
use thiserror::Error;

use crate::plan::{Plan, Test, describe, described};
use crate::report::Report;

/// The tag of what is not measured.
const SETUP: u64 = u64::MAX;

/// What a write tells its receiver.
const NEXT: u32 = 1;

/// Silence after which the other end is given up. A server of one-sided tests hears nothing while
/// they last, and waits until its connection ends.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// Why a measurement came to nothing.
#[derive(Clone, Debug, Error)]
pub(crate) enum PerfError {
    #[error("the server refuses: {0}")]
    Refused(String),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the connection ended after {done} of {of} operations")]
    Early { done: u64, of: u32 },
    #[error("the peer does not speak as rdma-perf does: {0}")]
    Protocol(&'static str),
    #[error("the peer has been silent for {} s", SILENCE.as_secs())]
    Silent,
    #[error("all buffers are out")]
    Buffers,
}

pub(crate) struct Peer {
    group: Box<dyn QueueGroup>,
    plan: Plan,
    client: bool,
    id: QueueId,
    /// What may be reached at the other end; of a test of messages, nothing, once that was said.
    remote: Option<RemoteMemory>,
    /// To be posted again.
    spare: Vec<Buf>,
    posted: u64,
    done: u64,
    began: Instant,
    /// When the last operation ended.
    last: Instant,
    /// Nanoseconds of each operation, there and back.
    times: Histogram<u64>,
    /// When there was something last, from the first poll on.
    heard: Option<Instant>,
    failure: Option<PerfError>,
    closed: bool,
}

impl Peer {
    /// The end whose queue is attached already.
    pub(crate) fn new(group: Box<dyn QueueGroup>, plan: Plan, client: bool, id: QueueId) -> Self {
        // 1 ns to 1 minute, to three digits; what takes longer counts as a minute.
        let times = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap_or_else(|_| unreachable!("constants that are bounds"));
        let (remote, spare) = (None, Vec::with_capacity(plan.on_the_way() + 8));
        let (began, last) = (Instant::ZERO, Instant::ZERO);
        Self { group, plan, client, id, remote, spare, posted: 0, done: 0, began, last, times, heard: None, failure: None, closed: false }
    }

    /// Polls once; how many events there were. `turn` is the time of the reactor's turn; `clock` is
    /// read once for each poll that found something.
    pub(crate) fn poll(&mut self, events: &mut QueueEvents, turn: Instant, clock: impl Fn() -> Instant) -> usize {
        let got = self.group.poll(events);
        let heard = *self.heard.get_or_insert(turn);
        if got == 0 {
            if turn.since(heard) >= SILENCE && !self.closed && (self.client || !self.plan.test.is_one_sided()) {
                self.heard = Some(turn);
                self.fail(PerfError::Silent);
            }
            return 0;
        }
        self.heard = Some(turn);
        let now = clock();
        for event in events.drain() {
            if let Err(why) = self.handle(event, now) {
                self.fail(why);
            }
        }
        // What was posted goes out now, and not with the next poll.
        self.group.flush();
        got
    }

    /// Whether the connection is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// What came of it.
    pub(crate) fn outcome(&self) -> Result<Report, PerfError> {
        match &self.failure {
            Some(why) => Err(why.clone()),
            None if self.client && !self.is_complete() => Err(PerfError::Early { done: self.done, of: self.plan.iterations }),
            None => Ok(Report::new(self.plan, &self.times, self.last.since(self.began))),
        }
    }

    fn is_complete(&self) -> bool {
        self.done >= u64::from(self.plan.iterations)
    }

    fn fail(&mut self, why: PerfError) {
        // That the connection has ended already is no reason; its end tells one.
        if !matches!(why, PerfError::Transport(TransportError::NotConnected | TransportError::Stale)) {
            self.failure.get_or_insert(why);
        }
        // It may be over already.
        let _ = self.group.disconnect(self.id);
    }

    fn handle(&mut self, event: QueueEvent, now: Instant) -> Result<(), PerfError> {
        match event {
            QueueEvent::Established { .. } if !self.client => self.offer(Access::ReadWrite),
            QueueEvent::Received { buf, .. } => self.received(buf, now),
            QueueEvent::Written { .. } if self.plan.test == Test::WriteLat => self.answered(None, now),
            QueueEvent::Done { error: Some(why), .. } if !self.is_complete() && self.client => Err(why.into()),
            QueueEvent::Done { tag, frame, error: None, .. } => self.ended(tag, frame, now),
            QueueEvent::Closed { why, .. } => {
                self.closed = true;
                match why {
                    Some(TransportError::Rejected(data)) => Err(PerfError::Refused(words(&data))),
                    // Of a client that has what it wanted, how the connection ends does not matter.
                    Some(why) if !(self.client && self.is_complete()) => Err(why.into()),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Says what the other end may reach.
    fn offer(&mut self, access: Access) -> Result<(), PerfError> {
        let memory = if self.plan.test.is_send() { None } else { Some(self.expose(access)?) };
        let mut message = self.group.buffer().ok_or(PerfError::Buffers)?;
        message.append(&describe(memory));
        self.group.send(self.id, message.into(), None, SETUP).map_err(|refused| refused.why.into())
    }

    fn expose(&mut self, access: Access) -> Result<RemoteMemory, PerfError> {
        let mut buf = self.group.buffer().ok_or(PerfError::Buffers)?;
        buf.grow(self.plan.size as usize);
        let (memory, _) = self.group.expose(self.id, buf, access).map_err(|refused| refused.why)?;
        Ok(memory)
    }

    fn received(&mut self, buf: Buf, now: Instant) -> Result<(), PerfError> {
        let expects = self.remote.is_none() && (self.client || self.plan.test == Test::WriteLat);
        if expects {
            let memory = described(&buf).ok_or(PerfError::Protocol("its first message describes no memory"))?;
            if !self.plan.test.is_send() && memory.len != self.plan.size {
                return Err(PerfError::Protocol("its memory has another size than was asked for"));
            }
            self.remote = Some(memory);
            return if self.client { self.begin(now) } else { Ok(()) };
        }
        if !self.plan.test.is_send() || buf.len() != self.plan.size as usize {
            return Err(PerfError::Protocol("a message that is none of the test's"));
        }
        match self.plan.test {
            Test::SendLat => self.answered(Some(buf), now),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, now: Instant) -> Result<(), PerfError> {
        if self.plan.test == Test::WriteLat {
            self.offer(Access::Write)?;
        }
        (self.began, self.last) = (now, now);
        self.pump()
    }

    /// The other end's half of a round trip has come; its buffer carries the next one.
    fn answered(&mut self, buf: Option<Buf>, now: Instant) -> Result<(), PerfError> {
        if let Some(buf) = buf {
            self.spare.push(buf);
        }
        if self.client { self.count(now) } else { self.post() }
    }

    /// Something posted is done.
    fn ended(&mut self, tag: u64, frame: Frame, now: Instant) -> Result<(), PerfError> {
        if tag == SETUP || !self.client {
            // A server's buffers go home; those that came in carry its answers.
            return Ok(());
        }
        if self.plan.test == Test::SendLat {
            return Ok(());
        }
        for mut buf in frame {
            if self.plan.test.is_read() {
                buf.clear();
            }
            self.spare.push(buf);
        }
        if self.plan.test.is_ping_pong() { Ok(()) } else { self.count(now) }
    }

    fn count(&mut self, now: Instant) -> Result<(), PerfError> {
        self.done += 1;
        if self.plan.test.is_latency() {
            self.times.saturating_record(now.nanos_since(self.last).max(1));
        }
        self.last = now;
        if self.is_complete() {
            self.group.disconnect(self.id)?;
            return Ok(());
        }
        self.pump()
    }

    /// As many as may be on the way.
    fn pump(&mut self) -> Result<(), PerfError> {
        let most = (self.done + self.plan.on_the_way() as u64).min(self.plan.iterations.into());
        while self.posted < most {
            self.post()?;
        }
        Ok(())
    }

    fn post(&mut self) -> Result<(), PerfError> {
        let frame = Frame::from(self.next_buf()?);
        let (id, tag) = (self.id, self.posted);
        self.posted += 1;
        let posted = match (self.plan.test, self.remote) {
            (Test::SendLat | Test::SendBw, _) => self.group.send(id, frame, None, tag),
            (Test::ReadLat | Test::ReadBw, Some(from)) => self.group.read(id, frame, from, tag),
            (Test::WriteLat, Some(to)) => self.group.write(id, frame, to, Some(NEXT), tag),
            (Test::WriteBw, Some(to)) => self.group.write(id, frame, to, None, tag),
            (_, None) => return Err(PerfError::Protocol("it wants an answer in memory that it has not described")),
        };
        posted.map_err(|refused| refused.why.into())
    }

    /// A buffer of the right size; an empty one to read into.
    fn next_buf(&mut self) -> Result<Buf, PerfError> {
        if let Some(buf) = self.spare.pop() {
            return Ok(buf);
        }
        let mut buf = self.group.buffer().ok_or(PerfError::Buffers)?;
        if !self.plan.test.is_read() {
            buf.grow(self.plan.size as usize);
        }
        Ok(buf)
    }
}

/// What a peer says in its rejection, which may be anything, with zeros behind it.
fn words(data: &[u8]) -> String {
    let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&data[..end]).chars().filter(|c| !c.is_control()).collect()
}
