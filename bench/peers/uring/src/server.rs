//! The connections, and what each completion leads to.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use bufring::{BufRing, Piece};
use io_uring::{cqueue, opcode, squeue, types};

use crate::queue::Queue;

/// The kind of an operation, in the upper half of its user data; the connection's slot is in the
/// lower.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;

pub(crate) struct Server<'a> {
    queue: Queue<'a>,
    buffers: BufRing,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Connections that found no buffer and whose receive must be armed again.
    starved: VecDeque<usize>,
}

struct Connection {
    socket: OwnedFd,
    /// The piece on its way back.
    sending: Option<Piece>,
    /// Bytes of it that have gone.
    sent: usize,
    /// Pieces to be sent after it.
    next: VecDeque<Piece>,
    /// The receive lives in the kernel, or the connection waits for a buffer.
    receiving: bool,
    /// The other side has sent its last, or the connection is broken.
    ended: bool,
}

impl<'a> Server<'a> {
    pub(crate) fn new(queue: Queue<'a>, buffers: BufRing, listener: TcpListener) -> Self {
        Self { queue, buffers, listener, connections: Vec::new(), free: Vec::new(), starved: VecDeque::new() }
    }

    pub(crate) fn run(&mut self, busy: bool) -> Result<()> {
        self.accept()?;
        loop {
            self.queue.enter(busy)?;
            while let Some(done) = self.queue.next() {
                self.complete(&done)?;
            }
            if !self.starved.is_empty() && self.buffers.lent() == 0 {
                // No buffer is out that could still come home and wake them.
                std::mem::take(&mut self.starved).into_iter().try_for_each(|slot| self.receive(slot))?;
            }
        }
    }

    fn complete(&mut self, done: &cqueue::Entry) -> Result<()> {
        let slot = done.user_data() as u32 as usize;
        match done.user_data() & !u64::from(u32::MAX) {
            RECEIVE => self.received(slot, done),
            SEND => self.sent(slot, done.result()),
            _ => self.accepted(done),
        }
    }

    fn accept(&mut self) -> Result<()> {
        let accept = opcode::AcceptMulti::new(types::Fd(self.listener.as_raw_fd())).build();
        self.push(accept.user_data(ACCEPT))
    }

    fn accepted(&mut self, done: &cqueue::Entry) -> Result<()> {
        if !cqueue::more(done.flags()) {
            self.accept()?;
        }
        match done.result() {
            fd if fd >= 0 => {
                // SAFETY: a new descriptor out of an accept.
                let socket = unsafe { OwnedFd::from_raw_fd(fd) };
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.connections.push(None);
                    self.connections.len() - 1
                });
                let next = VecDeque::new();
                self.connections[slot] = Some(Connection { socket, sending: None, sent: 0, next, receiving: false, ended: false });
                self.receive(slot)
            }
            e if e == -libc::ECONNABORTED => Ok(()),
            e => bail!("could not accept: {}", io::Error::from_raw_os_error(-e)),
        }
    }

    fn received(&mut self, slot: usize, done: &cqueue::Entry) -> Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        connection.receiving = cqueue::more(done.flags());
        match done.result() {
            n if n > 0 => {
                let piece = self.buffers.take(n as u32, done.flags()).context("a receive came without a buffer")?;
                let again = !connection.receiving;
                if connection.sending.is_some() {
                    connection.next.push_back(piece);
                } else {
                    self.send(slot, piece)?;
                }
                if again { self.receive(slot) } else { Ok(()) }
            }
            e if e == -libc::ENOBUFS => {
                connection.receiving = true;
                self.starved.push_back(slot);
                Ok(())
            }
            _ => {
                connection.ended = true;
                self.close_if_done(slot);
                Ok(())
            }
        }
    }

    fn sent(&mut self, slot: usize, result: i32) -> Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        let Some(piece) = connection.sending.take() else { return Ok(()) };
        if result < 0 {
            // Broken: its receive, if there is one, ends by itself.
            connection.ended = true;
            let next = std::mem::take(&mut connection.next);
            self.home(piece)?;
            next.into_iter().try_for_each(|piece| self.home(piece))?;
            self.close_if_done(slot);
            return Ok(());
        }
        connection.sent += result as usize;
        if connection.sent < piece.len() {
            return self.send(slot, piece);
        }
        connection.sent = 0;
        let (next, ended) = (connection.next.pop_front(), connection.ended);
        self.home(piece)?;
        match next {
            Some(next) => self.send(slot, next),
            None if ended => {
                self.close_if_done(slot);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A buffer that comes home lets a connection that waits for one receive again.
    fn home(&mut self, piece: Piece) -> Result<()> {
        if self.buffers.give(piece)
            && let Some(slot) = self.starved.pop_front()
        {
            return self.receive(slot);
        }
        Ok(())
    }

    fn receive(&mut self, slot: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        connection.receiving = true;
        let fd = types::Fd(connection.socket.as_raw_fd());
        self.push(opcode::RecvMulti::new(fd, self.buffers.group()).build().user_data(RECEIVE | slot as u64))
    }

    /// Sends what is left of a piece.
    fn send(&mut self, slot: usize, piece: Piece) -> Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        connection.sending = Some(piece);
        // SAFETY: `sent` is within the piece.
        let from = unsafe { self.buffers.address(&piece).add(connection.sent) };
        let left = (piece.len() - connection.sent) as u32;
        let fd = types::Fd(connection.socket.as_raw_fd());
        self.push(opcode::Send::new(fd, from, left).flags(libc::MSG_NOSIGNAL).build().user_data(SEND | slot as u64))
    }

    fn close_if_done(&mut self, slot: usize) {
        if self.connections[slot].as_ref().is_some_and(|c| c.ended && !c.receiving && c.sending.is_none()) {
            self.connections[slot] = None;
            self.free.push(slot);
        }
    }

    fn push(&mut self, entry: squeue::Entry) -> Result<()> {
        // SAFETY: descriptors stay open while an operation is in flight, and the buffers stay for
        // ever.
        unsafe { self.queue.push(&entry) }
    }
}
