//! [`MemSocket`]: a socket of the network, in a group, on the way between cores, or used by hand.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::task::Poll;

use core_reactor::net::{NetError, Placement, SockOptions, Socket};
use spin::Mutex;

use crate::NAME;
use crate::network::{End, Network};

/// Bytes that either side of a connection holds where nothing else is asked for.
const BUF: usize = 256 << 10;
/// Most bytes that can be asked for.
const MOST: usize = 16 << 20;

/// The network, for those who share it.
pub(crate) struct Shared(Mutex<Network>);

impl Shared {
    pub(crate) fn new(network: Network) -> Self {
        Self(Mutex::new(network))
    }

    /// Does this, behind all that the time has come for, and lets follow from it what does at once.
    /// Cores are woken under the lock: what wakes a thread takes none of ours.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Network) -> R) -> R {
        let mut network = self.0.lock();
        let now = network.clock();
        network.catch_up(now);
        let result = f(&mut network);
        network.catch_up(now);
        result
    }
}

/// A socket in memory. Given to a group it is like any other; out of one, a test reads and writes
/// it by hand, without waiting: [`Poll::Pending`] says that there is nothing to be read, or no
/// room, now. Dropped, it is closed; with unread bytes that is a reset, as with a kernel.
pub struct MemSocket {
    pub(crate) net: Arc<Shared>,
    pub(crate) id: u64,
}

impl MemSocket {
    /// A connection that came to this listener.
    pub fn accept(&self) -> Option<Self> {
        let id = self.net.with(|net| net.accept(self.id))?;
        Some(Self { net: self.net.clone(), id })
    }

    /// How a connect went.
    ///
    /// # Errors
    /// Refused, unreachable, or not answered in time.
    pub fn connected(&self) -> Poll<Result<(), NetError>> {
        self.net.with(|net| net.go_on(self.id))
    }

    /// Reads bytes that have arrived: at least one, or 0 at the end of the stream.
    ///
    /// # Errors
    /// The connection was reset.
    pub fn read(&self, into: &mut [u8]) -> Poll<Result<usize, NetError>> {
        self.net.with(|net| net.read(self.id, into))
    }

    /// Writes as many bytes as there is room for.
    ///
    /// # Errors
    /// The connection was reset, or its sending side has ended.
    pub fn write(&self, from: &[u8]) -> Poll<Result<usize, NetError>> {
        self.net.with(|net| net.write(self.id, from))
    }

    /// Ends the sending side, behind what was written.
    pub fn finish(&self) {
        self.net.with(|net| net.finish(self.id));
    }

    /// Ends the connection by a reset.
    pub fn reset(&self) {
        self.net.with(|net| net.close(self.id, false));
    }
}

impl Drop for MemSocket {
    fn drop(&mut self) {
        self.net.with(|net| net.close(self.id, !net.end(self.id).is_ok_and(End::has_unread)));
    }
}

impl Socket for MemSocket {
    fn local_addr(&self) -> Result<SocketAddr, NetError> {
        self.net.with(|net| net.end(self.id).map(End::here))
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        self.net.with(|net| net.end(self.id).ok()?.peer())
    }

    fn options(&self) -> Result<SockOptions, NetError> {
        self.net.with(|net| net.end(self.id).map(|end| end.options().clone()))
    }

    fn placement(&self) -> Placement {
        Placement::default()
    }

    fn backend(&self) -> &'static str {
        NAME
    }
}

/// The options as they will be. Nothing is lost or late in memory unless it is asked to be, so most
/// are kept by doing nothing.
pub(crate) fn effective(o: &SockOptions) -> Result<SockOptions, NetError> {
    let wrong = |option, why: Box<str>| Err(NetError::Option { option, why });
    let recv_buf = o.recv_buf.unwrap_or(BUF);
    for (option, bytes, most) in [("recv_buf", o.recv_buf, MOST), ("send_buf", o.send_buf, MOST), ("low_water", o.low_water, recv_buf / 2)]
    {
        if let Some(bytes) = bytes.filter(|bytes| *bytes == 0 || *bytes > most) {
            return wrong(option, format!("{bytes} is not between 1 and {most}").into());
        }
    }
    if let Some(time) = o.user_timeout.filter(|time| time.as_millis() == 0) {
        return wrong("user_timeout", format!("{} ns is less than a millisecond", time.as_nanos()).into());
    }
    if let Some(count) = o.backlog.filter(|count| *count == 0 || *count > u16::MAX.into()) {
        return wrong("backlog", format!("{count} is not between 1 and {}", u16::MAX).into());
    }
    for (option, asked) in [("zero_copy", o.zero_copy.is_some()), ("busy_poll", o.busy_poll.is_some()), ("reuse_port", o.reuse_port)] {
        if asked {
            return wrong(option, "there is none in memory".into());
        }
    }
    Ok(SockOptions {
        recv_buf: Some(recv_buf),
        send_buf: Some(o.send_buf.unwrap_or(BUF)),
        low_water: Some(o.low_water.unwrap_or(1)),
        priority: Some(o.priority.unwrap_or(0)),
        backlog: Some(o.backlog.unwrap_or(1024)),
        ..o.clone()
    })
}
