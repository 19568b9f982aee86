//! A simulated network.
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod faults;
mod network;
mod options;
mod random;
mod ready;
mod socket;
mod watcher;

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;

use core_reactor::Platform;
use core_reactor::net::{NetError, SockOptions};

pub use crate::faults::Faults;
use crate::network::{Network, Shared};
pub use crate::ready::{Readiness, Role};
pub use crate::socket::SimSocket;
pub use crate::watcher::Watcher;

/// A network of one host, in memory. Clones are the same network.
#[derive(Clone)]
pub struct SimNet(Arc<Shared>);

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").finish_non_exhaustive()
    }
}

impl SimNet {
    /// A network with these faults, drawn from this seed.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(Arc::new(Shared::new(Network::new(seed, faults))))
    }

    /// Gives the network a clock. Without that it is that of the first watcher.
    pub fn set_clock(&self, clock: Arc<dyn Platform>) {
        self.0.with(|net| net.set_clock(clock));
    }

    /// Other faults from now on.
    ///
    /// ```
    /// # use core::{task::Poll, time::Duration};
    /// # use core_reactor::{net::SockOptions, sim::SimPlatform};
    /// # use sim_net::{Faults, SimNet};
    /// # let (net, clock, options) = (SimNet::new(7, Faults::default()), SimPlatform::new(1), SockOptions::default());
    /// # net.set_clock(clock.clone());
    /// # let at = "127.0.0.1:7".parse()?;
    /// # let listener = net.bind(at, &options)?;
    /// # let near = net.dial(at, &options)?;
    /// # let far = listener.accept().ok_or("it is under way")?;
    /// # assert_eq!(near.connected(), Poll::Ready(Ok(())));
    /// // From here on everything takes a second.
    /// net.set_faults(Faults { delay: Duration::from_secs(1), ..Faults::default() });
    /// assert_eq!(near.write(b"slow"), Poll::Ready(Ok(4)));
    /// assert_eq!(far.unread(), 0);
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(far.unread(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_faults(&self, faults: Faults) {
        self.0.with(|net| net.set_faults(faults));
    }

    /// A listener.
    ///
    /// ```
    /// # use core::{task::Poll, time::Duration};
    /// # use core_reactor::{net::SockOptions, sim::SimPlatform};
    /// # use sim_net::{Faults, SimNet};
    /// # let (net, clock, options) = (SimNet::new(7, Faults::default()), SimPlatform::new(1), SockOptions::default());
    /// # net.set_clock(clock.clone());
    /// let listener = net.bind("127.0.0.1:0".parse()?, &options)?;
    /// let at = listener.local_addr()?;
    /// assert!(at.port() != 0 && net.bind(at, &options).is_err(), "it is in use");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The address is in use or none of this network's; an option cannot be had.
    pub fn bind(&self, at: SocketAddr, options: &SockOptions) -> Result<SimSocket, NetError> {
        let options = options::complete(options)?;
        Ok(SimSocket::new(&self.0, self.0.with(|net| net.listen(at, options))?))
    }

    /// A connection, which is on its way.
    ///
    /// ```
    /// # use core::{task::Poll, time::Duration};
    /// # use core_reactor::{net::SockOptions, sim::SimPlatform};
    /// # use sim_net::{Faults, SimNet};
    /// # let (net, clock, options) = (SimNet::new(7, Faults::default()), SimPlatform::new(1), SockOptions::default());
    /// # net.set_clock(clock.clone());
    /// # let at = "127.0.0.1:7".parse()?;
    /// let nobody = net.dial(at, &options)?;
    /// assert!(matches!(nobody.connected(), Poll::Ready(Err(_))), "refused");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// No port is free; an option cannot be had.
    pub fn dial(&self, to: SocketAddr, options: &SockOptions) -> Result<SimSocket, NetError> {
        let socket = self.socket(&[to], options)?;
        // Begins it. Nothing has come of it yet.
        let _ = socket.connected();
        Ok(socket)
    }

    /// A socket that is to be connected to the first of these addresses that takes it: when it is
    /// first asked whether it is [`connected`](SimSocket::connected).
    ///
    /// ```
    /// # use core::{task::Poll, time::Duration};
    /// # use core_reactor::{net::SockOptions, sim::SimPlatform};
    /// # use sim_net::{Faults, SimNet};
    /// # let (net, clock, options) = (SimNet::new(7, Faults::default()), SimPlatform::new(1), SockOptions::default());
    /// # net.set_clock(clock.clone());
    /// # let at = "127.0.0.1:7".parse()?;
    /// let _listener = net.bind(at, &options)?;
    /// let socket = net.socket(&["127.0.0.1:9".parse()?, at], &options)?;
    /// while socket.connected().is_pending() {
    ///     clock.advance(Duration::from_millis(1));
    /// }
    /// assert_eq!(socket.peer_addr(), Some(at), "nobody is at the first");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no address; an option cannot be had.
    pub fn socket(&self, to: &[SocketAddr], options: &SockOptions) -> Result<SimSocket, NetError> {
        let options = options::complete(options)?;
        Ok(SimSocket::new(&self.0, self.0.with(|net| net.connect(to, options))?))
    }

    /// Keeps a record of what happens from now on.
    pub fn record(&self) {
        self.0.with(Network::record);
    }

    /// What was recorded: what arrived where, and when.
    ///
    /// ```
    /// # use core::{task::Poll, time::Duration};
    /// # use core_reactor::{net::SockOptions, sim::SimPlatform};
    /// # use sim_net::{Faults, SimNet};
    /// # let (net, clock, options) = (SimNet::new(7, Faults::default()), SimPlatform::new(1), SockOptions::default());
    /// # net.set_clock(clock.clone());
    /// # let at = "127.0.0.1:7".parse()?;
    /// net.record();
    /// let _listener = net.bind(at, &options)?;
    /// net.dial(at, &options)?;
    /// assert!(!net.trace().is_empty(), "the same for the same seed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trace(&self) -> String {
        self.0.with(|net| net.trace())
    }
}
