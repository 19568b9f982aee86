//! Keys by their names, out of files that nobody else can read: what a target and a host know of
//! each other, whatever it is used for.
//!
#![doc = include_str!("../README.md")]
//!
//! Who needs a key asks the [`Keyring`] for it by its name and keeps it: a key that is removed
//! stays with those who have it. What is saved of a configuration is names and paths, never what a
//! key is.
#![no_std]
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

#[cfg(feature = "std")]
mod file;
#[cfg(feature = "rpc")]
mod rpc;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;

use spin::Mutex;
use thiserror::Error;
use zeroize::Zeroizing;

/// A key as it is written down, such as `DHHC-1:01:…:`. Gone from memory when it is dropped; what
/// shows it is [`text`](Self::text) alone.
///
/// ```
/// use keyring::Key;
///
/// let key = Key::new("host1", "a secret\n");
/// assert_eq!((key.name(), key.text(), key.path()), ("host1", "a secret", None));
/// assert!(!format!("{key:?}").contains("secret"), "logs do not tell");
/// ```
pub struct Key {
    name: String,
    /// The file that it is from, if it is.
    path: Option<String>,
    text: Zeroizing<String>,
}

impl Key {
    /// One that is in no file.
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), path: None, text: Zeroizing::new(text.trim().to_owned()) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that it is from, if it is.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// As it is written down.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why there is no such key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Its name is another's.
    #[error("Key '{0}' already exists")]
    Exists(Box<str>),
    /// There is none of that name.
    #[error("Key '{0}' does not exist; add it first (keyring_file_add_key)")]
    Unknown(Box<str>),
    /// It has no name.
    #[error("a key has a name, and this one is empty")]
    NoName,
    /// The path does not say where the file is, whoever asks.
    #[error("key file {0:?}: write the whole path, from / on")]
    Relative(Box<str>),
    /// Others can read it, or have written it.
    #[error("key file {path:?}: mode {mode:#o}, owner {owner}; it is to be this program's user's, and nobody else's to read (chmod 600)")]
    Permissions {
        /// The file.
        path: Box<str>,
        /// Its mode.
        mode: u32,
        /// The number of its owner.
        owner: u32,
    },
    /// It cannot be a key.
    #[error("key file {path:?}: {why}")]
    Content {
        /// The file.
        path: Box<str>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system does not give it.
    #[cfg(feature = "std")]
    #[error("key file {path:?}: {why}")]
    File {
        /// The file.
        path: Box<str>,
        /// What it says.
        why: rustix::io::Errno,
    },
}

/// Keys by their names, for any thread.
///
/// ```
/// use keyring::{Key, Keyring};
///
/// let keyring = Keyring::new();
/// keyring.add(Key::new("host1", "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"))?;
/// let key = keyring.get("host1")?;
/// keyring.remove("host1")?;
/// assert!(keyring.get("host1").is_err());
/// assert!(key.text().starts_with("DHHC-1"), "who has it keeps it");
/// assert!(keyring.list()[0].is_removed);
/// # Ok::<(), keyring::KeyError>(())
/// ```
#[derive(Debug, Default)]
pub struct Keyring(Mutex<Keys>);

#[derive(Debug, Default)]
struct Keys {
    there: Vec<Arc<Key>>,
    /// Those that were removed while somebody has them.
    removed: Vec<Weak<Key>>,
}

/// A key as it is listed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The key.
    pub key: Arc<Key>,
    /// Whether it was removed, and is somebody's still.
    pub is_removed: bool,
    /// Who has it: the keyring, if it was not removed, and each that uses it.
    pub users: usize,
}

impl Keyring {
    /// One without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    ///
    /// ```
    /// # use keyring::{Key, KeyError, Keyring};
    /// let keyring = Keyring::new();
    /// assert_eq!(keyring.add(Key::new("", "secret")), Err(KeyError::NoName));
    /// assert_eq!(keyring.add(Key::new("one", "secret")), Ok(()));
    /// assert_eq!(keyring.add(Key::new("one", "another")), Err(KeyError::Exists("one".into())));
    /// ```
    ///
    /// # Errors
    /// There is one of its name; it has none.
    pub fn add(&self, key: Key) -> Result<(), KeyError> {
        if key.name.is_empty() {
            return Err(KeyError::NoName);
        }
        let mut keys = self.0.lock();
        if keys.there.iter().any(|it| it.name == key.name) {
            return Err(KeyError::Exists(key.name.into()));
        }
        keys.there.push(Arc::new(key));
        Ok(())
    }

    /// Removes a key. Those who have it keep it.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove(&self, name: &str) -> Result<(), KeyError> {
        let mut keys = self.0.lock();
        let at = keys.there.iter().position(|it| it.name == name).ok_or_else(|| KeyError::Unknown(name.into()))?;
        let key = keys.there.remove(at);
        keys.removed.retain(|it| it.strong_count() > 0);
        keys.removed.push(Arc::downgrade(&key));
        Ok(())
    }

    /// The key of that name.
    ///
    /// ```
    /// use keyring::{KeyError, Keyring};
    ///
    /// assert_eq!(Keyring::new().get("host1").err(), Some(KeyError::Unknown("host1".into())));
    /// ```
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<Arc<Key>, KeyError> {
        self.0.lock().there.iter().find(|it| it.name == name).cloned().ok_or_else(|| KeyError::Unknown(name.into()))
    }

    /// All of them, and behind them those that were removed and are somebody's still.
    ///
    /// ```
    /// # use keyring::{Key, Keyring};
    /// let keyring = Keyring::new();
    /// keyring.add(Key::new("host1", "secret"))?;
    /// let mine = keyring.get("host1")?;
    /// let listed = &keyring.list()[0];
    /// assert_eq!((listed.key.name(), listed.is_removed), (mine.name(), false));
    /// # Ok::<(), keyring::KeyError>(())
    /// ```
    pub fn list(&self) -> Vec<Listed> {
        let keys = self.0.lock();
        let listed = |key: Arc<Key>, is_removed| {
            // Without the one that is listed here.
            let users = Arc::strong_count(&key) - 1;
            Listed { key, is_removed, users }
        };
        let there = keys.there.iter().map(|key| listed(key.clone(), false));
        let removed = keys.removed.iter().filter_map(Weak::upgrade).map(|key| listed(key, true));
        there.chain(removed).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn s355_a_key_is_found_by_its_name_and_stays_with_who_has_it() {
        let keyring = Keyring::new();
        keyring.add(Key::new("a", " text\n")).unwrap();
        assert_eq!(keyring.add(Key::new("a", "other")), Err(KeyError::Exists("a".into())));
        assert_eq!(keyring.add(Key::new("", "other")), Err(KeyError::NoName));
        let key = keyring.get("a").unwrap();
        assert_eq!((key.text(), key.path()), ("text", None));
        keyring.remove("a").unwrap();
        assert_eq!(keyring.get("a").unwrap_err(), KeyError::Unknown("a".into()));
        assert_eq!(keyring.remove("a"), Err(KeyError::Unknown("a".into())));
        keyring.add(Key::new("a", "new")).unwrap();
        let listed: Vec<_> = keyring.list().into_iter().map(|it| (it.key.text().to_owned(), it.is_removed, it.users)).collect();
        assert_eq!(listed, [("new".into(), false, 1), ("text".into(), true, 1)]);
        drop(key);
        assert_eq!(keyring.list().len(), 1);
    }

    #[test]
    fn s355_a_key_does_not_show_itself() {
        let shown = format!("{:?}", Key::new("a", "DHHC-1:secret"));
        assert!(shown.contains("\"a\"") && !shown.contains("secret"), "{shown}");
    }
}
