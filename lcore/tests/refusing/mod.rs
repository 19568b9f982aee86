//! A backend that refuses everything, for what comes before a backend is used.

use std::net::SocketAddr;

use lcore::Cx;
use lcore::net::{GroupConfig, NetError, NetImpl, SockGroup, SockOptions, Socket};

pub(crate) struct Refusing {
    pub(crate) name: &'static str,
    pub(crate) priority: u8,
    pub(crate) probed: fn(),
}

impl NetImpl for Refusing {
    fn name(&self) -> &'static str {
        self.name
    }

    fn priority(&self) -> u8 {
        self.priority
    }

    fn probe(&self) -> Result<(), NetError> {
        (self.probed)();
        Ok(())
    }

    fn listen(&self, _: SocketAddr, _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Err(NetError::NoAddress)
    }

    fn connect(&self, _: &[SocketAddr], _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Err(NetError::NoAddress)
    }

    fn group(&self, _: &mut Cx<'_>, _: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        Err(NetError::NoDescriptors)
    }
}
