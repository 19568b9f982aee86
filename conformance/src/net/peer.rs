//! The other side of a test's connections.

use std::any::Any;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Who is on the other side: [`Plain`](super::Plain) sockets of a kernel, or another stack's.
pub trait Peers: Send + Sync {
    /// Connects; ready when the backend's listener lets it wait.
    ///
    /// # Errors
    /// It was refused, or nobody answered.
    fn connect(&self, to: SocketAddr) -> io::Result<Peer>;

    /// Listens at a free port.
    ///
    /// # Errors
    /// The address is not the peers'.
    fn listen(&self, at: IpAddr) -> io::Result<Box<dyn PeerListener>>;

    /// An address at which nobody listens, for as long as the program runs: a connect is refused.
    fn nobody(&self, at: IpAddr) -> SocketAddr;

    /// An address that answers no connect while what comes with it lives.
    fn silent(&self, at: IpAddr) -> (SocketAddr, Box<dyn Any>);
}

/// A listener of the other side.
pub trait PeerListener {
    /// Its address.
    ///
    /// # Errors
    /// The system does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Waits for a connection.
    ///
    /// # Errors
    /// None came.
    fn accept(&self) -> io::Result<Peer>;
}

/// A connection of the other side. Calls block, but not for ever; dropped, it is closed.
pub trait PeerStream: Send + Sync {
    /// Reads some bytes; 0 at the end of the stream.
    ///
    /// # Errors
    /// A reset, or nothing came.
    fn read(&self, to: &mut [u8]) -> io::Result<usize>;

    /// Writes some bytes.
    ///
    /// # Errors
    /// The connection has ended; [`ErrorKind::WouldBlock`]: nothing was taken for as long as is
    /// waited.
    fn write(&self, from: &[u8]) -> io::Result<usize>;

    /// Its own address.
    ///
    /// # Errors
    /// The system does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Ends the sending side.
    ///
    /// # Errors
    /// The connection has ended.
    fn shutdown(&self) -> io::Result<()>;

    /// Has it end by a reset when it is dropped.
    fn reset_when_dropped(&self);

    /// How long a write waits.
    fn set_patience(&self, patience: Duration);

    /// The kernel's socket, if it is one.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

/// A handle to a connection of the other side.
#[derive(Clone)]
pub struct Peer(Arc<dyn PeerStream>);

impl Peer {
    /// A handle to this connection.
    pub fn new(stream: impl PeerStream + 'static) -> Self {
        Self(Arc::new(stream))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.0.set_patience(patience);
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        self.0.shutdown()
    }

    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        self.0.plain()
    }
}

impl Read for Peer {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }
}

impl Write for Peer {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long a read or write waits before it is stuck, which fails a test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Ends a connection by a reset.
pub(crate) fn reset(peer: Peer) {
    peer.0.reset_when_dropped();
}

/// Reads exactly this many bytes.
pub(crate) fn read(peer: &mut Peer, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    peer.read_exact(&mut all).expect("the bytes come");
    all
}

/// Reads up to the end of the stream.
pub(crate) fn read_to_end(peer: &mut Peer) -> Vec<u8> {
    let mut all = Vec::new();
    peer.read_to_end(&mut all).expect("an orderly end");
    all
}

/// Bytes that tell their place: two pieces of one stream never look alike.
pub(crate) fn pattern(seed: u64, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| byte(seed, at)).collect()
}

/// The byte of a pattern at a place.
pub(crate) fn byte(seed: u64, at: usize) -> u8 {
    let x = (at as u64 / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed;
    (x ^ x >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes()[at % 8]
}

/// Writes this many bytes of a pattern of seed 0, which the other side need not read yet.
pub(crate) fn write_some(far: &mut Peer, bytes: usize) {
    far.write_all(&pattern(0, 0, bytes)).expect("the window takes it");
}

/// Writes a pattern of seed 0 until the system has taken nothing for a while. Tells how much it
/// took.
pub(crate) fn write_until_full(far: &mut Peer) -> usize {
    far.0.set_patience(Duration::from_millis(200));
    let mut sent = 0;
    loop {
        match far.write(&pattern(0, sent, 65_536)) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => panic!("the peer cannot write: {e}"),
        }
    }
    far.0.set_patience(PATIENCE);
    assert!(sent > 0);
    sent
}
