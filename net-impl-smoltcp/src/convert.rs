//! What smoltcp has types of its own for: addresses and times.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use core_reactor::Instant;
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::IpAddress;

/// The address; `None` if it is of a family that this program was built without.
#[inline]
pub(crate) fn ip(ip: IpAddr) -> Option<IpAddress> {
    match ip {
        IpAddr::V4(v4) => Some(IpAddress::Ipv4(v4)),
        #[cfg(feature = "ipv6")]
        IpAddr::V6(v6) => Some(IpAddress::Ipv6(v6)),
        #[cfg(not(feature = "ipv6"))]
        IpAddr::V6(_) => None,
    }
}

/// What a socket is bound to that is bound to nothing, in the family of `to`.
pub(crate) fn unspecified(to: &SocketAddr) -> SocketAddr {
    let ip = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(ip, 0)
}

pub(crate) fn instant(at: Instant) -> SmolInstant {
    SmolInstant::from_micros((at.as_nanos() / 1000) as i64)
}

/// Rounded up, so that a core that sleeps until then does not find that it is too early.
pub(crate) fn from_instant(at: SmolInstant) -> Instant {
    Instant::from_nanos((at.total_micros().max(0) as u64).saturating_mul(1000))
}

pub(crate) fn duration(time: Duration) -> SmolDuration {
    SmolDuration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2).min(u64::MAX / 4))
}
