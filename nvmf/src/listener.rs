//! Where a subsystem listens, and how good that way is to its namespaces.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};

use nvme::log::AnaState;
use spin::Mutex;

/// An address at which a subsystem listens.
#[derive(Debug)]
pub struct Listener {
    at: SocketAddr,
    is_secure: bool,
    /// Whether a group is not simply the best way: one load for each command where all are.
    is_odd: AtomicBool,
    ana: Mutex<Ana>,
}

/// The states of ANA groups that are or were not [`AnaState::Optimized`]. A group that is not named
/// is, and has never been anything else.
#[derive(Debug, Default)]
struct Ana {
    groups: Vec<(u32, AnaState, u64)>,
    /// Of those that are not named.
    others: Option<(AnaState, u64)>,
}

impl Listener {
    pub(crate) fn new(at: SocketAddr, is_secure: bool) -> Self {
        Self { at, is_secure, is_odd: AtomicBool::new(false), ana: Mutex::default() }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// Whether connections have to be secured by TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The state of an ANA group here, and how often it has changed.
    pub fn ana(&self, group: u32) -> (AnaState, u64) {
        let ana = self.ana.lock();
        let named = ana.groups.iter().find(|(id, ..)| *id == group).map(|(_, state, changes)| (*state, *changes));
        named.or(ana.others).unwrap_or((AnaState::Optimized, 0))
    }

    /// The state of a group on the way of a command.
    #[inline]
    pub(crate) fn state(&self, group: u32) -> AnaState {
        if self.is_odd.load(Ordering::Relaxed) { self.ana(group).0 } else { AnaState::Optimized }
    }

    /// Sets the state of one group, or of all.
    pub(crate) fn set(&self, group: Option<u32>, state: AnaState) {
        let mut ana = self.ana.lock();
        let changes = 1 + ana.groups.iter().map(|(.., changes)| *changes).chain(ana.others.map(|(_, changes)| changes)).max().unwrap_or(0);
        match group {
            None => {
                ana.groups.clear();
                ana.others = Some((state, changes));
            }
            Some(group) => match ana.groups.iter_mut().find(|(id, ..)| *id == group) {
                Some(it) => (it.1, it.2) = (state, changes),
                None => ana.groups.push((group, state, changes)),
            },
        }
        let all = ana.groups.iter().map(|(_, state, _)| *state).chain(ana.others.map(|(state, _)| state));
        let odd = all.into_iter().any(|state| state != AnaState::Optimized);
        self.is_odd.store(odd, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s267_a_group_has_its_state_and_all_have_one() {
        let it = Listener::new(([127, 0, 0, 1], 4420).into(), false);
        assert_eq!((it.ana(1), it.state(1)), ((AnaState::Optimized, 0), AnaState::Optimized));
        it.set(Some(2), AnaState::Inaccessible);
        assert_eq!((it.ana(2), it.ana(1), it.state(2)), ((AnaState::Inaccessible, 1), (AnaState::Optimized, 0), AnaState::Inaccessible));
        it.set(None, AnaState::NonOptimized);
        assert_eq!((it.ana(2), it.ana(9)), ((AnaState::NonOptimized, 2), (AnaState::NonOptimized, 2)));
        it.set(None, AnaState::Optimized);
        assert_eq!((it.ana(2), it.is_odd.load(Ordering::Relaxed)), ((AnaState::Optimized, 3), false));
    }
}
