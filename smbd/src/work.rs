//! The memory service at the server: one command at a time for each connection, moved in pieces of
//! a buffer.

use std::ops::Range;

use lcore::Refused;
use lcore::pool::{Buf, BufGroup};
use lcore::transport::{Frame, Op, QueueGroup, RemoteMemory, TransportError};
use smb_direct::Reassembly;

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
    /// What its last piece came in, for the answer.
    buf: Buf,
    /// The descriptor that is next, and where in it.
    next: (usize, u32),
    under_way: u32,
    moved: u32,
}

impl MemoryWork {
    pub(crate) fn new(most: u32) -> Self {
        Self { kept: Vec::new(), partial: Reassembly::new(vec![0; LONGEST].into()), most, job: None }
    }

    /// A piece of a command has come, in `buf`, whose receive is freed when it is done with: with
    /// the last piece of a command that is when the answer is out.
    pub(crate) fn on_piece(&mut self, session: &mut Session, buf: Buf, piece: Range<usize>, remaining: usize) -> Result<(), End> {
        let whole = self.partial.push(&buf[piece], remaining).map_err(|why| End::Application(format!("a memory command: {why}")))?;
        let Some(bytes) = whole else {
            session.conn().receives_freed(1);
            return Ok(());
        };
        if self.job.is_some() {
            return Err(End::Application("a memory command while the one before it is under way".into()));
        }
        match Command::decode(bytes, self.most) {
            Ok(command) => {
                if command.kind == Kind::Write {
                    self.kept.clear();
                }
                self.job = Some(Job { command, buf, next: (0, 0), under_way: 0, moved: 0 });
                Ok(())
            }
            Err(tag) => {
                session.answer(buf, &Answer { status: status::INVALID_PARAMETER, tag, bytes: 0 }.encode());
                Ok(())
            }
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
                // Others have it all. With something under way there will be some; otherwise who
                // knows when.
                outcome = status::INSUFFICIENT_RESOURCES;
                break;
            };
            match job.post(session, group, buf, memory, &self.kept)? {
                Posted::Now => {}
                Posted::Later => break,
                Posted::Never => {
                    outcome = status::NOT_SUPPORTED;
                    break;
                }
            }
        }
        if job.under_way > 0 || (outcome == status::SUCCESS && job.rest().is_some()) {
            return Ok(());
        }
        let Some(Job { buf, moved, .. }) = self.job.take() else { return Ok(()) };
        if outcome != status::SUCCESS {
            self.kept.clear();
        }
        session.answer(buf, &Answer { status: outcome, tag, bytes: moved }.encode());
        Ok(())
    }

    /// A piece has been moved.
    pub(crate) fn on_done(&mut self, op: Op, frame: Frame) {
        let Some(job) = &mut self.job else { return };
        job.under_way -= 1;
        job.moved += frame.bytes() as u32;
        if op == Op::Read {
            self.kept.extend(frame);
        }
    }
}

/// What has become of a piece.
enum Posted {
    Now,
    /// The queue has no room for it now.
    Later,
    /// It will never have.
    Never,
}

impl Job {
    /// The client's memory that is next, up to the end of its descriptor.
    fn rest(&self) -> Option<RemoteMemory> {
        let (index, at) = self.next;
        let memory = self.command.memory.get(index)?;
        memory.part(at, memory.len - at)
    }

    /// Posts the next piece.
    fn post(
        &mut self,
        session: &mut Session,
        group: &mut dyn QueueGroup,
        mut buf: Buf,
        rest: RemoteMemory,
        kept: &[Buf],
    ) -> Result<Posted, End> {
        let len = rest.len.min(u32::try_from(buf.spare_capacity()).unwrap_or(u32::MAX));
        let Some(memory) = rest.part(0, len) else { return Ok(Posted::Never) };
        let posted = match self.command.kind {
            Kind::Write => group.read(session.id(), Frame::from(buf), memory, OWNERS),
            Kind::Read => {
                fill(&mut buf, kept, self.offset(), len as usize);
                group.write(session.id(), Frame::from(buf), memory, None, OWNERS)
            }
        };
        match posted {
            Ok(()) => {}
            Err(Refused { why: TransportError::QueueFull { .. }, .. }) => return Ok(Posted::Later),
            // Such as a read, where the client's device answers none.
            Err(Refused { why: TransportError::Limit { .. }, .. }) => return Ok(Posted::Never),
            Err(refused) => return Err(refused.why.into()),
        }
        session.count_posted();
        self.under_way += 1;
        self.next.1 += len;
        if self.next.1 == self.command.memory[self.next.0].len {
            self.next = (self.next.0 + 1, 0);
        }
        Ok(Posted::Now)
    }

    /// Bytes in front of what is next.
    fn offset(&self) -> usize {
        let (index, at) = self.next;
        self.command.memory[..index].iter().map(|memory| memory.len as usize).sum::<usize>() + at as usize
    }
}

/// Fills `buf` with `len` bytes of what is kept, from byte `from` on; behind its end with the
/// server's own pattern.
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
