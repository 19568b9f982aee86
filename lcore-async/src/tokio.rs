//! tokio's `AsyncRead` and `AsyncWrite`, with which the codecs of tokio-util, tokio-rustls and the
//! like fit. Nothing of tokio's runtime is needed.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{IoSlice, Result};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{ReadHalf, TcpStream, WriteHalf};

macro_rules! reads {
    ($($reader:ty)*) => {$(
        impl AsyncRead for $reader {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
                self.conn().io_read(cx, buf.remaining(), |bytes| buf.put_slice(bytes)).map_ok(drop)
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

            fn is_write_vectored(&self) -> bool {
                true
            }

            /// What was taken goes out by itself.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                self.conn().io_shutdown(cx)
            }
        }
    )*};
}

reads!(TcpStream ReadHalf);
writes!(TcpStream WriteHalf);
