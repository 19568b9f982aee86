//! An address by DHCP.

use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;

use crate::config::Network;
use crate::stack::Stack;

/// The client, and so the lease.
pub(crate) struct Lease {
    handle: SocketHandle,
}

impl Lease {
    pub(crate) fn new(sockets: &mut SocketSet<'static>) -> Self {
        Self { handle: sockets.add(dhcpv4::Socket::new()) }
    }
}

impl Stack {
    /// Takes the addresses of a lease that has come or gone.
    pub(crate) fn lease_events(&mut self) {
        let Some(lease) = &self.lease else { return };
        let (own, gateway) = match self.sockets.get_mut::<dhcpv4::Socket>(lease.handle).poll() {
            None => return,
            Some(dhcpv4::Event::Configured(config)) => {
                let address = Network { address: config.address.address().into(), prefix: config.address.prefix_len() };
                (Some(address), config.router.map(IpAddr::from))
            }
            Some(dhcpv4::Event::Deconfigured) => (None, None),
        };
        if let Some(Network { address, prefix }) = &own {
            logging::info!("dhcp: the address is {}", alloc::format!("{address}/{prefix}").as_str());
        } else {
            logging::warn!("dhcp: the address is gone");
        }
        let own: Vec<_> = own.into_iter().collect();
        self.configure(&own, gateway.as_slice());
        self.changed();
    }
}
