//! Peers that are sockets of another stack: blocking handles, and their sockets, which the thread
//! of the stacks has.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use conformance::net::{Peer, PeerListener, Peers};
use core_reactor::net::{Events, NetError, NetEvent, NetImpl, SockGroup, SockId, SockOptions, Socket, Token};
use net_impl_smoltcp::Smoltcp;

use crate::conn::{Conn, Stream};

/// Bytes that a connection may have received and not read before it is paused.
const INBOX: usize = 64 << 10;

/// Sockets for the thread of the stacks.
pub(crate) type Jobs = Arc<Mutex<Vec<(Box<dyn Socket>, What)>>>;

pub(crate) enum What {
    Conn(Arc<Conn>),
    Listener(Accepted),
}

/// Connections that nobody has accepted. A listener's own `Conn` wakes who waits for them.
pub(crate) type Accepted = Arc<(Conn, Mutex<VecDeque<Arc<Conn>>>)>;

pub(crate) struct StackPeers {
    net: &'static Smoltcp,
    jobs: Jobs,
}

impl StackPeers {
    pub(crate) fn new(net: &'static Smoltcp, jobs: Jobs) -> Self {
        Self { net, jobs }
    }

    pub(crate) fn net(&self) -> &'static Smoltcp {
        self.net
    }

    fn hand_over(&self, socket: Box<dyn Socket>, what: What) {
        self.jobs.lock().expect("nobody panics in here").push((socket, what));
    }
}

fn other(why: NetError) -> io::Error {
    io::Error::other(why.to_string())
}

impl Peers for StackPeers {
    fn connect(&self, to: SocketAddr) -> io::Result<Peer> {
        let conn = Arc::new(Conn::default());
        let socket = self.net.connect(&[to], &SockOptions::default()).map_err(other)?;
        self.hand_over(socket, What::Conn(conn.clone()));
        conn.connected()?;
        Ok(Peer::new(Stream(conn)))
    }

    fn listen(&self, at: IpAddr) -> io::Result<Box<dyn PeerListener>> {
        let socket = self.net.listen((at, 0).into(), &SockOptions::default()).map_err(other)?;
        let at = socket.local_addr().map_err(other)?;
        let accepted = Accepted::default();
        self.hand_over(socket, What::Listener(accepted.clone()));
        Ok(Box::new(Listener { at, accepted }))
    }

    fn nobody(&self, at: IpAddr) -> SocketAddr {
        (at, 9).into()
    }

    /// The address of a host that is not on the wire.
    fn silent(&self, at: IpAddr) -> (SocketAddr, Box<dyn Any>) {
        let ip = match at {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() | 0x80).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() | 0x80).into()),
        };
        ((ip, 9).into(), Box::new(()))
    }
}

struct Listener {
    at: SocketAddr,
    accepted: Accepted,
}

impl PeerListener for Listener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }

    fn accept(&self) -> io::Result<Peer> {
        let (listener, queue) = &*self.accepted;
        let conn = listener.wait(|_| queue.lock().expect("nobody panics in here").pop_front());
        Ok(Peer::new(Stream(conn.ok_or(ErrorKind::WouldBlock)?)))
    }
}

/// The sockets of all peers, in one group.
pub(crate) struct Far {
    group: Box<dyn SockGroup>,
    events: Events,
    jobs: Jobs,
    conns: HashMap<Token, Served>,
    listeners: HashMap<Token, Accepted>,
    next: u64,
}

struct Served {
    id: SockId,
    conn: Arc<Conn>,
    paused: bool,
    finished: bool,
    /// It has been aborted, and only its end is still to be told.
    aborted: bool,
}

impl Far {
    pub(crate) fn new(group: Box<dyn SockGroup>, jobs: Jobs) -> Self {
        Self { group, events: Events::new(256), jobs, conns: HashMap::new(), listeners: HashMap::new(), next: 0 }
    }

    /// Does what there is to do; false if that was nothing.
    pub(crate) fn turn(&mut self) -> bool {
        let jobs = std::mem::take(&mut *self.jobs.lock().expect("nobody panics in here"));
        let mut busy = !jobs.is_empty();
        for (socket, what) in jobs {
            self.attach(socket, what);
        }
        for served in self.conns.values_mut() {
            busy |= served.serve(&mut *self.group);
        }
        busy |= self.group.poll(&mut self.events) > 0;
        let found: Vec<_> = self.events.drain().collect();
        found.into_iter().for_each(|event| self.on(event));
        busy
    }

    fn attach(&mut self, socket: Box<dyn Socket>, what: What) {
        let token = Token(self.next);
        self.next += 1;
        let id = self.group.attach(socket, token).map_err(|refused| refused.why).expect("room in the group");
        match what {
            What::Conn(conn) => drop(self.conns.insert(token, Served { id, conn, paused: false, finished: false, aborted: false })),
            What::Listener(accepted) => drop(self.listeners.insert(token, accepted)),
        }
    }

    fn on(&mut self, event: NetEvent) {
        let token = match &event {
            NetEvent::Accepted { token, .. }
            | NetEvent::Connected { token, .. }
            | NetEvent::Received { token, .. }
            | NetEvent::PeerClosed { token, .. }
            | NetEvent::Closed { token, .. } => *token,
            _ => return,
        };
        if let NetEvent::Accepted { socket, .. } = event {
            return self.accepted(token, socket);
        }
        let Some(served) = self.conns.get(&token) else { return };
        let conn = served.conn.clone();
        match event {
            NetEvent::Connected { id, .. } => {
                let local = self.group.addresses(id).expect("it is there").0;
                conn.change(|state| state.local = Some(local));
            }
            NetEvent::Received { buf, .. } => conn.change(|state| state.inbox.extend(&*buf)),
            NetEvent::PeerClosed { .. } => conn.change(|state| state.eof = true),
            NetEvent::Closed { why, .. } => {
                self.conns.remove(&token);
                conn.change(|state| (state.eof, state.error) = (state.eof || why.is_none(), why.map(kind)));
            }
            _ => {}
        }
    }

    fn accepted(&mut self, token: Token, socket: Box<dyn Socket>) {
        let conn = Arc::new(Conn::default());
        conn.change(|state| state.local = socket.local_addr().ok());
        self.attach(socket, What::Conn(conn.clone()));
        let (listener, queue) = &*self.listeners[&token];
        listener.change(|_| queue.lock().expect("nobody panics in here").push_back(conn));
    }
}

impl Served {
    /// Does what the handle wants; false if that is nothing.
    fn serve(&mut self, group: &mut dyn SockGroup) -> bool {
        let mut state = self.conn.lock();
        if state.dropped && state.resets {
            state.resets = false;
            self.aborted = true;
            return group.abort(self.id).is_ok();
        }
        if self.aborted {
            return false;
        }
        if state.dropped {
            state.inbox.clear();
        }
        let full = state.inbox.len() > INBOX;
        if full != self.paused {
            self.paused = full;
            let done = if full { group.pause(self.id) } else { group.resume(self.id) };
            done.expect("it is there");
        }
        let mut sent = false;
        while state.local.is_some()
            && !state.outbox.is_empty()
            && let Some(mut buf) = group.buffer()
        {
            let n = buf.append(state.outbox.as_slices().0);
            if group.send(self.id, buf.into()).is_err() {
                break;
            }
            state.outbox.drain(..n);
            sent = true;
        }
        if state.shutdown && state.outbox.is_empty() && !self.finished {
            self.finished = true;
            group.shutdown(self.id).expect("it is there");
        }
        drop(state);
        if sent {
            self.conn.change(|_| {});
        }
        sent
    }
}

fn kind(why: NetError) -> ErrorKind {
    match why {
        NetError::ConnectRefused(_) => ErrorKind::ConnectionRefused,
        NetError::Reset => ErrorKind::ConnectionReset,
        NetError::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    }
}
