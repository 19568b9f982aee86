//! A connection: what it has for its group, what it takes of it, and how long its peer may be
//! silent.

use core::net::SocketAddr;
use core::time::Duration;

use core_reactor::Instant;
use core_reactor::net::{NetError, SockOptions};
use net_group::{Bufs, Outgoing, Ready, Recv, SPARING, Sending};
use smoltcp::socket::tcp::{RecvError, Socket, State};

use crate::options::{silence, to_smol};

/// How long sent bytes stay unanswered at most where nothing was asked for: what Linux waits with
/// its default of tcp_retries2.
const UNANSWERED: Duration = Duration::from_secs(15 * 60);

/// How long a connect stays unanswered at most where nothing was asked for.
const CONNECT: Duration = Duration::from_secs(120);

/// How the protocol ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In good order.
    Orderly,
    /// By a reset.
    Reset,
    /// No answer in time.
    TimedOut,
}

/// What is known of a connection beside its socket.
#[derive(Default)]
pub(crate) struct Connection {
    /// How it ended, once the protocol has ended it.
    end: Option<End>,
    /// Since when it waits for the acknowledgement of a FIN.
    waits: Option<Instant>,
}

impl Connection {
    /// One that may have ended before its application has it.
    pub(crate) fn new(end: Option<End>) -> Self {
        Self { end, waits: None }
    }

    /// Looks whether it has ended, by `end` then, and sets how long its peer may be silent. Whether
    /// its peer is to be told that it has been too long.
    pub(crate) fn tend(&mut self, tcp: &mut Socket<'_>, options: &SockOptions, end: End, now: Instant) -> bool {
        let state = tcp.state();
        if state == State::Closed {
            self.end = self.end.or(Some(end));
            return false;
        }
        let unanswered = options.user_timeout.unwrap_or(if state == State::SynSent { CONNECT } else { UNANSWERED });
        // smoltcp counts from the last segment that came or, with bytes queued after a silence,
        // from the first that went. A FIN after a silence it would count from before the silence,
        // so that is counted here.
        let asks = tcp.send_queue() > 0 || state == State::SynSent;
        let limit = if asks { Some(unanswered) } else { silence(options) };
        tcp.set_timeout(limit.map(to_smol));
        let waits = !asks && matches!(state, State::FinWait1 | State::Closing | State::LastAck);
        let since = self.waits.filter(|_| waits);
        self.waits = waits.then(|| since.unwrap_or(now));
        let is_late = since.is_some_and(|since| now >= since + unanswered);
        if is_late {
            tcp.abort();
            self.end = Some(End::TimedOut);
        }
        is_late
    }

    /// When a peer that is waited for has had its time.
    pub(crate) fn due(&self, options: &SockOptions) -> Option<Instant> {
        Some(self.waits.filter(|_| self.end.is_none())? + options.user_timeout.unwrap_or(UNANSWERED))
    }

    /// The connection with its socket, for its group. `unsent` is set where its peer may have to be
    /// told of something.
    pub(crate) fn stream<'a>(&self, tcp: &'a mut Socket<'static>, options: &'a SockOptions, unsent: &'a mut bool) -> Stream<'a> {
        Stream { tcp, options, end: self.end, unsent }
    }
}

/// A connection in the hands of its group.
pub(crate) struct Stream<'a> {
    tcp: &'a mut Socket<'static>,
    options: &'a SockOptions,
    end: Option<End>,
    unsent: &'a mut bool,
}

impl Stream<'_> {
    /// What it has to tell; whether there is room matters to one that is `blocked`.
    pub(crate) fn ready(&self, blocked: bool) -> Ready {
        let bit = |is: bool, bit| if is { bit } else { Ready::NOTHING };
        // Also where there is nothing to wait for any more.
        let has_room = blocked && (self.room() > 0 || !self.tcp.may_send());
        let read = bit(!self.expects_more() || self.is_readable(), Ready::READ);
        read.and(bit(has_room, Ready::WRITE)).and(bit(self.end.is_some(), Ready::OVER))
    }

    /// Whether its peer may send more, as far as is known.
    fn expects_more(&self) -> bool {
        matches!(self.tcp.state(), State::Established | State::FinWait1 | State::FinWait2)
    }

    /// Whether so many bytes are there that they are to be read. After the peer's end any number
    /// is.
    fn is_readable(&self) -> bool {
        let there = self.tcp.recv_queue();
        there >= self.options.low_water.unwrap_or(1) || there > 0 && !self.expects_more()
    }

    /// Whether more waits than a buffer that is short takes.
    pub(crate) fn has_much(&self) -> bool {
        self.tcp.recv_queue() > SPARING
    }

    pub(crate) fn recv(&mut self, bufs: &mut Bufs<'_>, fin_sent: bool) -> Recv {
        if self.is_readable() {
            let Some(mut buf) = bufs.take() else { return Recv::NoBuffer };
            let room = bufs.at_once(buf.spare_capacity());
            // There are bytes, so it is not refused.
            let n = self.tcp.recv_slice(&mut buf.spare_mut()[..room]).unwrap_or(0);
            // The window has grown.
            *self.unsent = true;
            if n > 0 {
                buf.grow(n);
                return Recv::Bytes(buf, !self.expects_more() || self.is_readable());
            }
        }
        match self.tcp.recv(|_| (0, ())) {
            Err(RecvError::Finished) => self.failure(fin_sent).map_or(Recv::Eof, Recv::Failed),
            Err(RecvError::InvalidState) if self.tcp.state() == State::Closed => Recv::Failed(self.error()),
            // No bytes, or fewer than the low-water mark.
            Ok(()) | Err(RecvError::InvalidState) => Recv::Empty,
        }
    }

    /// A connection that is gone takes nothing; what it sent before is read first.
    pub(crate) fn send(&mut self, out: Outgoing<'_>) -> Sending {
        let (mut room, mut taken) = (self.room(), 0);
        for part in out.iter() {
            let n = self.tcp.send_slice(&part[..part.len().min(room)]).unwrap_or(0);
            (taken, room) = (taken + n, room - n);
            *self.unsent |= n > 0;
            if n < part.len() {
                return Sending::Blocked(taken);
            }
        }
        Sending::Taken(taken)
    }

    /// Ends the sending side.
    pub(crate) fn fin(&mut self) {
        self.tcp.close();
        *self.unsent = true;
    }

    fn send_buf(&self) -> usize {
        self.options.send_buf.unwrap_or(0)
    }

    /// How many bytes it takes now.
    fn room(&self) -> usize {
        self.send_buf().saturating_sub(self.tcp.send_queue())
    }

    /// Whether a third of the room to write is free, so that an answer is likely to be taken as a
    /// whole; or nothing is to be waited for any more.
    pub(crate) fn takes_answer(&self) -> bool {
        3 * self.tcp.send_queue() <= 2 * self.send_buf() || !self.tcp.may_send()
    }

    /// What it has ended of behind the peer's end. With both FINs exchanged and everything
    /// acknowledged a reset says nothing new.
    pub(crate) fn failure(&self, fin_sent: bool) -> Option<NetError> {
        let said_all = fin_sent && self.tcp.send_queue() == 0;
        (self.end.is_some() && !said_all).then(|| self.error())
    }

    fn error(&self) -> NetError {
        if self.end == Some(End::TimedOut) { NetError::TimedOut } else { NetError::Reset }
    }

    /// How a connect to `peer` went; `None` while it is under way.
    pub(crate) fn outcome(&self, peer: SocketAddr) -> Option<Result<(), NetError>> {
        match self.tcp.state() {
            State::SynSent | State::SynReceived => None,
            State::Closed if self.end == Some(End::TimedOut) => Some(Err(NetError::TimedOut)),
            State::Closed => Some(Err(NetError::ConnectRefused(peer))),
            _ => Some(Ok(())),
        }
    }
}
