//! What a socket is asked to be (statement 23).

use core::time::Duration;

/// What a socket is asked to be. `None` leaves the system's default. An option that a backend
/// cannot honour is an error when the socket is made.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        }
    }
}

/// How a silent peer is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`, seconds).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`, seconds).
    pub interval: Duration,
    /// Probes without an answer that end the connection (`TCP_KEEPCNT`).
    pub probes: u32,
}
