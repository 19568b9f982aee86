//! `AsyncRead` and `AsyncWrite` of futures-io.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{IoSlice, Result};

use futures_io::{AsyncRead, AsyncWrite};

use crate::io::polled_writes;
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

reads!(TcpStream ReadHalf);
polled_writes!(AsyncWrite for TcpStream, poll_close);
polled_writes!(AsyncWrite for WriteHalf, poll_close);
