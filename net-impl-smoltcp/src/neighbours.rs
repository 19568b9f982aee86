//! Finding the hardware addresses of neighbours.
//!
//! smoltcp asks for one in a second, always for the first of its sockets that lacks one: a host that
//! is not there would keep it from finding all the others. So whenever sockets had to keep their
//! segments, this asks for each of their neighbours. smoltcp takes every answer, also to a question
//! that was not its own.

use alloc::boxed::Box;
use alloc::vec;
use core::time::Duration;

use core_reactor::Instant;
use smoltcp::wire::IpAddress;

use crate::link::Link;
use crate::place::Places;

/// How long to wait before the same neighbour is asked for again (RFC 1122, 2.3.2.1).
const AGAIN: Duration = Duration::from_secs(1);

/// Neighbours asked for in one turn.
const ASKED_A_TURN: usize = 64;

/// Which neighbour was asked for last for the socket in each place, and when.
pub(crate) struct Neighbours {
    asked: Box<[Option<(IpAddress, Instant)>]>,
}

impl Neighbours {
    pub(crate) fn new(places: usize) -> Self {
        Self { asked: vec![None; places].into() }
    }

    /// Asks for the neighbours of sockets that had to keep their segments.
    pub(crate) fn ask(&mut self, places: &Places, link: &mut Link) {
        let now = places.now();
        for _ in 0..ASKED_A_TURN {
            let Some(hop) = self.next_to_ask(places, link) else { return };
            if !link.ask(hop, now) {
                return;
            }
            // Once for all that go by it.
            for (at, _) in places.peers().filter(|(_, peer)| link.next_hop(*peer) == Some(hop)) {
                self.asked[at] = Some((hop, now));
            }
        }
    }

    /// The neighbour that has waited longest to be asked for. smoltcp does not say who lacks one, so
    /// those that are known are asked for too.
    fn next_to_ask(&self, places: &Places, link: &Link) -> Option<IpAddress> {
        let hops = places.peers().filter_map(|(at, peer)| Some((at, link.next_hop(peer)?)));
        let waiting = hops.map(|(at, hop)| (self.asked[at].filter(|(of, _)| *of == hop).map(|(_, asked)| asked), hop));
        let due = waiting.filter(|(asked, _)| asked.is_none_or(|asked| places.now() >= asked + AGAIN));
        due.min_by_key(|(asked, _)| *asked).map(|(_, hop)| hop)
    }
}
