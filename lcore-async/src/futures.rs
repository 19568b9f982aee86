//! `AsyncRead` and `AsyncWrite` of futures-io.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{IoSlice, Result};

use futures_io::{AsyncRead, AsyncWrite};

use crate::tcp::copy;
use crate::{ReadHalf, TcpStream, WriteHalf};

macro_rules! reads {
    ($($reader:ty)*) => {$(
        impl AsyncRead for $reader {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<Result<usize>> {
                self.conn().io_read(cx, into.len(), |bytes| _ = copy(bytes, into))
            }
        }
    )*};
}

macro_rules! writes {
    ($($writer:ty)*) => {$(
        impl AsyncWrite for $writer {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
                self.conn().io_write(cx, bytes)
            }

            fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
                self.conn().io_write_vectored(cx, parts)
            }

            /// What was taken goes out by itself.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Ends the sending side, as [`shutdown`](TcpStream::shutdown).
            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                self.conn().io_shutdown(cx)
            }
        }
    )*};
}

reads!(TcpStream ReadHalf);
writes!(TcpStream WriteHalf);
