//! Finding the hardware addresses of neighbours.
//!
//! smoltcp asks for one in a second, always for the first of its sockets that lacks one: a host that is not there would keep it from finding all the others.
//! So whenever sockets had to keep their segments, this asks for each of their neighbours. smoltcp takes every answer, also to a question that was not its own.

use core::time::Duration;

use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

use crate::frame;
use crate::place::{Place, Role};
use crate::stack::{Stack, smol};

/// How long to wait before the same neighbour is asked for again (RFC 1122, 2.3.2.1).
const AGAIN: Duration = Duration::from_secs(1);

/// Neighbours asked for in one turn.
const ASKED_A_TURN: usize = 64;

impl Stack {
    /// Asks for the neighbours of sockets that had to keep their segments.
    pub(crate) fn ask_neighbours(&mut self) {
        for _ in 0..ASKED_A_TURN {
            let Some(hop) = self.next_to_ask() else { return };
            if !self.ask(hop) {
                return;
            }
            // Once for all that go by it.
            for at in 0..self.places.len() {
                if self.hop_of(&self.places[at]) == Some(hop) {
                    self.places[at].asked = Some(self.now);
                }
            }
        }
    }

    /// The neighbour that has waited longest to be asked for. smoltcp does not say who lacks one, so those that are known are asked for too.
    fn next_to_ask(&self) -> Option<IpAddress> {
        let now = self.now;
        let due = self.places.iter().filter(|place| place.asked.is_none_or(|asked| now >= asked + AGAIN));
        due.filter_map(|place| Some((place.asked, self.hop_of(place)?))).min_by_key(|(asked, _)| *asked).map(|(_, hop)| hop)
    }

    /// The neighbour by which the peer of a place is reached.
    fn hop_of(&self, place: &Place) -> Option<IpAddress> {
        if place.role == Role::Free {
            return None;
        }
        let peer = self.sockets.get::<tcp::Socket>(place.handle).remote_endpoint()?;
        self.next_hop(peer.addr)
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

    /// Asks for a neighbour; false if the device has no room.
    fn ask(&mut self, who: IpAddress) -> bool {
        let mut bytes = [0; frame::MOST];
        let len = match who {
            IpAddress::Ipv4(who) => match self.iface.get_source_address_ipv4(&who) {
                Some(own) => frame::who_has(self.hardware, own, who, &mut bytes),
                None => return true,
            },
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(who) => frame::who_has_v6(self.hardware, self.iface.get_source_address_ipv6(&who), who, &mut bytes),
        };
        self.port.send(smol(self.now), &bytes[..len])
    }
}
