//! [`SockOptions`] over smoltcp: what can be honoured, and words for what cannot (statement 23).

use alloc::boxed::Box;
use alloc::format;
use core::time::Duration;

use core_reactor::net::{NetError, SockOptions};
use smoltcp::socket::tcp;
use smoltcp::time::Duration as SmolDuration;

use crate::convert;

/// The buffers of each socket, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) recv_buf: usize,
    pub(crate) send_buf: usize,
}

/// What an application asked of a socket, as far as it is used in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    no_delay: bool,
    quick_ack: bool,
    /// How long sent bytes may stay unanswered.
    pub(crate) user_timeout: Option<Duration>,
    /// How often to probe a silent peer, and how long it may stay silent.
    pub(crate) keepalive: Option<(Duration, Duration)>,
    /// Bytes that make it readable.
    pub(crate) low_water: usize,
    /// Bytes that may be queued in the stack.
    pub(crate) send_buf: usize,
}

/// Looks through options before a socket is made.
pub(crate) fn wants(o: &SockOptions, sizes: Sizes) -> Result<Wants, NetError> {
    let wrong = |option, why: Box<str>| Err(NetError::Option { option, why });
    for (option, asked, there) in [("recv_buf", o.recv_buf, sizes.recv_buf), ("send_buf", o.send_buf, sizes.send_buf)] {
        if let Some(bytes) = asked.filter(|bytes| *bytes > there || *bytes == 0) {
            return wrong(option, format!("{bytes} bytes were asked for, the stack's sockets have {there} (StackConfig::{option})").into());
        }
    }
    if let Some(bytes) = o.low_water.filter(|bytes| *bytes > sizes.recv_buf / 2) {
        return wrong("low_water", format!("{bytes} bytes are more than half of the receive buffer, which has {}", sizes.recv_buf).into());
    }
    if o.priority.is_some_and(|priority| priority != 0) {
        return wrong("priority", "smoltcp has one queue for all packets".into());
    }
    if o.zero_copy.is_some() {
        return wrong("zero_copy", "backend smoltcp sends by copying only".into());
    }
    if o.busy_poll.is_some() {
        return wrong("busy_poll", "backend smoltcp polls its device in every poll of a group and waits for nothing else".into());
    }
    if o.reuse_port {
        return wrong("reuse_port", "backend smoltcp has one listener for an address".into());
    }
    if let Some(time) = o.user_timeout.filter(|time| time.as_millis() == 0) {
        return wrong("user_timeout", format!("{} ns is less than a millisecond", time.as_nanos() as u64).into());
    }
    let keepalive = match o.keepalive {
        None => None,
        Some(probe) if probe.idle != probe.interval || probe.idle.is_zero() || probe.probes == 0 => {
            let (idle, interval) = (probe.idle.as_millis() as u64, probe.interval.as_millis() as u64);
            let why = format!("smoltcp probes at one interval: idle ({idle} ms) and interval ({interval} ms) must be the same");
            return wrong("keepalive", why.into());
        }
        Some(probe) => Some((probe.idle, probe.interval.saturating_mul(probe.probes.saturating_add(1)))),
    };
    Ok(Wants {
        no_delay: o.no_delay,
        quick_ack: o.quick_ack,
        user_timeout: o.user_timeout,
        keepalive,
        low_water: o.low_water.unwrap_or(1).max(1),
        send_buf: o.send_buf.unwrap_or(sizes.send_buf),
    })
}

/// The options as they are, for a socket that was made with `asked`.
pub(crate) fn effective(asked: &SockOptions, sizes: Sizes) -> SockOptions {
    SockOptions {
        recv_buf: Some(sizes.recv_buf),
        send_buf: Some(asked.send_buf.unwrap_or(sizes.send_buf)),
        low_water: Some(asked.low_water.unwrap_or(1).max(1)),
        priority: Some(0),
        ..asked.clone()
    }
}

/// Bytes that a connection may have under way at once without asking how much the way carries:
/// eleven segments, about what RFC 6928 lets everybody begin with.
const FEW: usize = 16 << 10;

/// smoltcp's own default.
const ACK_DELAY: SmolDuration = SmolDuration::from_millis(10);

impl Wants {
    /// Of a socket that nobody has.
    pub(crate) const fn nothing() -> Self {
        Self { no_delay: true, quick_ack: false, user_timeout: None, keepalive: None, low_water: 1, send_buf: 0 }
    }

    /// Sets on a socket what stays the same all its life.
    pub(crate) fn apply(&self, socket: &mut tcp::Socket<'_>) {
        socket.set_nagle_enabled(!self.no_delay);
        socket.set_ack_delay(if self.quick_ack { None } else { Some(ACK_DELAY) });
        socket.set_keep_alive(self.keepalive.map(|(every, _)| convert::duration(every)));
    }

    /// Sets on a socket what its next connection begins with. smoltcp leaves it the window to which
    /// its last one had come, and its time limit.
    pub(crate) fn begin(&self, socket: &mut tcp::Socket<'_>) {
        // Chosen for each, because the default is whatever any crate of the program has switched on.
        let control = if self.send_buf <= FEW { tcp::CongestionControl::None } else { tcp::CongestionControl::Reno };
        socket.set_congestion_control(control);
        socket.set_timeout(None);
    }
}
