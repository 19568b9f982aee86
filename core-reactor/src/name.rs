//! The name of a thread or poller.

use core::fmt;
use core::ops::Deref;

/// Bytes that a name holds.
const BYTES: usize = 32;

/// The name of a thread or poller, short enough to need no heap: a text that is cut to 32 bytes,
/// between characters.
///
/// ```
/// use core_reactor::Name;
///
/// let name = Name::from("a poller whose name is too long for anybody");
/// assert_eq!(name, "a poller whose name is too long ");
/// println!("{name} has {} bytes", name.len());
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(heapless::String<BYTES>);

impl Name {
    /// No name.
    pub const fn new() -> Self {
        Self(heapless::String::new())
    }

    /// The text.
    ///
    /// ```
    /// # use core_reactor::Name;
    /// assert_eq!(Name::from("acceptor").as_str(), "acceptor");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let mut name = Self::new();
        // What is cut off fits.
        let _ = name.0.push_str(&text[..text.floor_char_boundary(BYTES)]);
        name
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
