//! tokio's `AsyncRead` and `AsyncWrite`, with which the codecs of tokio-util, tokio-rustls and the
//! like fit. Nothing of tokio's runtime is needed.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{IoSlice, Result};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::polled_writes;
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

reads!(TcpStream ReadHalf);
polled_writes!(AsyncWrite for TcpStream, poll_shutdown, is_write_vectored);
polled_writes!(AsyncWrite for WriteHalf, poll_shutdown, is_write_vectored);
