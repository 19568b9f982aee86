//! A socket, in a group or in none.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use core_reactor::net::{NetError, Placement, SockOptions, Socket};
use net_group::{Accept, Connecting, Ready};

use crate::listener::Accepted;
use crate::stack::{Shared, Stack, unspecified};
use crate::{NAME, options};

/// A socket that its application holds. Dropped, it is closed.
pub(crate) struct SmolSocket {
    stack: Arc<Shared>,
    kind: Kind,
    options: SockOptions,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    /// The sending side has ended.
    fin_sent: bool,
}

/// What a socket is, with its number in the stack.
enum Kind {
    /// A listener.
    Listener(u32),
    /// To be connected.
    Connect(u32, Connect),
    /// A connection.
    Stream(u32),
    /// Nothing any more: it has been given back.
    Closed,
}

/// A connect: the addresses to try, and how far it is.
struct Connect {
    addresses: Vec<SocketAddr>,
    /// The one that is tried now, or first.
    at: usize,
    /// The stack has been told to.
    under_way: bool,
}

pub(crate) fn listen(stack: Arc<Shared>, at: SocketAddr, options: &SockOptions) -> Result<SmolSocket, NetError> {
    let mut locked = stack.lock();
    let mut options = options::granted(options, locked.config())?;
    let (listener, local, backlog) = locked.listen(at, &options)?;
    drop(locked);
    (options.backlog, options.source) = (Some(backlog), None);
    Ok(SmolSocket { stack, kind: Kind::Listener(listener), options, local, peer: None, fin_sent: false })
}

pub(crate) fn connect(stack: Arc<Shared>, to: &[SocketAddr], options: &SockOptions) -> Result<SmolSocket, NetError> {
    let mut locked = stack.lock();
    let options = options::granted(options, locked.config())?;
    options.check_source(to)?;
    let first = *to.iter().find(|to| options.can_reach(to)).ok_or(NetError::NoAddress)?;
    locked.check_source(options.source)?;
    let socket = locked.allocate(&options)?;
    drop(locked);
    let kind = Kind::Connect(socket, Connect { addresses: to.to_vec(), at: 0, under_way: false });
    Ok(SmolSocket { stack, kind, options, local: unspecified(&first), peer: Some(first), fin_sent: false })
}

impl SmolSocket {
    pub(crate) fn is_of(&self, stack: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.stack, stack)
    }

    /// What it is for an engine, and its number; `None` if it has been given back.
    pub(crate) fn opens_as(&self) -> Option<(net_group::Kind, u32)> {
        match self.kind {
            Kind::Listener(number) => Some((net_group::Kind::Listener, number)),
            Kind::Connect(socket, ref connect) if connect.under_way => Some((net_group::Kind::Connecting, socket)),
            Kind::Connect(socket, _) => Some((net_group::Kind::Connect, socket)),
            Kind::Stream(socket) if self.fin_sent => Some((net_group::Kind::Finished, socket)),
            Kind::Stream(socket) => Some((net_group::Kind::Stream, socket)),
            Kind::Closed => None,
        }
    }

    pub(crate) fn fin_sent(&self) -> bool {
        self.fin_sent
    }

    pub(crate) fn set_fin_sent(&mut self) {
        self.fin_sent = true;
    }

    /// What it has to tell; whether there is room matters to one that is `blocked`.
    pub(crate) fn ready(&self, stack: &mut Stack, blocked: bool) -> Ready {
        match self.kind {
            Kind::Stream(socket) => stack.stream(socket).map_or(Ready::NOTHING, |stream| stream.ready(blocked)),
            Kind::Listener(number) if !stack.has_accepted(number) => Ready::NOTHING,
            Kind::Listener(_) | Kind::Connect(..) => Ready::READ,
            Kind::Closed => Ready::NOTHING,
        }
    }

    /// The next connection out of a listener. One that has been reset meanwhile has what it brought
    /// before still to be read, and its end.
    pub(crate) fn accept(&self, stack: &mut Stack) -> Accept<Self> {
        let Kind::Listener(number) = self.kind else { return Accept::Empty };
        let Some(Accepted { socket, ends }) = stack.accept(number) else { return Accept::Empty };
        let (stack, options) = (self.stack.clone(), self.options.clone());
        Accept::Taken(Box::new(Self { stack, kind: Kind::Stream(socket), options, local: ends.to, peer: Some(ends.from), fin_sent: false }))
    }

    /// Begins a connect, or looks how far it is; on to the next address for as long as they fail at
    /// once.
    pub(crate) fn connect(&mut self, stack: &mut Stack) -> Connecting {
        loop {
            let Kind::Connect(socket, connect) = &mut self.kind else { return Connecting::Connected };
            let (socket, to) = (*socket, connect.addresses[connect.at]);
            let done = if connect.under_way {
                stack.stream(socket).and_then(|stream| stream.outcome(to))
            } else {
                (connect.under_way, self.peer) = (true, Some(to));
                stack.connect(socket, to, self.options.source).map(|local| self.local = local).err().map(Err)
            };
            match done {
                None => return Connecting::UnderWay(socket as i32),
                Some(Ok(())) => {
                    self.kind = Kind::Stream(socket);
                    return Connecting::Connected;
                }
                Some(Err(why)) if connect.at + 1 == connect.addresses.len() => return Connecting::Failed(why),
                Some(Err(_)) => (connect.at, connect.under_way) = (connect.at + 1, false),
            }
        }
    }

    /// Gives back to the stack what it holds; `abort`: the peer is told by a reset.
    pub(crate) fn release(&mut self, stack: &mut Stack, abort: bool) {
        match core::mem::replace(&mut self.kind, Kind::Closed) {
            Kind::Listener(listener) => stack.close_listener(listener),
            Kind::Connect(socket, _) | Kind::Stream(socket) => stack.hang_up(socket, abort),
            Kind::Closed => {}
        }
    }
}

impl Drop for SmolSocket {
    fn drop(&mut self) {
        // Whoever drops it in a group has released it before, and holds the lock.
        if !matches!(self.kind, Kind::Closed) {
            let shared = self.stack.clone();
            let mut stack = shared.lock();
            self.release(&mut stack, false);
            stack.wake_others(None);
        }
    }
}

impl Socket for SmolSocket {
    fn local_addr(&self) -> Result<SocketAddr, NetError> {
        Ok(self.local)
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn options(&self) -> Result<SockOptions, NetError> {
        Ok(self.options.clone())
    }

    /// Unknown: one device serves all cores.
    fn placement(&self) -> Placement {
        Placement::default()
    }

    fn backend(&self) -> &'static str {
        NAME
    }
}
