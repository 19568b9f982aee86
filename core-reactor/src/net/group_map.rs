//! Which group an accepted connection goes to (statement 22; `spdk_sock_map`,
//! `spdk_sock_get_optimal_sock_group`).

use alloc::vec::Vec;

use super::{Placement, Socket};
use crate::CoreId;

/// A server's groups, by core, and which device queue each serves.
///
/// ```
/// use core_reactor::CoreId;
/// use core_reactor::net::{GroupMap, Socket};
///
/// /// The group for a connection, and one more that it has.
/// fn assign(map: &mut GroupMap, socket: &dyn Socket, counts: &mut [usize]) -> usize {
///     let group = map.optimal_group(socket, |group| counts[group]);
///     counts[group] += 1;
///     group
/// }
///
/// let map = GroupMap::new([CoreId(0), CoreId(1)]);
/// ```
#[derive(Debug)]
pub struct GroupMap {
    cores: Vec<CoreId>,
    /// The group of each NAPI id seen so far. A device has as many as queues, so the list stays
    /// short.
    napi: Vec<(u32, usize)>,
}

impl GroupMap {
    /// A map of the groups on these cores, in order.
    ///
    /// ```
    /// use core_reactor::{CpuSet, net::GroupMap};
    ///
    /// // A group on each of these cores, lowest first.
    /// let cores: CpuSet = "2,4".parse()?;
    /// let map = GroupMap::new(cores.iter());
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    pub fn new(cores: impl IntoIterator<Item = CoreId>) -> Self {
        Self { cores: cores.into_iter().collect(), napi: Vec::new() }
    }

    /// The index of the group that `socket` should go to; `sockets` tells how many a group has.
    /// Connections of one device queue (NAPI id) stay together, in the group that had the fewest
    /// when its first one came; without such an id a group on the CPU where the packets arrive is
    /// taken; otherwise the group with the fewest sockets.
    ///
    /// Over loopback the kernel names the CPU that the *peer* ran on, which says nothing of where
    /// packets will arrive, so there only numbers count.
    pub fn optimal_group(&mut self, socket: &dyn Socket, sockets: impl Fn(usize) -> usize) -> usize {
        let local = socket.peer_addr().is_none_or(|peer| peer.ip().is_loopback());
        self.choose(if local { Placement::default() } else { socket.placement() }, sockets)
    }

    fn choose(&mut self, placement: Placement, sockets: impl Fn(usize) -> usize) -> usize {
        let fewest = || (0..self.cores.len()).min_by_key(|group| sockets(*group)).unwrap_or(0);
        if let Some(id) = placement.napi_id {
            let known = self.napi.iter().find(|(napi, _)| *napi == id).map(|(_, group)| *group);
            return known.unwrap_or_else(|| {
                let group = fewest();
                self.napi.push((id, group));
                group
            });
        }
        let arrives_at = |cpu: u32| self.cores.iter().position(|core| u32::from(core.0) == cpu);
        placement.incoming_cpu.and_then(arrives_at).unwrap_or_else(fewest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> GroupMap {
        GroupMap::new([CoreId(0), CoreId(3), CoreId(5)])
    }

    #[test]
    fn s22_without_a_hint_the_group_with_the_fewest_sockets_is_taken() {
        let mut counts = [0usize; 3];
        for _ in 0..300 {
            counts[map().choose(Placement::default(), |g| counts[g])] += 1;
        }
        assert_eq!(counts, [100; 3]);
    }

    #[test]
    fn s22_connections_of_one_device_queue_stay_together() {
        let mut map = map();
        let of = |id| Placement { napi_id: Some(id), incoming_cpu: Some(0) };
        assert_eq!(map.choose(of(77), |g| [2, 1, 0][g]), 2);
        assert_eq!(map.choose(of(77), |g| [2, 1, 9][g]), 2, "also when it has the most by now");
        assert_eq!(map.choose(of(78), |g| [2, 1, 9][g]), 1);
    }

    #[test]
    fn s22_the_cpu_where_packets_arrive_is_followed_where_it_has_a_group() {
        let at = |cpu| Placement { napi_id: None, incoming_cpu: Some(cpu) };
        assert_eq!(map().choose(at(3), |g| [0, 50, 0][g]), 1);
        assert_eq!(map().choose(at(4), |g| [7, 50, 6][g]), 2, "a CPU without a group");
    }
}
