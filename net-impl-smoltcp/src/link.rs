//! The host's interface and what it is plugged into: its addresses, routes and frames.

use alloc::boxed::Box;
use core::net::IpAddr;

use core_reactor::net::NetError;
use core_reactor::{Instant, WaitSource};
use smoltcp::iface::{Config, Context, Interface, SocketSet};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use crate::config::{Addresses, Network, StackConfig};
use crate::convert;
use crate::device::{DevicePort, NetDevice, Port};
use crate::frame;
use crate::gate::Gate;

pub(crate) struct Link {
    port: Box<dyn Port>,
    iface: Interface,
    hardware: [u8; 6],
}

impl Link {
    pub(crate) fn new<D: NetDevice + Send + 'static>(device: D, config: &StackConfig) -> Result<Self, NetError> {
        let Some(mut port) = DevicePort::new(device, config.hardware, config.seed) else {
            return Err(NetError::Unusable("the device of backend smoltcp is no Ethernet device".into()));
        };
        let mut wanted = Config::new(EthernetAddress(config.hardware).into());
        wanted.random_seed = config.seed;
        let iface = Interface::new(wanted, &mut port.gated(), SmolInstant::ZERO);
        let mut link = Self { port: Box::new(port), iface, hardware: config.hardware };
        if let Addresses::Static { own, gateways } = &config.addresses {
            link.configure(own, gateways);
        }
        Ok(link)
    }

    // ---- Addresses

    /// Sets addresses and routes, in place of those that there are.
    pub(crate) fn configure(&mut self, own: &[Network], gateways: &[IpAddr]) {
        self.iface.update_ip_addrs(|addresses| {
            addresses.clear();
            // At most as many as fit, which was looked at when the host was started.
            addresses.extend(own.iter().filter_map(|n| Some(IpCidr::new(convert::ip(n.address)?, n.prefix))).take(addresses.capacity()));
        });
        let routes = self.iface.routes_mut();
        routes.remove_default_ipv4_route();
        #[cfg(feature = "ipv6")]
        routes.remove_default_ipv6_route();
        for gateway in gateways.iter().filter_map(|ip| convert::ip(*ip)) {
            // There is room for one of each family.
            let _ = match gateway {
                IpAddress::Ipv4(v4) => routes.add_default_ipv4_route(v4),
                #[cfg(feature = "ipv6")]
                IpAddress::Ipv6(v6) => routes.add_default_ipv6_route(v6),
            };
        }
        self.port.gate().set_own(self.iface.ip_addrs());
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

    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        convert::ip(ip).is_some_and(|ip| self.iface.has_ip_addr(ip))
    }

    /// The neighbour by which an address is reached: itself, or a router.
    pub(crate) fn next_hop(&self, to: IpAddress) -> Option<IpAddress> {
        if self.iface.ip_addrs().iter().any(|own| own.contains_addr(&to)) {
            return Some(to);
        }
        let routes = self.iface.routes();
        let route = match to {
            IpAddress::Ipv4(_) => routes.get_default_ipv4_route(),
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(_) => routes.get_default_ipv6_route(),
        };
        route.map(|route| route.via_router)
    }

    /// Whether the host has an address of the family, and a network or a router on the way.
    pub(crate) fn has_way(&self, to: IpAddress) -> bool {
        let own = self.iface.ip_addrs();
        let is_broadcast = |cidr: &IpCidr| matches!(cidr, IpCidr::Ipv4(v4) if v4.broadcast().map(IpAddress::Ipv4) == Some(to));
        let family = own.iter().any(|cidr| cidr.address().version() == to.version());
        to.is_unicast() && !own.iter().any(is_broadcast) && family && self.next_hop(to).is_some()
    }

    /// What smoltcp needs to connect to an address. To one of the host's own frames come back from
    /// now on.
    pub(crate) fn way_to(&mut self, to: IpAddress) -> &mut Context {
        if self.iface.has_ip_addr(to) {
            self.port.gate().loop_back();
        }
        self.iface.context()
    }

    // ---- Frames

    /// Takes up to `most` frames into the sockets; ends early at a SYN, which is held then.
    pub(crate) fn ingress(&mut self, most: usize, now: Instant, sockets: &mut SocketSet<'_>) -> usize {
        self.port.ingress(most, convert::instant(now), &mut self.iface, sockets)
    }

    /// Sends at most one segment of each socket; true if any went out.
    pub(crate) fn egress(&mut self, now: Instant, sockets: &mut SocketSet<'_>) -> bool {
        self.port.egress(convert::instant(now), &mut self.iface, sockets)
    }

    /// Asks the sender of the SYN that is held to show that it is there.
    pub(crate) fn question(&mut self, now: Instant) {
        self.port.question(convert::instant(now));
    }

    /// Asks for a neighbour; false if the device has no room.
    pub(crate) fn ask(&mut self, who: IpAddress, now: Instant) -> bool {
        let mut bytes = [0; frame::MOST];
        let len = match who {
            IpAddress::Ipv4(who) => match self.iface.get_source_address_ipv4(&who) {
                Some(own) => frame::who_has(self.hardware, own, who, &mut bytes),
                None => return true,
            },
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(who) => frame::who_has_v6(self.hardware, self.iface.get_source_address_ipv6(&who), who, &mut bytes),
        };
        self.port.send(convert::instant(now), &bytes[..len])
    }

    /// What is between the device and smoltcp.
    pub(crate) fn gate(&mut self) -> &mut Gate {
        self.port.gate()
    }

    // ---- Time and sleep

    /// When smoltcp wants to be polled next.
    pub(crate) fn due(&mut self, now: Instant, sockets: &SocketSet<'_>) -> Option<Instant> {
        self.iface.poll_at(convert::instant(now), sockets).map(convert::from_instant)
    }

    pub(crate) fn wait_source(&self) -> Option<WaitSource> {
        self.port.wait_source()
    }

    pub(crate) fn arm(&mut self) -> bool {
        self.port.arm()
    }

    pub(crate) fn disarm(&mut self) {
        self.port.disarm();
    }
}
