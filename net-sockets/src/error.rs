//! The system's error numbers as [`NetError`]s. The one place for it.

use std::io;
use std::net::SocketAddr;

use core_reactor::net::NetError;

/// A system's error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// What the last call of this thread failed of.
    #[cold]
    pub fn last() -> Self {
        Self::of(&io::Error::last_os_error())
    }

    /// The number in an error of the standard library's; `EIO` where it has none.
    pub fn of(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// Nothing there now, or no room now.
    pub fn would_block(self) -> bool {
        self.0 == libc::EAGAIN || self.0 == libc::EWOULDBLOCK
    }
}

/// What an error at `at` means to a caller who was `doing` this.
pub fn at(doing: &'static str, errno: Errno, at: SocketAddr) -> NetError {
    match errno.0 {
        libc::EADDRINUSE => NetError::AddressInUse(at),
        libc::EADDRNOTAVAIL => NetError::AddressUnavailable(at),
        libc::EACCES | libc::EPERM => NetError::Denied(at),
        libc::ECONNREFUSED => NetError::ConnectRefused(at),
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN => NetError::Unreachable(at),
        _ => plain(doing, errno),
    }
}

/// What an error without an address means.
pub fn plain(doing: &'static str, errno: Errno) -> NetError {
    match errno.0 {
        libc::ETIMEDOUT => NetError::TimedOut,
        // EPIPE: the reset came after the peer's FIN, or an earlier call was told of it.
        libc::ECONNRESET | libc::EPIPE => NetError::Reset,
        libc::EMFILE | libc::ENFILE => NetError::NoDescriptors,
        code => NetError::Os { doing, code, text: words(errno) },
    }
}

/// An option that the system refused.
pub fn option(option: &'static str, errno: Errno) -> NetError {
    NetError::Option { option, why: format!("{} (error {})", words(errno), errno.0).into() }
}

/// The probe's answer.
pub fn unusable(doing: &'static str, errno: Errno) -> NetError {
    NetError::Unusable(format!("{doing}: {} (error {})", words(errno), errno.0).into())
}

fn words(errno: Errno) -> Box<str> {
    let text = io::Error::from_raw_os_error(errno.0).to_string();
    // The standard library appends the number, which the callers write themselves.
    text.split(" (os error").next().unwrap_or_default().into()
}
