//! A socket of the network as applications hold it.

use core::net::SocketAddr;

use core_reactor::net::{NetError, Placement, SockOptions, Socket};
use sim_net::SimSocket;

use crate::NAME;

pub(crate) struct MemSocket(pub(crate) SimSocket);

impl Socket for MemSocket {
    fn local_addr(&self) -> Result<SocketAddr, NetError> {
        self.0.local_addr()
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.peer_addr()
    }

    fn options(&self) -> Result<SockOptions, NetError> {
        self.0.options()
    }

    fn placement(&self) -> Placement {
        Placement::default()
    }

    fn backend(&self) -> &'static str {
        NAME
    }
}
