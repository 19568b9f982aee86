//! What one end wants and can.

use core::time::Duration;

use crate::wire::{LEAST_FRAGMENTED_SIZE, LEAST_RECEIVE_SIZE};

/// What one end wants and can. The defaults suit Linux' peers, which refuse the least sizes that
/// the specification allows.
///
/// ```
/// use core::time::Duration;
/// use smb_direct::{Connection, Settings};
///
/// let own = Settings { credits: 32, ..Settings::client() };
/// assert!(Connection::client(own, Duration::ZERO).is_ok());
/// let poor = Settings { credits: 1, ..own };
/// assert_eq!(Connection::client(poor, Duration::ZERO).unwrap_err().least, u32::from(Settings::LEAST_CREDITS));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Send credits to ask for, and the most receives to post for the peer. At least
    /// [`LEAST_CREDITS`](Self::LEAST_CREDITS). Default 255.
    pub credits: u16,
    /// Bytes of the longest message to send, header included. Default 8192.
    pub preferred_send_size: u32,
    /// Bytes of the longest message that can be received, header included; at least 128. Default
    /// 8192.
    pub max_receive_size: u32,
    /// Bytes of the longest upper-layer message that can be put together; at least 131072. Default
    /// 1 MiB.
    pub max_fragmented_size: u32,
    /// Bytes of the largest transfer by RDMA read or write. Default 1 MiB.
    pub max_read_write_size: u32,
    /// How long the peer's negotiate message may take (3.1.2.1). Default 120 s for a client and 5 s
    /// for a server.
    pub negotiate_timeout: Duration,
    /// Silence of the peer after which an answer is asked for (3.1.2.2). Default 120 s.
    pub idle: Duration,
    /// How long that answer may take (3.1.6), and how long a peer that is refused may take to
    /// receive the refusal. Default 5 s.
    pub keep_alive: Duration,
    /// A client takes a response of 20 bytes, which ends before PreferredSendSize, as one known old
    /// server sends it; for what is missing, the least that the specification allows. Default: no.
    pub lenient_short_response: bool,
}

/// Settings that no connection can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}, and has to be at least {least}")]
pub struct SettingsError {
    /// The field of [`Settings`].
    pub setting: &'static str,
    /// Its value.
    pub value: u32,
    /// The least that it may be.
    pub least: u32,
}

impl Settings {
    /// With fewer credits in each direction, two ends that only grant credits would keep each other
    /// busy (see docs/decisions/0050).
    pub const LEAST_CREDITS: u16 = 4;

    /// The least that each of the times may be: errors tell both in milliseconds.
    pub const LEAST_TIME: Duration = Duration::from_millis(1);

    /// The defaults of a client.
    pub const fn client() -> Self {
        Self {
            credits: 255,
            preferred_send_size: 8192,
            max_receive_size: 8192,
            max_fragmented_size: 1 << 20,
            max_read_write_size: 1 << 20,
            negotiate_timeout: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            keep_alive: Duration::from_secs(5),
            lenient_short_response: false,
        }
    }

    /// The defaults of a server.
    pub const fn server() -> Self {
        Self { negotiate_timeout: Duration::from_secs(5), ..Self::client() }
    }

    /// Checks what a peer would refuse.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        for (setting, value, least) in [
            ("credits", self.credits.into(), Self::LEAST_CREDITS.into()),
            ("preferred_send_size", self.preferred_send_size, LEAST_RECEIVE_SIZE),
            ("max_receive_size", self.max_receive_size, LEAST_RECEIVE_SIZE),
            ("max_fragmented_size", self.max_fragmented_size, LEAST_FRAGMENTED_SIZE),
        ] {
            if value < least {
                return Err(SettingsError { setting, value, least });
            }
        }
        // No peer is that quick.
        for (setting, time) in [("negotiate_timeout", self.negotiate_timeout), ("idle", self.idle), ("keep_alive", self.keep_alive)] {
            if time < Self::LEAST_TIME {
                let (value, least) = (time.as_millis() as u32, Self::LEAST_TIME.as_millis() as u32);
                return Err(SettingsError { setting, value, least });
            }
        }
        Ok(())
    }
}
