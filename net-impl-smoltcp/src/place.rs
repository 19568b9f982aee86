//! The sockets of a host. There are as many as it was started with; what one is for changes.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use core_reactor::Instant;
use core_reactor::net::NetError;
use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, Socket, State};
use smoltcp::wire::{IpAddress, IpEndpoint, IpListenEndpoint};

use crate::closing::{self, Closing, wipe};
use crate::config::StackConfig;
use crate::connection::{Connection, End, Stream};
use crate::options::Wants;

/// All of them.
pub(crate) struct Places {
    sockets: SocketSet<'static>,
    places: Box<[Place]>,
    free: Vec<u32>,
    /// The time of the last turn.
    now: Instant,
    /// Something has changed that the protocol may have to tell its peers.
    unsent: bool,
}

struct Place {
    handle: SocketHandle,
    role: Role,
    wants: Wants,
}

/// What a socket is for.
enum Role {
    /// Nothing.
    Free,
    /// It listens or shakes hands, for a listener.
    Listening,
    /// It is a connection, or is to become one. The application has it, or may accept it.
    Connection(Connection),
    /// The application has closed it, and the protocol has not.
    Closing(Closing),
}

impl Places {
    pub(crate) fn new(config: &StackConfig) -> Self {
        let mut sockets = SocketSet::new(Vec::with_capacity(config.sockets + 1));
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut place = |_| {
            let handle = sockets.add(Socket::new(buffer(config.recv_buf), buffer(config.send_buf)));
            Place { handle, role: Role::Free, wants: Wants::nothing() }
        };
        let places = (0..config.sockets).map(&mut place).collect();
        Self { sockets, places, free: (0..config.sockets as u32).rev().collect(), now: Instant::ZERO, unsent: true }
    }

    /// The sockets, for smoltcp.
    pub(crate) fn sockets(&mut self) -> &mut SocketSet<'static> {
        &mut self.sockets
    }

    /// The time of the last turn.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// A turn begins. Groups of several cores read the clock before they have the lock.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Whether something has changed that the protocol may have to tell its peers.
    pub(crate) fn is_unsent(&self) -> bool {
        self.unsent
    }

    pub(crate) fn set_unsent(&mut self, unsent: bool) {
        self.unsent = unsent;
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Sockets that are free now.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn none_free(&self) -> NetError {
        NetError::Unusable(format!("all {} sockets of the stack are in use (StackConfig::sockets)", self.len()).into())
    }

    /// Sockets that are closing now.
    pub(crate) fn closing(&self) -> usize {
        self.places.iter().filter(|place| matches!(place.role, Role::Closing(_))).count()
    }

    fn tcp(&self, at: u32) -> &Socket<'static> {
        self.sockets.get(self.places[at as usize].handle)
    }

    /// The sockets that are not free, each with its place.
    fn used(&self) -> impl Iterator<Item = (usize, &Place, &Socket<'static>)> {
        let used = self.places.iter().enumerate().filter(|(_, place)| !matches!(place.role, Role::Free));
        used.map(|(at, place)| (at, place, self.sockets.get(place.handle)))
    }

    pub(crate) fn state(&self, at: u32) -> State {
        self.tcp(at).state()
    }

    /// Both ends of the connection in a place: its own first.
    pub(crate) fn ends(&self, at: u32) -> Option<(SocketAddr, SocketAddr)> {
        let tcp = self.tcp(at);
        Some((tcp.local_endpoint()?.into(), tcp.remote_endpoint()?.into()))
    }

    /// Whether a socket uses a port of the host.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.used().any(|(_, _, tcp)| tcp.local_endpoint().is_some_and(|local| local.port == port))
    }

    /// Whether there is a connection between the two that a SYN must not disturb.
    pub(crate) fn has_connection(&self, (local, remote): (SocketAddr, SocketAddr)) -> bool {
        let is = |end: Option<IpEndpoint>, at: SocketAddr| end.is_some_and(|end| SocketAddr::from(end) == at);
        self.used().any(|(_, _, tcp)| {
            let over = matches!(tcp.state(), State::Closed | State::Listen | State::SynSent | State::TimeWait);
            !over && is(tcp.local_endpoint(), local) && is(tcp.remote_endpoint(), remote)
        })
    }

    /// The peers of all sockets, each with its place.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (usize, IpAddress)> {
        self.used().filter_map(|(at, _, tcp)| Some((at, tcp.remote_endpoint()?.addr)))
    }

    // ---- What a socket is for

    /// A socket for a connection: a free one, or the one that has waited longest for late segments
    /// of a connection that is over; the port of that is free then, as after a restart.
    pub(crate) fn take(&mut self, wants: Wants) -> Option<u32> {
        let at = self.free.pop().or_else(|| self.take_from_time_wait())?;
        let place = &mut self.places[at as usize];
        place.wants = wants;
        self.renew(at, Role::Connection(Connection::default()));
        let place = &self.places[at as usize];
        place.wants.apply(self.sockets.get_mut(place.handle));
        Some(at)
    }

    fn take_from_time_wait(&mut self) -> Option<u32> {
        let since = |(at, place, tcp): (usize, &Place, &Socket<'static>)| match &place.role {
            Role::Closing(closing) => Some((closing.in_time_wait(tcp)?, at as u32)),
            _ => None,
        };
        let (_, at) = self.used().filter_map(since).min_by_key(|(since, _)| *since)?;
        self.forget(at);
        Some(at)
    }

    /// Has smoltcp forget what the last connection of a place leaves to the next: that it waits for
    /// a neighbour, and its window.
    fn renew(&mut self, at: u32, role: Role) {
        let place = &mut self.places[at as usize];
        let socket = self.sockets.remove(place.handle);
        // Into the room that it has left.
        place.handle = self.sockets.add(socket);
        place.role = role;
        place.wants.begin(self.sockets.get_mut(place.handle));
    }

    /// Has a socket forget its connection without a word.
    pub(crate) fn forget(&mut self, at: u32) {
        wipe(self.sockets.get_mut(self.places[at as usize].handle));
    }

    /// Ends the connection of a socket by a reset.
    pub(crate) fn abort(&mut self, at: u32) {
        self.sockets.get_mut::<Socket<'_>>(self.places[at as usize].handle).abort();
        self.unsent = true;
    }

    /// Has a socket listen, again or for the first time, unless it has a reset to send.
    pub(crate) fn listen(&mut self, at: u32, endpoint: IpListenEndpoint) {
        self.renew(at, Role::Listening);
        if self.tcp(at).remote_endpoint().is_none() {
            // Refused where it listens, and nowhere else: the port is not 0.
            let _ = self.sockets.get_mut::<Socket<'_>>(self.places[at as usize].handle).listen(endpoint);
        }
    }

    /// A listening socket has become a connection, which may have ended since.
    pub(crate) fn set_connected(&mut self, at: u32, end: Option<End>) {
        self.places[at as usize].role = Role::Connection(Connection::new(end));
    }

    /// Tells a socket to connect, in the stack's context.
    pub(crate) fn connect(&mut self, at: u32, cx: &mut Context, to: IpEndpoint, port: u16) -> Result<(), tcp::ConnectError> {
        self.renew(at, Role::Connection(Connection::default()));
        self.sockets.get_mut::<Socket<'_>>(self.places[at as usize].handle).connect(cx, to, port)?;
        self.unsent = true;
        Ok(())
    }

    /// The connection in a place; `None` if it is for something else.
    #[inline]
    pub(crate) fn stream(&mut self, at: u32) -> Option<Stream<'_>> {
        let Place { handle, role, wants } = &self.places[at as usize];
        let Role::Connection(connection) = role else { return None };
        Some(connection.stream(self.sockets.get_mut(*handle), wants, &mut self.unsent))
    }

    /// The application is done with the socket of a place.
    pub(crate) fn hang_up(&mut self, at: u32, abort: bool) {
        let place = &mut self.places[at as usize];
        place.role = Role::Closing(Closing::begin(self.sockets.get_mut(place.handle), abort, self.now));
        self.unsent = true;
    }

    // ---- Time

    /// Looks at every connection after something has happened, by which those ended that have ended.
    pub(crate) fn tend(&mut self, end: End) {
        for Place { handle, role, wants } in &mut self.places {
            match role {
                Role::Free | Role::Listening => {}
                Role::Connection(connection) => self.unsent |= connection.tend(self.sockets.get_mut(*handle), wants, end, self.now),
                Role::Closing(_) => self.unsent |= closing::has_more(self.sockets.get(*handle)),
            }
        }
    }

    /// Frees the sockets whose connections have ended, and ends those that make no progress.
    pub(crate) fn tend_closing(&mut self) {
        for (at, place) in self.places.iter_mut().enumerate() {
            if let Role::Closing(closing) = &mut place.role
                && closing.tend(self.sockets.get_mut(place.handle), self.now)
            {
                place.role = Role::Free;
                self.free.push(at as u32);
            }
        }
    }

    /// When the first has to be looked at again, if nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        let due = |(_, place, tcp): (usize, &Place, &Socket<'static>)| match &place.role {
            Role::Free | Role::Listening => None,
            Role::Connection(connection) => connection.due(&place.wants),
            Role::Closing(closing) => Some(closing.due(tcp)),
        };
        self.used().filter_map(due).min()
    }
}
