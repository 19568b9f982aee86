//! Addresses as people write them (statement 14).

use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::NetError;

/// The address that `host` and `port` write down: IPv4, or IPv6 with or without brackets and with
/// or without a scope (`fe80::1%2`, an interface's number). Port 0 asks
/// [`listen`](super::NetImpl::listen) for a free one.
///
/// ```
/// use core_reactor::net::parse_address;
///
/// assert_eq!(parse_address("[::1]", 7)?, parse_address("::1", 7)?);
/// assert!(parse_address("localhost", 7).unwrap_err().to_string().contains("names are not looked up"));
/// # Ok::<(), core_reactor::net::NetError>(())
/// ```
///
/// # Errors
/// [`NetError::NotAnAddress`] for anything else, names included: nothing is looked up.
pub fn parse_address(host: &str, port: u16) -> Result<SocketAddr, NetError> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let parsed = match bare {
        Some(inside) => parse_v6(inside, port),
        None => host.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)).ok().or_else(|| parse_v6(host, port)),
    };
    parsed.ok_or_else(|| NetError::NotAnAddress { text: host.into(), hint: what_to_write(host) })
}

/// For a text that is no address, what it may have been meant to be.
fn what_to_write(host: &str) -> &'static str {
    let ip = |text: &str| text.parse::<IpAddr>().is_ok();
    let inside = host.trim_start_matches('[').trim_end_matches(']');
    match inside.split_once('%') {
        Some((before, _)) if ip(before) => "what follows % is the number of an interface, such as fe80::1%2",
        _ if host.parse::<SocketAddr>().is_ok() => "the port is given apart from the address",
        _ if ip(host.trim()) => "there are blanks around it",
        _ => "names are not looked up; write 127.0.0.1, ::1 or [::1]",
    }
}

fn parse_v6(text: &str, port: u16) -> Option<SocketAddr> {
    let (ip, scope) = match text.split_once('%') {
        // `u32::from_str` takes a sign, which no scope has.
        Some((ip, scope)) if scope.starts_with(|c: char| c.is_ascii_digit()) => (ip, scope.parse().ok()?),
        Some(_) => return None,
        None => (text, 0),
    };
    let ip = ip.parse::<Ipv6Addr>().ok()?;
    Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn s14_addresses_of_both_families() {
        for (host, port, written) in [
            ("127.0.0.1", 9999, "127.0.0.1:9999"),
            ("0.0.0.0", 0, "0.0.0.0:0"),
            ("::1", 9999, "[::1]:9999"),
            ("[::1]", 9999, "[::1]:9999"),
            ("::", 1, "[::]:1"),
            ("fe80::1%2", 3, "[fe80::1%2]:3"),
            ("[fe80::1%2]", 3, "[fe80::1%2]:3"),
        ] {
            assert_eq!(parse_address(host, port).unwrap().to_string(), written, "{host}");
        }
    }

    #[test]
    fn s14_a_name_that_is_no_address_is_an_error() {
        for host in
            ["", "localhost", "[127.0.0.1]", "[::1", "::1]", "127.0.0.1:80", "1.2.3", "fe80::1%eth0", "fe80::1%+2", "127.0.0.1%2", " ::1"]
        {
            let why = parse_address(host, 80).unwrap_err();
            assert!(matches!(&why, NetError::NotAnAddress { text, .. } if **text == *host), "{why:?}");
            assert!(why.to_string().contains(&alloc::format!("{host:?}")), "{why}");
        }
    }

    #[test]
    fn s14_what_is_no_address_is_told_what_to_write() {
        for (host, what) in [
            ("localhost", "names are not looked up"),
            ("127.0.0.1:80", "the port is given apart"),
            ("[::1]:80", "the port is given apart"),
            ("fe80::1%eth0", "the number of an interface"),
            ("[fe80::1%eth0]", "the number of an interface"),
            (" ::1", "blanks around it"),
        ] {
            let why = parse_address(host, 80).unwrap_err().to_string();
            assert!(why.contains(what), "{why}");
        }
    }
}
