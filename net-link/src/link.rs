//! [`Link`]: the interface.

use alloc::boxed::Box;
use core::fmt;
use core::net::IpAddr;

use core_reactor::{Instant, WaitSource};
use smoltcp::iface::{Config, Context, Interface, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use crate::addresses::{Addresses, Network, ip};
use crate::device::NetDevice;
#[cfg(feature = "dhcp")]
use crate::dhcp::Lease;
use crate::filter::{Filter, Verdict};
use crate::filtered::{Filtered, Port};
use crate::frame::{self, Ends};
use crate::neighbours::Neighbours;
use crate::proof::Proofs;
use crate::time;

/// Neighbours asked for in one turn.
const ASKED_A_TURN: usize = 64;

/// An interface with its device. The sockets are the stack's, which hands them in.
pub struct Link {
    port: Box<dyn Port>,
    iface: Interface,
    hardware: [u8; 6],
    neighbours: Neighbours,
    #[cfg(feature = "dhcp")]
    lease: Option<Lease>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.iface.ip_addrs();
        f.debug_struct("Link").field("hardware", &EthernetAddress(self.hardware)).field("addresses", &addresses).finish_non_exhaustive()
    }
}

impl Link {
    /// An interface on a device, for the sockets in this set, and one of its own for a lease.
    /// `secret` is for what nobody outside may know.
    ///
    /// Addresses that cannot be ([`Addresses::check`]) are left out. `None` if it is no Ethernet
    /// device.
    pub fn new<D: NetDevice + Send + 'static>(
        device: D,
        hardware: [u8; 6],
        addresses: &Addresses,
        secret: u64,
        sockets: &mut SocketSet<'static>,
    ) -> Option<Self> {
        let capabilities = device.capabilities();
        if capabilities.medium != Medium::Ethernet {
            return None;
        }
        let mut port = Filtered::new(device, Filter::new(hardware, capabilities.max_transmission_unit, secret));
        let mut config = Config::new(EthernetAddress(hardware).into());
        config.random_seed = secret;
        let iface = Interface::new(config, &mut port, SmolInstant::ZERO);
        let neighbours = Neighbours::new(sockets.iter().count());
        let mut link = Self {
            port: Box::new(port),
            iface,
            hardware,
            neighbours,
            #[cfg(feature = "dhcp")]
            lease: matches!(addresses, Addresses::Dhcp).then(|| Lease::new(sockets)),
        };
        if let Addresses::Static { own, gateways } = addresses {
            link.configure(own, gateways);
        }
        Some(link)
    }

    // ---- Addresses

    /// Sets addresses and routes, in place of those that there are.
    fn configure(&mut self, own: &[Network], gateways: &[IpAddr]) {
        self.iface.update_ip_addrs(|addresses| {
            addresses.clear();
            addresses.extend(own.iter().filter_map(|n| Some(IpCidr::new(ip(n.address)?, n.prefix))).take(addresses.capacity()));
        });
        let routes = self.iface.routes_mut();
        routes.remove_default_ipv4_route();
        #[cfg(feature = "ipv6")]
        routes.remove_default_ipv6_route();
        for gateway in gateways.iter().filter_map(|gateway| ip(*gateway)) {
            // There is room for one of each family.
            let _ = match gateway {
                IpAddress::Ipv4(v4) => routes.add_default_ipv4_route(v4),
                #[cfg(feature = "ipv6")]
                IpAddress::Ipv6(v6) => routes.add_default_ipv6_route(v6),
            };
        }
        self.port.filter().set_own(self.iface.ip_addrs());
    }

    /// Takes what has become of the lease, where there is one; whether the addresses have changed.
    pub fn follow_lease(&mut self, sockets: &mut SocketSet<'static>) -> bool {
        #[cfg(feature = "dhcp")]
        if let Some((own, gateway)) = self.lease.as_mut().and_then(|lease| lease.news(sockets)) {
            self.configure(own.as_slice(), gateway.as_slice());
            return true;
        }
        let _ = sockets;
        false
    }

    /// Its addresses: those that it was given, or those of its lease, if it has one.
    pub fn addresses(&self) -> Addresses {
        let own = self.iface.ip_addrs().iter().map(|cidr| Network { address: cidr.address().into(), prefix: cidr.prefix_len() });
        let routes = self.iface.routes();
        let gateways = [
            routes.get_default_ipv4_route(),
            #[cfg(feature = "ipv6")]
            routes.get_default_ipv6_route(),
        ];
        Addresses::Static { own: own.collect(), gateways: gateways.into_iter().flatten().map(|route| route.via_router.into()).collect() }
    }

    /// Whether it is an address of this interface.
    pub fn is_own(&self, address: IpAddr) -> bool {
        ip(address).is_some_and(|ip| self.iface.has_ip_addr(ip))
    }

    /// What smoltcp needs to connect to an address. To one of its own frames come back from now on.
    /// `None` if it has no address of the family, or neither a network nor a router on the way.
    pub fn way_to(&mut self, to: IpAddress) -> Option<&mut Context> {
        let own = self.iface.ip_addrs();
        let is_broadcast = |cidr: &IpCidr| matches!(cidr, IpCidr::Ipv4(v4) if v4.broadcast().map(IpAddress::Ipv4) == Some(to));
        let family = own.iter().any(|cidr| cidr.address().version() == to.version());
        if !to.is_unicast() || own.iter().any(is_broadcast) || !family {
            return None;
        }
        next_hop(&self.iface, to)?;
        if self.iface.has_ip_addr(to) {
            self.port.filter().loop_back();
        }
        Some(self.iface.context())
    }

    // ---- Frames

    /// Takes up to `most` frames into the sockets. Ends early at a SYN to one of its addresses,
    /// which is held until it is judged; see [`syn`](Self::syn).
    pub fn ingress(&mut self, most: usize, now: Instant, sockets: &mut SocketSet<'_>) -> usize {
        let at = time::to_smol(now);
        (0..most).take_while(|_| self.syn().is_none() && self.port.ingress(at, &mut self.iface, sockets)).count()
    }

    /// The SYN that is held.
    pub fn syn(&mut self) -> Option<Ends> {
        self.port.filter().syn()
    }

    /// What becomes of the SYN that is held.
    pub fn judge(&mut self, verdict: Verdict, now: Instant) {
        if verdict == Verdict::Challenge {
            let mut frame = [0; frame::MOST];
            let len = self.port.filter().challenge(&mut frame);
            if len > 0 {
                self.port.send(time::to_smol(now), &frame[..len]);
            }
        }
        self.port.filter().judge(verdict == Verdict::Admit);
    }

    /// Who has answered a challenge.
    pub fn proofs(&mut self) -> &Proofs {
        self.port.filter().proofs()
    }

    /// Whether a reset has come in since the last time.
    pub fn take_reset(&mut self) -> bool {
        self.port.filter().take_reset()
    }

    /// Sends at most one segment of each socket; true if any went out.
    pub fn egress(&mut self, now: Instant, sockets: &mut SocketSet<'_>) -> bool {
        self.port.egress(time::to_smol(now), &mut self.iface, sockets)
    }

    /// Asks for the neighbours by which the peers of sockets are reached, if segments were kept for
    /// want of one. Each peer comes with a number of its socket, below the count of sockets.
    pub fn seek_neighbours(&mut self, peers: impl Iterator<Item = (usize, IpAddress)> + Clone, now: Instant) {
        if !self.port.filter().take_unsent() {
            return;
        }
        for _ in 0..ASKED_A_TURN {
            let Some(hop) = self.neighbours.next(hops(&self.iface, peers.clone()), now) else { return };
            if !self.solicit(hop, now) {
                return;
            }
            self.neighbours.asked(hop, hops(&self.iface, peers.clone()), now);
        }
    }

    /// Asks for a neighbour; false if the device has no room.
    fn solicit(&mut self, who: IpAddress, now: Instant) -> bool {
        let mut frame = [0; frame::MOST];
        let len = match who {
            IpAddress::Ipv4(who) => match self.iface.get_source_address_ipv4(&who) {
                Some(own) => frame::who_has(self.hardware, own, who, &mut frame),
                None => return true,
            },
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(who) => frame::who_has_v6(self.hardware, self.iface.get_source_address_ipv6(&who), who, &mut frame),
        };
        self.port.filter().takes(&frame[..len]) || self.port.send(time::to_smol(now), &frame[..len])
    }

    // ---- Time and sleep

    /// Whether there are frames to be taken that are not the device's.
    pub fn has_frames(&mut self) -> bool {
        self.port.filter().has_frames()
    }

    /// When smoltcp wants to be polled next.
    pub fn due(&mut self, now: Instant, sockets: &SocketSet<'_>) -> Option<Instant> {
        self.iface.poll_at(time::to_smol(now), sockets).map(time::from_smol)
    }

    /// As [`NetDevice::wait_source`].
    pub fn wait_source(&self) -> Option<WaitSource> {
        self.port.wait_source()
    }

    /// As [`NetDevice::arm`].
    pub fn arm(&mut self) -> bool {
        self.port.arm()
    }

    /// As [`NetDevice::disarm`].
    pub fn disarm(&mut self) {
        self.port.disarm();
    }
}

/// By whom each of these peers is reached, where there is a way.
fn hops(iface: &Interface, peers: impl Iterator<Item = (usize, IpAddress)>) -> impl Iterator<Item = (usize, IpAddress)> {
    peers.filter_map(|(at, peer)| Some((at, next_hop(iface, peer)?)))
}

/// The neighbour by which an address is reached: itself, or a router.
fn next_hop(iface: &Interface, to: IpAddress) -> Option<IpAddress> {
    if iface.ip_addrs().iter().any(|own| own.contains_addr(&to)) {
        return Some(to);
    }
    let routes = iface.routes();
    let route = match to {
        IpAddress::Ipv4(_) => routes.get_default_ipv4_route(),
        #[cfg(feature = "ipv6")]
        IpAddress::Ipv6(_) => routes.get_default_ipv6_route(),
    };
    route.map(|route| route.via_router)
}
