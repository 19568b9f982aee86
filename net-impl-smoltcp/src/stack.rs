//! The stack: one interface and its sockets, behind a lock that the groups of all cores share.
//!
//! A group takes the lock for each thing that its engine asks. On one core nobody else ever holds
//! it, and it costs an atomic exchange; why groups of several cores may share it all the same, and
//! what that costs, is in `docs/decisions/0070-one-stack-one-lock.md`.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::task::Waker;

use core_reactor::net::NetError;
use core_reactor::{Instant, WaitSource};
use smoltcp::wire::IpEndpoint;
use spin::{Mutex, MutexGuard};

use crate::config::{Addresses, StackConfig, StackStats};
use crate::connection::{End, Stream};
use crate::convert;
use crate::device::NetDevice;
#[cfg(feature = "dhcp")]
use crate::dhcp::Lease;
use crate::link::Link;
use crate::listener::{Accepted, Listeners, Verdict};
use crate::neighbours::Neighbours;
use crate::options::{Sizes, Wants};
use crate::place::Places;

/// Frames that one poll takes before the sockets have their turn.
const FRAMES_A_TURN: usize = 64;

/// Segments that one poll sends for a socket.
const SEGMENTS_A_TURN: usize = 32;

/// What all handles to a stack share.
pub(crate) struct Shared {
    stack: Mutex<Stack>,
    sizes: Sizes,
}

impl Shared {
    pub(crate) fn new<D: NetDevice + Send + 'static>(device: D, config: &StackConfig) -> Result<Self, NetError> {
        let sizes = Sizes { recv_buf: config.recv_buf, send_buf: config.send_buf };
        Ok(Self { stack: Mutex::new(Stack::new(Link::new(device, config)?, config)), sizes })
    }

    /// The stack. Not to be held while anything is dropped that may be a socket.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock()
    }

    /// The buffers of each socket.
    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }
}

pub(crate) struct Stack {
    link: Link,
    places: Places,
    listeners: Listeners,
    neighbours: Neighbours,
    #[cfg(feature = "dhcp")]
    lease: Option<Lease>,
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
    fn new(link: Link, config: &StackConfig) -> Self {
        #[cfg_attr(not(feature = "dhcp"), expect(unused_mut, reason = "the lease has a socket of its own"))]
        let mut places = Places::new(config);
        Self {
            link,
            #[cfg(feature = "dhcp")]
            lease: matches!(config.addresses, Addresses::Dhcp).then(|| Lease::new(places.sockets())),
            neighbours: Neighbours::new(places.len()),
            places,
            listeners: Listeners::new(config.backlog),
            // RFC 6335: the dynamic ports.
            next_port: 49_152 + (config.seed % 16_384) as u16,
            changes: 0,
            more: true,
            due: None,
            watchers: Vec::new(),
            next_watcher: 0,
            frames_in: 0,
        }
    }

    // ---- Turns

    /// One turn: what has arrived goes into the sockets, and what they have to say goes out.
    /// Bounded.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.places.begin_turn(now);
        if self.ingress() {
            self.changed();
        }
        if self.places.is_unsent() || self.due().is_some_and(|at| at <= self.places.now()) {
            self.egress();
        }
    }

    /// Something has happened that may concern any socket, and that peers may have to be told of.
    fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.places.set_unsent(true);
    }

    /// Takes frames out of the device; whether there were any.
    fn ingress(&mut self) -> bool {
        let now = self.places.now();
        let mut left = FRAMES_A_TURN;
        loop {
            left -= self.link.ingress(left, now, self.places.sockets());
            let Some(syn) = self.link.gate().syn() else { break };
            // smoltcp passes over one to somebody else; no room is made for it.
            let is_own = self.link.is_own(syn.to.ip());
            let mut judge = || self.listeners.judge(syn, &mut self.places, self.link.gate().proofs());
            let verdict = if is_own { judge() } else { Verdict::Admit };
            if verdict == Verdict::Question {
                self.link.question(now);
            }
            self.link.gate().judge(verdict == Verdict::Admit);
        }
        self.more = left == 0;
        if left == FRAMES_A_TURN {
            return false;
        }
        self.frames_in += (FRAMES_A_TURN - left) as u64;
        let end = if self.link.gate().take_reset() { End::Reset } else { End::Orderly };
        self.settle(end);
        true
    }

    /// Sends what there is to send, at most so much that the next poll is not kept waiting.
    fn egress(&mut self) {
        let now = self.places.now();
        self.places.set_unsent(false);
        self.due = None;
        self.places.tend_closing();
        if self.places.free() > 0 {
            self.listeners.refill(&mut self.places);
        }
        for round in 0.. {
            if !self.link.egress(now, self.places.sockets()) {
                break;
            }
            if round == SEGMENTS_A_TURN {
                self.places.set_unsent(true);
                break;
            }
        }
        if self.link.gate().take_unsent() {
            self.neighbours.ask(&self.places, &mut self.link);
        }
        self.changes = self.changes.wrapping_add(1);
        // What has not ended by what arrived has ended because nothing did.
        self.settle(End::TimedOut);
    }

    /// Looks at every socket after something has happened: has it ended, is a connection there, may
    /// it stay unanswered.
    fn settle(&mut self, end: End) {
        self.listeners.tend(&mut self.places, self.link.gate().proofs());
        self.places.tend(end);
        #[cfg(feature = "dhcp")]
        if let Some((own, gateway)) = self.lease.as_mut().and_then(|lease| lease.news(self.places.sockets())) {
            self.link.configure(own.as_slice(), gateway.as_slice());
            self.changed();
        }
    }

    /// Sends what waits to be sent.
    pub(crate) fn flush(&mut self) {
        if self.places.is_unsent() {
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
        self.places.is_unsent() || self.more || self.link.gate().has_frames()
    }

    /// When the stack has to be polled next, if nothing arrives. Found out once after each change,
    /// because it means to look at every socket.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        if self.has_more() {
            return Some(Instant::ZERO);
        }
        let found_out = || {
            let of_protocol = self.link.due(self.places.now(), self.places.sockets());
            [of_protocol, self.places.due(), self.listeners.due()].into_iter().flatten().min()
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
        let (frames_in, free, closing) = (self.frames_in, self.places.free(), self.places.closing());
        StackStats { frames_in, free, closing, ..self.listeners.stats() }
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.link.addresses()
    }

    // ---- Sockets

    /// Makes a listener. Tells its number, its address with the real port, and its backlog.
    pub(crate) fn listen(&mut self, mut at: SocketAddr, backlog: Option<u32>, wants: Wants) -> Result<(u32, SocketAddr, u32), NetError> {
        if !convert::ip(at.ip()).is_some_and(|ip| ip.is_unspecified() || self.link.is_own(at.ip())) {
            return Err(NetError::AddressUnavailable(at));
        }
        if at.port() == 0 {
            at.set_port(self.free_port().ok_or(NetError::AddressInUse(at))?);
        }
        let (number, backlog) = self.listeners.open(at, backlog, wants, &mut self.places)?;
        Ok((number, at, backlog))
    }

    pub(crate) fn close_listener(&mut self, number: u32) {
        self.listeners.close(number, &mut self.places);
    }

    /// The next connection that waits at a listener.
    pub(crate) fn accept(&mut self, number: u32) -> Option<Accepted> {
        self.listeners.accept(number, &mut self.places)
    }

    pub(crate) fn has_accepted(&self, number: u32) -> bool {
        self.listeners.has_accepted(number)
    }

    /// A socket that is to be connected.
    pub(crate) fn take(&mut self, wants: Wants) -> Result<u32, NetError> {
        self.places.take(wants).ok_or_else(|| self.places.none_free())
    }

    /// Tells it to connect. Tells its own address.
    pub(crate) fn connect(&mut self, place: u32, to: SocketAddr) -> Result<SocketAddr, NetError> {
        let way = convert::ip(to.ip()).filter(|remote| to.port() != 0 && self.link.has_way(*remote));
        let remote = way.ok_or(NetError::Unreachable(to))?;
        let nobody = convert::unspecified(&to);
        let port = self.free_port().ok_or(NetError::AddressUnavailable(nobody))?;
        let cx = self.link.way_to(remote);
        self.places.connect(place, cx, IpEndpoint::new(remote, to.port()), port).map_err(|_| NetError::Unreachable(to))?;
        Ok(self.places.ends(place).map_or(nobody, |(local, _)| local))
    }

    /// A port that nobody here uses.
    fn free_port(&mut self) -> Option<u16> {
        let after = |port| if port == u16::MAX { 49_152 } else { port + 1 };
        let ports = core::iter::successors(Some(self.next_port), |port| Some(after(*port))).take(16_384);
        let free = ports.into_iter().find(|port| !self.listeners.has_port(*port) && !self.places.has_port(*port))?;
        self.next_port = after(free);
        Some(free)
    }

    /// The connection in a place.
    #[inline]
    pub(crate) fn stream(&mut self, place: u32) -> Option<Stream<'_>> {
        self.places.stream(place)
    }

    /// The application is done with the socket of a place. What is queued in it still goes out, then
    /// FIN; or a reset, if it is to be aborted.
    pub(crate) fn hang_up(&mut self, place: u32, abort: bool) {
        self.places.hang_up(place, abort);
    }
}
