//! What a client says: while it connects, and at the end.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use lcore::pool::PoolError;
use lcore::transport::TransportError;
use smb_direct::wire::{self, NegotiateResponse};
use smb_direct::{Agreed, SettingsError};

use crate::End;

/// Bytes of the short response that `lenient_short_response` takes: it ends before
/// PreferredSendSize.
const SHORT: usize = 20;

/// What came of one connection.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was negotiated, if it came to that.
    pub agreed: Option<Agreed>,
    /// What was sent to the echo.
    pub sent: Digest,
    /// What came back.
    pub back: Digest,
    /// Bytes that the server wrote into this end's memory and that were compared.
    pub read: u64,
    /// Bytes that the server read from this end's memory.
    pub written: u64,
    /// From the moment at which all connections stood to the end of this one's work.
    pub took: Duration,
    /// How it ended.
    pub outcome: Result<(), ClientError>,
}

/// So many bytes, and their SHA-256. Displays both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many.
    pub bytes: u64,
    /// FIPS 180-4.
    pub sha256: [u8; 32],
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, SHA-256 ", self.bytes)?;
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a client, or one of its connections, failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// SMB Direct.
    #[error(transparent)]
    End(#[from] End),
    /// So many connections one client cannot have.
    #[error("{connections} connections, where 1 to {most} are possible")]
    Connections {
        /// Those that were asked for.
        connections: u32,
        /// The most.
        most: u32,
    },
    /// The pool is too small.
    #[error("the buffers of a client: {0}")]
    Buffers(#[from] PoolError),
    /// No connection can be like that.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// What was to be sent cannot be read.
    #[error("read the input: {0}")]
    Input(String),
    /// The server ended the connection in order, but too early.
    #[error("the server closed the connection: {back} of {sent} bytes came back")]
    Closed {
        /// Bytes that were sent.
        sent: u64,
        /// Bytes that came back.
        back: u64,
    },
    /// What came is not what should have come.
    #[error("{0}")]
    Wrong(String),
    /// This end was stopped.
    #[error("stopped before the end")]
    Stopped,
}

impl ClientError {
    /// Whether it only says that the transport has ended the queue: why, its `Closed` says.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Transport(TransportError::NotConnected | TransportError::Stale))
    }
}

/// What the example client of rdma-core's tutorials says on its way.
pub(super) fn print_connected(own: SocketAddr, peer: SocketAddr) {
    log::info!("Address resolved: {peer}");
    log::info!("Route resolved: from {}", own.ip());
    log::info!("Connected: from port {} to port {}", own.port(), peer.port());
}

pub(super) fn print_response(message: &[u8]) {
    let mut bytes = [0; size_of::<NegotiateResponse>()];
    let there = message.len().min(bytes.len());
    bytes[..there].copy_from_slice(&message[..there]);
    let Some(response) = wire::read::<NegotiateResponse>(&bytes).filter(|_| there >= SHORT) else { return };
    log::info!(
        "Negotiate response: CreditsRequested {}, CreditsGranted {}, Status {:#010x}, MaxReadWriteSize {}",
        response.credits_requested,
        response.credits_granted,
        response.status,
        response.max_read_write_size
    );
}
