//! Sockets over epoll: the network backend "posix".
//!
#![doc = include_str!("../README.md")]
//!
//! [`Posix`] makes sockets and groups. A group is the engine of `net_group` over one epoll set
//! (`sockets`), which knows how to receive, send, accept and connect; what a socket may do when,
//! and who is served, is the engine's.
//!
//! # Edge-triggered
//!
//! Each socket is added to epoll once, for everything, and edge-triggered. So nothing is said to
//! epoll while a socket is used: no call to pause it, to wait for room to write, or to keep one
//! that is not yet served from being told again. With level triggers the kernel looks at each ready
//! socket once more in the next wait to find that it no longer is. The price is that the engine
//! itself remembers who is readable. A read that returns less than was asked for has emptied the
//! socket (epoll(7)), except after an end, an error or urgent data was announced.
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

mod sockets;
mod sys;

logging::part!("posix");

use std::net::SocketAddr;

use core_reactor::Cx;
use core_reactor::net::{self, DEFAULT_PRIORITY, GroupConfig, NetError, NetImpl, SockGroup, SockOptions, Socket, UnixAddress};
use net_group::Group;
use net_sockets::{Tcp, error};

use crate::sockets::EpollSockets;

pub(crate) const NAME: &str = "posix";

net::register!(
    /// What is registered. Public for programs that have to name it: of an archive a linker takes
    /// only what something refers to.
    #[doc(hidden)]
    pub static POSIX = Posix
);

/// The backend. Linked programs find it by its name, "posix".
#[derive(Clone, Copy, Debug, Default)]
pub struct Posix;

impl NetImpl for Posix {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> u8 {
        DEFAULT_PRIORITY + 1
    }

    fn probe(&self) -> Result<(), NetError> {
        sys::Epoll::new().map_err(|e| error::unusable("epoll_create1", e))?;
        sys::Timer::new().map_err(|e| error::unusable("timerfd_create", e))?;
        Ok(())
    }

    fn listen(&self, at: SocketAddr, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(PosixSocket::listen(at, copying(options)?)?))
    }

    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(PosixSocket::connect(to, copying(options)?)?))
    }

    fn listen_unix(&self, at: &UnixAddress, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(PosixSocket::listen_unix(at, copying(options)?)?))
    }

    fn connect_unix(&self, to: &UnixAddress, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(PosixSocket::connect_unix(to, copying(options)?)?))
    }

    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        config.check()?;
        let backend = EpollSockets::new(cx, &config)?;
        Ok(Box::new(Group::new(cx, config, backend)))
    }
}

pub(crate) type PosixSocket = Tcp<NothingMore>;

/// Nothing travels with a socket of this backend.
#[derive(Default)]
pub(crate) struct NothingMore;

impl net_sockets::Backend for NothingMore {
    const NAME: &'static str = NAME;
}

fn copying(options: &SockOptions) -> Result<&SockOptions, NetError> {
    match options.zero_copy {
        None => Ok(options),
        Some(_) => Err(NetError::Option { option: "zero_copy", why: "backend posix sends by copying only".into() }),
    }
}

#[cfg(test)]
mod tests;
