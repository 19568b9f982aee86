//! `Read` and `Write` of embedded-io-async, for drivers and protocols without std.

use core_reactor::net::NetError;
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

use crate::{ReadHalf, TcpStream, WriteHalf};

/// A network's error, for the traits of embedded-io.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct EmbeddedError(#[from] pub NetError);

impl Error for EmbeddedError {
    fn kind(&self) -> ErrorKind {
        match &self.0 {
            NetError::AddressInUse(_) => ErrorKind::AddrInUse,
            NetError::AddressUnavailable(_) => ErrorKind::AddrNotAvailable,
            NetError::Denied(_) => ErrorKind::PermissionDenied,
            NetError::ConnectRefused(_) => ErrorKind::ConnectionRefused,
            NetError::TimedOut => ErrorKind::TimedOut,
            NetError::Reset | NetError::Stalled { .. } => ErrorKind::ConnectionReset,
            NetError::NotConnected => ErrorKind::BrokenPipe,
            NetError::Cancelled | NetError::Stale => ErrorKind::ConnectionAborted,
            NetError::NotAnAddress { .. } | NetError::NoAddress | NetError::Option { .. } => ErrorKind::InvalidInput,
            _ => ErrorKind::Other,
        }
    }
}

macro_rules! reads {
    ($($reader:ty)*) => {$(
        impl Read for $reader {
            async fn read(&mut self, into: &mut [u8]) -> Result<usize, EmbeddedError> {
                Ok(<$reader>::read(self, into).await?)
            }
        }
    )*};
}

macro_rules! writes {
    ($($writer:ty)*) => {$(
        impl Write for $writer {
            async fn write(&mut self, bytes: &[u8]) -> Result<usize, EmbeddedError> {
                Ok(<$writer>::write(self, bytes).await?)
            }

            /// What was taken goes out by itself.
            async fn flush(&mut self) -> Result<(), EmbeddedError> {
                Ok(())
            }
        }
    )*};
}

macro_rules! errors {
    ($($handle:ty)*) => {$(
        impl ErrorType for $handle {
            type Error = EmbeddedError;
        }
    )*};
}

errors!(TcpStream ReadHalf WriteHalf);
reads!(TcpStream ReadHalf);
writes!(TcpStream WriteHalf);
