//! What a socket is asked to be (statement 23).

use alloc::format;
use core::net::SocketAddr;
use core::time::Duration;

use super::NetError;
use crate::setters::setters;

/// What a socket is asked to be. `None` leaves the system's default. An option that a backend
/// cannot honour is an error when the socket is made.
///
/// ```
/// use core::time::Duration;
/// use core_reactor::net::SockOptions;
///
/// let options = SockOptions::default().recv_buf(64 << 10).user_timeout(Duration::from_secs(5)).reuse_port(true);
/// assert_eq!((options.recv_buf, options.send_buf), (Some(64 << 10), None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SockOptions {
    /// Receive buffer in the system, bytes (`SO_RCVBUF`).
    pub recv_buf: Option<usize>,
    /// Send buffer in the system, bytes (`SO_SNDBUF`).
    pub send_buf: Option<usize>,
    /// Bytes that must be there before a socket counts as readable (`SO_RCVLOWAT`).
    pub low_water: Option<usize>,
    /// Priority of its packets (`SO_PRIORITY`).
    pub priority: Option<u32>,
    /// Send small frames at once (`TCP_NODELAY`). Default on.
    pub no_delay: bool,
    /// Acknowledge at once (`TCP_QUICKACK`). Default off.
    pub quick_ack: bool,
    /// How long sent bytes (or a connect) may stay unanswered (`TCP_USER_TIMEOUT`, milliseconds).
    pub user_timeout: Option<Duration>,
    /// Probe a silent peer (`SO_KEEPALIVE`).
    pub keepalive: Option<Keepalive>,
    /// Send frames of at least so many bytes without a copy (`MSG_ZEROCOPY`); never on loopback,
    /// where the system copies anyway. Default off.
    pub zero_copy: Option<usize>,
    /// Connections that may wait to be accepted. Default: 1024, or as many as the system allows if
    /// those are fewer.
    pub backlog: Option<u32>,
    /// Poll the device for so long before waiting (`SO_BUSY_POLL`, microseconds).
    pub busy_poll: Option<Duration>,
    /// Several listeners at one address (`SO_REUSEPORT`). Default off.
    pub reuse_port: bool,
    /// Send as fast as the windows allow. Where the system's congestion control paces (BBR), a
    /// socket gets one that does not (CUBIC, or Reno): on a short way the timers of pacing take
    /// longer than what they hold back. Default off.
    pub unpaced: bool,
    /// Where a connect comes from (`bind` before it); port 0 takes a free one. Addresses of the
    /// other family are then out of reach. Nothing to a listener. Default: as the system finds
    /// right for each address.
    pub source: Option<SocketAddr>,
}

impl Default for SockOptions {
    fn default() -> Self {
        Self {
            recv_buf: None,
            send_buf: None,
            low_water: None,
            priority: None,
            no_delay: true,
            quick_ack: false,
            user_timeout: None,
            keepalive: None,
            zero_copy: None,
            backlog: None,
            busy_poll: None,
            reuse_port: false,
            unpaced: false,
            source: None,
        }
    }
}

impl SockOptions {
    setters! {
        recv_buf: Option<usize>,
        send_buf: Option<usize>,
        low_water: Option<usize>,
        priority: Option<u32>,
        no_delay: bool,
        quick_ack: bool,
        user_timeout: Option<Duration>,
        keepalive: Option<Keepalive>,
        zero_copy: Option<usize>,
        backlog: Option<u32>,
        busy_poll: Option<Duration>,
        reuse_port: bool,
        unpaced: bool,
        source: Option<SocketAddr>,
    }

    /// Whether any of `to` is of the family of [`source`](field@Self::source). For backends, at the
    /// start of [`NetImpl::connect`](super::NetImpl::connect).
    ///
    /// ```
    /// # use core_reactor::net::SockOptions;
    /// let options = SockOptions::default().source("127.0.0.1:0".parse().ok());
    /// assert!(options.check_source(&["127.0.0.1:80".parse()?, "[::1]:80".parse()?]).is_ok());
    /// assert!(options.check_source(&["[::1]:80".parse()?]).is_err());
    /// # Ok::<(), core::net::AddrParseError>(())
    /// ```
    ///
    /// # Errors
    /// None is, or there is none.
    pub fn check_source(&self, to: &[SocketAddr]) -> Result<(), NetError> {
        let last = *to.last().ok_or(NetError::NoAddress)?;
        match to.iter().any(|to| self.can_reach(to)) {
            true => Ok(()),
            false => Err(NetError::Unreachable(last)),
        }
    }

    /// Whether `to` is of the family of [`source`](field@Self::source), if there is one.
    ///
    /// ```
    /// # use core_reactor::net::SockOptions;
    /// let to = "[::1]:80".parse()?;
    /// assert!(SockOptions::default().can_reach(&to));
    /// assert!(!SockOptions::default().source("127.0.0.1:0".parse().ok()).can_reach(&to));
    /// # Ok::<(), core::net::AddrParseError>(())
    /// ```
    pub fn can_reach(&self, to: &SocketAddr) -> bool {
        self.source.is_none_or(|source| source.is_ipv4() == to.is_ipv4())
    }

    /// What a stack that is no kernel's checks of them: buffers of up to so many bytes, a low-water
    /// mark of up to `low_water`, a time limit that is not rounded to none. Refuses what only
    /// kernels have.
    ///
    /// ```
    /// # use core_reactor::net::SockOptions;
    /// let options = SockOptions::default().recv_buf(1 << 20);
    /// assert!(options.check(1 << 20, 1 << 16, 1).is_ok());
    /// assert!(options.check(1 << 16, 1 << 16, 1).is_err(), "so large a buffer is not to be had");
    /// ```
    ///
    /// # Errors
    /// The first option that cannot be had.
    pub fn check(&self, recv_buf: usize, send_buf: usize, low_water: usize) -> Result<(), NetError> {
        let sizes = [
            ("recv_buf", self.recv_buf, 1..=recv_buf),
            ("send_buf", self.send_buf, 1..=send_buf),
            // 0 is 1, as it is to a kernel.
            ("low_water", self.low_water, 0..=low_water),
        ];
        for (option, bytes, granted) in sizes {
            if let Some(bytes) = bytes.filter(|bytes| !granted.contains(bytes)) {
                let (least, most) = granted.into_inner();
                let why = format!("{bytes} bytes are not between {least} and {most}, the most that sockets of this stack have");
                return Err(NetError::Option { option, why: why.into() });
            }
        }
        if let Some(time) = self.user_timeout.filter(|time| time.as_millis() == 0) {
            let why = format!("{} ns is less than a millisecond", time.as_nanos() as u64);
            return Err(NetError::Option { option: "user_timeout", why: why.into() });
        }
        let of_kernels =
            [("zero_copy", self.zero_copy.is_some()), ("busy_poll", self.busy_poll.is_some()), ("reuse_port", self.reuse_port)];
        match of_kernels.into_iter().find(|(_, asked)| *asked) {
            Some((option, _)) => Err(NetError::Option { option, why: "only sockets of a kernel have it".into() }),
            None => Ok(()),
        }
    }
}

/// How a silent peer is probed.
///
/// ```
/// use core::time::Duration;
/// use core_reactor::net::{Keepalive, SockOptions};
///
/// let keepalive = Keepalive { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes: 3 };
/// let options = SockOptions::default().keepalive(keepalive);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`, seconds).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`, seconds).
    pub interval: Duration,
    /// Probes without an answer that end the connection (`TCP_KEEPCNT`).
    pub probes: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s149_what_a_stack_cannot_have_is_refused_by_its_name() {
        let usual = SockOptions::default;
        let (nanosecond, millisecond) = (Duration::from_nanos(1), Duration::from_millis(1));
        let cases = [
            (None, usual()),
            (None, SockOptions { recv_buf: Some(100), send_buf: Some(1), low_water: Some(0), user_timeout: Some(millisecond), ..usual() }),
            (None, SockOptions { recv_buf: Some(1), send_buf: Some(200), low_water: Some(50), ..usual() }),
            (Some("recv_buf"), SockOptions { recv_buf: Some(101), ..usual() }),
            (Some("recv_buf"), SockOptions { recv_buf: Some(0), ..usual() }),
            (Some("send_buf"), SockOptions { send_buf: Some(201), ..usual() }),
            (Some("send_buf"), SockOptions { send_buf: Some(0), ..usual() }),
            (Some("low_water"), SockOptions { low_water: Some(51), ..usual() }),
            (Some("user_timeout"), SockOptions { user_timeout: Some(nanosecond), ..usual() }),
            (Some("zero_copy"), SockOptions { zero_copy: Some(1), ..usual() }),
            (Some("busy_poll"), SockOptions { busy_poll: Some(millisecond), ..usual() }),
            (Some("reuse_port"), SockOptions { reuse_port: true, ..usual() }),
        ];
        for (wrong, options) in cases {
            let refused = match options.check(100, 200, 50) {
                Err(NetError::Option { option, .. }) => Some(option),
                _ => None,
            };
            assert_eq!(refused, wrong, "{options:?}");
        }
    }
}
