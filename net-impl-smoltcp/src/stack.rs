//! The stack: one interface and its sockets, behind a lock that the groups of all cores share.
//!
//! A group takes the lock for each thing that its engine asks. On one core nobody else ever holds
//! it, and it costs an atomic exchange; why groups of several cores may share it all the same, and
//! what that costs, is in `docs/decisions/0070-one-stack-one-lock.md`.

use alloc::vec::Vec;
use core::iter;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::task::Waker;

use core_reactor::net::{NetError, SockOptions};
use core_reactor::{Instant, WaitSource};
use net_link::{Addresses, Link, NetDevice};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};
use spin::Mutex;

use crate::config::{StackConfig, StackStats};
use crate::connection::{End, Stream};
use crate::listener::{Accepted, Listeners};
use crate::table::SocketTable;

/// Frames that one poll takes before the sockets have their turn.
const FRAMES_A_TURN: usize = 64;

/// Segments that one poll sends for a socket.
const SEGMENTS_A_TURN: usize = 32;

/// A stack as all handles to it share it. Not to be locked while anything is dropped that may be a
/// socket.
pub(crate) type Shared = Mutex<Stack>;

pub(crate) struct Stack {
    link: Link,
    table: SocketTable,
    listeners: Listeners,
    config: StackConfig,
    next_port: u16,
    /// Counts what may have changed a socket, so that a group sees whether it has to look at its
    /// own.
    changes: u64,
    /// Frames may be left in the device.
    more: bool,
    /// When the stack has to be polled next, if that was found out since the last change.
    due: Option<Option<Instant>>,
    /// The groups, to be woken when one of them has let something in for another.
    watchers: Vec<(u64, Waker)>,
    /// What the next group is named by.
    next_watcher: u64,
    frames_in: u64,
}

impl Stack {
    pub(crate) fn new<D: NetDevice + Send + 'static>(device: D, config: &StackConfig) -> Result<Self, NetError> {
        config.check()?;
        let mut table = SocketTable::new(config);
        let link = Link::new(device, config.hardware, &config.addresses, config.seed, table.sockets());
        Ok(Self {
            link: link.ok_or(NetError::Unusable("the device of backend smoltcp is no Ethernet device".into()))?,
            table,
            listeners: Listeners::new(config.backlog),
            config: config.clone(),
            // RFC 6335: the dynamic ports.
            next_port: 49_152 + (config.seed % 16_384) as u16,
            changes: 0,
            more: true,
            due: None,
            watchers: Vec::new(),
            next_watcher: 0,
            frames_in: 0,
        })
    }

    /// What it was started with.
    pub(crate) fn config(&self) -> &StackConfig {
        &self.config
    }

    // ---- Turns

    /// One turn: what has arrived goes into the sockets, and what they have to say goes out.
    /// Bounded.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.table.begin_turn(now);
        if self.ingress() {
            self.changed();
        }
        if self.table.is_unsent() || self.due().is_some_and(|at| at <= self.table.now()) {
            self.egress();
        }
    }

    /// Something has happened that may concern any socket, and that peers may have to be told of.
    fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.table.set_unsent(true);
    }

    /// Takes frames out of the device; whether there were any.
    fn ingress(&mut self) -> bool {
        let now = self.table.now();
        let mut left = FRAMES_A_TURN;
        loop {
            left -= self.link.ingress(left, now, self.table.sockets());
            let Some(syn) = self.link.syn() else { break };
            let verdict = self.listeners.judge(syn, &mut self.table, self.link.proofs());
            self.link.judge(verdict, now);
        }
        self.more = left == 0;
        if left == FRAMES_A_TURN {
            return false;
        }
        self.frames_in += (FRAMES_A_TURN - left) as u64;
        let end = if self.link.take_reset() { End::Reset } else { End::Orderly };
        self.settle(end);
        true
    }

    /// Sends what there is to send, at most so much that the next poll is not kept waiting.
    fn egress(&mut self) {
        let now = self.table.now();
        self.table.set_unsent(false);
        self.due = None;
        self.table.tend_closing();
        if self.table.free() > 0 {
            self.listeners.top_up(&mut self.table);
        }
        for round in 0.. {
            if !self.link.egress(now, self.table.sockets()) {
                break;
            }
            if round == SEGMENTS_A_TURN {
                self.table.set_unsent(true);
                break;
            }
        }
        self.link.seek_neighbours(self.table.peers(), now);
        self.changes = self.changes.wrapping_add(1);
        // What has not ended by what arrived has ended because nothing did.
        self.settle(End::TimedOut);
    }

    /// Looks at every socket after something has happened: has it ended, is a connection there, may
    /// it stay unanswered.
    fn settle(&mut self, end: End) {
        self.listeners.tend(&mut self.table, self.link.proofs());
        self.table.tend(end);
        if self.link.follow_lease(self.table.sockets()) {
            self.changed();
        }
    }

    /// Sends what waits to be sent.
    pub(crate) fn flush(&mut self) {
        if self.table.is_unsent() {
            self.egress();
        }
    }

    /// Tells of what has changed since the caller has looked, by a count.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    // ---- Sleep

    /// Whether there is something to do at once.
    fn has_more(&mut self) -> bool {
        self.table.is_unsent() || self.more || self.link.has_frames()
    }

    /// When the stack has to be polled next, if nothing arrives. Found out once after each change,
    /// because it means to look at every socket.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        if self.has_more() {
            return Some(Instant::ZERO);
        }
        let found_out = || {
            let of_protocol = self.link.due(self.table.now(), self.table.sockets());
            [of_protocol, self.table.due(), self.listeners.due()].into_iter().flatten().min()
        };
        *self.due.get_or_insert_with(found_out)
    }

    /// Prepares for a sleep of the caller's core; false if there is something to do.
    pub(crate) fn arm(&mut self) -> bool {
        !self.has_more() && self.link.arm()
    }

    pub(crate) fn disarm(&mut self) {
        self.link.disarm();
    }

    pub(crate) fn wait_source(&self) -> Option<WaitSource> {
        self.link.wait_source()
    }

    // ---- Groups

    /// Takes up a group; tells its name, which no other ever has.
    pub(crate) fn add_watcher(&mut self, waker: Waker) -> u64 {
        let name = self.next_watcher;
        self.next_watcher += 1;
        self.watchers.push((name, waker));
        name
    }

    /// A group ends. The last one takes leave of its peers; nobody polls for it after this.
    pub(crate) fn remove_watcher(&mut self, name: u64) {
        self.watchers.retain(|(of, _)| *of != name);
        self.egress();
        self.wake_others(None);
    }

    /// Wakes every group but the caller's.
    #[inline]
    pub(crate) fn wake_others(&self, caller: Option<u64>) {
        self.watchers.iter().filter(|(name, _)| Some(*name) != caller).for_each(|(_, waker)| waker.wake_by_ref());
    }

    // ---- Reports

    pub(crate) fn stats(&self) -> StackStats {
        let (frames_in, free, closing) = (self.frames_in, self.table.free(), self.table.closing());
        StackStats { frames_in, free, closing, ..self.listeners.stats() }
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.link.addresses()
    }

    // ---- Sockets

    /// Makes a listener. Tells its number, its address with the real port, and its backlog.
    pub(crate) fn listen(&mut self, mut at: SocketAddr, options: &SockOptions) -> Result<(u32, SocketAddr, u32), NetError> {
        if !net_link::ip(at.ip()).is_some_and(|ip| ip.is_unspecified() || self.link.is_own(at.ip())) {
            return Err(NetError::AddressUnavailable(at));
        }
        if at.port() == 0 {
            at.set_port(self.free_port().ok_or(NetError::AddressInUse(at))?);
        }
        let (number, backlog) = self.listeners.create(at, options, &mut self.table)?;
        Ok((number, at, backlog))
    }

    pub(crate) fn close_listener(&mut self, number: u32) {
        self.listeners.destroy(number, &mut self.table);
    }

    /// The next connection that waits at a listener.
    pub(crate) fn accept(&mut self, number: u32) -> Option<Accepted> {
        self.listeners.accept(number, &mut self.table)
    }

    pub(crate) fn has_accepted(&self, number: u32) -> bool {
        self.listeners.has_accepted(number)
    }

    /// A socket that is to be connected.
    pub(crate) fn allocate(&mut self, options: &SockOptions) -> Result<u32, NetError> {
        self.table.allocate(options).ok_or_else(|| self.table.none_free())
    }

    /// Whether a connect can come from there now.
    pub(crate) fn check_source(&self, source: Option<SocketAddr>) -> Result<(), NetError> {
        match source {
            Some(at) if !at.ip().is_unspecified() && !self.link.is_own(at.ip()) => Err(NetError::AddressUnavailable(at)),
            Some(at) if at.port() != 0 && self.has_port(at.port()) => Err(NetError::AddressInUse(at)),
            _ => Ok(()),
        }
    }

    /// Tells it to connect, from `source` if there is one. Tells its own address.
    pub(crate) fn connect(&mut self, socket: u32, to: SocketAddr, source: Option<SocketAddr>) -> Result<SocketAddr, NetError> {
        self.check_source(source)?;
        let nobody = source.unwrap_or(unspecified(&to));
        if nobody.is_ipv4() != to.is_ipv4() {
            return Err(NetError::Unreachable(to));
        }
        let port = match nobody.port() {
            0 => self.free_port().ok_or(NetError::AddressUnavailable(nobody))?,
            port => port,
        };
        let from = IpListenEndpoint { addr: net_link::ip(nobody.ip()).filter(|ip| !ip.is_unspecified()), port };
        let remote = net_link::ip(to.ip()).filter(|_| to.port() != 0).ok_or(NetError::Unreachable(to))?;
        let way = self.link.way_to(remote).ok_or(NetError::Unreachable(to))?;
        self.table.connect(socket, way, IpEndpoint::new(remote, to.port()), from).map_err(|_| NetError::Unreachable(to))?;
        Ok(self.table.ends(socket).map_or(nobody, |ends| ends.to))
    }

    /// A port that nobody here uses.
    fn free_port(&mut self) -> Option<u16> {
        let after = |port| if port == u16::MAX { 49_152 } else { port + 1 };
        let mut ports = iter::successors(Some(self.next_port), |port| Some(after(*port))).take(16_384);
        let free = ports.find(|port| !self.has_port(*port))?;
        self.next_port = after(free);
        Some(free)
    }

    fn has_port(&self, port: u16) -> bool {
        self.listeners.has_port(port) || self.table.has_port(port)
    }

    /// The connection in a socket.
    #[inline]
    pub(crate) fn stream(&mut self, socket: u32) -> Option<Stream<'_>> {
        self.table.stream(socket)
    }

    /// The application is done with a socket. What is queued in it still goes out, then FIN; or a
    /// reset, if it is to be aborted.
    pub(crate) fn hang_up(&mut self, socket: u32, abort: bool) {
        self.table.hang_up(socket, abort);
    }
}

/// What a socket is bound to that is bound to nothing, in the family of `to`.
pub(crate) fn unspecified(to: &SocketAddr) -> SocketAddr {
    let ip = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(ip, 0)
}
