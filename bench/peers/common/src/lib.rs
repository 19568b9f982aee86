//! What the echo servers of the benchmark share: the command line, the core they sit on and the
//! listener.
//!
//! A peer is called with a port (0 takes a free one) and prints `listening on ADDRESS` once
//! connections can come. Each echoes all bytes in order, reads at most [`BUFFER`] bytes at a time,
//! sets `TCP_NODELAY`, and closes a connection when the other side has sent its last byte and has
//! been sent all of it. They end by a signal.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Bytes that a server takes in from a connection at a time.
pub const BUFFER: usize = 16 << 10;

/// Connections that may wait to be accepted.
pub const BACKLOG: i32 = 4096;

/// The command line of all peers.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Port to listen at on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Core to run on. Default: wherever the system puts it.
    #[arg(long)]
    pub core: Option<usize>,
}

#[derive(clap::Parser)]
#[command(about = "An echo server that others are measured against.")]
struct Plain {
    #[command(flatten)]
    args: Args,
}

impl Args {
    /// Reads a command line that has nothing but these options.
    pub fn parse() -> Self {
        <Plain as clap::Parser>::parse().args
    }

    /// Moves this thread, and those that it makes, to the core that was asked for.
    ///
    /// # Errors
    /// There is no such core, or the process may not use it.
    pub fn pin(&self) -> io::Result<()> {
        let Some(core) = self.core else { return Ok(()) };
        let refused = |why: io::Error| io::Error::new(why.kind(), format!("could not move to core {core}: {why}"));
        if core >= CpuSet::MAX_CPU {
            return Err(refused(io::ErrorKind::InvalidInput.into()));
        }
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).map_err(|e| refused(e.into()))
    }

    /// Where to listen.
    pub fn at(&self) -> SocketAddr {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A listener that does not block, with the options that its connections inherit, announced on
    /// standard output.
    ///
    /// # Errors
    /// Of the system; the text says where it was to listen.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let listener = self.open().map_err(|e| io::Error::new(e.kind(), format!("could not listen at {}: {e}", self.at())))?;
        announce(listener.local_addr()?);
        Ok(listener)
    }

    fn open(&self) -> io::Result<TcpListener> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // Linux hands it on to the connections, so nothing need be set on each.
        sockopt::set_tcp_nodelay(&socket, true)?;
        rustix::net::bind(&socket, &self.at())?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket.into())
    }
}

/// Says on standard output that connections can come.
pub fn announce(at: SocketAddr) {
    println!("listening on {at}");
}
