//! Addresses of Unix sockets (statement 443).

use alloc::format;
use core::fmt;
use core::str::FromStr;

use super::{NetError, Text};

/// Where a Unix stream socket is: a path, or a name without a file.
///
/// It is written `unix:/run/mine.sock`, as nginx and others write it, or `unix:@mine` for an
/// abstract name, which belongs to the network namespace and goes with its listener.
///
/// ```
/// use core_reactor::net::UnixAddress;
///
/// let at: UnixAddress = "unix:/run/mine.sock".parse()?;
/// assert_eq!((at.path(), at.abstract_name()), (Some("/run/mine.sock"), None));
/// assert_eq!("unix:@mine".parse::<UnixAddress>()?.abstract_name(), Some("mine"));
/// assert!("/run/mine.sock".parse::<UnixAddress>().unwrap_err().to_string().contains("unix:"));
/// # Ok::<(), core_reactor::net::NetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixAddress(Text);

impl UnixAddress {
    /// Most bytes of a path, or of a name with its `@`.
    pub const LONGEST: usize = 107;

    /// The path, if it has one.
    pub fn path(&self) -> Option<&str> {
        if self.0.starts_with('@') { None } else { Some(&self.0) }
    }

    /// The name without its `@`, if it is abstract.
    pub fn abstract_name(&self) -> Option<&str> {
        self.0.strip_prefix('@')
    }
}

impl FromStr for UnixAddress {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = |why: &str| Err(NetError::NotAUnixAddress(format!("{text:?}: {why}").into()));
        let Some(place) = text.strip_prefix("unix:") else { return wrong("write unix:/PATH or unix:@NAME") };
        match place.len() {
            0 => wrong("a path, or @ and a name, belongs behind unix:"),
            1 if place == "@" => wrong("a name belongs behind @"),
            _ if place.contains('\0') => wrong("a path has no zero byte in it"),
            1..=Self::LONGEST => Ok(Self(place.into())),
            long => wrong(&format!("{long} bytes, where a socket's path has {} at most; choose a shorter one", Self::LONGEST)),
        }
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn s443_an_address_is_written_as_it_is_read() {
        for text in ["unix:/a/b", "unix:a", "unix:@a", "unix:/a:b@c"] {
            assert_eq!(text.parse::<UnixAddress>().unwrap().to_string(), text);
        }
        let longest = format!("unix:/{}", "x".repeat(UnixAddress::LONGEST - 1));
        assert!(longest.parse::<UnixAddress>().is_ok());
    }

    #[test]
    fn s443_what_is_no_address_is_one_sentence() {
        let long = format!("unix:/{}", "x".repeat(UnixAddress::LONGEST));
        for (text, part) in [
            ("", "write unix:/PATH"),
            ("/a", "write unix:/PATH"),
            ("unix:", "belongs behind unix:"),
            ("unix:@", "belongs behind @"),
            ("unix:a\0b", "zero byte"),
            (&long, "108 bytes, where a socket's path has 107 at most"),
        ] {
            let why = text.parse::<UnixAddress>().unwrap_err().to_string();
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }
}
