//! What a group tells whoever looks at it from outside.

use alloc::vec::Vec;
use core::cmp::Reverse;

use core_reactor::net::{GroupInfo, SockGroup, Socket, SocketInfo};

use super::Group;
use crate::backend::Backend;
use crate::phase::{PAUSED, Phase};
use crate::slab::SlotState;

/// Sockets that are told of at once: the system is asked for the addresses of each.
const MOST: usize = 64;

impl<B: Backend> Group<B> {
    /// Puts down the figures, and what is known of so many sockets.
    #[cold]
    pub(super) fn show(&mut self, sockets: usize) {
        let mut here: Vec<usize> = (0..self.slots.places()).filter(|i| self.slots.state(*i).is_here()).collect();
        let most = sockets.min(MOST).min(here.len());
        if most > 0 && most < here.len() {
            here.select_nth_unstable_by_key(most - 1, |i| Reverse(self.slots.state(*i).queued));
        }
        here.truncate(most);
        here.sort_unstable_by_key(|i| Reverse(self.slots.state(*i).queued));
        let sockets = here.into_iter().map(|i| self.socket_info(i)).collect();
        self.view.show(GroupInfo { stats: self.stats(), sockets });
    }

    fn socket_info(&self, i: usize) -> SocketInfo {
        let state = self.slots.state(i);
        let socket = self.backend.socket(state.slot());
        SocketInfo {
            token: state.token,
            state: word(state),
            local: socket.and_then(|socket| socket.local_addr().ok()),
            peer: socket.and_then(|socket| socket.peer_addr()),
            unsent: state.queued,
            is_paused: state.is(PAUSED),
        }
    }
}

/// The phase of a socket, in a word.
fn word(state: &SlotState) -> &'static str {
    let words = [
        (Phase::Listening, "listening"),
        (Phase::Connecting, "connecting"),
        (Phase::Open, "open"),
        (Phase::PeerDone, "peer done"),
        (Phase::Finishing, "finishing"),
        (Phase::Ending, "ending"),
        (Phase::Broken, "broken"),
        (Phase::Leaving, "leaving"),
    ];
    words.into_iter().find(|(phase, _)| state.is_in(*phase)).map_or("gone", |(_, word)| word)
}
