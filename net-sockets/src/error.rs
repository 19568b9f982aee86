//! The system's error numbers as [`NetError`]s. The one place for it.

use std::io;
use std::net::SocketAddr;

use core_reactor::net::NetError;

/// A system's error number.
///
/// ```
/// use net_sockets::Errno;
///
/// let error = std::io::Error::from_raw_os_error(libc::EAGAIN);
/// assert!(Errno::of(&error).would_block());
/// assert_eq!(Errno::of(&std::io::Error::other("no number")), Errno(libc::EIO));
/// ```
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
        _ => match plain(doing, errno) {
            NetError::Os { doing, code, text } => NetError::Os { doing, code, text: format!("{at}: {text}{}", hint(errno, at)).into() },
            other => other,
        },
    }
}

/// What may be the matter with an IPv6 address that the system finds invalid.
fn hint(errno: Errno, at: SocketAddr) -> &'static str {
    match at {
        SocketAddr::V6(v6) if errno.0 == libc::ENODEV && v6.scope_id() != 0 => ", as no interface has the number behind %",
        SocketAddr::V6(v6) if errno.0 == libc::EINVAL && v6.ip().to_ipv4_mapped().is_some() => {
            ", as this is an IPv4 address in IPv6's clothes; write it as IPv4"
        }
        SocketAddr::V6(v6) if errno.0 == libc::EINVAL && v6.scope_id() == 0 => {
            ", as such an address is one of each interface; add the number of one, such as %2"
        }
        _ => "",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_at_an_address_names_it_and_what_may_be_the_matter() {
        for (address, errno, text) in [
            ("127.0.0.1:80", libc::EINVAL, "bind: 127.0.0.1:80: Invalid argument (error 22)"),
            (
                "[fe80::1]:80",
                libc::EINVAL,
                "bind: [fe80::1]:80: Invalid argument, as such an address is one of each interface; add the number of one, such as %2 (error 22)",
            ),
            ("[fe80::1%9]:80", libc::EINVAL, "bind: [fe80::1%9]:80: Invalid argument (error 22)"),
            ("[fe80::1%9]:80", libc::ENODEV, "bind: [fe80::1%9]:80: No such device, as no interface has the number behind % (error 19)"),
            (
                "[::ffff:127.0.0.1]:80",
                libc::EINVAL,
                "bind: [::ffff:127.0.0.1]:80: Invalid argument, as this is an IPv4 address in IPv6's clothes; write it as IPv4 (error 22)",
            ),
            ("[::1]:80", libc::EADDRINUSE, "[::1]:80 is in use by another socket; choose another port (0 takes a free one)"),
            ("[::1]:80", libc::EMFILE, "out of file descriptors (see ulimit -n)"),
        ] {
            assert_eq!(at("bind", Errno(errno), address.parse().unwrap()).to_string(), text);
        }
    }
}
