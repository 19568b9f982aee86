//! An echo server that is a bare epoll loop: the most that the readiness interface gives, and so a
//! limit for all that use it.
//!
//! Level-triggered: one wait for a batch, one receive and one send for each ready connection,
//! through one buffer that never leaves the cache. What a connection does not take at once is kept
//! for it, and nothing more is read from it until it has gone out.
// UNSAFETY: bare system calls, so that nothing stands between the loop and the kernel.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use clap::Parser;
use peer_common::BUFFER;

#[derive(Parser)]
#[command(about = "A bare epoll echo server.")]
struct Args {
    #[command(flatten)]
    common: peer_common::Args,
    /// Never sleep: ask for events all the time.
    #[arg(long)]
    busy: bool,
}

/// Events taken from one wait.
const BATCH: usize = 512;

/// The listener's place in the events, beyond all slots.
const LISTENER: u64 = u64::MAX;

fn main() -> Result<()> {
    let args = Args::parse();
    args.common.pin()?;
    let mut server = Server::open(args.common.listen()?).context("could not set up epoll")?;
    server.run(args.busy)
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buf: Box<[u8; BUFFER]>,
}

struct Connection {
    socket: OwnedFd,
    /// What the other side has not taken yet.
    rest: Vec<u8>,
}

impl Server {
    fn open(listener: TcpListener) -> io::Result<Self> {
        // SAFETY: the call has no preconditions.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nothing else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let server = Self { epoll, listener, connections: Vec::new(), free: Vec::new(), buf: Box::new([0; BUFFER]) };
        server.watch(libc::EPOLL_CTL_ADD, server.listener.as_raw_fd(), libc::EPOLLIN, LISTENER)?;
        Ok(server)
    }

    fn run(&mut self, busy: bool) -> Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let timeout = if busy { 0 } else { -1 };
        loop {
            // SAFETY: room for BATCH events.
            let got = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), BATCH as i32, timeout) };
            for event in &events[..got.max(0) as usize] {
                match event.u64 {
                    LISTENER => self.accept().context("could not accept")?,
                    slot => self.serve(slot as usize),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Gone before it was accepted.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e),
            };
            stream.set_nonblocking(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.watch(libc::EPOLL_CTL_ADD, stream.as_raw_fd(), libc::EPOLLIN, slot as u64)?;
            self.connections[slot] = Some(Connection { socket: stream.into(), rest: Vec::new() });
        }
    }

    /// One receive and one send, or the rest of an earlier send.
    fn serve(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else { return };
        let before = connection.rest.len();
        let open = if before > 0 { connection.flush() } else { connection.echo(&mut self.buf) };
        match open {
            Ok(true) => {
                let (fd, after) = (connection.socket.as_raw_fd(), connection.rest.len());
                if (before == 0) != (after == 0) {
                    let events = if after == 0 { libc::EPOLLIN } else { libc::EPOLLOUT };
                    // Only fails for a descriptor that is not watched; this one is.
                    let _ = self.watch(libc::EPOLL_CTL_MOD, fd, events, slot as u64);
                }
            }
            Ok(false) | Err(_) => {
                self.connections[slot] = None;
                self.free.push(slot);
            }
        }
    }

    fn watch(&self, op: i32, fd: RawFd, events: i32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        // SAFETY: both descriptors are open, and the event is read during the call only.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), op, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Connection {
    /// Whether the connection goes on.
    fn echo(&mut self, buf: &mut [u8; BUFFER]) -> io::Result<bool> {
        // SAFETY: the buffer has that many bytes.
        let got = unsafe { libc::recv(self.socket.as_raw_fd(), buf.as_mut_ptr().cast(), BUFFER, 0) };
        let Some(got) = moved(got)? else { return Ok(true) };
        if got == 0 {
            return Ok(false);
        }
        let sent = self.send(&buf[..got])?;
        self.rest.extend_from_slice(&buf[sent..got]);
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<bool> {
        let sent = self.send(&self.rest)?;
        self.rest.drain(..sent);
        Ok(true)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the slice is valid for its length.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        Ok(moved(sent)?.unwrap_or(0))
    }
}

/// Bytes that went; `None` when the call would have had to wait.
fn moved(n: isize) -> io::Result<Option<usize>> {
    match usize::try_from(n) {
        Ok(n) => Ok(Some(n)),
        Err(_) => match io::Error::last_os_error() {
            e if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            e => Err(e),
        },
    }
}
