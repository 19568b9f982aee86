//! The addresses of a host.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::wire::IpAddress;

/// How a host gets its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// These, at most four, and routers for everything else.
    Static {
        /// Its own addresses.
        own: Vec<Network>,
        /// The routers, at most one of each family.
        gateways: Vec<IpAddr>,
    },
    /// With the feature `dhcp`: a lease of IPv4 by DHCP (RFC 2131), renewed as its server asks.
    /// Until there is one, only the unspecified address can be listened to.
    Dhcp,
}

/// An address of a host, and how many of its leading bits are its network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The host's own address.
    pub address: IpAddr,
    /// The length of the prefix, bits.
    pub prefix: u8,
}

impl Default for Addresses {
    /// None.
    fn default() -> Self {
        Self::Static { own: Vec::new(), gateways: Vec::new() }
    }
}

impl Addresses {
    /// One address, and a router if there is one.
    ///
    /// ```
    /// use net_link::Addresses;
    ///
    /// let host = Addresses::one("10.0.2.15".parse()?, 24, Some("10.0.2.2".parse()?));
    /// assert!(host.check().is_ok());
    /// assert!(Addresses::one("10.0.2.15".parse()?, 33, None).check().is_err(), "no prefix is so long");
    /// # Ok::<(), core::net::AddrParseError>(())
    /// ```
    pub fn one(address: IpAddr, prefix: u8, gateway: Option<IpAddr>) -> Self {
        Self::Static { own: [Network { address, prefix }].into(), gateways: gateway.into_iter().collect() }
    }

    /// Whether an interface can have them.
    ///
    /// # Errors
    /// It cannot, for this reason.
    pub fn check(&self) -> Result<(), String> {
        let Self::Static { own, gateways } = self else {
            let without = "this program was built without DHCP: add the feature dhcp, or give an address";
            return if cfg!(feature = "dhcp") { Ok(()) } else { Err(without.into()) };
        };
        if own.iter().map(|own| own.address).chain(gateways.iter().copied()).any(|address| ip(address).is_none()) {
            return Err("this program was built without IPv6: add the feature ipv6".into());
        }
        if own.len() > smoltcp::config::IFACE_MAX_ADDR_COUNT {
            return Err(format!("{} addresses, at most {} are kept", own.len(), smoltcp::config::IFACE_MAX_ADDR_COUNT));
        }
        for Network { address, prefix } in own {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            if *prefix > longest || !ip(*address).is_some_and(|ip| ip.is_unicast()) {
                return Err(format!("{address}/{prefix} is no address of one host"));
            }
        }
        let of_v4 = gateways.iter().filter(|gateway| gateway.is_ipv4()).count();
        if of_v4 > 1 || gateways.len() - of_v4 > 1 {
            return Err("more than one gateway of a family".into());
        }
        Ok(())
    }
}

/// The address as smoltcp has it; `None` if it is of a family that this program was built without.
///
/// ```
/// use core::net::{IpAddr, Ipv4Addr};
///
/// assert!(net_link::ip(IpAddr::V4(Ipv4Addr::LOCALHOST)).is_some());
/// ```
#[inline]
pub fn ip(ip: IpAddr) -> Option<IpAddress> {
    match ip {
        IpAddr::V4(v4) => Some(IpAddress::Ipv4(v4)),
        #[cfg(feature = "ipv6")]
        IpAddr::V6(v6) => Some(IpAddress::Ipv6(v6)),
        #[cfg(not(feature = "ipv6"))]
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn what_was_left_out_of_the_build_is_refused_by_the_name_of_its_feature() {
        let cases = [
            (Addresses::Dhcp, cfg!(feature = "dhcp"), "feature dhcp"),
            (Addresses::one(Ipv6Addr::LOCALHOST.into(), 64, None), cfg!(feature = "ipv6"), "feature ipv6"),
            (Addresses::one(Ipv4Addr::LOCALHOST.into(), 8, Some(Ipv6Addr::LOCALHOST.into())), cfg!(feature = "ipv6"), "feature ipv6"),
            (Addresses::one(Ipv4Addr::LOCALHOST.into(), 8, None), true, ""),
        ];
        for (addresses, there, feature) in cases {
            let said = addresses.check().err();
            assert_eq!(said.is_none(), there, "{said:?}");
            assert!(said.as_ref().is_none_or(|said| said.contains(feature)), "{said:?}");
        }
    }
}
