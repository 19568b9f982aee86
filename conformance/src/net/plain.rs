//! Peers that are plain sockets of the standard library.

use std::any::Any;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::peer::{PATIENCE, Peer, PeerListener, PeerStream, Peers};

/// Sockets for as long as the program runs.
static KEPT: Mutex<Vec<Socket>> = Mutex::new(Vec::new());

/// The kernel's TCP.
pub struct Plain;

impl Peers for Plain {
    fn connect(&self, to: SocketAddr) -> io::Result<Peer> {
        TcpStream::connect(to).map(peer)
    }

    fn listen(&self, at: IpAddr) -> io::Result<Box<dyn PeerListener>> {
        Ok(Box::new(TcpListener::bind((at, 0))?))
    }

    fn nobody(&self, at: IpAddr) -> SocketAddr {
        // Bound but not listening: the port stays ours as long as the program runs, so nobody else
        // can listen there.
        let socket = bound(at);
        let at = address(&socket);
        KEPT.lock().expect("nobody panics in here").push(socket);
        at
    }

    /// A listener whose queue is full.
    fn silent(&self, at: IpAddr) -> (SocketAddr, Box<dyn Any>) {
        let listener = bound(at);
        listener.listen(0).expect("allowed");
        let at = address(&listener);
        let mut waiting = Vec::new();
        loop {
            let one = open(at.ip());
            let full = one.connect_timeout(&at.into(), Duration::from_millis(200)).is_err();
            waiting.push(one);
            if full {
                return (at, Box::new((listener, waiting)));
            }
        }
    }
}

fn open(at: IpAddr) -> Socket {
    Socket::new(Domain::for_address((at, 0).into()), Type::STREAM, None).expect("a socket")
}

fn bound(at: IpAddr) -> Socket {
    let socket = open(at);
    socket.bind(&SocketAddr::new(at, 0).into()).expect("a free port");
    socket
}

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().ok().and_then(|at| at.as_socket()).expect("its address")
}

fn peer(stream: TcpStream) -> Peer {
    patient(&stream);
    Peer::new(stream)
}

/// A read or write that is stuck fails in the end.
pub(crate) fn patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is allowed");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout is allowed");
    stream.set_nodelay(true).expect("an option that each system has");
}

impl PeerListener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }

    fn accept(&self) -> io::Result<Peer> {
        TcpListener::accept(self).map(|(stream, _)| peer(stream))
    }
}

impl PeerStream for TcpStream {
    fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut { self }, to)
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        Write::write(&mut { self }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::local_addr(self)
    }

    fn shutdown(&self) -> io::Result<()> {
        TcpStream::shutdown(self, Shutdown::Write)
    }

    fn reset_when_dropped(&self) {
        SockRef::from(self).set_linger(Some(Duration::ZERO)).expect("an option that each system has");
    }

    fn set_patience(&self, patience: Duration) {
        self.set_write_timeout(Some(patience)).expect("a timeout is allowed");
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}
