//! Listeners.

use core_reactor::net::Events;
use net_sockets::whose::of_accept;
use net_sockets::{Errno, Whose, error, options};

use crate::group::State;
use crate::key::Op;
use crate::ring::{Completion, Io};
use crate::socket::{Early, UringSocket};
use crate::{flag, sys};

/// Connections that one listener may hand out in a poll before the others have their turn: of one
/// that is stormed more have come than a poll has room for.
pub(crate) const ACCEPTS_A_TURN: u32 = 16;

impl State {
    /// Asks for connections, again and again.
    pub(crate) fn accept(&mut self, io: &mut Io, place: usize) {
        let key = self.key(Op::Accept, place);
        let hot = self.slab.hot(place);
        hot.flags |= flag::READING;
        self.in_flight += 1;
        io.accept(key, hot.fd);
    }

    /// A connection has come, or none will any more. The caller has left room for an event.
    pub(crate) fn on_accept(&mut self, completion: Completion, out: &mut Events) {
        let (place, generation) = (completion.key.place(), completion.key.generation());
        if self.slab.hot_of(place, generation).is_some_and(|hot| hot.is(flag::LEAVING)) {
            self.on_leaving(completion);
        } else if let Some((place, early)) = self.accepted(completion) {
            self.arrived(place, early, out);
        }
    }

    /// The connection that a completion brings, and the place of its listener.
    pub(crate) fn accepted(&mut self, completion: Completion) -> Option<(usize, Early)> {
        let (key, result) = (completion.key, completion.result);
        // Made before anything else, so that it is closed whatever becomes of it.
        let taken = (result >= 0).then(|| sys::accepted(result));
        let place = key.place();
        self.slab.hot_of(place, key.generation())?;
        if !completion.more() {
            self.reading_ended(place);
        }
        if let Some((socket, peer)) = taken {
            let kept = self.slab.socket(place)?.socket.kept;
            options::apply_to_accepted(&socket, &kept);
            return Some((place, Early::Connection(Box::new(UringSocket::accepted(socket, peer, kept)))));
        }
        let errno = Errno(-result);
        match of_accept(errno) {
            Whose::Call => None,
            Whose::Machine => {
                self.no_descriptors(place);
                None
            }
            Whose::Socket => Some((place, Early::Broken(error::plain("accept", errno)))),
        }
    }

    /// A descriptor may be free: paused listeners try again.
    pub(crate) fn retry_accepts(&mut self) {
        while let Some(place) = self.no_fd.pop_front() {
            self.slab.hot(place as usize).flags &= !flag::IN_NO_FD;
            self.look_at(place as usize);
        }
    }

    /// Pauses a listener until a descriptor may be free; its connections wait in the system. Said once, until all that wait have been taken.
    #[cold]
    fn no_descriptors(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_NO_FD) {
            self.no_fd.push_back(place as u32);
        }
        self.wake_later();
        if !self.no_fd_said {
            self.no_fd_said = true;
            self.stats.accept_pauses += 1;
            let at = self.slab.socket(place).and_then(|seat| seat.socket.local().ok());
            let at = at.map_or_else(|| "a listener".to_owned(), |at| at.to_string());
            log::warn!("out of file descriptors: {at} accepts nothing until some are free (see ulimit -n)");
        }
    }
}
