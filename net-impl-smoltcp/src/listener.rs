//! Listeners: pools of listening sockets, since smoltcp's sockets have no backlog.
//!
//! ```text
//!            SYN           handshake           accept
//!  Listen ───────► SYN-RECEIVED ────► accepted ─────► a connection of the application's
//!    ▲ └──── reset, or no answer ◄┘                      └─ the pool takes another free socket in its place
//! ```

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;
use core::time::Duration;

use core_reactor::Instant;
use core_reactor::net::{NetError, SockOptions};
use net_link::{Ends, Proofs, Verdict};
use smoltcp::socket::tcp::State;
use smoltcp::wire::IpListenEndpoint;

use crate::config::{StackStats, refuse};
use crate::connection::End;
use crate::table::SocketTable;

/// How long a peer has to answer our SYN with an ACK.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How old a half-open connection must at least be to make room for a SYN of which nothing is
/// known. Up to a second more is drawn for each, so that nobody comes too late each time.
const YIELDS: Duration = Duration::from_millis(500);

/// Those of a host, by their numbers.
pub(crate) struct Listeners {
    list: Vec<Option<Listener>>,
    default_backlog: u32,
    /// What has become of SYNs.
    stats: StackStats,
}

struct Listener {
    at: SocketAddr,
    backlog: usize,
    options: SockOptions,
    /// Those that listen or shake hands.
    pool: Vec<Pooled>,
    /// Those that are connected, in order.
    accepted: VecDeque<Accepted>,
}

/// A socket of a pool.
struct Pooled {
    socket: u32,
    half_open: Option<HalfOpen>,
}

/// A connection whose peer has still to answer.
struct HalfOpen {
    since: Instant,
    /// `None` if nobody listens there: smoltcp's unspecified address is of both families, ours of
    /// one.
    ends: Option<Ends>,
    /// Its peer has shown that it is there before it was let in.
    proven: bool,
    /// When it makes room for others.
    yields: Instant,
}

/// A connection that waits to be accepted: its socket and both ends, which smoltcp forgets when it
/// is reset.
#[derive(Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) socket: u32,
    pub(crate) ends: Ends,
}

impl Pooled {
    /// Has it listen, again or for the first time.
    fn listen(&mut self, at: SocketAddr, table: &mut SocketTable) {
        self.half_open = None;
        table.listen(self.socket, IpListenEndpoint { addr: net_link::ip(at.ip()).filter(|ip| !ip.is_unspecified()), port: at.port() });
    }

    /// The same, for one whose peer has not answered.
    fn restart(&mut self, at: SocketAddr, table: &mut SocketTable) {
        table.forget(self.socket);
        self.listen(at, table);
    }
}

impl Listener {
    fn has_listening(&self, table: &SocketTable) -> bool {
        self.pool.iter().any(|pooled| table.state(pooled.socket) == State::Listen)
    }

    /// Takes sockets for those that have become connections, as far as there are free ones.
    fn top_up(&mut self, table: &mut SocketTable) {
        while self.pool.len() + self.accepted.len() < self.backlog
            && let Some(socket) = table.allocate(&self.options)
        {
            let mut pooled = Pooled { socket, half_open: None };
            pooled.listen(self.at, table);
            self.pool.push(pooled);
        }
    }

    /// One that does not listen and makes room for a SYN. Whoever has shown that it is there takes
    /// the place of one that has not; others only that of one that has had its time. So those that
    /// flood take their places from each other.
    fn yielding(&mut self, to_proven: bool, now: Instant) -> Option<&mut Pooled> {
        // One that is not half-open has a reset to send.
        let of = |pooled: &Pooled| pooled.half_open.as_ref().map_or((false, Instant::ZERO), |half| (half.proven, half.yields));
        let first = self.pool.iter_mut().min_by_key(|pooled| of(pooled))?;
        let yields = match (of(first), to_proven) {
            ((false, _), true) => true,
            ((true, _), false) => false,
            ((_, at), _) => now >= at,
        };
        yields.then_some(first)
    }
}

/// Whether a listener at `at` takes what is sent to `to`.
fn takes(at: SocketAddr, to: SocketAddr) -> bool {
    at.port() == to.port() && (at.ip() == to.ip() || at.ip().is_unspecified() && at.is_ipv4() == to.is_ipv4())
}

impl Listeners {
    pub(crate) fn new(default_backlog: u32) -> Self {
        Self { list: Vec::new(), default_backlog, stats: StackStats::default() }
    }

    /// Makes one, at an address of the host with a port. Tells its number and its backlog.
    pub(crate) fn create(&mut self, at: SocketAddr, options: &SockOptions, table: &mut SocketTable) -> Result<(u32, u32), NetError> {
        if self.list.iter().flatten().any(|other| takes(other.at, at) || takes(at, other.at)) {
            return Err(NetError::AddressInUse(at));
        }
        let free = table.free() as u32;
        let granted = match options.backlog {
            Some(asked) if asked > free || asked == 0 => {
                return refuse("backlog", format!("{asked} sockets were asked for, {free} of the stack's are free (StackConfig::sockets)"));
            }
            Some(asked) => asked,
            None if free == 0 => return Err(table.none_free()),
            None => self.default_backlog.clamp(1, free),
        };
        let backlog = granted as usize;
        let (pool, accepted) = (Vec::with_capacity(backlog), VecDeque::with_capacity(backlog));
        let mut new = Listener { at, backlog, options: options.clone(), pool, accepted };
        new.top_up(table);
        let number = self.list.iter().position(Option::is_none).unwrap_or(self.list.len());
        if number == self.list.len() {
            self.list.push(None);
        }
        self.list[number] = Some(new);
        Ok((number as u32, granted))
    }

    /// Ends one, and the connections that nobody has accepted.
    pub(crate) fn destroy(&mut self, number: u32, table: &mut SocketTable) {
        let Some(listener) = self.list[number as usize].take() else { return };
        for Pooled { socket, .. } in listener.pool {
            table.hang_up(socket, table.state(socket) != State::Listen);
        }
        listener.accepted.iter().for_each(|accepted| table.hang_up(accepted.socket, true));
    }

    /// Gives them sockets for those that have become connections.
    pub(crate) fn top_up(&mut self, table: &mut SocketTable) {
        self.list.iter_mut().flatten().for_each(|listener| listener.top_up(table));
    }

    /// The next connection that waits at one.
    pub(crate) fn accept(&mut self, number: u32, table: &mut SocketTable) -> Option<Accepted> {
        let listener = self.list[number as usize].as_mut()?;
        let next = listener.accepted.pop_front()?;
        listener.top_up(table);
        Some(next)
    }

    /// Whether connections wait at one.
    pub(crate) fn has_accepted(&self, number: u32) -> bool {
        self.list[number as usize].as_ref().is_some_and(|listener| !listener.accepted.is_empty())
    }

    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.list.iter().flatten().any(|listener| listener.at.port() == port)
    }

    /// What has become of SYNs.
    pub(crate) fn stats(&self) -> StackStats {
        self.stats
    }

    /// When the first peer that has not answered has had its time.
    pub(crate) fn due(&self) -> Option<Instant> {
        let half_open = self.list.iter().flatten().flat_map(|listener| &listener.pool).filter_map(|pooled| pooled.half_open.as_ref());
        half_open.map(|half| half.since + HANDSHAKE).min()
    }

    /// The one that takes what is sent to an address; no two do.
    fn at(&mut self, to: SocketAddr) -> Option<&mut Listener> {
        self.list.iter_mut().flatten().find(|listener| takes(listener.at, to))
    }

    // ---- Sockets on their way to a connection, or back

    /// Looks at the pools after something has happened.
    pub(crate) fn tend(&mut self, table: &mut SocketTable, proofs: &Proofs) {
        for number in 0..self.list.len() {
            let Some(listener) = &mut self.list[number] else { continue };
            let (at, mut pool) = (listener.at, mem::take(&mut listener.pool));
            let before = pool.len();
            pool.retain_mut(|pooled| self.tend_one(number, at, pooled, table, proofs));
            let Some(listener) = &mut self.list[number] else { continue };
            listener.pool = pool;
            if listener.pool.len() < before {
                listener.top_up(table);
            }
        }
    }

    /// Looks at a socket of the pool of a listener at `at`; whether it stays there.
    fn tend_one(&mut self, number: usize, at: SocketAddr, pooled: &mut Pooled, table: &mut SocketTable, proofs: &Proofs) -> bool {
        let Pooled { socket, half_open } = pooled;
        let (socket, now) = (*socket, table.now());
        match (table.state(socket), half_open) {
            (State::Listen, None) => {}
            // By a reset of its peer.
            (State::Listen, Some(_)) => pooled.listen(at, table),
            // It was listening until now.
            (State::SynReceived, None) => pooled.half_open = Some(self.half_open(socket, table, proofs)),
            (State::SynReceived, Some(half)) if now >= half.since + HANDSHAKE => {
                self.stats.half_open_ended += 1;
                pooled.restart(at, table);
            }
            (State::SynReceived, Some(_)) => {}
            // Also one that has ended again by now: whoever accepts it reads what came, and is
            // told. A closed one has been reset behind the handshake: in it a reset has it listen
            // again, and no limit of time ends it.
            (state, half_open) => {
                let is_closed = state == State::Closed;
                let ends = half_open.as_ref().and_then(|half| half.ends).or_else(|| table.ends(socket).filter(|_| !is_closed));
                let Some(ends) = ends else {
                    pooled.listen(at, table);
                    return true;
                };
                table.set_connected(socket, is_closed.then_some(End::Reset));
                // smoltcp may have given it to a listener of the other family.
                let accepted = Accepted { socket, ends };
                match self.at(ends.to) {
                    Some(listener) => listener.accepted.push_back(accepted),
                    None => self.list[number].iter_mut().for_each(|own| own.accepted.push_back(accepted)),
                }
                return false;
            }
        }
        true
    }

    /// What is to be known of a connection that has begun.
    fn half_open(&mut self, socket: u32, table: &mut SocketTable, proofs: &Proofs) -> HalfOpen {
        let now = table.now();
        let ends = table.ends(socket);
        let heard = ends.filter(|ends| self.at(ends.to).is_some());
        if heard.is_none() {
            table.abort(socket);
        }
        let drawn = Duration::from_millis(ends.map_or(0, |ends| proofs.name(ends) % 1024));
        let proven = ends.is_some_and(|ends| proofs.has(ends, now));
        HalfOpen { since: now, ends: heard, proven, yields: now + YIELDS + drawn }
    }

    // ---- SYNs

    /// Judges a SYN to an address of the host before the sockets see it.
    pub(crate) fn judge(&mut self, syn: Ends, table: &mut SocketTable, proofs: &Proofs) -> Verdict {
        // What the last frames have done comes first: they may have been the SYNs before this one.
        self.tend(table, proofs);
        if table.has_connection(syn) {
            self.stats.syns_repeated += 1;
            return Verdict::Drop;
        }
        let Some(listener) = self.list.iter_mut().flatten().find(|listener| takes(listener.at, syn.to)) else { return Verdict::Admit };
        if !listener.has_listening(table) {
            listener.top_up(table);
        }
        if listener.has_listening(table) {
            return Verdict::Admit;
        }
        let (at, proven) = (listener.at, proofs.has(syn, table.now()));
        if let Some(pooled) = listener.yielding(proven, table.now()) {
            self.stats.half_open_ended += 1;
            pooled.restart(at, table);
            return Verdict::Admit;
        }
        self.stats.syns_dropped += 1;
        // With nobody half-open no proof would make room.
        if proven || listener.pool.is_empty() { Verdict::Drop } else { Verdict::Challenge }
    }
}
