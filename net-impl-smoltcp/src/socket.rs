//! A socket, in a group or in none.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use core_reactor::net::{NetError, Placement, SockOptions, Socket};

use crate::NAME;
use crate::options;
use crate::stack::{Shared, Stack};

/// A socket that its application holds. Dropped, it is closed.
pub(crate) struct SmolSocket {
    pub(crate) stack: Arc<Shared>,
    /// What it is, until it is closed.
    pub(crate) kind: Kind,
    pub(crate) options: SockOptions,
    pub(crate) local: SocketAddr,
    pub(crate) peer: Option<SocketAddr>,
    /// The sending side has ended.
    pub(crate) fin_sent: bool,
}

pub(crate) enum Kind {
    /// A listener of the stack.
    Listener(u32),
    /// To be connected, in this place of the stack.
    Connect(u32, Box<Connect>),
    /// A connection in this place of the stack.
    Stream(u32),
    /// Nothing any more.
    Closed,
}

/// A connect: the addresses to try, and how far it is.
pub(crate) struct Connect {
    pub(crate) addresses: Vec<SocketAddr>,
    /// The one that is tried now, or first.
    pub(crate) at: usize,
    /// The stack has been told to.
    pub(crate) under_way: bool,
}

pub(crate) fn listen(stack: Arc<Shared>, at: SocketAddr, options: &SockOptions) -> Result<SmolSocket, NetError> {
    let wants = options::wants(options, stack.sizes)?;
    let (listener, local, backlog) = stack.lock().listen(at, options.backlog, wants)?;
    let options = SockOptions { backlog: Some(backlog), ..options::effective(options, stack.sizes) };
    Ok(SmolSocket { stack, kind: Kind::Listener(listener), options, local, peer: None, fin_sent: false })
}

pub(crate) fn connect(stack: Arc<Shared>, to: &[SocketAddr], options: &SockOptions) -> Result<SmolSocket, NetError> {
    let wants = options::wants(options, stack.sizes)?;
    let first = *to.first().ok_or(NetError::NoAddress)?;
    let place = stack.lock().take_for_connect(wants)?;
    let connect = Box::new(Connect { addresses: to.to_vec(), at: 0, under_way: false });
    let options = options::effective(options, stack.sizes);
    let local = crate::connect::unspecified(&first);
    Ok(SmolSocket { stack, kind: Kind::Connect(place, connect), options, local, peer: Some(first), fin_sent: false })
}

impl SmolSocket {
    /// A connection that a listener with these options took.
    pub(crate) fn accepted(stack: Arc<Shared>, place: u32, listener: &SockOptions, local: SocketAddr, peer: SocketAddr) -> Self {
        let options = SockOptions { backlog: None, ..listener.clone() };
        Self { stack, kind: Kind::Stream(place), options, local, peer: Some(peer), fin_sent: false }
    }

    /// Its place in the stack; a listener's number.
    pub(crate) fn number(&self) -> Option<u32> {
        match self.kind {
            Kind::Listener(number) | Kind::Connect(number, _) | Kind::Stream(number) => Some(number),
            Kind::Closed => None,
        }
    }

    /// Gives back to the stack what it holds; `abort`: the peer is told by a reset.
    pub(crate) fn release(&mut self, stack: &mut Stack, abort: bool) {
        match core::mem::replace(&mut self.kind, Kind::Closed) {
            Kind::Listener(listener) => stack.close_listener(listener),
            Kind::Connect(place, _) | Kind::Stream(place) => stack.hang_up(place, abort),
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
