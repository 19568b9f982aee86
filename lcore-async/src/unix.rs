//! Unix stream sockets: a listener of their own, and the stream that TCP has.

use alloc::boxed::Box;
use core::fmt;

use core_reactor::net::{NetError, SockOptions, Socket, UnixAddress};

use crate::tcp::{Conn, connected};
use crate::{Runtime, TcpStream};

/// Waits for connections at a Unix address. Each is a [`TcpStream`], which reads and writes
/// whatever its socket is; its `local_addr` and `peer_addr` are errors.
///
/// ```no_run
/// use lcore::net::NetError;
/// use lcore_async::{Runtime, UnixListener};
///
/// async fn serve(runtime: &Runtime) -> Result<(), NetError> {
///     let mut listener = UnixListener::bind(runtime, &"unix:/run/mine.sock".parse()?)?;
///     loop {
///         let mut stream = listener.accept().await?;
///         stream.write_all(b"hello").await?;
///     }
/// }
/// ```
pub struct UnixListener {
    conn: Conn,
}

impl UnixListener {
    /// Listens at `at`. The file is taken away with the listener.
    ///
    /// # Errors
    /// Somebody listens there, or did and left the file; the backend has no Unix sockets; the
    /// runtime has as many sockets as it was made for, or no network.
    pub fn bind(runtime: &Runtime, at: &UnixAddress) -> Result<Self, NetError> {
        Self::bind_with(runtime, at, &SockOptions::default())
    }

    /// As [`bind`](Self::bind), with options.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); an option cannot be honoured.
    pub fn bind_with(runtime: &Runtime, at: &UnixAddress, options: &SockOptions) -> Result<Self, NetError> {
        Ok(Self { conn: Conn::new(runtime, |net| net.listen_unix(at, options))? })
    }

    /// The next connection. One that its group does not take is passed over, with a line in the
    /// log.
    ///
    /// # Errors
    /// The listener is gone, now and at each further call.
    pub async fn accept(&mut self) -> Result<TcpStream, NetError> {
        loop {
            match TcpStream::from_socket(self.conn.runtime(), self.conn.accept(true).await?) {
                Ok(stream) => return Ok(stream),
                Err(why) => logging::warn!("a connection is lost: {}", alloc::format!("{why}").as_str()),
            }
        }
    }

    /// As [`TcpListener::accept_socket`](crate::TcpListener::accept_socket).
    ///
    /// # Errors
    /// The listener is gone.
    pub async fn accept_socket(&mut self) -> Result<Box<dyn Socket>, NetError> {
        self.conn.accept(false).await
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixListener").finish_non_exhaustive()
    }
}

impl TcpStream {
    /// Connects to a Unix address. While as many wait there as may, it waits.
    ///
    /// # Errors
    /// Nobody listens there, or it is not allowed; the backend has no Unix sockets; the runtime has
    /// as many sockets as it was made for, or no network.
    pub async fn connect_unix(runtime: &Runtime, to: &UnixAddress) -> Result<Self, NetError> {
        let options = SockOptions::default();
        connected(Conn::new(runtime, |net| net.connect_unix(to, &options))?).await
    }
}
