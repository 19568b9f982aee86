//! Memory moved by descriptor: commands to the memory service, one after the other, and what is
//! compared afterwards.

use std::collections::VecDeque;

use lcore::pool::{Buf, BufGroup};
use lcore::transport::{Access, ExposedKey, QueueGroup};
use smb_direct::Reassembly;
use smb_direct::wire::DATA_OFFSET;

use super::report::ClientError;
use crate::memory::{Answer, Command, Kind, status};
use crate::{Pattern, Session};

/// Bytes of the longest answer that is read to its end.
const ANSWER: usize = 64;

/// What is to be moved, and what has been.
pub(super) struct Transfers {
    steps: VecDeque<Step>,
    under_way: Option<UnderWay>,
    partial: Reassembly<Box<[u8]>>,
    answer: Option<Answer>,
    /// What the server could reach, when it no longer can.
    home: Option<Buf>,
    tag: u32,
    read: u64,
    written: u64,
}

/// A command, and the seed of what it moves.
#[derive(Clone, Copy)]
struct Step {
    kind: Kind,
    seed: u64,
}

struct UnderWay {
    step: Step,
    key: ExposedKey,
    bytes: u32,
    answered: bool,
}

impl Transfers {
    pub(super) fn new(read: bool, write: bool, seed: u64) -> Self {
        let mut steps = VecDeque::new();
        if read {
            // What the server has, if nothing was written: the pattern of seed 0.
            steps.push_back(Step { kind: Kind::Read, seed: 0 });
        }
        if write {
            steps.extend([Step { kind: Kind::Write, seed }, Step { kind: Kind::Read, seed }]);
        }
        let partial = Reassembly::new(vec![0; ANSWER].into());
        Self { steps, under_way: None, partial, answer: None, home: None, tag: 0, read: 0, written: 0 }
    }

    /// Bytes that the server has written and read.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.read, self.written)
    }

    /// Goes on with the command that is under way, then begins the next; true when all are done.
    pub(super) fn go_on(&mut self, session: &mut Session, group: &mut dyn QueueGroup, bufs: &BufGroup) -> Result<bool, ClientError> {
        if let Some(now) = &mut self.under_way {
            if let Some(answer) = self.answer.take() {
                check(&answer, self.tag, now.bytes)?;
                now.answered = true;
                group.withdraw(now.key)?;
            }
            let Some(buf) = self.home.take() else { return Ok(false) };
            let (step, bytes) = (now.step, u64::from(now.bytes));
            if !now.answered {
                return Err(ClientError::Wrong("memory came back before the answer".into()));
            }
            self.under_way = None;
            match step.kind {
                Kind::Write => self.written += bytes,
                Kind::Read if Pattern::new(step.seed).matches(&buf) => self.read += bytes,
                Kind::Read => {
                    return Err(ClientError::Wrong(format!("other bytes than expected were written to the {bytes} bytes of memory")));
                }
            }
        }
        match self.steps.pop_front() {
            None => Ok(true),
            Some(step) => self.begin(step, session, group, bufs).map(|()| false),
        }
    }

    fn begin(&mut self, step: Step, session: &mut Session, group: &mut dyn QueueGroup, bufs: &BufGroup) -> Result<(), ClientError> {
        let Some(most) = session.conn().agreed().map(|agreed| agreed.max_read_write_size) else { return Ok(()) };
        if most == 0 {
            return Err(ClientError::Wrong("the server moves no memory: its MaxReadWriteSize is 0".into()));
        }
        let (Some(mut buf), Some(mut message)) = (bufs.get_large(), group.buffer()) else {
            // Later, with what comes home.
            self.steps.push_front(step);
            return Ok(());
        };
        buf.grow(most as usize);
        match step.kind {
            Kind::Write => Pattern::new(step.seed).fill(&mut buf),
            // So that nothing of what was there before can pass for what should come.
            Kind::Read => buf.fill(0),
        }
        let bytes = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        let access = if step.kind == Kind::Write { Access::Read } else { Access::Write };
        let (memory, key) = group.expose(session.id(), buf, access).map_err(|refused| refused.why)?;
        self.tag += 1;
        let command = Command { kind: step.kind, tag: self.tag, memory: vec![memory] }.encode();
        message.append(&[0; DATA_OFFSET]);
        message.append(&command);
        session.push(message, Some(command.len()));
        self.under_way = Some(UnderWay { step, key, bytes, answered: false });
        Ok(())
    }

    pub(super) fn on_piece(&mut self, piece: &[u8], remaining: usize) -> Result<(), ClientError> {
        let whole = self.partial.push(piece, remaining).map_err(|why| ClientError::Wrong(format!("an answer: {why}")))?;
        let Some(bytes) = whole else { return Ok(()) };
        let answer = Answer::decode(bytes).ok_or_else(|| ClientError::Wrong(format!("{} bytes that are no answer", bytes.len())))?;
        match (&self.under_way, &self.answer) {
            (Some(now), None) if !now.answered => self.answer = Some(answer),
            _ => return Err(ClientError::Wrong("an answer to nothing".into())),
        }
        Ok(())
    }

    pub(super) fn on_withdrawn(&mut self, buf: Buf) {
        self.home = Some(buf);
    }
}

fn check(answer: &Answer, tag: u32, bytes: u32) -> Result<(), ClientError> {
    match answer.status {
        status::SUCCESS if answer.tag == tag && answer.bytes == bytes => Ok(()),
        status::SUCCESS => Err(ClientError::Wrong(format!(
            "an answer to command {} of {} bytes, where one to command {tag} of {bytes} belongs",
            answer.tag, answer.bytes
        ))),
        status::INSUFFICIENT_RESOURCES => {
            Err(ClientError::Wrong("the server has no memory for this now; try again, or give it a larger --large-pool-count".into()))
        }
        other => Err(ClientError::Wrong(format!("the server answered status {other:#010x}"))),
    }
}
