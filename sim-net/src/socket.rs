//! [`SimSocket`]: a socket of the network.

use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use core::task::Poll;

use core_reactor::net::{NetError, SockOptions};

use crate::network::{End, Network, Shared};

/// A socket: a listener, or one side of a connection. Nothing waits: [`Poll::Pending`] says that
/// there is nothing to be read, or no room, now. Dropped, it is closed; with unread bytes that is a
/// reset, as with a kernel.
pub struct SimSocket {
    net: Arc<Shared>,
    id: u64,
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSocket").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SimSocket {
    pub(crate) fn new(net: &Arc<Shared>, id: u64) -> Self {
        Self { net: net.clone(), id }
    }

    pub(crate) fn is_of(&self, net: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.net, net)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    fn net<R>(&self, f: impl FnOnce(&mut Network, u64) -> R) -> R {
        self.net.with(|net| f(net, self.id))
    }

    fn end<R>(&self, f: impl FnOnce(&End) -> R) -> Result<R, NetError> {
        self.net(|net, id| net.end(id).map(f))
    }

    /// A connection that came to this listener.
    ///
    /// ```
    /// # use core::{task::Poll, time::Duration};
    /// # use core_reactor::{net::SockOptions, sim::SimPlatform};
    /// # use sim_net::{Faults, SimNet};
    /// # let (net, clock, options) = (SimNet::new(7, Faults::default()), SimPlatform::new(1), SockOptions::default());
    /// # net.set_clock(clock.clone());
    /// # let at = "127.0.0.1:7".parse()?;
    /// let listener = net.bind(at, &options)?;
    /// assert!(listener.accept().is_none());
    /// let near = net.dial(at, &options)?;
    /// let far = listener.accept().ok_or("it is under way")?;
    /// assert_eq!(far.peer_addr(), Some(near.local_addr()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn accept(&self) -> Option<Self> {
        self.net(Network::accept).map(|id| Self::new(&self.net, id))
    }

    /// How a connect went, which this begins if it has not begun.
    ///
    /// # Errors
    /// Refused, unreachable, or not answered in time.
    pub fn connected(&self) -> Poll<Result<(), NetError>> {
        self.net(Network::go_on)
    }

    /// Reads bytes that have arrived: at least one, or 0 at the end of the stream.
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
    /// assert_eq!(far.read(&mut [0; 8]), Poll::Pending, "nothing is there");
    /// assert_eq!(near.write(b"hello"), Poll::Ready(Ok(5)));
    /// let mut room = [0; 4];
    /// assert_eq!((far.read(&mut room), &room), (Poll::Ready(Ok(4)), b"hell"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The connection was reset.
    pub fn read(&self, into: &mut [u8]) -> Poll<Result<usize, NetError>> {
        self.net(|net, id| net.read(id, into))
    }

    /// Writes as many bytes as there is room for.
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
    /// // Its window and the buffer before it are full at some time.
    /// let mut written = 0;
    /// while let Poll::Ready(n) = near.write(&[0; 4096]) {
    ///     written += n?;
    /// }
    /// assert!(written > 0 && !near.has_room());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The connection was reset, or its sending side has ended.
    pub fn write(&self, from: &[u8]) -> Poll<Result<usize, NetError>> {
        self.net(|net, id| net.write(id, from))
    }

    /// Ends the sending side, behind what was written.
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
    /// near.finish();
    /// assert_eq!(far.read(&mut [0; 8]), Poll::Ready(Ok(0)), "the end of the stream");
    /// assert_eq!(far.write(b"still"), Poll::Ready(Ok(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(&self) {
        self.net(Network::finish);
    }

    /// Ends the connection by a reset.
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
    /// near.reset();
    /// assert!(matches!(far.read(&mut [0; 8]), Poll::Ready(Err(_))));
    /// assert!(far.error().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reset(&self) {
        self.net(|net, id| net.close(id, false));
    }

    /// Ends the connection in order, also with unread bytes: these are thrown away.
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
    /// near.close();
    /// assert_eq!(far.read(&mut [0; 8]), Poll::Ready(Ok(0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) {
        self.net(|net, id| net.close(id, true));
    }

    /// Bytes that have arrived and are not read.
    pub fn unread(&self) -> usize {
        self.end(End::unread).unwrap_or(0)
    }

    /// Bytes that the other side has written and this one has not read, wherever they are.
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
    /// net.set_faults(Faults { delay: Duration::from_secs(1), ..Faults::default() });
    /// assert_eq!(near.write(b"hello"), Poll::Ready(Ok(5)));
    /// assert_eq!((far.unread(), far.unread_and_under_way()), (0, 5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unread_and_under_way(&self) -> usize {
        self.end(End::written).unwrap_or(0)
    }

    /// Whether a read would find something: bytes, or the end.
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
    /// assert!(!far.is_readable());
    /// assert_eq!(near.write(b"!"), Poll::Ready(Ok(1)));
    /// assert!(far.is_readable());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_readable(&self) -> bool {
        self.end(End::is_readable).unwrap_or(false)
    }

    /// Whether a write would be taken that is not small; if not, a watcher is told when.
    pub fn has_room(&self) -> bool {
        self.net(Network::has_room)
    }

    /// What the connection, or the connect, has ended of.
    pub fn error(&self) -> Option<NetError> {
        self.end(End::failed).unwrap_or(None)
    }

    /// Its own address.
    ///
    /// # Errors
    /// It was ended by hand.
    pub fn local_addr(&self) -> Result<SocketAddr, NetError> {
        self.end(End::here)
    }

    /// The other side's.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.end(End::peer).unwrap_or(None)
    }

    /// Its options.
    ///
    /// # Errors
    /// It was ended by hand.
    pub fn options(&self) -> Result<SockOptions, NetError> {
        self.end(|end| end.options().clone())
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.net(|net, id| net.close(id, net.end(id).is_ok_and(|end| end.unread() == 0)));
    }
}
