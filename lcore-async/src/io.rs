//! What the traits of the standard library's world have in common: errors, and reads and writes.

use core::iter;
use core::task::{Context, Poll};
use std::io::{Error, ErrorKind, IoSlice, Result};

use core_reactor::net::NetError;

use crate::tcp::Conn;

/// A network's error as one of the standard library, with its words, and its kind where there is
/// one that fits.
///
/// ```
/// use std::io::ErrorKind;
///
/// assert_eq!(lcore_async::io_error(lcore::net::NetError::Reset).kind(), ErrorKind::ConnectionReset);
/// ```
pub fn io_error(why: NetError) -> Error {
    let kind = match &why {
        NetError::AddressInUse(_) | NetError::UnixInUse(_) | NetError::UnixLeftOver(_) | NetError::UnixNoSocket(_) => ErrorKind::AddrInUse,
        NetError::AddressUnavailable(_) => ErrorKind::AddrNotAvailable,
        NetError::Denied(_) | NetError::UnixDenied(_) => ErrorKind::PermissionDenied,
        NetError::ConnectRefused(_) | NetError::UnixRefused(_) => ErrorKind::ConnectionRefused,
        NetError::UnixMissing(_) => ErrorKind::NotFound,
        NetError::Unreachable(_) => ErrorKind::HostUnreachable,
        NetError::TimedOut => ErrorKind::TimedOut,
        NetError::Reset | NetError::Stalled { .. } => ErrorKind::ConnectionReset,
        NetError::NotConnected => ErrorKind::BrokenPipe,
        NetError::Cancelled | NetError::Stale => ErrorKind::ConnectionAborted,
        NetError::NotAnAddress { .. } | NetError::NotAUnixAddress(_) | NetError::NoAddress | NetError::Option { .. } => {
            ErrorKind::InvalidInput
        }
        NetError::Os { code, .. } => Error::from_raw_os_error(*code).kind(),
        _ => ErrorKind::Other,
    };
    Error::new(kind, why)
}

impl Conn {
    /// Reads into what `put` fills, which has so much room.
    pub(crate) fn io_read(&self, cx: &Context<'_>, room: usize, put: impl FnOnce(&[u8])) -> Poll<Result<usize>> {
        if room == 0 {
            return Poll::Ready(Ok(0));
        }
        let take = |bytes: &[u8]| {
            let fits = bytes.len().min(room);
            put(&bytes[..fits]);
            fits
        };
        self.poll_read(cx, take).map_err(io_error)
    }

    pub(crate) fn io_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.poll_write(cx, iter::once(bytes)).map_err(io_error)
    }

    pub(crate) fn io_write_vectored(&self, cx: &Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        self.poll_write(cx, parts.iter().map(|part| &**part)).map_err(io_error)
    }

    pub(crate) fn io_shutdown(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.poll_shutdown(cx).map_err(io_error)
    }
}

/// A trait of writers that are polled, for a writer of ours. The trait names the end of the sending
/// side `$end`, and may ask by `$is_vectored` whether parts go out as one.
macro_rules! polled_writes {
    ($trait:ident for $writer:ty, $end:ident $(, $is_vectored:ident)?) => {
        impl $trait for $writer {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
                self.conn().io_write(cx, bytes)
            }

            fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
                self.conn().io_write_vectored(cx, parts)
            }

            $(fn $is_vectored(&self) -> bool {
                true
            })?

            /// What was taken goes out by itself.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Ends the sending side, as [`shutdown`](TcpStream::shutdown).
            fn $end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                self.conn().io_shutdown(cx)
            }
        }
    };
}

pub(crate) use polled_writes;
