//! The sockets of a host. There are as many as it was started with; what one is for changes.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use core_reactor::Instant;
use core_reactor::net::{NetError, SockOptions};
use net_link::Ends;
use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, Socket, State};
use smoltcp::wire::{IpAddress, IpEndpoint, IpListenEndpoint};

use crate::closing::{self, Closing};
use crate::config::StackConfig;
use crate::connection::{Connection, End, Stream};
use crate::options;

/// All of them, each found by its index.
pub(crate) struct SocketTable {
    sockets: SocketSet<'static>,
    entries: Box<[Entry]>,
    free: Vec<u32>,
    /// The time of the last turn.
    now: Instant,
    /// Something has changed that the protocol may have to tell its peers.
    unsent: bool,
}

struct Entry {
    handle: SocketHandle,
    role: Role,
    options: SockOptions,
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

impl SocketTable {
    pub(crate) fn new(config: &StackConfig) -> Self {
        let mut sockets = SocketSet::new(Vec::with_capacity(config.sockets + 1));
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut entry = |_| {
            let handle = sockets.add(Socket::new(buffer(config.recv_buf), buffer(config.send_buf)));
            Entry { handle, role: Role::Free, options: SockOptions::default() }
        };
        let entries = (0..config.sockets).map(&mut entry).collect();
        Self { sockets, entries, free: (0..config.sockets as u32).rev().collect(), now: Instant::ZERO, unsent: true }
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

    /// Sockets that are free now.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn none_free(&self) -> NetError {
        NetError::Unusable(format!("all {} sockets of the stack are in use (StackConfig::sockets)", self.entries.len()).into())
    }

    /// Sockets that are closing now.
    pub(crate) fn closing(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.role, Role::Closing(_))).count()
    }

    fn tcp(&self, at: u32) -> &Socket<'static> {
        self.sockets.get(self.entries[at as usize].handle)
    }

    fn tcp_mut(&mut self, at: u32) -> &mut Socket<'static> {
        self.sockets.get_mut(self.entries[at as usize].handle)
    }

    /// The sockets that are not free, each with its index.
    fn used(&self) -> impl Iterator<Item = (usize, &Entry, &Socket<'static>)> + Clone {
        let used = self.entries.iter().enumerate().filter(|(_, entry)| !matches!(entry.role, Role::Free));
        used.map(|(at, entry)| (at, entry, self.sockets.get(entry.handle)))
    }

    pub(crate) fn state(&self, at: u32) -> State {
        self.tcp(at).state()
    }

    /// Who sends to this socket, and where.
    pub(crate) fn ends(&self, at: u32) -> Option<Ends> {
        let tcp = self.tcp(at);
        Some(Ends { from: tcp.remote_endpoint()?.into(), to: tcp.local_endpoint()?.into() })
    }

    /// Whether a socket uses a port of the host.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.used().any(|(_, _, tcp)| tcp.local_endpoint().is_some_and(|local| local.port == port))
    }

    /// Whether there is a connection between the two that a SYN must not disturb.
    pub(crate) fn has_connection(&self, syn: Ends) -> bool {
        let is_over = |state| matches!(state, State::Closed | State::Listen | State::SynSent | State::TimeWait);
        let used = self.used().filter(|(_, _, tcp)| !is_over(tcp.state()));
        used.into_iter().any(|(at, ..)| self.ends(at as u32) == Some(syn))
    }

    /// The peers of all sockets, each with the index of its socket.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (usize, IpAddress)> + Clone {
        self.used().filter_map(|(at, _, tcp)| Some((at, tcp.remote_endpoint()?.addr)))
    }

    // ---- What a socket is for

    /// A socket for a connection: a free one, or the one that has waited longest for late segments
    /// of a connection that is over; the port of that is free then, as after a restart.
    pub(crate) fn allocate(&mut self, options: &SockOptions) -> Option<u32> {
        let at = self.free.pop().or_else(|| self.reclaim_from_time_wait())?;
        self.entries[at as usize].options = options.clone();
        self.recycle(at, Role::Connection(Connection::default()));
        options::apply(options, self.tcp_mut(at));
        Some(at)
    }

    fn reclaim_from_time_wait(&mut self) -> Option<u32> {
        let since = |(at, entry, tcp): (usize, &Entry, &Socket<'static>)| match &entry.role {
            Role::Closing(closing) => Some((closing.in_time_wait(tcp)?, at as u32)),
            _ => None,
        };
        let (_, at) = self.used().filter_map(since).min_by_key(|(since, _)| *since)?;
        self.forget(at);
        Some(at)
    }

    /// Has smoltcp forget what the last connection of a socket leaves to the next: that it waits
    /// for a neighbour, and its window.
    fn recycle(&mut self, at: u32, role: Role) {
        let entry = &mut self.entries[at as usize];
        let socket = self.sockets.remove(entry.handle);
        // Into the room that it has left.
        entry.handle = self.sockets.add(socket);
        entry.role = role;
        options::begin(&entry.options, self.sockets.get_mut(entry.handle));
    }

    /// Has a socket forget its connection without a word.
    pub(crate) fn forget(&mut self, at: u32) {
        closing::wipe(self.tcp_mut(at));
    }

    /// Ends the connection of a socket by a reset.
    pub(crate) fn abort(&mut self, at: u32) {
        self.tcp_mut(at).abort();
        self.unsent = true;
    }

    /// Has a socket listen, again or for the first time, unless it has a reset to send.
    pub(crate) fn listen(&mut self, at: u32, endpoint: IpListenEndpoint) {
        self.recycle(at, Role::Listening);
        if self.tcp(at).remote_endpoint().is_none() {
            // Refused where it listens, and nowhere else: the port is not 0.
            let _ = self.tcp_mut(at).listen(endpoint);
        }
    }

    /// A listening socket has become a connection, which may have ended since.
    pub(crate) fn set_connected(&mut self, at: u32, end: Option<End>) {
        self.entries[at as usize].role = Role::Connection(Connection::new(end));
    }

    /// Tells a socket to connect, in the stack's context.
    pub(crate) fn connect(&mut self, at: u32, cx: &mut Context, to: IpEndpoint, from: IpListenEndpoint) -> Result<(), tcp::ConnectError> {
        self.recycle(at, Role::Connection(Connection::default()));
        self.unsent = true;
        self.tcp_mut(at).connect(cx, to, from)
    }

    /// The connection with this index; `None` if the socket is for something else.
    #[inline]
    pub(crate) fn stream(&mut self, at: u32) -> Option<Stream<'_>> {
        let Entry { handle, role: Role::Connection(connection), options } = &self.entries[at as usize] else { return None };
        Some(connection.stream(self.sockets.get_mut(*handle), options, &mut self.unsent))
    }

    /// The application is done with a socket. What is queued in it still goes out, then FIN; or a
    /// reset, if it is to be aborted.
    pub(crate) fn hang_up(&mut self, at: u32, abort: bool) {
        let now = self.now;
        self.entries[at as usize].role = Role::Closing(Closing::begin(self.tcp_mut(at), abort, now));
        self.unsent = true;
    }

    // ---- Time

    /// Looks at every connection after something has happened, by which those ended that have
    /// ended.
    pub(crate) fn tend(&mut self, end: End) {
        for Entry { handle, role, options } in &mut self.entries {
            match role {
                Role::Free | Role::Listening => {}
                Role::Connection(connection) => self.unsent |= connection.tend(self.sockets.get_mut(*handle), options, end, self.now),
                Role::Closing(_) => self.unsent |= closing::has_more(self.sockets.get(*handle)),
            }
        }
    }

    /// Frees the sockets whose connections have ended, and ends those that make no progress.
    pub(crate) fn tend_closing(&mut self) {
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if let Role::Closing(closing) = &mut entry.role
                && closing.tend(self.sockets.get_mut(entry.handle), self.now)
            {
                entry.role = Role::Free;
                self.free.push(at as u32);
            }
        }
    }

    /// When the first has to be looked at again, if nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        let due = |(_, entry, tcp): (usize, &Entry, &Socket<'static>)| match &entry.role {
            Role::Free | Role::Listening => None,
            Role::Connection(connection) => connection.due(&entry.options),
            Role::Closing(closing) => Some(closing.due(tcp)),
        };
        self.used().filter_map(due).min()
    }
}
