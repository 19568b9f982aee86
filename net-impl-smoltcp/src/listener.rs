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
use core::net::SocketAddr;
use core::time::Duration;

use core_reactor::Instant;
use core_reactor::net::NetError;
use smoltcp::socket::tcp::State;
use smoltcp::wire::IpListenEndpoint;

use crate::config::StackStats;
use crate::connection::End;
use crate::convert;
use crate::frame::Ends;
use crate::options::Wants;
use crate::place::Places;
use crate::proof::Proofs;

/// How long a peer has to answer our SYN with an ACK.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How old a half-open connection must at least be to make room for a SYN of which nothing is
/// known. Up to a second more is drawn for each, so that nobody comes too late each time.
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

/// Those of a host, by their numbers.
pub(crate) struct Listeners {
    list: Vec<Option<Listener>>,
    default_backlog: u32,
    /// What has become of SYNs.
    stats: StackStats,
}

struct Listener {
    at: SocketAddr,
    backlog: u32,
    wants: Wants,
    /// Those that listen or shake hands.
    pool: Vec<Pooled>,
    /// Those that are connected, in order.
    accepted: VecDeque<Accepted>,
}

/// A socket of a pool.
#[derive(Clone, Copy)]
struct Pooled {
    place: u32,
    half_open: Option<HalfOpen>,
}

/// A connection whose peer has still to answer.
#[derive(Clone, Copy)]
struct HalfOpen {
    since: Instant,
    /// `None` if nobody listens there: smoltcp's unspecified address is of both families, ours of
    /// one.
    ends: Option<(SocketAddr, SocketAddr)>,
    /// Its peer has shown that it is there before it was let in.
    proven: bool,
    /// When it makes room for others.
    yields: Instant,
}

/// A connection that waits to be accepted: its place and both ends, which smoltcp forgets when it is
/// reset.
pub(crate) type Accepted = (u32, SocketAddr, SocketAddr);

impl Listener {
    fn room(&self) -> usize {
        (self.backlog as usize).saturating_sub(self.pool.len() + self.accepted.len())
    }

    fn endpoint(&self) -> IpListenEndpoint {
        IpListenEndpoint { addr: convert::ip(self.at.ip()).filter(|ip| !ip.is_unspecified()), port: self.at.port() }
    }

    fn has_listening(&self, places: &Places) -> bool {
        self.pool.iter().any(|pooled| places.state(pooled.place) == State::Listen)
    }

    /// Takes sockets for those that have become connections, as far as there are free ones.
    fn refill(&mut self, places: &mut Places) {
        while self.room() > 0
            && let Some(place) = places.take(self.wants)
        {
            places.listen(place, self.endpoint());
            self.pool.push(Pooled { place, half_open: None });
        }
    }

    /// Has a socket of the pool listen again.
    fn renew(&mut self, index: usize, places: &mut Places) {
        places.listen(self.pool[index].place, self.endpoint());
        self.pool[index].half_open = None;
    }

    /// The same, for one whose peer has not answered.
    fn give_up(&mut self, index: usize, places: &mut Places) {
        places.forget(self.pool[index].place);
        self.renew(index, places);
    }

    /// One that does not listen and makes room for a SYN. Whoever has shown that it is there takes
    /// the place of one that has not; others only that of one that has had its time. So those that
    /// flood take their places from each other.
    fn yielding(&self, to_proven: bool, now: Instant) -> Option<usize> {
        // One that is not half-open has a reset to send.
        let of = |pooled: &Pooled| pooled.half_open.map_or((false, Instant::ZERO), |half| (half.proven, half.yields));
        let (index, (proven, at)) = self.pool.iter().map(of).enumerate().min_by_key(|(_, it)| *it)?;
        let yields = match (proven, to_proven) {
            (false, true) => true,
            (true, false) => false,
            _ => now >= at,
        };
        yields.then_some(index)
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
    pub(crate) fn open(&mut self, at: SocketAddr, backlog: Option<u32>, wants: Wants, places: &mut Places) -> Result<(u32, u32), NetError> {
        if self.list.iter().flatten().any(|other| takes(other.at, at) || takes(at, other.at)) {
            return Err(NetError::AddressInUse(at));
        }
        let backlog = self.backlog(backlog, places)?;
        let room = backlog as usize;
        let mut new = Listener { at, backlog, wants, pool: Vec::with_capacity(room), accepted: VecDeque::with_capacity(room) };
        new.refill(places);
        let number = self.list.iter().position(Option::is_none).unwrap_or(self.list.len());
        if number == self.list.len() {
            self.list.push(None);
        }
        self.list[number] = Some(new);
        Ok((number as u32, backlog))
    }

    fn backlog(&self, asked: Option<u32>, places: &Places) -> Result<u32, NetError> {
        let (free, all) = (places.free() as u32, places.len());
        match asked {
            Some(asked) if asked > free || asked == 0 => {
                let why = format!("{asked} sockets were asked for, {free} of the stack's {all} are free (StackConfig::sockets)");
                Err(NetError::Option { option: "backlog", why: why.into() })
            }
            Some(asked) => Ok(asked),
            None if free == 0 => Err(places.none_free()),
            None => Ok(self.default_backlog.clamp(1, free)),
        }
    }

    /// Ends one, and the connections that nobody has accepted.
    pub(crate) fn close(&mut self, number: u32, places: &mut Places) {
        let Some(listener) = self.list[number as usize].take() else { return };
        for Pooled { place, .. } in listener.pool {
            places.hang_up(place, places.state(place) != State::Listen);
        }
        listener.accepted.iter().for_each(|(place, ..)| places.hang_up(*place, true));
    }

    /// Gives them sockets for those that have become connections.
    pub(crate) fn refill(&mut self, places: &mut Places) {
        self.list.iter_mut().flatten().for_each(|listener| listener.refill(places));
    }

    /// The next connection that waits at one.
    pub(crate) fn accept(&mut self, number: u32, places: &mut Places) -> Option<Accepted> {
        let listener = self.list[number as usize].as_mut()?;
        let next = listener.accepted.pop_front()?;
        listener.refill(places);
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
        let half_open = self.list.iter().flatten().flat_map(|listener| &listener.pool).filter_map(|pooled| pooled.half_open);
        half_open.map(|half| half.since + HANDSHAKE).min()
    }

    /// The one that takes what is sent to an address; no two do.
    fn at(&self, to: SocketAddr) -> Option<usize> {
        self.list.iter().position(|listener| listener.as_ref().is_some_and(|listener| takes(listener.at, to)))
    }

    // ---- Sockets on their way to a connection, or back

    /// Looks at the pools after something has happened.
    pub(crate) fn tend(&mut self, places: &mut Places, proofs: &Proofs) {
        for number in 0..self.list.len() {
            let mut index = 0;
            while let Some(pooled) = self.list[number].as_ref().and_then(|listener| listener.pool.get(index)).copied() {
                // One that has left is followed by the next in its place.
                index += usize::from(self.tend_one((number, index), pooled, places, proofs));
            }
        }
    }

    /// Whether it stays in its pool.
    fn tend_one(&mut self, (number, index): (usize, usize), pooled: Pooled, places: &mut Places, proofs: &Proofs) -> bool {
        let Some(listener) = &mut self.list[number] else { return false };
        let Pooled { place, half_open } = pooled;
        match places.state(place) {
            // By a reset of its peer.
            State::Listen if half_open.is_some() => listener.renew(index, places),
            State::Listen => {}
            State::SynReceived => self.tend_half_open((number, index), pooled, places, proofs),
            state => {
                // Also one that has ended again by now: whoever accepts it reads what came, and is
                // told. A closed one has been reset behind the handshake: in it a reset has it
                // listen again, and no limit of time ends it.
                let ends = half_open.and_then(|half| half.ends).or_else(|| places.ends(place).filter(|_| state != State::Closed));
                let Some(ends) = ends else {
                    listener.renew(index, places);
                    return true;
                };
                self.connected((number, index), ends, (state == State::Closed).then_some(End::Reset), places);
                return false;
            }
        }
        true
    }

    fn tend_half_open(&mut self, (number, index): (usize, usize), pooled: Pooled, places: &mut Places, proofs: &Proofs) {
        let now = places.now();
        match pooled.half_open {
            // It was listening until now.
            None => {
                let ends = places.ends(pooled.place);
                let heard = ends.filter(|(to, _)| self.at(*to).is_some());
                if heard.is_none() {
                    places.abort(pooled.place);
                }
                let who = ends.map(|(to, from)| Ends { from, to });
                let drawn = who.map_or(0, |who| proofs.name(who) % 1024);
                let (proven, yields) = (who.is_some_and(|who| proofs.has(who, now)), now + YIELDS + Duration::from_millis(drawn));
                let Some(listener) = &mut self.list[number] else { return };
                listener.pool[index].half_open = Some(HalfOpen { since: now, ends: heard, proven, yields });
            }
            Some(half) if now >= half.since + HANDSHAKE => {
                self.stats.half_open_ended += 1;
                self.list[number].iter_mut().for_each(|listener| listener.give_up(index, places));
            }
            Some(_) => {}
        }
    }

    /// The handshake is done.
    fn connected(&mut self, (number, index): (usize, usize), (to, from): (SocketAddr, SocketAddr), end: Option<End>, places: &mut Places) {
        // smoltcp may have given it to a listener of the other family.
        let is_for = self.at(to).unwrap_or(number);
        let Some(Pooled { place, .. }) = self.list[number].as_mut().map(|listener| listener.pool.remove(index)) else { return };
        places.set_connected(place, end);
        if let Some(listener) = &mut self.list[is_for] {
            listener.accepted.push_back((place, to, from));
        }
        self.list[number].iter_mut().for_each(|listener| listener.refill(places));
    }

    // ---- SYNs

    /// Judges a SYN to an address of the host before the sockets see it.
    pub(crate) fn judge(&mut self, syn: Ends, places: &mut Places, proofs: &Proofs) -> Verdict {
        // What the last frames have done comes first: they may have been the SYNs before this one.
        self.tend(places, proofs);
        if places.has_connection((syn.to, syn.from)) {
            self.stats.syns_repeated += 1;
            return Verdict::Drop;
        }
        let Some(listener) = self.at(syn.to).and_then(|number| self.list[number].as_mut()) else { return Verdict::Admit };
        if !listener.has_listening(places) {
            listener.refill(places);
        }
        if listener.has_listening(places) {
            return Verdict::Admit;
        }
        let proven = proofs.has(syn, places.now());
        if let Some(index) = listener.yielding(proven, places.now()) {
            self.stats.half_open_ended += 1;
            listener.give_up(index, places);
            return Verdict::Admit;
        }
        self.stats.syns_dropped += 1;
        // With nobody half-open no proof would make room.
        if proven || listener.pool.is_empty() { Verdict::Drop } else { Verdict::Question }
    }
}
