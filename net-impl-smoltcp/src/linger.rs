//! Connections that their applications have closed and the protocol has not: bytes are still to go out, or the peer has not ended its side.

use core::time::Duration;

use core_reactor::Instant;
use smoltcp::socket::tcp::{self, State};

use crate::place::Role;
use crate::stack::Stack;

/// How long one may make no progress. Linux waits as long for a FIN (tcp_fin_timeout).
const NO_PROGRESS: Duration = Duration::from_secs(60);

/// How long a reset may wait to go out, which it cannot to a peer whose neighbour does not answer.
const RESET_WAITS: Duration = Duration::from_secs(3);

impl Stack {
    /// The application is done with the socket of a place. What is queued in it still goes out, then FIN; or a reset, if it is to be aborted.
    pub(crate) fn hang_up(&mut self, at: u32, abort: bool) {
        let now = self.now;
        let socket = self.tcp(at);
        if socket.state() == State::SynSent {
            // Its peer knows nothing of it; an answer that comes late is told so.
            wipe(socket);
        } else if abort {
            socket.abort();
        } else {
            discard(socket);
            socket.close();
        }
        let queued = socket.send_queue();
        let place = &mut self.places[at as usize];
        (place.role, place.since, place.waits, place.queued) = (Role::Closing, now, false, queued);
        self.closing.push(at);
        self.unsent = true;
    }

    /// Frees the sockets whose connections have ended, and ends those that make no progress.
    pub(crate) fn tend_closing(&mut self) {
        let mut at = 0;
        while at < self.closing.len() {
            if self.is_closed(self.closing[at]) {
                let place = self.closing.swap_remove(at);
                self.places[place as usize].role = Role::Free;
                self.free.push(place);
            } else {
                at += 1;
            }
        }
        if !self.free.is_empty() {
            self.refill_listeners();
        }
    }

    fn is_closed(&mut self, at: u32) -> bool {
        let now = self.now;
        let place = &mut self.places[at as usize];
        let socket = self.sockets.get_mut::<tcp::Socket>(place.handle);
        if socket.recv_queue() > 0 {
            // Bytes that nobody will read. A reset says so (RFC 1122, 4.2.2.13), but not before the peer has all that it is to have.
            if socket.state() == State::FinWait1 { discard(socket) } else { socket.abort() }
        }
        if socket.send_queue() != place.queued {
            (place.queued, place.since) = (socket.send_queue(), now);
        }
        if socket.state() != State::TimeWait && now >= place.since + patience(socket.state()) {
            if socket.state() == State::Closed {
                // Not even its reset went out.
                wipe(socket);
            }
            socket.abort();
            place.since = now;
        }
        socket.state() == State::Closed && socket.remote_endpoint().is_none()
    }

    /// Whether something is to be done about a closing socket now.
    pub(crate) fn has_more_to_close(&mut self, at: usize) -> bool {
        let place = &self.places[at];
        let socket = self.sockets.get::<tcp::Socket>(place.handle);
        socket.recv_queue() > 0 || socket.state() == State::Closed && socket.remote_endpoint().is_none()
    }

    pub(crate) fn closing_due(&self) -> Option<Instant> {
        let due = |at: &u32| {
            let place = &self.places[*at as usize];
            place.since + patience(self.sockets.get::<tcp::Socket>(place.handle).state())
        };
        self.closing.iter().map(due).min()
    }

    /// The socket that has waited longest for late segments of a connection that is over: its port is free then, as after a restart.
    pub(crate) fn take_from_time_wait(&mut self) -> Option<u32> {
        let waits = |at: &u32| self.sockets.get::<tcp::Socket>(self.places[*at as usize].handle).state() == State::TimeWait;
        let oldest = self.closing.iter().copied().filter(waits).min_by_key(|at| self.places[*at as usize].since)?;
        self.closing.retain(|at| *at != oldest);
        wipe(self.tcp(oldest));
        Some(oldest)
    }
}

fn patience(state: State) -> Duration {
    if state == State::Closed { RESET_WAITS } else { NO_PROGRESS }
}

/// Throws away what has arrived, so that it does not turn an orderly end into a reset.
fn discard(socket: &mut tcp::Socket<'_>) {
    // In two pieces where it wraps around the end of its buffer.
    while socket.recv(|bytes| (bytes.len(), bytes.len())).is_ok_and(|bytes| bytes > 0) {}
}

/// Makes a socket forget its connection without a word.
pub(crate) fn wipe(socket: &mut tcp::Socket<'_>) {
    // Only `listen` and `connect` forget everything, and neither is refused by a closed socket. The reset of the abort is forgotten with the rest.
    socket.abort();
    let _ = socket.listen(1);
    socket.close();
}
