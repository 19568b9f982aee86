//! Which of several link-time plug-ins to use (statement 24): one piece for network backends and
//! transports.
//!
//! A link-time slice says what is linked; its kind of plug-in says the rest through [`Plugin`].

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// A kind of link-time plug-in, as far as choosing among several goes. Implemented for the trait
/// object (`dyn NetImpl`), not by backends.
pub trait Plugin: 'static {
    /// What its probe says.
    type Error: PluginError;

    /// Its name, unique among the linked ones of its kind.
    fn name(&self) -> &'static str;

    /// The highest priority that probes well is the default; among equals the first name.
    fn priority(&self) -> u8;

    /// Whether it can work here.
    ///
    /// # Errors
    /// Why not.
    fn probe(&self) -> Result<(), Self::Error>;
}

/// The error of a kind of plug-in, which names the kind in what [`SelectError`] says.
pub trait PluginError: fmt::Debug + fmt::Display + 'static {
    /// What people call one, such as "network backend".
    const KIND: &'static str;
    /// The trait that one implements.
    const TRAIT: &'static str;
}

/// The backend to use, and why it is that one. Its `Display` is for the log.
pub struct Selected<P: Plugin + ?Sized> {
    /// The backend.
    pub backend: &'static P,
    /// Why this one.
    pub why: Why,
    /// Backends of a higher rank that do not work here, and what their probes said.
    pub skipped: Vec<(&'static str, P::Error)>,
}

/// Why a backend was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was asked for by name.
    Name,
    /// It has the highest priority of those that work here.
    Priority,
}

/// Among `plugins` the one called `name`, or without a name the first of [`ranked`] that probes
/// well. Each that does not is skipped with a warning.
///
/// `features` are the cargo features that bring plug-ins of this kind, each called like its
/// plug-in. They come from the caller, who knows; they only serve the texts of errors.
///
/// # Errors
/// As [`SelectError`] says.
pub fn select_from<P: Plugin + ?Sized>(
    plugins: &[&'static P],
    name: Option<&str>,
    features: &'static [&'static str],
) -> Result<Selected<P>, SelectError<P::Error>> {
    let ranked = ranked(plugins);
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

/// The plug-ins: highest priority first, equal ones by name. Nothing is probed.
pub fn ranked<P: Plugin + ?Sized>(plugins: &[&'static P]) -> Vec<&'static P> {
    let mut ranked: Vec<&'static P> = Vec::with_capacity(plugins.len());
    for new in plugins {
        // Not the library's sort, which is 5 KB of an image and made for longer lists.
        let order = |old: &&'static P| new.priority().cmp(&old.priority()).then_with(|| old.name().cmp(new.name()));
        ranked.insert(ranked.partition_point(|old| order(old).is_le()), *new);
    }
    ranked
}

fn by_name<P: Plugin + ?Sized>(
    ranked: &[&'static P],
    name: &str,
    linked: Vec<&'static str>,
    features: &'static [&'static str],
) -> Result<Selected<P>, SelectError<P::Error>> {
    let Some(backend) = ranked.iter().find(|backend| backend.name() == name) else {
        // A feature that is on already brings nothing more.
        let features = features.iter().copied().filter(|feature| !linked.contains(feature)).collect();
        return Err(SelectError::Unknown { name: name.into(), linked, features });
    };
    match backend.probe() {
        Ok(()) => Ok(Selected { backend: *backend, why: Why::Name, skipped: Vec::new() }),
        Err(why) => Err(SelectError::Unusable { name: backend.name(), why }),
    }
}

fn by_priority<P: Plugin + ?Sized>(ranked: &[&'static P]) -> Result<Selected<P>, SelectError<P::Error>> {
    let mut skipped = Vec::new();
    for backend in ranked {
        match backend.probe() {
            Ok(()) => return Ok(Selected { backend: *backend, why: Why::Priority, skipped }),
            Err(why) => {
                logging::warn!("{} {} is skipped: {}", P::Error::KIND, backend.name(), Shown(&why));
                skipped.push((backend.name(), why));
            }
        }
    }
    Err(SelectError::NoneUsable { skipped })
}

impl<P: Plugin + ?Sized> Selected<P> {
    /// Why it is this one, in words.
    pub fn reason(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match self.why {
            Why::Name => f.write_str("asked for by name"),
            Why::Priority if self.skipped.is_empty() => f.write_str("highest priority"),
            // Which were skipped, and why, was said when that was found out.
            Why::Priority => f.write_str("highest priority that works here"),
        })
    }
}

impl<P: Plugin + ?Sized> fmt::Display for Selected<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.backend.name(), self.reason())
    }
}

impl<P: Plugin + ?Sized> fmt::Debug for Selected<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why no backend could be selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError<E: PluginError> {
    /// None is linked.
    #[error("no {} is linked into this program; build with {}", E::KIND, Switches(features, E::TRAIT))]
    Empty {
        /// The features that bring one.
        features: &'static [&'static str],
    },
    /// None of this name is linked.
    #[error("{} {name:?} is not linked into this program, which has {}; {}", E::KIND, Names(linked), Hint { name, features, of: E::TRAIT })]
    Unknown {
        /// The name asked for.
        name: Box<str>,
        /// What is linked.
        linked: Vec<&'static str>,
        /// The features that bring more.
        features: Vec<&'static str>,
    },
    /// Two of one name are linked: which is meant cannot be known.
    #[error("two {}s called {name:?} are linked; leave one of them out", E::KIND)]
    SameName {
        /// Their name.
        name: &'static str,
    },
    /// The one asked for does not work here.
    #[error("{} {name} was asked for and does not work here: {why}", E::KIND)]
    Unusable {
        /// Its name.
        name: &'static str,
        /// What its probe said.
        why: E,
    },
    /// None works here.
    #[error("none of the linked {}s works here: {}", E::KIND, Skipped(skipped))]
    NoneUsable {
        /// All of them, and what their probes said.
        skipped: Vec<(&'static str, E)>,
    },
}

struct Names<'a>(&'a [&'static str]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, name)| write!(f, "{}{name}", if i == 0 { "" } else { ", " }))
    }
}

/// Features that bring plug-ins, and the trait that these implement.
struct Switches<'a>(&'a [&'static str], &'static str);

impl fmt::Display for Switches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "a crate that implements {}, named by a `use`", self.1);
        }
        self.0.iter().enumerate().try_for_each(|(i, feature)| write!(f, "{}--features {feature}", if i == 0 { "" } else { " or " }))
    }
}

/// What to do about a name that is not linked.
struct Hint<'a> {
    name: &'a str,
    features: &'a [&'static str],
    of: &'static str,
}

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.features.contains(&self.name) {
            return write!(f, "build with --features {}", self.name);
        }
        write!(f, "choose one of these, or build with {}", Switches(self.features, self.of))
    }
}

struct Skipped<'a, E>(&'a [(&'static str, E)]);

impl<E: fmt::Display> fmt::Display for Skipped<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, (name, why))| write!(f, "{}{name}: {why}", if i == 0 { "" } else { "; " }))
    }
}

/// An error for either logger: `defmt` cannot show a type that only has `Display`.
#[cfg(not(feature = "defmt"))]
use core::convert::identity as Shown;
#[cfg(feature = "defmt")]
use defmt::Display2Format as Shown;
