//! TCP: listeners, streams, and the halves of a stream.

use alloc::boxed::Box;
use core::fmt;
use core::future::poll_fn;
use core::iter;
use core::net::SocketAddr;
use core::task::{Context, Poll};

use core_reactor::Refused;
use core_reactor::net::{Frame, NetError, SockOptions, Socket};
use pool::Buf;

use crate::Runtime;
use crate::net::Net;

/// A socket's handle. With the last one the socket is closed.
pub(crate) struct Conn {
    runtime: Runtime,
    n: u32,
}

impl Conn {
    pub(crate) fn new(runtime: &Runtime, open: impl FnOnce(&mut Net) -> Result<u32, NetError>) -> Result<Self, NetError> {
        let n = runtime.net(open)??;
        Ok(Self { runtime: runtime.clone(), n })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The next connection of a listener; one that `stays` waits for room.
    pub(crate) async fn accept(&self, stays: bool) -> Result<Box<dyn Socket>, NetError> {
        poll_fn(|cx| self.net(|net, n| net.poll_accept(n, cx, stays))?).await
    }

    fn share(&self) -> Self {
        // Without sockets there is nothing to count.
        let _ = self.runtime.net(|net| net.share(self.n));
        Self { runtime: self.runtime.clone(), n: self.n }
    }

    fn net<R>(&self, f: impl FnOnce(&mut Net, u32) -> R) -> Result<R, NetError> {
        self.runtime.net(|net| f(net, self.n))
    }

    fn addresses(&self) -> Result<(SocketAddr, Option<SocketAddr>), NetError> {
        self.net(Net::addresses)?
    }

    fn poll_recv(&self, cx: &Context<'_>) -> Poll<Result<Option<Buf>, NetError>> {
        self.net(|net, n| net.poll_recv(n, cx))?
    }

    /// Shows what has come to `take`, which tells how much of it it has taken; 0 at the end.
    pub(crate) fn poll_read(&self, cx: &Context<'_>, take: impl FnOnce(&[u8]) -> usize) -> Poll<Result<usize, NetError>> {
        self.net(|net, n| net.poll_read(n, cx, take))?
    }

    pub(crate) fn poll_write<'a>(&self, cx: &Context<'_>, parts: impl Iterator<Item = &'a [u8]>) -> Poll<Result<usize, NetError>> {
        self.net(|net, n| net.poll_write(n, cx, parts))?
    }

    pub(crate) fn poll_shutdown(&self, cx: &Context<'_>) -> Poll<Result<(), NetError>> {
        self.net(|net, n| net.poll_shutdown(n, cx))?
    }

    async fn recv(&self) -> Result<Option<Buf>, NetError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    async fn read(&self, into: &mut [u8]) -> Result<usize, NetError> {
        if into.is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| self.poll_read(cx, |bytes| copy(bytes, into))).await
    }

    async fn write(&self, bytes: &[u8]) -> Result<usize, NetError> {
        poll_fn(|cx| self.poll_write(cx, iter::once(bytes))).await
    }

    async fn write_all(&self, mut bytes: &[u8]) -> Result<(), NetError> {
        while !bytes.is_empty() {
            let taken = self.write(bytes).await?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    async fn send(&self, frame: Frame) -> Result<(), Refused<Frame, NetError>> {
        // Whoever tags a frame wants to be told of it, which nobody here is.
        let frame = if frame.tag().is_some() { frame.into_iter().fold(Frame::new(), pushed) } else { frame };
        let mut frame = Some(frame);
        let sent = poll_fn(|cx| self.net(|net, n| net.poll_send(n, cx, &mut frame))?).await;
        sent.map_err(|why| Refused { item: frame.unwrap_or_default(), why })
    }

    async fn shutdown(&self) -> Result<(), NetError> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    fn taken(&self) -> u64 {
        self.net(Net::taken).unwrap_or_default()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let now = self.runtime.now();
        // Without sockets this one is closed already.
        let _ = self.net(|net, n| net.release(n, now));
    }
}

/// As much as fits.
pub(crate) fn copy(bytes: &[u8], into: &mut [u8]) -> usize {
    let fits = bytes.len().min(into.len());
    into[..fits].copy_from_slice(&bytes[..fits]);
    fits
}

/// A frame with one buffer more; it comes of a frame, so there is room.
fn pushed(mut frame: Frame, buf: Buf) -> Frame {
    let _ = frame.push(buf);
    frame
}

/// A listening socket. Dropped, it is closed, with the connections that wait for it.
pub struct TcpListener {
    conn: Conn,
}

impl TcpListener {
    /// Listens at `at`; port 0 takes a free one, which [`local_addr`](Self::local_addr) tells.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, TcpListener};
    /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let listener = TcpListener::bind(&runtime, "127.0.0.1:0".parse().expect("an address"))?;
    /// assert_ne!(listener.local_addr()?.port(), 0, "a free one");
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    ///
    /// # Errors
    /// The address is in use, not of this machine or not allowed; the runtime has as many sockets
    /// as it was made for, or no network.
    pub fn bind(runtime: &Runtime, at: SocketAddr) -> Result<Self, NetError> {
        Self::bind_with(runtime, at, &SockOptions::default())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, TcpListener};
    /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// use lcore::net::SockOptions;
    ///
    /// let at = "127.0.0.1:7".parse().expect("an address");
    /// let listener = TcpListener::bind_with(&runtime, at, &SockOptions::default().no_delay(true))?;
    /// assert_eq!(listener.local_addr()?, at);
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and an option that cannot be honoured.
    pub fn bind_with(runtime: &Runtime, at: SocketAddr, options: &SockOptions) -> Result<Self, NetError> {
        Ok(Self { conn: Conn::new(runtime, |net| net.listen(at, options))? })
    }

    /// The next connection, and its peer. While the runtime has as many sockets as it was made for,
    /// or the system no descriptors, connections wait in the system, and this waits for room.
    ///
    /// Dropped before it is ready, it has lost none. A connection that has gone again, or that the
    /// system does not give to this runtime, is passed over, with a line in the log.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
    /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
    /// let client = TcpStream::connect(&runtime, listener.local_addr()?).await?;
    /// let (_stream, peer) = listener.accept().await?;
    /// assert_eq!(peer, client.local_addr()?);
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    ///
    /// # Errors
    /// The listener is gone, now and at each further call.
    pub async fn accept(&mut self) -> Result<(TcpStream, SocketAddr), NetError> {
        loop {
            let socket = self.conn.accept(true).await?;
            let peer = socket.peer_addr().ok_or(NetError::NotConnected);
            match peer.and_then(|peer| Ok((TcpStream::from_socket(&self.conn.runtime, socket)?, peer))) {
                Ok(accepted) => return Ok(accepted),
                Err(why) => logging::warn!("a connection is lost: {}", alloc::format!("{why}").as_str()),
            }
        }
    }

    /// The next connection as a socket that is in no group: to be sent to another core, whose
    /// runtime makes a stream of it ([`TcpStream::from_socket`]). Needs no room in this one.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
    /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
    /// let mut client = TcpStream::connect(&runtime, listener.local_addr()?).await?;
    /// let socket = listener.accept_socket().await?;
    /// // It may cross cores; here it stays.
    /// let mut stream = TcpStream::from_socket(&runtime, socket)?;
    /// stream.write_all(b"hello").await?;
    /// assert_eq!(client.read(&mut [0; 5]).await?, 5);
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    ///
    /// # Errors
    /// The listener is gone.
    pub async fn accept_socket(&mut self) -> Result<Box<dyn Socket>, NetError> {
        self.conn.accept(false).await
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The listener is gone.
    pub fn local_addr(&self) -> Result<SocketAddr, NetError> {
        self.conn.addresses().map(|(here, _)| here)
    }

    /// The runtime that it is of.
    pub fn runtime(&self) -> &Runtime {
        &self.conn.runtime
    }
}

/// A TCP connection.
///
/// Dropped, it is closed: what it had taken to be sent still goes out, then FIN. What has come and
/// was not read is thrown away.
///
/// While nobody reads from it, its peer is held back. While its peer takes nothing, writes wait.
///
/// ```
/// # use core::time::Duration;
/// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
/// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
/// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
/// # let mut sim = Sim::new(1);
/// # let start = move |cx: &mut lcore::Cx<'_>| {
/// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
/// #     let (spawner, lib) = (runtime.clone(), cx.lib());
/// #     let task = async move {
/// let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
/// let mut client = TcpStream::connect(&runtime, listener.local_addr()?).await?;
/// let (mut server, _) = listener.accept().await?;
/// client.write_all(b"ping").await?;
/// client.shutdown().await?;
/// while let Some(buf) = server.recv().await? {
///     server.send(buf).await.map_err(|refused| refused.why)?; // as it came
/// }
/// let mut answer = [0; 4];
/// assert_eq!((client.read(&mut answer).await?, &answer), (4, b"ping"));
/// #         lib.stop();
/// #         Ok::<(), NetError>(())
/// #     };
/// #     drop(spawner.spawn_local(task));
/// # };
/// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
/// # sim.run_for(Duration::from_secs(60));
/// # assert!(sim.lib().is_stopping(), "the task has come to its end");
/// ```
pub struct TcpStream {
    conn: Conn,
}

/// What a stream and the half of it that reads have in common.
macro_rules! reads {
    () => {
        /// The next bytes as they came, without a copy: a buffer of the runtime's, which goes home
        /// when it is dropped. `None` when the peer has ended its side and all is read.
        ///
        /// Dropped before it is ready, it has taken nothing.
        ///
        /// ```
        /// # use core::time::Duration;
        /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
        /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
        /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
        /// # let mut sim = Sim::new(1);
        /// # let start = move |cx: &mut lcore::Cx<'_>| {
        /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
        /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
        /// #     let task = async move {
        /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
        /// # let mut near = TcpStream::connect(&runtime, listener.local_addr()?).await?;
        /// # let (mut far, _) = listener.accept().await?;
        /// far.write_all(b"hello").await?;
        /// drop(far); // the peer ends
        /// assert_eq!(near.recv().await?.as_deref(), Some(&b"hello"[..]));
        /// assert!(near.recv().await?.is_none(), "that was all");
        /// #         lib.stop();
        /// #         Ok::<(), NetError>(())
        /// #     };
        /// #     drop(spawner.spawn_local(task));
        /// # };
        /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
        /// # sim.run_for(Duration::from_secs(60));
        /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
        /// ```
        ///
        /// # Errors
        /// The connection broke; what came before has been read then.
        pub async fn recv(&mut self) -> Result<Option<Buf>, NetError> {
            self.conn.recv().await
        }

        /// Reads what there is into `into`, at least a byte; tells how much. 0 when the peer has
        /// ended its side and all is read, or nothing fits.
        ///
        /// Dropped before it is ready, it has taken nothing: what comes is for the next read.
        ///
        /// ```
        /// # use core::time::Duration;
        /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
        /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
        /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
        /// # let mut sim = Sim::new(1);
        /// # let start = move |cx: &mut lcore::Cx<'_>| {
        /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
        /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
        /// #     let task = async move {
        /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
        /// # let mut near = TcpStream::connect(&runtime, listener.local_addr()?).await?;
        /// # let (mut far, _) = listener.accept().await?;
        /// far.write_all(b"hello").await?;
        /// let mut room = [0; 3];
        /// assert_eq!((near.read(&mut room).await?, &room), (3, b"hel"));
        /// assert_eq!(near.read(&mut room).await?, 2, "the rest");
        /// #         lib.stop();
        /// #         Ok::<(), NetError>(())
        /// #     };
        /// #     drop(spawner.spawn_local(task));
        /// # };
        /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
        /// # sim.run_for(Duration::from_secs(60));
        /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
        /// ```
        ///
        /// # Errors
        /// As [`recv`](Self::recv).
        pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, NetError> {
            self.conn.read(into).await
        }
    };
}

/// What a stream and the half of it that writes have in common.
macro_rules! writes {
    () => {
        /// Takes bytes to be sent, as many as there is room for, one at least; tells how many.
        /// Waits for room while the peer takes nothing.
        ///
        /// Dropped before it is ready, it has taken nothing.
        ///
        /// ```
        /// # use core::time::Duration;
        /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
        /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
        /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
        /// # let mut sim = Sim::new(1);
        /// # let start = move |cx: &mut lcore::Cx<'_>| {
        /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
        /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
        /// #     let task = async move {
        /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
        /// # let mut near = TcpStream::connect(&runtime, listener.local_addr()?).await?;
        /// # let (mut far, _) = listener.accept().await?;
        /// let taken = near.write(b"hello").await?;
        /// assert_eq!((taken, far.read(&mut [0; 8]).await?), (5, 5));
        /// #         lib.stop();
        /// #         Ok::<(), NetError>(())
        /// #     };
        /// #     drop(spawner.spawn_local(task));
        /// # };
        /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
        /// # sim.run_for(Duration::from_secs(60));
        /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
        /// ```
        ///
        /// # Errors
        /// The connection broke, or its sending side has ended.
        pub async fn write(&mut self, bytes: &[u8]) -> Result<usize, NetError> {
            self.conn.write(bytes).await
        }

        /// Takes all of `bytes`, however many, and waits for room as often as needed.
        ///
        /// Dropped before it is ready, it has taken a part: [`taken`](Self::taken) tells how much.
        ///
        /// ```
        /// # use core::time::Duration;
        /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
        /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
        /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
        /// # let mut sim = Sim::new(1);
        /// # let start = move |cx: &mut lcore::Cx<'_>| {
        /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
        /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
        /// #     let task = async move {
        /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
        /// # let mut near = TcpStream::connect(&runtime, listener.local_addr()?).await?;
        /// # let (mut far, _) = listener.accept().await?;
        /// // However many, while the other side reads.
        /// let reader = runtime.spawn_local(async move {
        ///     let mut read = 0;
        ///     while let Ok(Some(buf)) = far.recv().await {
        ///         read += buf.len();
        ///     }
        ///     read
        /// });
        /// near.write_all(&vec![7; 1 << 20]).await?;
        /// near.shutdown().await?;
        /// assert_eq!(reader.ok().expect("there is room for a task").await, Ok(1 << 20));
        /// #         lib.stop();
        /// #         Ok::<(), NetError>(())
        /// #     };
        /// #     drop(spawner.spawn_local(task));
        /// # };
        /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
        /// # sim.run_for(Duration::from_secs(60));
        /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
        /// ```
        ///
        /// # Errors
        /// As [`write`](Self::write).
        pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), NetError> {
            self.conn.write_all(bytes).await
        }

        /// Takes a buffer or up to four as they are, without a copy, when there is room.
        ///
        /// Dropped before it is ready, it has taken nothing of it.
        ///
        /// ```
        /// # use core::time::Duration;
        /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
        /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
        /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
        /// # let mut sim = Sim::new(1);
        /// # let start = move |cx: &mut lcore::Cx<'_>| {
        /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
        /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
        /// #     let task = async move {
        /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
        /// # let mut near = TcpStream::connect(&runtime, listener.local_addr()?).await?;
        /// # let (mut far, _) = listener.accept().await?;
        /// # let bufs = lcore::pool::BufGroup::new(2, 64);
        /// let (mut head, mut body) = (bufs.get().expect("one"), bufs.get().expect("another"));
        /// head.append(b"4:");
        /// body.append(b"body");
        /// near.send([head, body]).await.map_err(|refused| refused.why)?;
        /// assert_eq!(far.read(&mut [0; 64]).await?, 6);
        /// #         lib.stop();
        /// #         Ok::<(), NetError>(())
        /// #     };
        /// #     drop(spawner.spawn_local(task));
        /// # };
        /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
        /// # sim.run_for(Duration::from_secs(60));
        /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
        /// ```
        ///
        /// # Errors
        /// As [`write`](Self::write); the buffers come back.
        pub async fn send(&mut self, frame: impl Into<Frame>) -> Result<(), Refused<Frame, NetError>> {
            self.conn.send(frame.into()).await
        }

        /// Bytes that this stream has taken to be sent since it was opened, to the byte: what to go
        /// on behind after a write that was dropped.
        ///
        /// Taken is not yet with the peer; if the connection breaks, that is told by the next read
        /// or write.
        ///
        /// ```
        /// # use core::time::Duration;
        /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
        /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
        /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
        /// # let mut sim = Sim::new(1);
        /// # let start = move |cx: &mut lcore::Cx<'_>| {
        /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
        /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
        /// #     let task = async move {
        /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
        /// # let mut near = TcpStream::connect(&runtime, listener.local_addr()?).await?;
        /// # let (mut far, _) = listener.accept().await?;
        /// near.write_all(b"hello").await?;
        /// near.write_all(b" you").await?;
        /// assert_eq!(near.taken(), 9);
        /// # assert_eq!(far.read(&mut [0; 9]).await?, 9);
        /// #         lib.stop();
        /// #         Ok::<(), NetError>(())
        /// #     };
        /// #     drop(spawner.spawn_local(task));
        /// # };
        /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
        /// # sim.run_for(Duration::from_secs(60));
        /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
        /// ```
        pub fn taken(&self) -> u64 {
            self.conn.taken()
        }

        /// Ends the sending side behind all that was taken (FIN). Reading goes on. Waits for room
        /// if there is none; asked for once, it comes also if this is dropped.
        ///
        /// ```
        /// # use core::time::Duration;
        /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
        /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
        /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
        /// # let mut sim = Sim::new(1);
        /// # let start = move |cx: &mut lcore::Cx<'_>| {
        /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
        /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
        /// #     let task = async move {
        /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
        /// # let mut near = TcpStream::connect(&runtime, listener.local_addr()?).await?;
        /// # let (mut far, _) = listener.accept().await?;
        /// near.shutdown().await?;
        /// assert_eq!(far.read(&mut [0; 8]).await?, 0, "the end");
        /// far.write_all(b"and back").await?;
        /// assert_eq!(near.read(&mut [0; 8]).await?, 8);
        /// #         lib.stop();
        /// #         Ok::<(), NetError>(())
        /// #     };
        /// #     drop(spawner.spawn_local(task));
        /// # };
        /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
        /// # sim.run_for(Duration::from_secs(60));
        /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
        /// ```
        ///
        /// # Errors
        /// The connection broke before.
        pub async fn shutdown(&mut self) -> Result<(), NetError> {
            self.conn.shutdown().await
        }

        /// Ends the connection by a reset, both directions, at once: the peer must not take what it
        /// has for all. What was taken and is not out is lost. Dropped instead, it ends in order.
        ///
        /// ```
        /// # use core::time::Duration;
        /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
        /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
        /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
        /// # let mut sim = Sim::new(1);
        /// # let start = move |cx: &mut lcore::Cx<'_>| {
        /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
        /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
        /// #     let task = async move {
        /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
        /// # let mut near = TcpStream::connect(&runtime, listener.local_addr()?).await?;
        /// # let (mut far, _) = listener.accept().await?;
        /// far.write_all(b"half a mess").await?;
        /// assert!(near.recv().await?.is_some());
        /// far.abort(); // the rest does not exist
        /// assert!(near.recv().await.is_err(), "not an end in order");
        /// #         lib.stop();
        /// #         Ok::<(), NetError>(())
        /// #     };
        /// #     drop(spawner.spawn_local(task));
        /// # };
        /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
        /// # sim.run_for(Duration::from_secs(60));
        /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
        /// ```
        pub fn abort(self) {
            // Without sockets it is closed already.
            let _ = self.conn.net(Net::abort);
        }
    };
}

impl TcpStream {
    /// Connects to `to`.
    ///
    /// Dropped before it is ready, it leaves no connection behind.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, TcpStream};
    /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let nobody = "127.0.0.1:9".parse().expect("an address");
    /// assert!(TcpStream::connect(&runtime, nobody).await.is_err(), "it is refused");
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    ///
    /// # Errors
    /// Refused, unreachable, no answer in time; the runtime has as many sockets as it was made for,
    /// or no network.
    pub async fn connect(runtime: &Runtime, to: SocketAddr) -> Result<Self, NetError> {
        Self::connect_with(runtime, &[to], &SockOptions::default()).await
    }

    /// Connects to the first of `to` that answers, with options.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
    /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let (nobody, there) = ("127.0.0.1:9".parse().expect("one"), "127.0.0.1:7".parse().expect("another"));
    /// let _listener = TcpListener::bind(&runtime, there)?;
    /// let options = lcore::net::SockOptions::default().no_delay(true);
    /// let stream = TcpStream::connect_with(&runtime, &[nobody, there], &options).await?;
    /// assert_eq!(stream.peer_addr()?, there);
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    ///
    /// # Errors
    /// As [`connect`](Self::connect), of the last address; there is none; an option cannot be
    /// honoured.
    pub async fn connect_with(runtime: &Runtime, to: &[SocketAddr], options: &SockOptions) -> Result<Self, NetError> {
        connected(Conn::new(runtime, |net| net.connect(to, options))?).await
    }

    /// A stream of a connection that was accepted, on this core or another
    /// ([`TcpListener::accept_socket`]).
    ///
    /// # Errors
    /// It is of another backend; the runtime has as many sockets as it was made for, or no network.
    pub fn from_socket(runtime: &Runtime, socket: Box<dyn Socket>) -> Result<Self, NetError> {
        Ok(Self { conn: Conn::new(runtime, |net| net.adopt(socket))? })
    }

    reads!();
    writes!();

    /// Its own address.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn local_addr(&self) -> Result<SocketAddr, NetError> {
        self.conn.addresses().map(|(here, _)| here)
    }

    /// Its peer's.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn peer_addr(&self) -> Result<SocketAddr, NetError> {
        self.conn.addresses()?.1.ok_or(NetError::NotConnected)
    }

    /// The two directions, for two tasks. The connection is closed with the later of them.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, TcpListener, TcpStream};
    /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
    /// let client = TcpStream::connect(&runtime, listener.local_addr()?).await?;
    /// let (mut server, _) = listener.accept().await?;
    /// let (mut reads, mut writes) = client.split();
    /// drop(runtime.spawn_local(async move { writes.write_all(b"from one task").await }));
    /// server.write_all(b"to another").await?;
    /// assert_eq!(reads.read(&mut [0; 32]).await?, 10);
    /// assert_eq!(server.read(&mut [0; 32]).await?, 13);
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf { conn: self.conn.share() }, WriteHalf { conn: self.conn })
    }

    /// The runtime that it is of.
    pub fn runtime(&self) -> &Runtime {
        &self.conn.runtime
    }

    #[allow(dead_code, reason = "for the traits of the features")]
    pub(crate) fn conn(&self) -> &Conn {
        &self.conn
    }
}

/// The half of a stream that reads. Dropped, it throws away what has come, and its peer is held
/// back. See [`TcpStream::split`].
pub struct ReadHalf {
    conn: Conn,
}

impl ReadHalf {
    reads!();

    #[allow(dead_code, reason = "for the traits of the features")]
    pub(crate) fn conn(&self) -> &Conn {
        &self.conn
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        // Without sockets this one is closed already. A waker is dropped with nothing borrowed.
        let reader = self.conn.net(Net::deafen);
        drop(reader);
    }
}

/// The half of a stream that writes. Dropped, it ends the sending side, behind all that it had
/// taken. See [`TcpStream::split`].
pub struct WriteHalf {
    conn: Conn,
}

impl WriteHalf {
    writes!();

    #[allow(dead_code, reason = "for the traits of the features")]
    pub(crate) fn conn(&self) -> &Conn {
        &self.conn
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        // Without sockets this one is closed already.
        let _ = self.conn.net(Net::finish);
    }
}

/// The stream of a connect, when it has succeeded.
pub(crate) async fn connected(conn: Conn) -> Result<TcpStream, NetError> {
    poll_fn(|cx| conn.net(|net, n| net.poll_connected(n, cx))?).await?;
    Ok(TcpStream { conn })
}

macro_rules! debug {
    ($($handle:ident)*) => {$(
        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (here, peer) = self.conn.addresses().map_or((None, None), |(here, peer)| (Some(here), peer));
                f.debug_struct(stringify!($handle)).field("local", &here).field("peer", &peer).finish()
            }
        }
    )*};
}

debug!(TcpListener TcpStream ReadHalf WriteHalf);
