//! One connection: a `smb_direct::Connection`, which knows what to do, and a queue, on which it is
//! done.

use std::collections::VecDeque;
use std::time::Duration;

use lcore::pool::Buf;
use lcore::transport::{Frame, QueueGroup, QueueId, TransportError};
use smb_direct::wire::DATA_OFFSET;
use smb_direct::{Action, Connection, Ended, Message, SendError};

/// The tag of a message in a buffer of its own.
const PLAIN: u64 = 0;
/// The tag of a message that lies in the receive buffer in which it came, and frees it when it is
/// out.
const FREES: u64 = 1;
/// The tag of the last message of a connection.
const LAST: u64 = 2;
/// The tag of a message as with [`FREES`] whose receive was freed already.
const FREED: u64 = 3;
/// Tags from here on are the owner's.
pub(crate) const OWNERS: u64 = 4;

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

impl End {
    /// Whether it only says that the transport has ended the queue: why, its `Closed` says.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Self::Transport(TransportError::NotConnected | TransportError::Stale))
    }
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
    /// Buffers that it may hold: its share of the group's.
    share: u32,
    /// Receive buffers that are held by answers in them, waiting or posted; and buffers of its own
    /// that are posted.
    held: u32,
    own: u32,
    /// One of the receives that are held was freed early.
    early: bool,
    end: Option<End>,
    over: bool,
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
        Self { id, conn, out: VecDeque::new(), posted: 0, depth, share: u32::MAX, held: 0, own: 0, early: false, end: None, over: false }
    }

    /// Holds no more than so many buffers for what is to be sent, those included in which it came.
    /// One of its own it may have in any case, so that a peer that takes little at a time is
    /// answered. Not for what is given to [`push`](Self::push).
    pub fn with_share(self, share: u32) -> Self {
        Self { share, ..self }
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

    /// Bytes that are still to go out, as far as this side knows their number: of an operation that
    /// is posted it counts one.
    pub fn unsent(&self) -> u64 {
        let waiting: usize = self.out.iter().map(|piece| piece.buf.len() - DATA_OFFSET).sum();
        if self.over { 0 } else { waiting as u64 + u64::from(self.posted) }
    }

    /// Operations that are posted.
    pub fn posted(&self) -> u32 {
        self.posted
    }

    /// Operations of the owner's own (reads, writes) that fit.
    pub fn room(&self) -> u32 {
        self.depth - self.posted
    }

    /// Counts an operation of the owner's own, whose `Done` is told by [`on_done`](Self::on_done)
    /// as all are.
    pub fn count_posted(&mut self) {
        self.posted += 1;
    }

    /// Queues a piece of an upper-layer message: `buf` has [`DATA_OFFSET`] bytes of any content,
    /// then the piece. `total` with the first piece of each.
    pub fn push(&mut self, buf: Buf, total: Option<usize>) {
        self.out.push_back(Piece { buf, total, tag: PLAIN });
    }

    /// Queues an answer of one piece in the buffer in which the request came. Its receive is freed
    /// when it is out, so a peer has no more answers waiting than it has credits.
    pub(crate) fn answer(&mut self, mut buf: Buf, answer: &[u8]) {
        buf.clear();
        buf.append(&[0; DATA_OFFSET]);
        buf.append(answer);
        self.hold(buf, Some(answer.len()));
    }

    /// Queues a piece that came: `buf` is the whole message that it came in, with the piece at
    /// `from..to`. Its receive is freed when it is out.
    pub fn send_back(&mut self, mut buf: Buf, from: usize, to: usize, total: Option<usize>) {
        // Payload may begin later than ours does; never earlier, as 24 is the first multiple of 8
        // behind a header.
        buf.copy_within(from..to, DATA_OFFSET);
        buf.truncate(DATA_OFFSET + to - from);
        self.hold(buf, total);
    }

    fn hold(&mut self, buf: Buf, total: Option<usize>) {
        self.held += 1;
        self.out.push_back(Piece { buf, total, tag: FREES });
    }

    /// A buffer of its own, within its share.
    fn buffer(&self, group: &mut dyn QueueGroup) -> Option<Buf> {
        if self.own > 0 && self.own + self.held >= self.share { None } else { group.buffer() }
    }

    /// An operation has ended. Answers whether it was one of the owner's.
    pub fn on_done(&mut self, group: &mut dyn QueueGroup, tag: u64) -> bool {
        self.posted -= 1;
        match tag {
            PLAIN => self.own -= 1,
            FREES => {
                self.held -= 1;
                self.conn.receives_freed(1);
            }
            FREED => {
                self.held -= 1;
                self.early = false;
            }
            LAST => {
                self.own -= 1;
                self.disconnect(group);
            }
            _ => {}
        }
        tag >= OWNERS
    }

    /// Does all that can be done now: pieces, then what the protocol wants. Call it after whatever
    /// was told to the session or its `conn`.
    pub fn pump(&mut self, group: &mut dyn QueueGroup, now: Duration) {
        if self.over {
            return;
        }
        self.free_early(now);
        if let Err(end) = self.send_pieces(group).and_then(|()| self.act(group, now)) {
            self.fail(group, end);
        }
    }

    /// Ends it for a reason of this side; that the transport has ended it already is none.
    pub fn fail(&mut self, group: &mut dyn QueueGroup, end: End) {
        if !end.is_late() {
            self.end.get_or_insert(end);
        }
        self.disconnect(group);
    }

    /// Ends it in order.
    pub fn disconnect(&mut self, group: &mut dyn QueueGroup) {
        self.over = true;
        self.out.clear();
        // A key that is stale has ended already.
        let _ = group.disconnect(self.id);
    }

    /// A peer whose credits are all held by answers, and that lets us send one message, waits for a
    /// grant in that message, which may go only if it grants (3.1.5.1). So the receive that this
    /// very answer lies in is granted ahead, one at a time: the one beyond all credits that was
    /// there for the negotiate message.
    fn free_early(&mut self, now: Duration) {
        if self.early || self.conn.agreed().is_none() || self.conn.can_send() {
            return;
        }
        let Some(piece) = self.out.front_mut().filter(|piece| piece.tag == FREES) else { return };
        piece.tag = FREED;
        self.early = true;
        self.conn.receives_freed(1);
        // Nothing else can be asked for: what is sent takes a credit.
        if let Some(Action::PostReceives(count)) = self.conn.next_action(now) {
            self.conn.receives_posted(count);
        }
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
            let part = if there > most { Some(self.buffer(group)) } else { None };
            if let Some(None) = part {
                return Ok(());
            }
            let Some(fragment) = self.conn.next_fragment(there) else { return Ok(()) };
            let Some(piece) = self.out.front_mut() else { return Ok(()) };
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
        loop {
            // A message is taken out only when there is room and a buffer for it. The end takes
            // neither: whoever has no room left may be the one to be ended.
            let buf = if self.conn.is_ending() || self.posted == self.depth { None } else { self.buffer(group) };
            let Some(action) = (buf.is_some() || self.conn.is_ending()).then(|| self.conn.next_action(now)).flatten() else {
                return Ok(());
            };
            match (action, buf) {
                // The group's queues share receives that are always posted; how many of them this
                // connection counts on was settled at its beginning.
                (Action::PostReceives(count), _) => self.conn.receives_posted(count),
                (Action::Send(message), Some(buf)) => self.send(group, buf, &message, PLAIN)?,
                (Action::SendLast(message, why), Some(buf)) => {
                    self.send(group, buf, &message, LAST)?;
                    self.end = Some(why.into());
                }
                (Action::Disconnect(why), _) => return Err(why.into()),
                (Action::Send(_) | Action::SendLast(..), None) => unreachable!("without a buffer nothing but the end is asked for"),
            }
        }
    }

    fn send(&mut self, group: &mut dyn QueueGroup, mut buf: Buf, message: &Message, tag: u64) -> Result<(), End> {
        buf.append(message);
        self.post(group, buf, tag)
    }

    fn post(&mut self, group: &mut dyn QueueGroup, buf: Buf, tag: u64) -> Result<(), End> {
        match group.send(self.id, Frame::from(buf), None, tag) {
            Ok(()) => {
                self.posted += 1;
                self.own += u32::from(tag == PLAIN || tag == LAST);
                Ok(())
            }
            Err(refused) => Err(refused.why.into()),
        }
    }
}
