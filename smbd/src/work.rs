//! The memory service at the server: one command at a time for each connection, moved in pieces of a buffer.

use lcore::Refused;
use lcore::pool::{Buf, BufGroup};
use lcore::transport::{Frame, Op, QueueGroup, RemoteMemory, TransportError};
use smb_direct::Reassembly;
use smb_direct::wire::DATA_OFFSET;

use crate::Pattern;
use crate::memory::{Answer, Command, Kind, LONGEST, status};
use crate::session::{End, OWNERS, Session};

/// Pieces of one command that are under way at a time.
const WINDOW: u32 = 8;

/// What a connection of the memory service has at the server.
pub(crate) struct MemoryWork {
    /// What was written last, in pieces.
    kept: Vec<Buf>,
    partial: Reassembly<Box<[u8]>>,
    most: u32,
    job: Option<Job>,
}

struct Job {
    command: Command,
    /// The descriptor that is next, and where in it.
    next: (usize, u32),
    under_way: u32,
    moved: u32,
}

impl MemoryWork {
    pub(crate) fn new(most: u32) -> Self {
        Self { kept: Vec::new(), partial: Reassembly::new(vec![0; LONGEST].into()), most, job: None }
    }

    /// A piece of a command has come.
    pub(crate) fn on_piece(
        &mut self,
        session: &mut Session,
        group: &mut dyn QueueGroup,
        piece: &[u8],
        remaining: usize,
    ) -> Result<(), End> {
        let whole = self.partial.push(piece, remaining).map_err(|why| End::Application(format!("a memory command: {why}")))?;
        let Some(bytes) = whole else { return Ok(()) };
        if self.job.is_some() {
            return Err(End::Application("a memory command while the one before it is under way".into()));
        }
        match Command::decode(bytes, self.most) {
            Ok(command) => {
                if command.kind == Kind::Write {
                    self.kept.clear();
                }
                self.job = Some(Job { command, next: (0, 0), under_way: 0, moved: 0 });
                Ok(())
            }
            Err(tag) => answer(session, group, Answer { status: status::INVALID_PARAMETER, tag, bytes: 0 }),
        }
    }

    /// Posts as much as can be, and answers when all is done.
    pub(crate) fn go_on(&mut self, session: &mut Session, group: &mut dyn QueueGroup, bufs: &BufGroup) -> Result<(), End> {
        let Some(job) = &mut self.job else { return Ok(()) };
        let tag = job.command.tag;
        let mut outcome = status::SUCCESS;
        while job.under_way < WINDOW
            && session.room() > 1
            && let Some(memory) = job.rest()
        {
            let Some(buf) = bufs.get_large() else {
                // Others have it all. With something under way there will be some; otherwise who knows when.
                outcome = status::INSUFFICIENT_RESOURCES;
                break;
            };
            if !job.post(session, group, buf, memory, &self.kept)? {
                break;
            }
        }
        if job.under_way > 0 || (outcome == status::SUCCESS && job.rest().is_some()) {
            return Ok(());
        }
        let bytes = job.moved;
        self.job = None;
        if outcome != status::SUCCESS {
            self.kept.clear();
        }
        answer(session, group, Answer { status: outcome, tag, bytes })
    }

    /// A piece has been moved.
    pub(crate) fn on_done(&mut self, op: Op, frame: Frame) {
        let Some(job) = &mut self.job else { return };
        job.under_way -= 1;
        job.moved += frame.bytes() as u32;
        if op == Op::Read {
            self.kept.extend(frame.into_parts());
        }
    }
}

impl Job {
    /// The client's memory that is next, up to the end of its descriptor.
    fn rest(&self) -> Option<RemoteMemory> {
        let (index, at) = self.next;
        let memory = self.command.memory.get(index)?;
        memory.part(at, memory.len - at)
    }

    /// Posts the next piece; false if the queue has no room for it now.
    fn post(
        &mut self,
        session: &mut Session,
        group: &mut dyn QueueGroup,
        mut buf: Buf,
        rest: RemoteMemory,
        kept: &[Buf],
    ) -> Result<bool, End> {
        let len = rest.len.min(u32::try_from(buf.spare_capacity()).unwrap_or(u32::MAX));
        let Some(memory) = rest.part(0, len) else { return Ok(false) };
        let posted = match self.command.kind {
            Kind::Write => group.read(session.id(), Frame::from(buf), memory, OWNERS),
            Kind::Read => {
                fill(&mut buf, kept, self.offset(), len as usize);
                group.write(session.id(), Frame::from(buf), memory, None, OWNERS)
            }
        };
        match posted {
            Ok(()) => {}
            Err(Refused { why: TransportError::QueueFull { .. }, .. }) => return Ok(false),
            Err(refused) => return Err(refused.why.into()),
        }
        session.count_posted();
        self.under_way += 1;
        self.next.1 += len;
        if self.next.1 == self.command.memory[self.next.0].len {
            self.next = (self.next.0 + 1, 0);
        }
        Ok(true)
    }

    /// Bytes in front of what is next.
    fn offset(&self) -> usize {
        let (index, at) = self.next;
        self.command.memory[..index].iter().map(|memory| memory.len as usize).sum::<usize>() + at as usize
    }
}

/// Fills `buf` with `len` bytes of what is kept, from byte `from` on; behind its end with the server's own pattern.
fn fill(buf: &mut Buf, kept: &[Buf], from: usize, len: usize) {
    let mut skip = from;
    for piece in kept {
        let part = piece.get(skip..).unwrap_or(&[]);
        skip = skip.saturating_sub(piece.len());
        let left = len - buf.len();
        buf.append(&part[..part.len().min(left)]);
    }
    let at = (from + buf.len()) as u64;
    let left = len - buf.len();
    Pattern::new(0).from(at).fill(&mut buf.spare_mut()[..left]);
    buf.grow(left);
}

fn answer(session: &mut Session, group: &mut dyn QueueGroup, answer: Answer) -> Result<(), End> {
    let bytes = answer.encode();
    let mut buf = group.buffer().ok_or_else(|| End::Application("no buffer for an answer".into()))?;
    buf.append(&[0; DATA_OFFSET]);
    buf.append(&bytes);
    session.push(buf, Some(bytes.len()));
    Ok(())
}
