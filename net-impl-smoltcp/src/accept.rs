//! Taking connections from listeners.

use alloc::boxed::Box;

use core_reactor::net::{Events, NetEvent, Socket};

use crate::flag;
use crate::group::State;
use crate::socket::SmolSocket;
use crate::stack::Stack;

/// Connections that one listener may take in a poll before the others have their turn.
const ACCEPTS_A_TURN: usize = 16;

impl State {
    /// Takes waiting connections. The caller has left room for an event.
    pub(crate) fn accept(&mut self, stack: &mut Stack, place: usize, out: &mut Events) {
        let hot = self.slab.hot(place);
        let (id, token, number) = (hot.id, hot.token, hot.fd as u32);
        if hot.is(flag::PAUSED) {
            return;
        }
        for _ in 0..ACCEPTS_A_TURN {
            if out.room() == 0 {
                break;
            }
            let Some(at) = stack.accept(number) else { return };
            if let Some(socket) = self.taken(stack, place, at) {
                self.stats.accepted += 1;
                out.append(NetEvent::Accepted { id, token, socket });
            }
        }
        self.enqueue(place);
    }

    /// A connection out of the listener in `place`. One that has been reset meanwhile has what it brought before still to be read, and its end.
    fn taken(&mut self, stack: &mut Stack, place: usize, at: u32) -> Option<Box<dyn Socket>> {
        let listener = self.slab.socket(place)?;
        let Some((local, peer)) = stack.places[at as usize].ends else {
            stack.hang_up(at, true);
            return None;
        };
        Some(Box::new(SmolSocket::accepted(listener.stack.clone(), at, &listener.options, local, peer)))
    }
}
