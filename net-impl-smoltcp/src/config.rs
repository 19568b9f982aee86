//! What a host is to be.

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;

use core_reactor::net::NetError;
use smoltcp::wire::EthernetAddress;

use crate::convert;

/// The size and the addresses of a host. Its sockets and their buffers are allocated when it starts.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// The hardware address of its device.
    pub hardware: [u8; 6],
    /// How it gets its addresses.
    pub addresses: Addresses,
    /// For sequence numbers, ports, and what is asked in a flood of SYNs: a number that differs from boot to boot and that nobody outside can know.
    pub seed: u64,
    /// TCP sockets in all: connections, those that are still closing, and each listener's backlog. Default 64.
    pub sockets: usize,
    /// Bytes that each can hold received. Default 16 KiB.
    pub recv_buf: usize,
    /// Bytes that each can hold sent and not acknowledged. Default 16 KiB; with more, a connection begins with two segments and finds out how much the way carries.
    pub send_buf: usize,
    /// Connections that wait to be accepted at a listener that does not say how many. Default 16.
    pub backlog: u32,
}

impl StackConfig {
    /// The defaults, for a device with this hardware address.
    pub fn new(hardware: [u8; 6], addresses: Addresses) -> Self {
        Self { hardware, addresses, seed: 0, sockets: 64, recv_buf: 16 << 10, send_buf: 16 << 10, backlog: 16 }
    }

    pub(crate) fn check(&self) -> Result<(), NetError> {
        let wrong = |option, why| Err(NetError::Option { option, why });
        if !EthernetAddress(self.hardware).is_unicast() {
            return wrong("StackConfig::hardware", format!("{} is no address of one device", EthernetAddress(self.hardware)).into());
        }
        if self.sockets == 0 || self.sockets > net_group::slab::LIMIT {
            return wrong("StackConfig::sockets", format!("{} is not between 1 and {}", self.sockets, net_group::slab::LIMIT).into());
        }
        for (option, bytes) in [("StackConfig::recv_buf", self.recv_buf), ("StackConfig::send_buf", self.send_buf)] {
            // Window scaling ends at 1 GiB (RFC 7323, 2.3); under two segments the protocol crawls.
            if !(2048..=1 << 30).contains(&bytes) {
                return wrong(option, format!("{bytes} bytes are not between 2048 and {}", 1 << 30).into());
            }
        }
        self.addresses.check()
    }
}

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
    /// With the feature `dhcp`: a lease of IPv4 by DHCP (RFC 2131), renewed as its server asks. Until there is one, only the unspecified address can be listened to.
    Dhcp,
}

impl Default for Addresses {
    /// None.
    fn default() -> Self {
        Self::Static { own: Vec::new(), gateways: Vec::new() }
    }
}

impl Addresses {
    /// One address, and a router if there is one.
    pub fn one(address: IpAddr, prefix: u8, gateway: Option<IpAddr>) -> Self {
        Self::Static { own: [Network { address, prefix }].into(), gateways: gateway.into_iter().collect() }
    }

    fn check(&self) -> Result<(), NetError> {
        let wrong = |why| Err(NetError::Option { option: "StackConfig::addresses", why });
        let Self::Static { own, gateways } = self else {
            let without = "net-impl-smoltcp was built without DHCP: add its feature dhcp, or give an address";
            return if cfg!(feature = "dhcp") { Ok(()) } else { wrong(without.into()) };
        };
        if own.iter().map(|own| own.address).chain(gateways.iter().copied()).any(|ip| convert::ip(ip).is_none()) {
            return wrong("net-impl-smoltcp was built without IPv6: add its feature ipv6".into());
        }
        if own.len() > smoltcp::config::IFACE_MAX_ADDR_COUNT {
            return wrong(format!("{} addresses, at most {} are kept", own.len(), smoltcp::config::IFACE_MAX_ADDR_COUNT).into());
        }
        for Network { address, prefix } in own {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            if *prefix > longest || !convert::ip(*address).is_some_and(|ip| ip.is_unicast()) {
                return wrong(format!("{address}/{prefix} is no address of one host").into());
            }
        }
        let of_v4 = gateways.iter().filter(|gateway| gateway.is_ipv4()).count();
        if of_v4 > 1 || gateways.len() - of_v4 > 1 {
            return wrong("more than one gateway of a family".into());
        }
        Ok(())
    }
}

/// An address of a host, and how many of its leading bits are its network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The host's own address.
    pub address: IpAddr,
    /// The length of the prefix, bits.
    pub prefix: u8,
}

/// What a host has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackStats {
    /// Frames taken from the device.
    pub frames_in: u64,
    /// Sockets that are free now.
    pub free: usize,
    /// Connections that their applications have closed and that the protocol has not ended yet.
    pub closing: usize,
    /// SYNs dropped because no socket of their listener was free: their senders try again, or have been asked to show that they are there.
    pub syns_dropped: u64,
    /// SYNs dropped because their connection was there already: duplicates.
    pub syns_repeated: u64,
    /// Half-open connections given up: their peer did not answer.
    pub half_open_ended: u64,
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn said(addresses: Addresses) -> Option<alloc::string::String> {
        StackConfig::new([2, 0, 0, 0, 0, 1], addresses).check().err().map(|why| format!("{why}"))
    }

    #[test]
    fn what_was_left_out_of_the_build_is_refused_by_the_name_of_its_feature() {
        let cases = [
            (Addresses::Dhcp, cfg!(feature = "dhcp"), "feature dhcp"),
            (Addresses::one(Ipv6Addr::LOCALHOST.into(), 64, None), cfg!(feature = "ipv6"), "feature ipv6"),
            (Addresses::one(Ipv4Addr::LOCALHOST.into(), 8, Some(Ipv6Addr::LOCALHOST.into())), cfg!(feature = "ipv6"), "feature ipv6"),
            (Addresses::one(Ipv4Addr::LOCALHOST.into(), 8, None), true, ""),
        ];
        for (addresses, there, feature) in cases {
            let said = said(addresses);
            assert_eq!(said.is_none(), there, "{said:?}");
            assert!(said.as_ref().is_none_or(|said| said.contains(feature)), "{said:?}");
        }
    }
}
