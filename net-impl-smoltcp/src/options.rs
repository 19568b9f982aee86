//! [`SockOptions`] over smoltcp: what can be honoured, and words for what cannot (statement 23).

use alloc::format;
use core::time::Duration;

use core_reactor::net::{NetError, SockOptions};
use smoltcp::socket::tcp;
use smoltcp::time::Duration as SmolDuration;

use crate::config::{StackConfig, refuse};

/// Bytes that a connection may have under way at once without asking how much the way carries:
/// eleven segments, about what RFC 6928 lets everybody begin with.
const FEW: usize = 16 << 10;

/// smoltcp's own default.
const ACK_DELAY: SmolDuration = SmolDuration::from_millis(10);

/// The options as they will be, with those filled in that a socket has without being asked.
pub(crate) fn granted(asked: &SockOptions, stack: &StackConfig) -> Result<SockOptions, NetError> {
    asked.check(stack.recv_buf, stack.send_buf, stack.recv_buf / 2)?;
    if asked.priority.is_some_and(|priority| priority != 0) {
        return refuse("priority", "smoltcp has one queue for all packets");
    }
    if let Some(probe) = asked.keepalive
        && (probe.idle != probe.interval || probe.idle.is_zero() || probe.probes == 0)
    {
        let (idle, interval) = (probe.idle.as_millis() as u64, probe.interval.as_millis() as u64);
        let why = format!("smoltcp probes at one interval: idle ({idle} ms) and interval ({interval} ms) must be the same");
        return refuse("keepalive", why);
    }
    Ok(asked
        .clone()
        .recv_buf(stack.recv_buf)
        .send_buf(asked.send_buf.unwrap_or(stack.send_buf))
        .low_water(asked.low_water.unwrap_or(1).max(1))
        .priority(0))
}

/// Sets on a socket what stays the same for as long as one has it.
pub(crate) fn apply(options: &SockOptions, socket: &mut tcp::Socket<'_>) {
    socket.set_nagle_enabled(!options.no_delay);
    socket.set_ack_delay(if options.quick_ack { None } else { Some(ACK_DELAY) });
    socket.set_keep_alive(options.keepalive.map(|probe| to_smol(probe.interval)));
}

/// Sets on a socket what its next connection begins with. smoltcp leaves it the window to which its
/// last one had come, and its time limit.
pub(crate) fn begin(options: &SockOptions, socket: &mut tcp::Socket<'_>) {
    // Chosen for each, because the default is whatever any crate of the program has switched on.
    let is_few = options.send_buf.unwrap_or(0) <= FEW;
    socket.set_congestion_control(if is_few { tcp::CongestionControl::None } else { tcp::CongestionControl::Reno });
    socket.set_timeout(None);
}

/// How long a peer may be silent.
pub(crate) fn silence(options: &SockOptions) -> Option<Duration> {
    options.keepalive.map(|probe| probe.interval.saturating_mul(probe.probes.saturating_add(1)))
}

/// A time as smoltcp has it.
pub(crate) fn to_smol(time: Duration) -> SmolDuration {
    SmolDuration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2).min(u64::MAX / 4))
}
