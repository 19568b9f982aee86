//! A queue in a group: what is posted on it, what it has to report, and its end.

use std::collections::VecDeque;
use std::sync::Arc;

use core_reactor::Instant;
use core_reactor::transport::{Frame, Op, QueueEvent, QueueId, QueueLimits, QueueOptions, RemoteMemory, Token, TransportError};

use crate::MESSAGE;
use crate::group::Shared;
use crate::wire::{Gone, Side, Wire};

pub(crate) struct Pair {
    pub(crate) id: QueueId,
    pub(crate) token: Token,
    pub(crate) wire: Arc<Wire>,
    pub(crate) side: Side,
    pub(crate) state: State,
    pub(crate) options: QueueOptions,
    /// What is posted and has no answer, oldest first.
    pub(crate) posted: VecDeque<Posted>,
    /// How many of them are on their way.
    pub(crate) flushed: usize,
    /// What is posted and whose `Done` has not been delivered.
    pub(crate) outstanding: u32,
    /// Reads among them.
    pub(crate) reading: u32,
    /// Events to be delivered.
    pub(crate) reports: VecDeque<QueueEvent>,
    /// How often the peer's oldest message found no receive buffer.
    pub(crate) tries: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Until the time is up.
    Connecting(Instant),
    Accepting(Instant),
    Open,
    /// All that is left to do is in the reports, `Closed` last.
    Ending,
}

pub(crate) struct Posted {
    pub(crate) tag: u64,
    pub(crate) op: Op,
    pub(crate) frame: Frame,
    pub(crate) imm: Option<u32>,
    /// Of a read or a write.
    pub(crate) remote: Option<RemoteMemory>,
}

impl Pair {
    pub(crate) fn new(id: QueueId, token: Token, wire: Arc<Wire>, side: Side, state: State, options: QueueOptions) -> Self {
        Self {
            id,
            token,
            wire,
            side,
            state,
            options,
            posted: VecDeque::new(),
            flushed: 0,
            outstanding: 0,
            reading: 0,
            reports: VecDeque::new(),
            tries: 0,
        }
    }

    pub(crate) fn limits(&self, receives: u32, receive_size: usize) -> QueueLimits {
        QueueLimits {
            sends: self.options.send_depth,
            reads: self.options.reads,
            gather: self.options.gather,
            inline: self.options.inline,
            message: MESSAGE,
            receives,
            receive_size: u32::try_from(receive_size).unwrap_or(u32::MAX),
        }
    }

    /// Reports the oldest of what is posted.
    pub(crate) fn done(&mut self, error: Option<TransportError>, with: impl FnOnce(Frame) -> Frame) {
        let Some(Posted { tag, op, frame, .. }) = self.posted.pop_front() else { return };
        self.flushed = self.flushed.saturating_sub(1);
        self.reports.push_back(QueueEvent::Done { id: self.id, token: self.token, tag, op, frame: with(frame), error });
    }

    /// The end: what is posted comes back, the oldest with `first` if that is given; then what is
    /// exposed; then `Closed`.
    pub(crate) fn end(&mut self, why: Option<TransportError>, first: Option<TransportError>, tell: Gone, shared: &mut Shared) {
        self.state = State::Ending;
        self.wire.tell(self.side, |end| end.gone = Some(tell));
        let mut first = first;
        while !self.posted.is_empty() {
            self.done(first.take().or(Some(TransportError::Flushed)), |frame| frame);
        }
        let (id, token) = (self.id, self.token);
        for (key, buf) in shared.exposures.remove_all(id) {
            self.reports.push_back(QueueEvent::Withdrawn { id, token, key, buf });
        }
        self.reports.push_back(QueueEvent::Closed { id, token, why });
    }

    /// Takes an event out of the reports; its place is free again.
    pub(crate) fn next_report(&mut self) -> Option<QueueEvent> {
        let event = self.reports.pop_front()?;
        if let QueueEvent::Done { op, .. } = &event {
            self.outstanding -= 1;
            self.reading -= u32::from(*op == Op::Read);
        }
        Some(event)
    }
}
