//! Bytes to the echo and back, with the SHA-256 of both. What is sent is not kept: it is generated,
//! or read from an input.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use lcore::transport::QueueGroup;
use lcore::{ThreadHandle, spawn_off_reactor};
use sha2::{Digest as _, Sha256};
use smb_direct::wire::DATA_OFFSET;

use super::report::{ClientError, Digest};
use crate::{Pattern, Session};

/// Pieces that are made before there is room for them.
pub(super) const AHEAD: usize = 4;

/// Bytes of an upper-layer message, where the server takes so much.
const MESSAGE: u64 = 256 << 10;

/// Bytes of a piece of input, less than any server takes in one message; and pieces that wait
/// between the reader and the reactor.
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

/// A stream through the echo.
pub(super) struct Stream {
    source: Source,
    /// Bytes of the message that is being sent which are in no piece yet.
    left: usize,
    at_end: bool,
    sent: Count,
    back: Count,
}

#[derive(Default)]
struct Count {
    bytes: u64,
    hash: Sha256,
}

impl Stream {
    pub(super) fn new(source: Source) -> Self {
        Self { source, left: 0, at_end: false, sent: Count::default(), back: Count::default() }
    }

    /// Makes pieces while the session is short of them; true when all is sent and back, and the
    /// same.
    pub(super) fn go_on(&mut self, session: &mut Session, group: &mut dyn QueueGroup) -> Result<bool, ClientError> {
        let Some(agreed) = session.conn().agreed().copied() else { return Ok(false) };
        while session.waiting() < AHEAD && !self.at_end {
            let Some(mut buf) = group.buffer() else { return Ok(false) };
            let first = self.left == 0;
            if first {
                match self.source.next_message(agreed.max_fragmented_send_size)? {
                    Next::Message(length) => self.left = length,
                    Next::Later => break,
                    Next::End => self.at_end = true,
                }
                if self.at_end {
                    break;
                }
            }
            let total = first.then_some(self.left);
            let most = buf.spare_capacity().min(agreed.max_send_size as usize) - DATA_OFFSET;
            let length = self.left.min(most);
            buf.grow(DATA_OFFSET + length);
            self.source.fill(&mut buf[DATA_OFFSET..]);
            self.sent.add(&buf[DATA_OFFSET..]);
            self.left -= length;
            session.push(buf, total);
        }
        if !self.at_end || session.waiting() > 0 || self.back.bytes < self.sent.bytes {
            return Ok(false);
        }
        let (sent, back) = self.digests();
        if sent == back { Ok(true) } else { Err(ClientError::Wrong(format!("other bytes came back: {back}, and sent were {sent}"))) }
    }

    pub(super) fn on_piece(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        self.back.add(piece);
        if self.back.bytes > self.sent.bytes {
            return Err(ClientError::Wrong(format!("{} bytes came back, and only {} were sent", self.back.bytes, self.sent.bytes)));
        }
        Ok(())
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        (self.sent.bytes, self.back.bytes)
    }

    /// What was sent, and what came back.
    pub(super) fn digests(&self) -> (Digest, Digest) {
        (self.sent.digest(), self.back.digest())
    }
}

impl Count {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    fn digest(&self) -> Digest {
        Digest { bytes: self.bytes, sha256: self.hash.clone().finalize().into() }
    }
}

/// Where bytes come from.
pub(super) enum Source {
    Generated { pattern: Pattern, left: u64 },
    Input { pieces: Receiver<io::Result<Vec<u8>>>, piece: Vec<u8>, at: usize },
}

/// What is next.
enum Next {
    /// A message of so many bytes, at least one.
    Message(usize),
    /// Nothing now; the thread is woken when there is.
    Later,
    End,
}

impl Source {
    pub(super) fn generated(seed: u64, bytes: u64) -> Self {
        Self::Generated { pattern: Pattern::new(seed), left: bytes }
    }

    /// Reads on a thread of the operating system, as reading may block for any time; `wake` is
    /// woken for each piece.
    pub(super) fn input(mut input: Box<dyn Read + Send>, wake: ThreadHandle) -> Result<Self, ClientError> {
        let (send, pieces) = sync_channel(PIECES);
        let read = move || {
            loop {
                let piece = read_piece(&mut input);
                let last = !matches!(&piece, Ok(piece) if !piece.is_empty());
                // An empty piece is the end; that the other side is gone ends it as well.
                if send.send(piece).is_err() || last {
                    break;
                }
                wake.wake();
            }
            drop(send);
            wake.wake();
        };
        spawn_off_reactor("input", read).map_err(|why| ClientError::Input(why.to_string()))?;
        Ok(Self::Input { pieces, piece: Vec::new(), at: 0 })
    }

    fn next_message(&mut self, most: u32) -> Result<Next, ClientError> {
        match self {
            Self::Generated { left: 0, .. } => Ok(Next::End),
            Self::Generated { left, .. } => Ok(Next::Message((*left).min(MESSAGE).min(most.into()) as usize)),
            Self::Input { pieces, piece, at } => {
                match pieces.try_recv() {
                    Ok(next) => (*piece, *at) = (next.map_err(|why| ClientError::Input(why.to_string()))?, 0),
                    Err(TryRecvError::Empty) => return Ok(Next::Later),
                    Err(TryRecvError::Disconnected) => return Ok(Next::End),
                }
                Ok(if piece.is_empty() { Next::End } else { Next::Message(piece.len()) })
            }
        }
    }

    /// Fills `out` with the next bytes of the message that was begun.
    fn fill(&mut self, out: &mut [u8]) {
        match self {
            Self::Generated { pattern, left } => {
                pattern.fill(out);
                *left -= out.len() as u64;
            }
            Self::Input { piece, at, .. } => {
                out.copy_from_slice(&piece[*at..*at + out.len()]);
                *at += out.len();
            }
        }
    }
}

fn read_piece(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE];
    loop {
        match input.read(&mut piece) {
            Ok(length) => {
                piece.truncate(length);
                return Ok(piece);
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}
