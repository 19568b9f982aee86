//! A socket, in a group or in none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use core_reactor::net::{NetError, Placement, SockOptions, Socket, UnixAddress};
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::error::{self, Errno};
use crate::options::{self, Kept};
use crate::sys;
use crate::unix::{self, SocketFile};

/// What a backend adds to a socket of its own: its name, and what travels with the socket.
pub trait Backend: Default + Send + 'static {
    /// As [`core_reactor::net::NetImpl::name`] tells it.
    const NAME: &'static str;
}

/// A stream socket of one backend, TCP or Unix. It owns its descriptor in a group and out of it.
pub struct Tcp<B> {
    /// The file of a Unix listener; dropped before the socket is.
    pub(crate) file: Option<SocketFile>,
    /// The socket.
    pub socket: socket2::Socket,
    /// What it is.
    pub kind: Kind,
    /// Those of its options that the system does not keep.
    pub kept: Kept,
    /// The other side, where it has one.
    pub peer: Option<SocketAddr>,
    /// The sending side has ended.
    pub fin_sent: bool,
    /// What a send failed of, while received bytes are still to be delivered.
    pub failed: Option<NetError>,
    /// The backend's own.
    pub own: B,
}

/// What a socket is.
#[derive(Debug)]
pub enum Kind {
    /// It takes connections.
    Listener,
    /// It is to be connected.
    Connect(Box<Connect>),
    /// It is a connection.
    Stream,
}

/// A connect: the addresses to try, and how far it is.
#[derive(Debug)]
pub struct Connect {
    options: SockOptions,
    addresses: Vec<SocketAddr>,
    /// In place of those.
    pub(crate) unix: Option<UnixAddress>,
    /// The address of the socket there is now.
    at: usize,
    /// The system has been told to connect that socket.
    pub under_way: bool,
    /// The queue of a Unix listener is full, and nothing tells when it is not: to be asked again.
    pub is_full: bool,
}

impl<B> fmt::Debug for Tcp<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { socket, kind, peer, fin_sent, failed, .. } = self;
        let mut shown = f.debug_struct("Tcp");
        shown.field("socket", socket).field("kind", kind).field("peer", peer).field("fin_sent", fin_sent).field("failed", failed);
        shown.finish_non_exhaustive()
    }
}

impl<B: Backend> Tcp<B> {
    /// Listens at `at`.
    ///
    /// # Errors
    /// As [`core_reactor::net::NetImpl::listen`].
    pub fn listen(at: SocketAddr, options: &SockOptions) -> Result<Self, NetError> {
        // The system binds to these, where no connection ever comes.
        if at.ip().is_multicast() || at.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(NetError::AddressUnavailable(at));
        }
        let socket = open(at, options)?;
        let fail = |doing| move |e| error::at(doing, Errno::of(&e), at);
        socket.set_reuse_address(true).map_err(fail("setsockopt(SO_REUSEADDR)"))?;
        if at.is_ipv6() {
            // An address means its own family; 0.0.0.0 and [::] can be listened to side by side.
            socket.set_only_v6(true).map_err(fail("setsockopt(IPV6_V6ONLY)"))?;
        }
        socket.bind(&at.into()).map_err(fail("bind"))?;
        options::listen(&socket, options.backlog)?;
        let kept = Kept::of(&options.clone().source(None));
        Ok(Self::new(socket, Kind::Listener, kept, None))
    }

    /// A socket for the first of `to` whose family this machine has. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`core_reactor::net::NetImpl::connect`].
    pub fn connect(to: &[SocketAddr], options: &SockOptions) -> Result<Self, NetError> {
        options.check_source(to)?;
        let mut connect = Connect::new(to.to_vec(), options);
        let socket = connect.open()?;
        let peer = connect.address();
        Ok(Self::new(socket, Kind::Connect(Box::new(connect)), Kept::of(options), peer))
    }

    /// A connection that a listener with these options took.
    pub fn accepted(socket: socket2::Socket, peer: Option<SocketAddr>, kept: Kept) -> Self {
        Self::new(socket, Kind::Stream, kept, peer)
    }

    pub(crate) fn new(socket: socket2::Socket, kind: Kind, kept: Kept, peer: Option<SocketAddr>) -> Self {
        Self { file: None, socket, kind, kept, peer, fin_sent: false, failed: None, own: B::default() }
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Before an orderly close. A socket that is closed with unread bytes in it sends a reset in
    /// place of a FIN (RFC 2525, 2.17), and a reset may destroy what the peer has not read yet of
    /// what we sent. So what has arrived is thrown away first. What arrives later still meets a
    /// reset.
    pub fn hang_up(&self) {
        if self.kept.unix {
            // From here on the peer cannot add to what there is, so the reading ends.
            let _ = self.socket.shutdown(Shutdown::Read);
            let mut waste = [0; 4096];
            while sys::recv(self.fd(), &mut waste).is_ok_and(|n| n > 0) {}
        } else if matches!(self.kind, Kind::Stream) {
            // Twice, because the first call also lets in what had to wait for the socket's lock. An
            // error means that nothing is there.
            let _ = sys::discard(self.fd()).and_then(|_| sys::discard(self.fd()));
        }
    }

    /// Its own address.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local(&self) -> Result<SocketAddr, NetError> {
        let address = self.socket.local_addr().map_err(|e| error::plain("getsockname", Errno::of(&e)))?;
        address.as_socket().ok_or(NetError::Os {
            doing: "getsockname",
            code: libc::EAFNOSUPPORT,
            text: "a Unix socket has no IP address".into(),
        })
    }

    /// Its options as they are now.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn read_options(&self) -> Result<SockOptions, NetError> {
        options::read(&self.socket, self.kept, matches!(self.kind, Kind::Listener))
    }

    /// A connect that is to be asked for again soon, as the listener's queue is full.
    pub fn is_to_ask_again(&self) -> bool {
        matches!(&self.kind, Kind::Connect(connect) if connect.is_full)
    }
}

impl Connect {
    fn new(addresses: Vec<SocketAddr>, options: &SockOptions) -> Self {
        Self { options: options.clone(), addresses, unix: None, at: 0, under_way: false, is_full: false }
    }

    /// To a Unix address, which has no other beside it.
    pub(crate) fn to_unix(to: UnixAddress, options: &SockOptions) -> Self {
        Self { unix: Some(to), ..Self::new(Vec::new(), options) }
    }

    /// Whom the socket there is now is for, as the system takes it.
    pub(crate) fn name(&self) -> Result<SockAddr, NetError> {
        match &self.unix {
            Some(unix) => unix::sock_addr(unix),
            None => Ok(self.address().ok_or(NetError::NoAddress)?.into()),
        }
    }

    /// What an error of the connect means.
    pub(crate) fn error(&self, errno: Errno) -> NetError {
        match (&self.unix, self.address()) {
            (Some(unix), _) => unix::at_unix("connect", errno, unix),
            (None, Some(to)) => error::at("connect", errno, to),
            (None, None) => NetError::NoAddress,
        }
    }

    /// The address that the socket there is now is for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.get(self.at).copied()
    }

    /// A socket for the first address, from here on, whose family this machine has.
    fn open(&mut self) -> Result<socket2::Socket, NetError> {
        let mut why = NetError::NoAddress;
        while let Some(address) = self.address() {
            match self.open_for(address) {
                Err(error @ NetError::Unreachable(_)) => why = error,
                done => return done,
            }
            self.at += 1;
        }
        Err(why)
    }

    fn open_for(&self, address: SocketAddr) -> Result<socket2::Socket, NetError> {
        if !self.options.can_reach(&address) {
            return Err(NetError::Unreachable(address));
        }
        let socket = open(address, &self.options)?;
        if let Some(source) = self.options.source {
            options::bind_source(&socket, source)?;
        }
        Ok(socket)
    }

    /// A socket for the next address; `None` when all have been tried.
    pub fn advance(&mut self) -> Option<Result<socket2::Socket, NetError>> {
        self.at += 1;
        self.under_way = false;
        self.address()?;
        Some(self.open())
    }
}

fn open(at: SocketAddr, options: &SockOptions) -> Result<socket2::Socket, NetError> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(Domain::for_address(at), kind, Some(Protocol::TCP)).map_err(|e| match Errno::of(&e) {
        // A machine without this family has no way to the address.
        Errno(libc::EAFNOSUPPORT) => NetError::Unreachable(at),
        errno => error::plain("socket", errno),
    })?;
    options::apply(&socket, options)?;
    Ok(socket)
}

impl<B: Backend> Socket for Tcp<B> {
    fn local_addr(&self) -> Result<SocketAddr, NetError> {
        self.local()
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn options(&self) -> Result<SockOptions, NetError> {
        self.read_options()
    }

    fn placement(&self) -> Placement {
        options::placement(self.fd())
    }

    fn backend(&self) -> &'static str {
        B::NAME
    }
}
