//! Which of the linked backends to use (statement 24).
//!
//! [`select`] looks at the link-time slice; [`select_from`] is the same over a slice of the caller's.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::{LCORE_NET_IMPLS, NetError, NetImpl};

/// The backend to use, and why it is that one. Its `Display` is for the log.
pub struct Selected {
    /// The backend.
    pub backend: &'static dyn NetImpl,
    /// Why this one.
    pub why: Why,
    /// Backends of a higher rank that do not work here, and what their probes said.
    pub skipped: Vec<(&'static str, NetError)>,
}

/// Why a backend was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was asked for by name.
    Name,
    /// It has the highest priority of those that work here.
    Priority,
}

/// The linked backends: highest priority first, equal ones by name. Nothing is probed.
pub fn linked() -> Vec<&'static dyn NetImpl> {
    ranked(&LCORE_NET_IMPLS)
}

/// The linked backend called `name`, or without a name the first of [`linked`] that probes well. Each that does not is skipped with a warning.
///
/// `features` are the cargo features that bring backends, each called like its backend. They come from the caller, who knows; they only serve the texts of errors.
///
/// # Errors
/// As [`SelectError`] says.
pub fn select(name: Option<&str>, features: &'static [&'static str]) -> Result<Selected, SelectError> {
    select_from(&LCORE_NET_IMPLS, name, features)
}

/// [`select`] among `impls` in place of the linked ones.
///
/// # Errors
/// As [`SelectError`] says.
pub fn select_from(impls: &[&'static dyn NetImpl], name: Option<&str>, features: &'static [&'static str]) -> Result<Selected, SelectError> {
    let ranked = ranked(impls);
    let names: Vec<_> = ranked.iter().map(|backend| backend.name()).collect();
    if names.is_empty() {
        return Err(SelectError::Empty { features });
    }
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        return Err(SelectError::SameName { name: twice.1 });
    }
    match name {
        Some(name) => by_name(&ranked, name, names, features),
        None => by_priority(&ranked),
    }
}

fn ranked(impls: &[&'static dyn NetImpl]) -> Vec<&'static dyn NetImpl> {
    let mut ranked = impls.to_vec();
    ranked.sort_by(|a, b| b.priority().cmp(&a.priority()).then_with(|| a.name().cmp(b.name())));
    ranked
}

fn by_name(
    ranked: &[&'static dyn NetImpl],
    name: &str,
    linked: Vec<&'static str>,
    features: &'static [&'static str],
) -> Result<Selected, SelectError> {
    let Some(backend) = ranked.iter().find(|backend| backend.name() == name) else {
        return Err(SelectError::Unknown { name: name.into(), linked, features });
    };
    match backend.probe() {
        Ok(()) => Ok(Selected { backend: *backend, why: Why::Name, skipped: Vec::new() }),
        Err(why) => Err(SelectError::Unusable { name: backend.name(), why }),
    }
}

fn by_priority(ranked: &[&'static dyn NetImpl]) -> Result<Selected, SelectError> {
    let mut skipped = Vec::new();
    for backend in ranked {
        match backend.probe() {
            Ok(()) => return Ok(Selected { backend: *backend, why: Why::Priority, skipped }),
            Err(why) => {
                pool::fmt::warn!("network backend {} is skipped: {}", backend.name(), Shown(&why));
                skipped.push((backend.name(), why));
            }
        }
    }
    Err(SelectError::NoneUsable { skipped })
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.backend.name();
        match self.why {
            Why::Name => write!(f, "{name} (asked for by name)"),
            Why::Priority if self.skipped.is_empty() => write!(f, "{name} (highest priority)"),
            Why::Priority => write!(f, "{name} (highest priority that works here; skipped: {})", Skipped(&self.skipped)),
        }
    }
}

impl fmt::Debug for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why no backend could be selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// None is linked.
    #[error("no network backend is linked into this program; build with {}", Switches(features))]
    Empty {
        /// The features that bring one.
        features: &'static [&'static str],
    },
    /// None of this name is linked.
    #[error("network backend {name:?} is not linked into this program, which has {}; {}", Names(linked), Hint { name, features })]
    Unknown {
        /// The name asked for.
        name: Box<str>,
        /// What is linked.
        linked: Vec<&'static str>,
        /// The features that bring more.
        features: &'static [&'static str],
    },
    /// Two of one name are linked: which is meant cannot be known.
    #[error("two network backends called {name:?} are linked; leave one of them out")]
    SameName {
        /// Their name.
        name: &'static str,
    },
    /// The one asked for does not work here.
    #[error("network backend {name} was asked for and does not work here: {why}")]
    Unusable {
        /// Its name.
        name: &'static str,
        /// What its probe said.
        why: NetError,
    },
    /// None works here.
    #[error("none of the linked network backends works here: {}", Skipped(skipped))]
    NoneUsable {
        /// All of them, and what their probes said.
        skipped: Vec<(&'static str, NetError)>,
    },
}

struct Names<'a>(&'a [&'static str]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, name)| write!(f, "{}{name}", if i == 0 { "" } else { ", " }))
    }
}

struct Switches<'a>(&'a [&'static str]);

impl fmt::Display for Switches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("a crate that implements NetImpl, named by a `use`");
        }
        self.0.iter().enumerate().try_for_each(|(i, feature)| write!(f, "{}--features {feature}", if i == 0 { "" } else { " or " }))
    }
}

/// What to do about a name that is not linked.
struct Hint<'a> {
    name: &'a str,
    features: &'a [&'static str],
}

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.features.contains(&self.name) {
            return write!(f, "build with --features {}", self.name);
        }
        write!(f, "choose one of these, or build with {}", Switches(self.features))
    }
}

struct Skipped<'a>(&'a [(&'static str, NetError)]);

impl fmt::Display for Skipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, (name, why))| write!(f, "{}{name}: {why}", if i == 0 { "" } else { "; " }))
    }
}

/// An error for either logger: `defmt` cannot show a type that only has `Display`.
#[cfg(not(feature = "defmt"))]
use core::convert::identity as Shown;
#[cfg(feature = "defmt")]
use pool::fmt::defmt::Display2Format as Shown;

#[cfg(test)]
mod tests;
