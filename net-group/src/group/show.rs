//! What a group tells whoever looks at it from outside.

use alloc::vec::Vec;

use core_reactor::net::{GroupInfo, SockGroup, Socket, SocketInfo};
use pool::Class;

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
        let most = sockets.min(MOST);
        let mut told: Vec<usize> = Vec::with_capacity(most);
        for i in (0..self.slots.places()).filter(|i| self.slots.state(*i).is_here()) {
            // The standard library's sorts take ten kilobytes of an image.
            let at = told.iter().rposition(|other| self.slots.state(*other).queued >= self.slots.state(i).queued).map_or(0, |at| at + 1);
            if at < most {
                told.truncate(most - 1);
                told.insert(at, i);
            }
        }
        let sockets = told.into_iter().map(|i| self.socket_info(i)).collect();
        self.view.show(GroupInfo { stats: self.stats(), bufs: Class::ALL.map(|class| self.bufs.stats(class)), sockets });
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
