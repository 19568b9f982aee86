//! Listeners: pools of listening sockets, since smoltcp's sockets have no backlog.
//!
//! ```text
//!            SYN           handshake           accept
//!  Listen ───────► SYN-RECEIVED ────► Accepted ─────► a connection of the application's
//!    ▲ └──── reset, or no answer ◄┘                      └─ the pool takes another free socket in its place
//! ```

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use core_reactor::net::NetError;
use smoltcp::socket::tcp::{self, State};
use smoltcp::wire::IpListenEndpoint;

use crate::family;
use crate::gate::Syn;
use crate::linger::wipe;
use crate::place::{End, Role, Wants};
use crate::stack::Stack;

/// How long a peer has to answer our SYN with an ACK.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How old a half-open connection must at least be to make room for a SYN of which nothing is known. Up to a second more is drawn for each, so that nobody comes
/// too late each time.
const YIELDS: Duration = Duration::from_millis(500);

/// What becomes of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on to the sockets.
    Admit,
    /// It is dropped, and its sender tries again.
    Drop,
    /// It is dropped, and its sender is asked to show that it is there.
    Question,
}

pub(crate) struct Listener {
    pub(crate) at: SocketAddr,
    pub(crate) backlog: u32,
    wants: Wants,
    /// Places that listen or shake hands.
    pool: Vec<u32>,
    /// Places that are connected, in order.
    accepted: VecDeque<u32>,
}

impl Listener {
    fn room(&self) -> usize {
        (self.backlog as usize).saturating_sub(self.pool.len() + self.accepted.len())
    }

    fn takes(&self, to: SocketAddr) -> bool {
        let ip = self.at.ip();
        self.at.port() == to.port() && (ip == to.ip() || ip.is_unspecified() && ip.is_ipv4() == to.is_ipv4())
    }
}

impl Stack {
    /// Makes a listener. Tells its number, its address with the real port, and its backlog.
    pub(crate) fn listen(&mut self, at: SocketAddr, backlog: Option<u32>, wants: Wants) -> Result<(u32, SocketAddr, u32), NetError> {
        if !family::of(at.ip()).is_some_and(|ip| ip.is_unspecified() || self.is_own(ip)) {
            return Err(NetError::AddressUnavailable(at));
        }
        let mut at = at;
        if at.port() == 0 {
            at.set_port(self.free_port().ok_or(NetError::AddressInUse(at))?);
        }
        let clashes = |other: &Listener| other.takes(at) || Listener { at, ..Listener::empty(wants) }.takes(other.at);
        if self.listeners.iter().flatten().any(clashes) {
            return Err(NetError::AddressInUse(at));
        }
        let backlog = self.backlog(backlog)?;
        let new = Listener {
            at,
            backlog,
            pool: Vec::with_capacity(backlog as usize),
            accepted: VecDeque::with_capacity(backlog as usize),
            wants,
        };
        let number = self.listeners.iter().position(Option::is_none).unwrap_or(self.listeners.len());
        if number == self.listeners.len() {
            self.listeners.push(None);
        }
        self.listeners[number] = Some(new);
        self.refill(number as u32);
        Ok((number as u32, at, backlog))
    }

    fn backlog(&self, asked: Option<u32>) -> Result<u32, NetError> {
        let free = self.free.len() as u32;
        match asked {
            Some(asked) if asked > free || asked == 0 => {
                let why =
                    format!("{asked} sockets were asked for, {free} of the stack's {} are free (StackConfig::sockets)", self.places.len());
                Err(NetError::Option { option: "backlog", why: why.into() })
            }
            Some(asked) => Ok(asked),
            None if free == 0 => Err(self.none_free()),
            None => Ok(self.default_backlog.clamp(1, free)),
        }
    }

    /// Ends a listener and the connections that nobody has accepted.
    pub(crate) fn close_listener(&mut self, number: u32) {
        let Some(listener) = self.listeners[number as usize].take() else { return };
        for at in listener.pool {
            let handshakes = self.tcp(at).state() != State::Listen;
            self.hang_up(at, handshakes);
        }
        for at in listener.accepted {
            self.hang_up(at, true);
        }
    }

    /// Gives listeners sockets for those that have become connections, as far as there are free ones.
    pub(crate) fn refill_listeners(&mut self) {
        for number in 0..self.listeners.len() {
            if self.listeners[number].as_ref().is_some_and(|listener| listener.room() > 0) {
                self.refill(number as u32);
            }
        }
    }

    fn refill(&mut self, number: u32) {
        while let Some(listener) = &self.listeners[number as usize]
            && listener.room() > 0
        {
            let (at, wants) = (listener.at, listener.wants);
            let Some(place) = self.take_free(Role::Listening(number), wants) else { return };
            // Not refused: the socket is closed and the port is not 0.
            let _ = self.tcp(place).listen(endpoint(at));
            if let Some(listener) = &mut self.listeners[number as usize] {
                listener.pool.push(place);
            }
        }
    }

    /// A listening socket after something has happened: it may be on its way to a connection, or back.
    pub(crate) fn tend_listening(&mut self, at: u32) {
        let Role::Listening(number) = self.places[at as usize].role else { return };
        match self.tcp(at).state() {
            // By a reset of its peer.
            State::Listen if self.places[at as usize].waits => self.renew(at),
            State::Listen => {}
            State::SynReceived => self.tend_half_open(at, number),
            // By a reset behind the handshake: one in it has it listen again, and no limit of time ends it. Whoever accepts it is told.
            State::Closed if self.places[at as usize].ends.is_some() => self.reset_before_accept(at, number),
            State::Closed => self.listen_again(at, number),
            // Also one that has ended again by now: whoever accepts it reads what came, and is told.
            _ => self.connected(at, number),
        }
    }

    fn tend_half_open(&mut self, at: u32, number: u32) {
        let now = self.now;
        let place = &mut self.places[at as usize];
        if !place.waits {
            // It was listening until now.
            (place.waits, place.since) = (true, now);
            if let Some((to, from)) = self.ends(at) {
                let (proofs, syn) = (&self.port.gate().proofs, Syn { from, to });
                let (proven, drawn) = (proofs.has(syn, now), Duration::from_millis(proofs.name(syn) % 1024));
                let place = &mut self.places[at as usize];
                (place.proven, place.yields) = (proven, now + YIELDS + drawn);
            }
            let is_heard = self.listener_of(at).is_some();
            self.places[at as usize].ends = if is_heard { self.ends(at) } else { None };
            if !is_heard {
                // smoltcp's unspecified address is of both families, ours of one.
                self.tcp(at).abort();
                self.unsent = true;
            }
        } else if now >= place.since + HANDSHAKE {
            self.stats.half_open_ended += 1;
            wipe(self.tcp(at));
            self.listen_again(at, number);
        }
    }

    fn listen_again(&mut self, at: u32, number: u32) {
        self.renew(at);
        let Some(listener) = &self.listeners[number as usize] else { return };
        let endpoint = endpoint(listener.at);
        if self.tcp(at).remote_endpoint().is_none() {
            let _ = self.tcp(at).listen(endpoint);
        }
    }

    /// The handshake is done.
    fn connected(&mut self, at: u32, pool: u32) {
        let ends = self.ends(at);
        let place = &mut self.places[at as usize];
        place.ends = place.ends.or(ends);
        let number = self.listener_of(at).unwrap_or(pool);
        if let Some(listener) = &mut self.listeners[pool as usize] {
            listener.pool.retain(|place| *place != at);
        }
        if let Some(listener) = &mut self.listeners[number as usize] {
            listener.accepted.push_back(at);
            let place = &mut self.places[at as usize];
            (place.role, place.waits) = (Role::Accepted(number), false);
        }
        self.refill(pool);
    }

    fn reset_before_accept(&mut self, at: u32, pool: u32) {
        self.connected(at, pool);
        self.places[at as usize].end = Some(End::Reset);
    }

    /// The listener that a connection is for: that of its very address before that of all.
    fn listener_of(&mut self, at: u32) -> Option<u32> {
        let (local, _) = self.places[at as usize].ends.or_else(|| self.ends(at))?;
        self.listener_at(local)
    }

    fn listener_at(&self, to: SocketAddr) -> Option<u32> {
        let takes = |any: bool| move |l: &Option<Listener>| l.as_ref().is_some_and(|l| l.takes(to) && l.at.ip().is_unspecified() == any);
        self.listeners.iter().position(takes(false)).or_else(|| self.listeners.iter().position(takes(true))).map(|number| number as u32)
    }

    /// Judges a SYN before the sockets see it.
    pub(crate) fn judge(&mut self, syn: Syn) -> Verdict {
        // What the last frames have done comes first: they may have been the SYNs before this one.
        for at in 0..self.places.len() {
            self.tend_listening(at as u32);
        }
        if !family::of(syn.to.ip()).is_some_and(|ip| self.is_own(ip)) {
            // smoltcp passes over it; no room is made for it.
            return Verdict::Admit;
        }
        if self.is_there(syn) {
            self.stats.syns_repeated += 1;
            return Verdict::Drop;
        }
        let Some(number) = self.listener_at(syn.to) else { return Verdict::Admit };
        if self.has_listening(number) {
            return Verdict::Admit;
        }
        let now = self.now;
        let proven = self.port.gate().proofs.has(syn, now);
        if self.make_room(number, proven) {
            return Verdict::Admit;
        }
        self.stats.syns_dropped += 1;
        // With nobody half-open no proof would make room.
        let full = self.listeners[number as usize].as_ref().is_none_or(|listener| listener.pool.is_empty());
        if proven || full { Verdict::Drop } else { Verdict::Question }
    }

    /// Whether a connection between the two exists that a SYN must not disturb.
    fn is_there(&self, syn: Syn) -> bool {
        self.places.iter().filter(|place| place.role != Role::Free).any(|place| {
            let socket = self.sockets.get::<tcp::Socket>(place.handle);
            let is = |end: Option<smoltcp::wire::IpEndpoint>, at: SocketAddr| end.is_some_and(|end| SocketAddr::from(end) == at);
            let over = matches!(socket.state(), State::Closed | State::Listen | State::SynSent | State::TimeWait);
            !over && is(socket.local_endpoint(), syn.to) && is(socket.remote_endpoint(), syn.from)
        })
    }

    fn has_listening(&mut self, number: u32) -> bool {
        let Some(listener) = &self.listeners[number as usize] else { return false };
        let listens = |at: &u32| self.sockets.get::<tcp::Socket>(self.places[*at as usize].handle).state() == State::Listen;
        listener.pool.iter().any(listens)
    }

    /// Has a socket listen again whose peer has not answered. Whoever has shown that it is there takes the place of one that
    /// has not; others only that of one that has had its time. So those that flood take their places from each other.
    fn make_room(&mut self, number: u32, proven: bool) -> bool {
        self.refill(number);
        if self.has_listening(number) {
            return true;
        }
        let Some(listener) = &self.listeners[number as usize] else { return false };
        let oldest = listener.pool.iter().copied().min_by_key(|at| {
            let place = &self.places[*at as usize];
            (place.proven, place.yields)
        });
        let Some(at) = oldest.filter(|at| self.yields(*at, proven)) else { return false };
        self.stats.half_open_ended += 1;
        wipe(self.tcp(at));
        self.listen_again(at, number);
        true
    }

    /// Whether a half-open connection makes room for a SYN.
    fn yields(&self, at: u32, to_proven: bool) -> bool {
        let place = &self.places[at as usize];
        match (place.proven, to_proven) {
            (false, true) => true,
            (true, false) => false,
            _ => self.now >= place.yields,
        }
    }

    /// The next connection that waits at a listener.
    pub(crate) fn accept(&mut self, number: u32) -> Option<u32> {
        let at = self.listeners[number as usize].as_mut()?.accepted.pop_front()?;
        self.places[at as usize].role = Role::Owned;
        self.refill(number);
        Some(at)
    }

    /// Whether connections wait at a listener.
    pub(crate) fn has_accepted(&self, number: u32) -> bool {
        self.listeners[number as usize].as_ref().is_some_and(|listener| !listener.accepted.is_empty())
    }
}

impl Listener {
    fn empty(wants: Wants) -> Self {
        Self { at: SocketAddr::from(([0, 0, 0, 0], 0)), backlog: 0, wants, pool: Vec::new(), accepted: VecDeque::new() }
    }
}

fn endpoint(at: SocketAddr) -> IpListenEndpoint {
    IpListenEndpoint { addr: family::of(at.ip()).filter(|ip| !ip.is_unspecified()), port: at.port() }
}
