//! Errors of verbs and the connection manager, in a transport's words.

use std::io;
use std::net::SocketAddr;

use core_reactor::transport::{Op, TransportError};

use crate::verbs::{Errno, LOCAL, Status};

/// InfiniBand's reasons for a rejection (12.6.7.2): no such service, and the application's no.
const NO_SERVICE: i32 = 8;
const BY_CONSUMER: i32 = 28;

pub(crate) fn os(doing: &'static str, why: Errno) -> TransportError {
    TransportError::Os { doing, code: why.0, text: io::Error::from_raw_os_error(why.0).to_string().into() }
}

/// `asked` is more than `limit`.
pub(crate) fn limit(what: &'static str, asked: u64, limit: impl Into<u64>) -> Result<(), TransportError> {
    let limit = limit.into();
    if asked > limit { Err(TransportError::Limit { what, asked, limit }) } else { Ok(()) }
}

pub(crate) fn no_manager(why: Errno) -> TransportError {
    let text = io::Error::from_raw_os_error(why.0);
    TransportError::Unusable(
        format!("no RDMA connection manager: {text} (is there a device, and is the kernel module rdma_ucm loaded?)").into(),
    )
}

pub(crate) fn no_device() -> TransportError {
    TransportError::Unusable(
        "there is no RDMA device (a network interface can be made one by `rdma link add rxe0 type rxe netdev NAME`)".into(),
    )
}

/// Why memory cannot be registered.
pub(crate) fn memory(bytes: usize, why: Errno) -> TransportError {
    match why.0 {
        libc::ENOMEM | libc::EAGAIN => TransportError::LockedMemory { bytes },
        _ => os("register memory", why),
    }
}

/// Why there can be no listener.
pub(crate) fn listen(at: SocketAddr, why: Errno) -> TransportError {
    match why.0 {
        libc::EADDRINUSE => TransportError::AddressInUse(at),
        libc::EADDRNOTAVAIL | libc::ENODEV => TransportError::AddressUnavailable(at),
        libc::EACCES | libc::EPERM => TransportError::Denied(at),
        _ => os("listen", why),
    }
}

/// Why a connection does not come about.
pub(crate) fn connect(to: SocketAddr, why: Errno) -> TransportError {
    match why.0 {
        libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL => TransportError::Unreachable(to),
        libc::ECONNREFUSED => TransportError::ConnectRefused(to),
        libc::ETIMEDOUT => TransportError::TimedOut,
        libc::ECONNRESET | libc::ECONNABORTED => TransportError::PeerGone,
        libc::EACCES | libc::EPERM => TransportError::Denied(to),
        _ => os("connect", why),
    }
}

/// What a rejection means.
pub(crate) fn rejected(to: SocketAddr, reason: i32, private_data: Box<[u8]>) -> TransportError {
    match reason {
        NO_SERVICE => TransportError::ConnectRefused(to),
        BY_CONSUMER => TransportError::Rejected(private_data),
        _ => TransportError::Protocol(format!("the peer's connection manager rejected the connection (reason {reason})").into()),
    }
}

/// Why something posted has failed.
pub(crate) fn posted(status: Status, op: Op) -> Option<TransportError> {
    let other = match op {
        Op::Message => "send a message",
        Op::Read => "read the peer's memory",
        Op::Write => "write to the peer's memory",
    };
    Some(match status {
        Status::Done => return None,
        Status::Flushed => TransportError::Flushed,
        Status::TimedOut => TransportError::TimedOut,
        Status::NotReady => TransportError::ReceiverNotReady,
        Status::Invalid => TransportError::RemoteInvalid,
        Status::Access => TransportError::RemoteAccess,
        Status::Local => device(other, LOCAL),
        Status::Other(code) => device(other, code),
    })
}

/// Why a receive has failed; nothing if it was only flushed.
pub(crate) fn received(status: Status, buf_size: usize) -> Option<TransportError> {
    Some(match status {
        Status::Done | Status::Flushed => return None,
        Status::Invalid | Status::Local => TransportError::Overrun { buf_size },
        Status::Access => TransportError::AccessViolation,
        Status::TimedOut => TransportError::TimedOut,
        Status::NotReady => TransportError::ReceiverNotReady,
        Status::Other(code) => device("receive a message", code),
    })
}

fn device(doing: &'static str, code: u32) -> TransportError {
    TransportError::Os { doing, code: code as i32, text: crate::verbs::status_text(code).into() }
}
