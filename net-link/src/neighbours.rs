//! Whose hardware address is to be asked for.
//!
//! smoltcp asks for one in a second, always for the first of its sockets that lacks one: a host
//! that is not there would keep it from finding all the others. So whenever sockets had to keep
//! their segments, each of their neighbours is asked for. smoltcp takes every answer, also to a
//! question that was not its own.

use alloc::boxed::Box;
use alloc::vec;
use core::time::Duration;

use core_reactor::Instant;
use smoltcp::wire::IpAddress;

/// How long to wait before the same neighbour is asked for again (RFC 1122, 2.3.2.1).
const AGAIN: Duration = Duration::from_secs(1);

/// Which neighbour was asked for last for each socket, and when.
pub(crate) struct Neighbours(Box<[Option<(IpAddress, Instant)>]>);

impl Neighbours {
    pub(crate) fn new(sockets: usize) -> Self {
        Self(vec![None; sockets].into())
    }

    /// The one that has waited longest to be asked for, of those by which sockets send. smoltcp
    /// does not say who lacks one, so those that are known are asked for too.
    pub(crate) fn next(&self, hops: impl Iterator<Item = (usize, IpAddress)>, now: Instant) -> Option<IpAddress> {
        let waiting = hops.map(|(at, hop)| (self.0[at].filter(|(of, _)| *of == hop).map(|(_, asked)| asked), hop));
        let due = waiting.filter(|(asked, _)| asked.is_none_or(|asked| now >= asked + AGAIN));
        due.min_by_key(|(asked, _)| *asked).map(|(_, hop)| hop)
    }

    /// One has been asked for, once for all that send by it.
    pub(crate) fn asked(&mut self, hop: IpAddress, hops: impl Iterator<Item = (usize, IpAddress)>, now: Instant) {
        hops.filter(|(_, of)| *of == hop).for_each(|(at, _)| self.0[at] = Some((hop, now)));
    }
}
