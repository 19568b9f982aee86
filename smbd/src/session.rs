//! One connection: a `smb_direct::Connection`, which knows what to do, and a queue, on which it is done.

use std::collections::VecDeque;
use std::time::Duration;

use lcore::pool::Buf;
use lcore::transport::{Frame, QueueGroup, QueueId, TransportError};
use smb_direct::wire::DATA_OFFSET;
use smb_direct::{Action, Connection, Ended, Message, SendError};

/// The tag of a message that holds no receive buffer.
const PLAIN: u64 = 0;
/// The tag of a message that lies in the receive buffer in which it came, and frees it when it is out.
const FREES: u64 = 1;
/// The tag of the last message of a connection.
const LAST: u64 = 2;
/// Tags from here on are the owner's.
pub(crate) const OWNERS: u64 = 3;

/// Why a connection ends, or has ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// The peer broke SMB Direct, or was silent.
    #[error("SMB Direct: {0}")]
    Protocol(#[from] Ended),
    /// The transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// What was to be sent cannot be.
    #[error("cannot answer: {0}")]
    Send(#[from] SendError),
    /// The peer sent what its service does not know.
    #[error("{0}")]
    Application(String),
}

/// One connection in a group.
#[derive(Debug)]
pub struct Session {
    id: QueueId,
    conn: Connection,
    /// Pieces of messages that wait for credits or room.
    out: VecDeque<Piece>,
    posted: u32,
    depth: u32,
    end: Option<End>,
}

/// A part of an upper-layer message, behind [`DATA_OFFSET`] bytes of room for a header.
struct Piece {
    buf: Buf,
    /// Bytes of the whole message, with its first piece.
    total: Option<usize>,
    tag: u64,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.buf.len())
    }
}

impl Session {
    /// A queue that is established and takes `depth` operations, as the role of `conn` has it.
    pub fn new(id: QueueId, conn: Connection, depth: u32) -> Self {
        Self { id, conn, out: VecDeque::new(), posted: 0, depth, end: None }
    }

    /// The queue.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// The protocol's side.
    pub fn conn(&mut self) -> &mut Connection {
        &mut self.conn
    }

    /// Why it ends, if it does for a reason of this side.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Pieces that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Operations that are posted.
    pub fn posted(&self) -> u32 {
        self.posted
    }

    /// Operations of the owner's own (reads, writes) that fit.
    pub fn room(&self) -> u32 {
        self.depth - self.posted
    }

    /// Counts an operation of the owner's own, whose `Done` is told by [`on_done`](Self::on_done) as all are.
    pub fn count_posted(&mut self) {
        self.posted += 1;
    }

    /// Queues a piece of an upper-layer message: `buf` has [`DATA_OFFSET`] bytes of any content, then the piece. `total` with the first piece of each.
    pub fn push(&mut self, buf: Buf, total: Option<usize>) {
        self.out.push_back(Piece { buf, total, tag: PLAIN });
    }

    /// Queues a piece that came: `buf` is the whole message that it came in, with the piece at `from..to`. Its receive is freed when it is out.
    pub fn send_back(&mut self, mut buf: Buf, from: usize, to: usize, total: Option<usize>) {
        // Payload may begin later than ours does; never earlier, as 24 is the first multiple of 8 behind a header.
        buf.copy_within(from..to, DATA_OFFSET);
        buf.truncate(DATA_OFFSET + to - from);
        self.out.push_back(Piece { buf, total, tag: FREES });
    }

    /// An operation has ended. Answers whether it was one of the owner's.
    pub fn on_done(&mut self, group: &mut dyn QueueGroup, tag: u64) -> bool {
        self.posted -= 1;
        match tag {
            FREES => self.conn.receives_freed(1),
            LAST => self.disconnect(group),
            _ => {}
        }
        tag >= OWNERS
    }

    /// Does all that can be done now: pieces, then what the protocol wants. Call it after whatever was told to the session or its `conn`.
    pub fn pump(&mut self, group: &mut dyn QueueGroup, now: Duration) {
        if self.end.is_some() {
            return;
        }
        if let Err(end) = self.send_pieces(group).and_then(|()| self.act(group, now)) {
            self.fail(group, end);
        }
    }

    /// Ends it for a reason of this side.
    pub fn fail(&mut self, group: &mut dyn QueueGroup, end: End) {
        self.end.get_or_insert(end);
        self.disconnect(group);
    }

    /// Ends it in order.
    pub fn disconnect(&mut self, group: &mut dyn QueueGroup) {
        self.out.clear();
        // A key that is stale has ended already.
        let _ = group.disconnect(self.id);
    }

    fn send_pieces(&mut self, group: &mut dyn QueueGroup) -> Result<(), End> {
        while self.posted < self.depth
            && let Some(piece) = self.out.front_mut()
        {
            if let Some(total) = piece.total.filter(|_| self.conn.unsent() == 0) {
                self.conn.start_message(total)?;
                piece.total = None;
            }
            let there = piece.buf.len() - DATA_OFFSET;
            let Some(most) = self.conn.agreed().map(|agreed| agreed.max_send_size as usize - DATA_OFFSET) else { return Ok(()) };
            // What the peer takes less of at a time than it came in needs buffers of its own.
            let part = if there > most { Some(group.buffer()) } else { None };
            if let Some(None) = part {
                return Ok(());
            }
            let Some(fragment) = self.conn.next_fragment(there) else { return Ok(()) };
            let (buf, tag) = match part.flatten() {
                Some(mut part) if fragment.length < there => {
                    part.append(&fragment.header);
                    part.append(&piece.buf[DATA_OFFSET..DATA_OFFSET + fragment.length]);
                    piece.buf.advance(fragment.length);
                    (part, PLAIN)
                }
                _ => {
                    let Some(mut piece) = self.out.pop_front() else { return Ok(()) };
                    piece.buf[..DATA_OFFSET].copy_from_slice(&fragment.header);
                    (piece.buf, piece.tag)
                }
            };
            self.post(group, buf, tag)?;
        }
        Ok(())
    }

    fn act(&mut self, group: &mut dyn QueueGroup, now: Duration) -> Result<(), End> {
        // A message is taken out only when there is a buffer for it.
        while self.posted < self.depth
            && let Some(buf) = group.buffer()
        {
            match self.conn.next_action(now) {
                None => return Ok(()),
                // The group's queues share receives that are always posted; how many of them this connection counts on was settled at its beginning.
                Some(Action::PostReceives(count)) => self.conn.receives_posted(count),
                Some(Action::Send(message)) => self.send(group, buf, &message, PLAIN)?,
                Some(Action::SendLast(message, why)) => {
                    self.send(group, buf, &message, LAST)?;
                    self.end = Some(why.into());
                    return Ok(());
                }
                Some(Action::Disconnect(why)) => return Err(why.into()),
            }
        }
        Ok(())
    }

    fn send(&mut self, group: &mut dyn QueueGroup, mut buf: Buf, message: &Message, tag: u64) -> Result<(), End> {
        buf.append(message);
        self.post(group, buf, tag)
    }

    fn post(&mut self, group: &mut dyn QueueGroup, buf: Buf, tag: u64) -> Result<(), End> {
        match group.send(self.id, Frame::from(buf), None, tag) {
            Ok(()) => {
                self.posted += 1;
                Ok(())
            }
            Err(refused) => Err(refused.why.into()),
        }
    }
}
