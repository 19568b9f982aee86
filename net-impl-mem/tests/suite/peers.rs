//! The other side of the suite's connections: sockets of the same network, used by hand.

use std::any::Any;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use conformance::net::{PATIENCE, Peer, PeerListener, PeerStream, Peers};
use core_reactor::net::{NetError, SockOptions};
use net_impl_mem::{MemNet, SimSocket};

/// Those of a network.
pub(crate) struct ByHand(pub(crate) MemNet);

/// Ports at which nobody listens: below those that are given out.
static NOBODY: AtomicU16 = AtomicU16::new(1);

impl Peers for ByHand {
    fn connect(&self, to: SocketAddr) -> io::Result<Peer> {
        let socket = self.0.dial(to, &SockOptions::default()).map_err(error)?;
        wait(PATIENCE, || socket.connected())?;
        Ok(Stream::peer(socket))
    }

    fn listen(&self, at: IpAddr) -> io::Result<Box<dyn PeerListener>> {
        Ok(Box::new(Listener(self.0.bind((at, 0).into(), &SockOptions::default()).map_err(error)?)))
    }

    fn nobody(&self, at: IpAddr) -> SocketAddr {
        (at, NOBODY.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// A listener that has no room for another.
    fn silent(&self, at: IpAddr) -> (SocketAddr, Box<dyn Any>) {
        let listener = self.0.bind((at, 0).into(), &SockOptions::default().backlog(1)).expect("a free port");
        let at = listener.local_addr().expect("its address");
        let first = self.0.dial(at, &SockOptions::default()).expect("a socket");
        wait(PATIENCE, || first.connected()).expect("there is room for one");
        (at, Box::new((listener, first)))
    }
}

struct Listener(SimSocket);

impl PeerListener for Listener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr().map_err(error)
    }

    fn accept(&self) -> io::Result<Peer> {
        let accepted = || self.0.accept().map_or(Poll::Pending, |socket| Poll::Ready(Ok(socket)));
        Ok(Stream::peer(wait(PATIENCE, accepted)?))
    }
}

struct Stream {
    socket: SimSocket,
    patience: Mutex<Duration>,
}

impl Stream {
    fn peer(socket: SimSocket) -> Peer {
        Peer::new(Self { socket, patience: Mutex::new(PATIENCE) })
    }
}

impl PeerStream for Stream {
    fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        wait(PATIENCE, || self.socket.read(to))
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        let patience = *self.patience.lock().expect("nobody panics in here");
        wait(patience, || self.socket.write(from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr().map_err(error)
    }

    fn shutdown(&self) -> io::Result<()> {
        self.socket.finish();
        Ok(())
    }

    fn reset_when_dropped(&self) {
        self.socket.reset();
    }

    fn set_patience(&self, patience: Duration) {
        *self.patience.lock().expect("nobody panics in here") = patience;
    }
}

fn wait<T>(patience: Duration, mut ask: impl FnMut() -> Poll<Result<T, NetError>>) -> io::Result<T> {
    let end = Instant::now() + patience;
    loop {
        match ask() {
            Poll::Ready(done) => return done.map_err(error),
            Poll::Pending if Instant::now() > end => return Err(ErrorKind::WouldBlock.into()),
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

fn error(why: NetError) -> io::Error {
    match why {
        NetError::Reset => ErrorKind::ConnectionReset.into(),
        NetError::ConnectRefused(_) => ErrorKind::ConnectionRefused.into(),
        other => io::Error::other(other),
    }
}
