//! The stack: one interface and its sockets, behind a lock that the groups of all cores share.
//!
//! A group takes the lock once for each poll. On one core nobody else ever holds it, and it costs an atomic exchange; why groups of several cores may share
//! it all the same, and what that costs, is in `docs/decisions/0070-one-stack-one-lock.md`.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::task::Waker;
use core::time::Duration;

use core_reactor::Instant;
use core_reactor::net::NetError;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use spin::{Mutex, MutexGuard};

use crate::config::{Addresses, Network, StackConfig, StackStats};
use crate::device::{DevicePort, NetDevice, Port};
#[cfg(feature = "dhcp")]
use crate::dhcp::Lease;
use crate::family;
use crate::listener::{HANDSHAKE, Listener, Verdict};
use crate::options;
use crate::place::{End, Place, Role, Wants};

/// Frames that one poll takes before the sockets have their turn.
const FRAMES_A_TURN: usize = 64;

/// Segments that one poll sends for a socket.
const SEGMENTS_A_TURN: usize = 32;

/// How long sent bytes stay unanswered at most where nothing was asked for: what Linux waits with its default of tcp_retries2.
const UNANSWERED: Duration = Duration::from_secs(15 * 60);

/// How long a connect stays unanswered at most where nothing was asked for.
const CONNECT: Duration = Duration::from_secs(120);

/// What all handles to a stack share.
pub(crate) struct Shared {
    stack: Mutex<Stack>,
    pub(crate) sizes: Sizes,
}

/// The buffers of each socket, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) recv_buf: usize,
    pub(crate) send_buf: usize,
}

impl Shared {
    pub(crate) fn new<D: NetDevice + Send + 'static>(device: D, config: &StackConfig) -> Result<Self, NetError> {
        let sizes = Sizes { recv_buf: config.recv_buf, send_buf: config.send_buf };
        Ok(Self { stack: Mutex::new(Stack::new(device, config)?), sizes })
    }

    /// The stack. Not to be held while anything is dropped that may be a socket.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock()
    }
}

pub(crate) struct Stack {
    pub(crate) port: Box<dyn Port>,
    pub(crate) hardware: [u8; 6],
    pub(crate) iface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) places: Box<[Place]>,
    pub(crate) free: Vec<u32>,
    pub(crate) closing: Vec<u32>,
    pub(crate) listeners: Vec<Option<Listener>>,
    #[cfg(feature = "dhcp")]
    pub(crate) lease: Option<Lease>,
    pub(crate) default_backlog: u32,
    pub(crate) next_port: u16,
    /// The time of the last turn.
    pub(crate) now: Instant,
    /// Counts what may have changed a socket, so that a group sees whether it has to look at its own.
    pub(crate) changes: u64,
    /// Something has changed that the protocol may have to tell its peers.
    pub(crate) unsent: bool,
    /// Frames may be left in the device.
    more: bool,
    due: Due,
    /// The groups, to be woken when one of them has let something in for another.
    watchers: Vec<(u64, Waker)>,
    /// What the next group is named by.
    next_watcher: u64,
    pub(crate) stats: StackStats,
}

/// When the stack has to be polled next.
#[derive(Clone, Copy)]
enum Due {
    Unknown,
    At(Option<Instant>),
}

impl Stack {
    fn new<D: NetDevice + Send + 'static>(device: D, config: &StackConfig) -> Result<Self, NetError> {
        let Some(mut port) = DevicePort::new(device, config.hardware, config.seed) else {
            return Err(NetError::Unusable("the device of backend smoltcp is no Ethernet device".into()));
        };
        let mut wanted = Config::new(EthernetAddress(config.hardware).into());
        wanted.random_seed = config.seed;
        let iface = Interface::new(wanted, &mut port.gated(), SmolInstant::ZERO);
        let mut sockets = SocketSet::new(Vec::with_capacity(config.sockets + 1));
        let places = (0..config.sockets).map(|_| place(&mut sockets, config)).collect();
        #[cfg(feature = "dhcp")]
        let lease = matches!(config.addresses, Addresses::Dhcp).then(|| Lease::new(&mut sockets));
        let mut stack = Self {
            port: Box::new(port),
            hardware: config.hardware,
            iface,
            sockets,
            places,
            free: (0..config.sockets as u32).rev().collect(),
            closing: Vec::with_capacity(config.sockets),
            listeners: Vec::new(),
            #[cfg(feature = "dhcp")]
            lease,
            default_backlog: config.backlog,
            // RFC 6335: the dynamic ports.
            next_port: 49_152 + (config.seed % 16_384) as u16,
            now: Instant::ZERO,
            changes: 0,
            unsent: true,
            more: true,
            due: Due::Unknown,
            watchers: Vec::new(),
            next_watcher: 0,
            stats: StackStats::default(),
        };
        if let Addresses::Static { own, gateways } = &config.addresses {
            stack.configure(own, gateways);
        }
        Ok(stack)
    }

    /// Sets addresses and routes, in place of those that there are.
    pub(crate) fn configure(&mut self, own: &[Network], gateways: &[core::net::IpAddr]) {
        self.iface.update_ip_addrs(|addresses| {
            addresses.clear();
            // At most as many as fit, which was looked at when the host was started.
            addresses.extend(own.iter().filter_map(|n| Some(IpCidr::new(family::of(n.address)?, n.prefix))).take(addresses.capacity()));
        });
        let routes = self.iface.routes_mut();
        routes.remove_default_ipv4_route();
        #[cfg(feature = "ipv6")]
        routes.remove_default_ipv6_route();
        for gateway in gateways.iter().filter_map(|ip| family::of(*ip)) {
            // There is room for one of each family.
            let _ = match gateway {
                IpAddress::Ipv4(v4) => routes.add_default_ipv4_route(v4),
                #[cfg(feature = "ipv6")]
                IpAddress::Ipv6(v6) => routes.add_default_ipv6_route(v6),
            };
        }
        self.port.gate().set_own(self.iface.ip_addrs());
    }

    /// One turn: what has arrived goes into the sockets, and what they have to say goes out. Bounded.
    pub(crate) fn turn(&mut self, now: Instant) {
        // Groups of several cores read the clock before they have the lock.
        self.now = self.now.max(now);
        if self.ingress() {
            self.changed();
        }
        if self.unsent || self.is_due() {
            self.egress();
        }
    }

    /// Something has happened that may concern any socket, and that peers may have to be told of.
    pub(crate) fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.unsent = true;
    }

    /// Takes frames out of the device; whether there were any.
    fn ingress(&mut self) -> bool {
        let at = smol(self.now);
        let mut left = FRAMES_A_TURN;
        loop {
            let taken = self.port.ingress(left, at, &mut self.iface, &mut self.sockets);
            left -= taken;
            match self.port.gate().syn() {
                Some(syn) => {
                    let verdict = self.judge(syn);
                    if verdict == Verdict::Question {
                        self.port.question(at);
                    }
                    self.port.gate().judge(verdict == Verdict::Admit);
                }
                None => break,
            }
        }
        self.more = left == 0 || self.port.gate().has_frames();
        let taken = FRAMES_A_TURN - left;
        if taken == 0 {
            return false;
        }
        self.stats.frames_in += taken as u64;
        let end = if self.port.gate().take_reset() { End::Reset } else { End::Orderly };
        self.settle(end);
        #[cfg(feature = "dhcp")]
        self.lease_events();
        true
    }

    /// Sends what there is to send, at most so much that the next poll is not kept waiting.
    pub(crate) fn egress(&mut self) {
        let at = smol(self.now);
        self.unsent = false;
        self.due = Due::Unknown;
        self.tend_closing();
        for round in 0.. {
            if !self.port.egress(at, &mut self.iface, &mut self.sockets) {
                break;
            }
            if round == SEGMENTS_A_TURN {
                self.unsent = true;
                break;
            }
        }
        if self.port.gate().take_unsent() {
            self.ask_neighbours();
        }
        self.changes = self.changes.wrapping_add(1);
        // What has not ended by what arrived has ended because nothing did.
        self.settle(End::TimedOut);
        #[cfg(feature = "dhcp")]
        self.lease_events();
    }

    /// Looks at every socket after something has happened: has it ended, is a connection there, may it stay unanswered.
    fn settle(&mut self, end: End) {
        for at in 0..self.places.len() {
            match self.places[at].role {
                Role::Free => {}
                Role::Listening(_) => self.tend_listening(at as u32),
                Role::Owned | Role::Accepted(_) => self.tend_connection(at, end),
                Role::Closing => self.unsent |= self.has_more_to_close(at),
            }
        }
    }

    fn tend_connection(&mut self, at: usize, end: End) {
        let now = self.now;
        let place = &mut self.places[at];
        let socket = self.sockets.get_mut::<tcp::Socket>(place.handle);
        let state = socket.state();
        if state == tcp::State::Closed {
            place.end = place.end.or(Some(end));
            return;
        }
        let unanswered = place.wants.user_timeout.unwrap_or(if state == tcp::State::SynSent { CONNECT } else { UNANSWERED });
        // smoltcp counts from the last segment that came or, with bytes queued after a silence, from the first that went. A FIN after a silence it would count
        // from before the silence, so that is counted here.
        let asks = socket.send_queue() > 0 || state == tcp::State::SynSent;
        let limit = if asks { Some(unanswered) } else { place.wants.keepalive.map(|(_, limit)| limit) };
        socket.set_timeout(limit.map(options::smol));
        let waits = !asks && matches!(state, tcp::State::FinWait1 | tcp::State::Closing | tcp::State::LastAck);
        if waits && place.waits && now >= place.since + unanswered {
            socket.abort();
            place.end = Some(End::TimedOut);
            self.unsent = true;
        } else if waits != place.waits {
            (place.waits, place.since) = (waits, now);
        }
    }

    /// When the first peer that is waited for has had its time.
    fn waits_due(&self) -> Option<Instant> {
        let limit = |place: &Place| match place.role {
            Role::Listening(_) => HANDSHAKE,
            _ => place.wants.user_timeout.unwrap_or(UNANSWERED),
        };
        self.places.iter().filter(|place| place.waits && place.end.is_none()).map(|place| place.since + limit(place)).min()
    }

    /// The socket of a place.
    #[inline]
    pub(crate) fn tcp(&mut self, place: u32) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.places[place as usize].handle)
    }

    /// A socket for something new: a free one, or one that only waits for late segments of an old connection.
    pub(crate) fn take_free(&mut self, role: Role, wants: Wants) -> Option<u32> {
        let at = self.free.pop().or_else(|| self.take_from_time_wait())?;
        let now = self.now;
        let place = &mut self.places[at as usize];
        (place.role, place.end, place.wants, place.since) = (role, None, wants, now);
        self.renew(at);
        let place = &self.places[at as usize];
        options::apply(self.sockets.get_mut(place.handle), &wants);
        Some(at)
    }

    /// Has smoltcp forget what the last connection of a place leaves to the next: that it waits for a neighbour, and its window.
    pub(crate) fn renew(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        let socket = self.sockets.remove(place.handle);
        // Into the room that it has left.
        place.handle = self.sockets.add(socket);
        options::begin(self.sockets.get_mut(place.handle), &place.wants);
        (place.waits, place.asked, place.proven, place.ends) = (false, None, false, None);
    }

    pub(crate) fn none_free(&self) -> NetError {
        NetError::Unusable(format!("all {} sockets of the stack are in use (StackConfig::sockets)", self.places.len()).into())
    }

    fn is_due(&mut self) -> bool {
        self.due().is_some_and(|at| at <= self.now)
    }

    /// When the stack has to be polled next, if nothing arrives. Found out once after each change, because it means to look at every socket.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        if self.unsent || self.more {
            return Some(Instant::ZERO);
        }
        if let Due::At(at) = self.due {
            return at;
        }
        let of_protocol = self.iface.poll_at(smol(self.now), &self.sockets).map(from_smol);
        let at = [of_protocol, self.closing_due(), self.waits_due()].into_iter().flatten().min();
        self.due = Due::At(at);
        at
    }

    /// Prepares for a sleep of the caller's core; false if there is something to do.
    pub(crate) fn arm(&mut self) -> bool {
        !self.unsent && !self.more && self.port.device().arm()
    }

    pub(crate) fn disarm(&mut self) {
        self.port.device().disarm();
    }

    pub(crate) fn wait_source(&mut self) -> Option<core_reactor::WaitSource> {
        self.port.device().wait_source()
    }

    /// Takes up a group; tells its name, which no other ever has.
    pub(crate) fn add_watcher(&mut self, waker: Waker) -> u64 {
        let name = self.next_watcher;
        self.next_watcher += 1;
        self.watchers.push((name, waker));
        name
    }

    pub(crate) fn remove_watcher(&mut self, name: u64) {
        self.watchers.retain(|(of, _)| *of != name);
    }

    /// Wakes every group but the caller's.
    #[inline]
    pub(crate) fn wake_others(&self, caller: Option<u64>) {
        self.watchers.iter().filter(|(name, _)| Some(*name) != caller).for_each(|(_, waker)| waker.wake_by_ref());
    }

    pub(crate) fn loop_back(&mut self) {
        self.port.gate().loop_back();
    }

    pub(crate) fn is_own(&self, address: IpAddress) -> bool {
        self.iface.has_ip_addr(address)
    }

    pub(crate) fn stats(&self) -> StackStats {
        StackStats { free: self.free.len(), closing: self.closing.len(), ..self.stats }
    }

    pub(crate) fn addresses(&self) -> Addresses {
        let own = self.iface.ip_addrs().iter().map(|cidr| Network { address: cidr.address().into(), prefix: cidr.prefix_len() });
        let routes = self.iface.routes();
        let gateways = [
            routes.get_default_ipv4_route(),
            #[cfg(feature = "ipv6")]
            routes.get_default_ipv6_route(),
        ];
        Addresses::Static { own: own.collect(), gateways: gateways.into_iter().flatten().map(|route| route.via_router.into()).collect() }
    }

    /// A port that nobody here uses.
    pub(crate) fn free_port(&mut self) -> Option<u16> {
        for _ in 0..16_384 {
            let port = self.next_port;
            self.next_port = if port == u16::MAX { 49_152 } else { port + 1 };
            let listens = self.listeners.iter().flatten().any(|listener| listener.at.port() == port);
            let connected =
                |place: &Place| self.sockets.get::<tcp::Socket>(place.handle).local_endpoint().is_some_and(|local| local.port == port);
            if !listens && !self.places.iter().any(connected) {
                return Some(port);
            }
        }
        None
    }

    /// Both ends of the connection in a place.
    pub(crate) fn ends(&mut self, place: u32) -> Option<(SocketAddr, SocketAddr)> {
        let socket = self.tcp(place);
        Some((socket.local_endpoint()?.into(), socket.remote_endpoint()?.into()))
    }
}

fn place(sockets: &mut SocketSet<'static>, config: &StackConfig) -> Place {
    let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
    let wants = Wants { no_delay: true, quick_ack: false, user_timeout: None, keepalive: None, low_water: 1, send_buf: config.send_buf };
    let handle = sockets.add(tcp::Socket::new(buffer(config.recv_buf), buffer(config.send_buf)));
    Place {
        handle,
        role: Role::Free,
        ends: None,
        end: None,
        wants,
        since: Instant::ZERO,
        waits: false,
        queued: 0,
        asked: None,
        proven: false,
        yields: Instant::ZERO,
    }
}

pub(crate) fn smol(at: Instant) -> SmolInstant {
    SmolInstant::from_micros((at.as_nanos() / 1000) as i64)
}

/// Rounded up, so that a core that sleeps until then does not find that it is too early.
fn from_smol(at: SmolInstant) -> Instant {
    Instant::from_nanos((at.total_micros().max(0) as u64).saturating_mul(1000))
}
