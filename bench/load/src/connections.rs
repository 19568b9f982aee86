//! The connections: opened and closed with plain blocking calls, outside of what is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::net::sockopt;

use crate::args::Args;
use crate::run::{PATIENCE, Run};

/// Connections that are opened before what they sent is read: few enough for any queue of a server.
const GROUP: usize = 256;

pub(crate) struct Connections {
    pub(crate) sockets: Vec<TcpStream>,
    /// Each so many-th connection is busy, so that they lie spread among the idle ones.
    step: usize,
    busy: usize,
}

impl Connections {
    /// Opens all of them and has each echo one message, so that the server has surely accepted
    /// them.
    pub(crate) fn open(args: &Args, run: &mut Run) -> Result<Self> {
        let (total, busy) = (args.total(), args.connections as usize);
        let mut this = Self { sockets: Vec::with_capacity(total), step: total / busy, busy };
        let deadline = Instant::now() + PATIENCE;
        for from in (0..total).step_by(GROUP) {
            let group = from..total.min(from + GROUP);
            for _ in group.clone() {
                let socket = connect(args.server, deadline).with_context(|| this.sockets.len().to_string());
                this.sockets.push(socket.map_err(|e| anyhow!("could not open connection {e:#}"))?);
            }
            this.echo_once(group, run)?;
        }
        for socket in &this.sockets {
            socket.set_nonblocking(true)?;
        }
        Ok(this)
    }

    /// The numbers of the busy ones.
    pub(crate) fn busy(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.busy).map({
            let step = self.step;
            move |n| n * step
        })
    }

    /// Has the idle ones echo again, says on the busy ones that no more will come, and waits for
    /// the server to say the same.
    pub(crate) fn finish(&mut self, run: &mut Run) -> Result<()> {
        for socket in &self.sockets {
            socket.set_nonblocking(false)?;
        }
        for from in (0..self.sockets.len()).step_by(GROUP) {
            self.echo_once(from..self.sockets.len().min(from + GROUP), run)?;
        }
        for index in self.busy() {
            self.sockets[index].shutdown(Shutdown::Write)?;
        }
        let is_busy = |index: usize| index.is_multiple_of(self.step) && index / self.step < self.busy;
        for (index, socket) in self.sockets.iter_mut().enumerate().rev() {
            if is_busy(index) {
                let left = read(socket).map_err(|e| late(e, index, "did not close connection"))?;
                ensure!(left == 0, "the server did not echo: connection {index} got a byte that was never sent");
            } else {
                // A reset leaves no waiting state behind, of which ten thousand in each round would
                // fill the system's table.
                sockopt::set_socket_linger(&*socket, Some(Duration::ZERO))?;
            }
        }
        self.sockets.clear();
        Ok(())
    }

    fn echo_once(&mut self, group: std::ops::Range<usize>, run: &mut Run) -> Result<()> {
        let now = run.now();
        for index in group.clone() {
            run.streams.force(index, now);
            let message = run.streams.unsent(index);
            self.sockets[index].write_all(message).map_err(|e| late(e, index, "did not take a message on connection"))?;
            let n = message.len();
            run.streams.sent(index, n);
        }
        let mut buf = vec![0; run.size];
        for index in group {
            self.sockets[index].read_exact(&mut buf).map_err(|e| late(e, index, "did not echo on connection"))?;
            run.streams.received(index, &buf, now)?;
        }
        Ok(())
    }
}

/// Connects; while nobody listens, tries again until the deadline.
fn connect(to: SocketAddr, deadline: Instant) -> Result<TcpStream> {
    let socket = loop {
        match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(socket) => break socket,
            Err(e) if e.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            Err(e) if e.raw_os_error() == Some(libc::EMFILE) => bail!("to {to}: the limit of open files is reached (ulimit -n)"),
            Err(e) => return Err(e).with_context(|| format!("to {to}")),
        }
    };
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A failure of the server to do something, told in one line.
fn late(error: std::io::Error, connection: usize, what: &str) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock => anyhow!("the server {what} {connection} within {} s", PATIENCE.as_secs()),
        _ => anyhow!("the server {what} {connection}: {error}"),
    }
}

/// Reads one byte; the work that a ring leaves behind for this thread may interrupt the call.
fn read(socket: &mut TcpStream) -> std::io::Result<usize> {
    loop {
        match socket.read(&mut [0; 1]) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
