//! An address by DHCP.

use core::net::IpAddr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;

use crate::addresses::Network;

/// The client, and so the lease.
pub(crate) struct Lease {
    handle: SocketHandle,
}

impl Lease {
    pub(crate) fn new(sockets: &mut SocketSet<'static>) -> Self {
        Self { handle: sockets.add(dhcpv4::Socket::new()) }
    }

    /// The address and the router of a lease that has come, or nothing where one has gone; `None`
    /// if all is as it was.
    pub(crate) fn news(&mut self, sockets: &mut SocketSet<'static>) -> Option<(Option<Network>, Option<IpAddr>)> {
        match sockets.get_mut::<dhcpv4::Socket<'_>>(self.handle).poll()? {
            dhcpv4::Event::Configured(config) => {
                let own = Network { address: config.address.address().into(), prefix: config.address.prefix_len() };
                logging::info!("dhcp: the address is {}", alloc::format!("{}/{}", own.address, own.prefix).as_str());
                Some((Some(own), config.router.map(IpAddr::from)))
            }
            dhcpv4::Event::Deconfigured => {
                logging::warn!("dhcp: the address is gone");
                Some((None, None))
            }
        }
    }
}
