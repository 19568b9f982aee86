//! Sockets over io_uring: the network backend "uring".
//!
#![doc = include_str!("../README.md")]
//!
//! [`Uring`] makes sockets and groups. A group is the engine of `net_group` over `ringed::Ringed`,
//! which turns what the engine asks into requests, and completions into what it is told. By file,
//! each of which knows those behind it only:
//!
//! ```text
//!   ringed ─► slot ─► reader, writer ─► requests ─► core_uring
//!      └────► buffers, timers ─────────────────────────┘
//! ```
//!
//! A poll queues requests for what is wanted, enters the kernel once if there is reason to, and
//! hands completions to the engine. A poll that finds nothing makes no system call.
//!
//! # What is with the kernel
//!
//! A socket has at most one request that reads (it receives, or polls), one that sends and one that
//! watches for its end. What they name stays until their last completion: a socket that is released
//! keeps its slot until then. A group that is dropped waits for all of them; if the kernel does not
//! answer, their memory is leaked, never freed.
//!
//! # Sleep
//!
//! A ring whose completions wait for its own thread (`DEFER_TASKRUN`) does not wake an epoll set.
//! Its eventfd does, and costs nothing while it is switched off: it is armed before a core sleeps
//! ([`core_reactor::Bell`], decision 0030).
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

mod buffers;
mod depth;
mod error;
mod gather;
mod key;
mod probe;
mod reader;
mod requests;
mod ringed;
mod slot;
mod socket;
mod timers;
mod writer;

logging::part!("uring");

use std::net::SocketAddr;

use core_reactor::Cx;
use core_reactor::net::{self, DEFAULT_PRIORITY, GroupConfig, NetError, NetImpl, SockGroup, SockOptions, Socket, UnixAddress};
use core_uring::Sizes;
use net_group::Group;

use crate::ringed::Ringed;
use crate::socket::{NAME, UringSocket};

net::register!(
    /// What is registered. Public for programs that have to name it: of an archive a linker takes
    /// only what something refers to.
    #[doc(hidden)]
    pub static URING = Uring::new()
);

/// The backend. Linked programs find it by its name, "uring".
#[derive(Clone, Copy, Debug)]
pub struct Uring {
    sizes: Sizes,
    /// Most buffers of one group that lie ready to be received into; a power of two.
    buffers: u16,
}

impl Uring {
    /// The backend, with rings of the usual size.
    pub const fn new() -> Self {
        Self { sizes: Sizes::USUAL, buffers: 512 }
    }
}

impl Default for Uring {
    fn default() -> Self {
        Self::new()
    }
}

impl NetImpl for Uring {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Above "posix".
    fn priority(&self) -> u8 {
        DEFAULT_PRIORITY + 2
    }

    fn probe(&self) -> Result<(), NetError> {
        probe::probe()
    }

    fn listen(&self, at: SocketAddr, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(UringSocket::listen(at, options)?))
    }

    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(UringSocket::connect(to, options)?))
    }

    fn listen_unix(&self, at: &UnixAddress, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(UringSocket::listen_unix(at, options)?))
    }

    fn connect_unix(&self, to: &UnixAddress, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Ok(Box::new(UringSocket::connect_unix(to, options)?))
    }

    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        config.check()?;
        let backend = Ringed::new(cx, &config, self.sizes, self.buffers)?;
        Ok(Box::new(Group::new(cx, config, backend)))
    }
}

#[cfg(test)]
mod tests;
