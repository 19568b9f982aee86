//! Connections that their applications have closed and the protocol has not: bytes are still to go
//! out, or the peer has not ended its side.

use core::time::Duration;

use core_reactor::Instant;
use smoltcp::socket::tcp::{Socket, State};

/// How long one may make no progress. Linux waits as long for a FIN (tcp_fin_timeout).
const NO_PROGRESS: Duration = Duration::from_secs(60);

/// How long a reset may wait to go out, which it cannot to a peer whose neighbour does not answer.
const RESET_WAITS: Duration = Duration::from_secs(3);

/// One of them, beside its socket.
pub(crate) struct Closing {
    /// Since when it has made no progress.
    since: Instant,
    /// Bytes that were queued then.
    queued: usize,
}

impl Closing {
    /// Ends a socket. What is queued in it still goes out, then FIN; or a reset, if it is to be
    /// aborted.
    pub(crate) fn begin(tcp: &mut Socket<'_>, abort: bool, now: Instant) -> Self {
        if tcp.state() == State::SynSent {
            // Its peer knows nothing of it; an answer that comes late is told so.
            wipe(tcp);
        } else if abort {
            tcp.abort();
        } else {
            discard(tcp);
            tcp.close();
        }
        Self { since: now, queued: tcp.send_queue() }
    }

    /// Ends it if it makes no progress; whether it has ended.
    pub(crate) fn tend(&mut self, tcp: &mut Socket<'_>, now: Instant) -> bool {
        if tcp.recv_queue() > 0 {
            // Bytes that nobody will read. A reset says so (RFC 1122, 4.2.2.13), but not before
            // the peer has all that it is to have.
            if tcp.state() == State::FinWait1 { discard(tcp) } else { tcp.abort() }
        }
        if tcp.send_queue() != self.queued {
            *self = Self { since: now, queued: tcp.send_queue() };
        }
        if tcp.state() != State::TimeWait && now >= self.due(tcp) {
            if tcp.state() == State::Closed {
                // Not even its reset went out.
                wipe(tcp);
            }
            tcp.abort();
            self.since = now;
        }
        has_ended(tcp)
    }

    /// When it has had its time.
    pub(crate) fn due(&self, tcp: &Socket<'_>) -> Instant {
        self.since + if tcp.state() == State::Closed { RESET_WAITS } else { NO_PROGRESS }
    }

    /// Since when it only waits for late segments of a connection that is over.
    pub(crate) fn in_time_wait(&self, tcp: &Socket<'_>) -> Option<Instant> {
        (tcp.state() == State::TimeWait).then_some(self.since)
    }
}

/// Whether something is to be done about a closing socket now.
pub(crate) fn has_more(tcp: &Socket<'_>) -> bool {
    tcp.recv_queue() > 0 || has_ended(tcp)
}

fn has_ended(tcp: &Socket<'_>) -> bool {
    tcp.state() == State::Closed && tcp.remote_endpoint().is_none()
}

/// Throws away what has arrived, so that it does not turn an orderly end into a reset.
fn discard(tcp: &mut Socket<'_>) {
    // In two pieces where it wraps around the end of its buffer.
    while tcp.recv(|bytes| (bytes.len(), bytes.len())).is_ok_and(|bytes| bytes > 0) {}
}

/// Makes a socket forget its connection without a word.
pub(crate) fn wipe(tcp: &mut Socket<'_>) {
    // Only `listen` and `connect` forget everything, and neither is refused by a closed socket.
    // The reset of the abort is forgotten with the rest.
    tcp.abort();
    let _ = tcp.listen(1);
    tcp.close();
}
