//! Addresses as smoltcp has them: those of IPv4, and with the feature `ipv6` those of IPv6.

use core::net::IpAddr;

use smoltcp::wire::IpAddress;

/// The address; `None` if it is of a family that this program was built without.
#[inline]
pub(crate) fn of(ip: IpAddr) -> Option<IpAddress> {
    match ip {
        IpAddr::V4(v4) => Some(IpAddress::Ipv4(v4)),
        #[cfg(feature = "ipv6")]
        IpAddr::V6(v6) => Some(IpAddress::Ipv6(v6)),
        #[cfg(not(feature = "ipv6"))]
        IpAddr::V6(_) => None,
    }
}
