//! What a figure is, and the macro that writes it down.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// A figure, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name, by Prometheus' conventions: what it is of, what is counted, the unit, and `_total`
    /// where it only grows.
    pub name: &'static str,
    /// What it is; [`help`](Self::help) has it without the space that it begins with.
    #[doc(hidden)]
    pub doc: &'static str,
    /// What becomes of it.
    pub kind: Kind,
    /// Whether it is kept in nanoseconds. It is shown in seconds.
    pub is_ns: bool,
}

impl Figure {
    /// A sentence that says what it is.
    pub fn help(&self) -> &'static str {
        self.doc.trim()
    }
}

/// What becomes of a figure in time, and what it is of several that are shown as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows. The sum.
    Counter,
    /// It grows and falls. The sum.
    Gauge,
    /// The most, or the longest, that was seen. The largest.
    Peak,
    /// Durations by their size. All together.
    Histogram,
}

impl Kind {
    /// What Prometheus calls it.
    ///
    /// ```
    /// use statistics::Kind;
    ///
    /// assert_eq!((Kind::Peak.name(), Kind::Counter.name()), ("gauge", "counter"));
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Peak => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A figure's value.
///
/// ```
/// use statistics::Value;
///
/// assert_eq!(Value::from(&7u32), Value::Number(7));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// Durations.
    Times(Times),
}

/// Durations by their size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// All of them together, nanoseconds.
    pub sum_ns: u64,
    /// How many were at most so long (nanoseconds), and longer than those before. As many in every
    /// histogram of a figure.
    pub buckets: Vec<(u64, u64)>,
}

impl From<&u64> for Value {
    fn from(number: &u64) -> Self {
        Self::Number(*number)
    }
}

impl From<&u32> for Value {
    fn from(number: &u32) -> Self {
        Self::Number((*number).into())
    }
}

impl From<&usize> for Value {
    fn from(number: &usize) -> Self {
        Self::Number(*number as u64)
    }
}

impl From<&AtomicU32> for Value {
    fn from(number: &AtomicU32) -> Self {
        Self::Number(number.load(Ordering::Relaxed).into())
    }
}

#[cfg(target_has_atomic = "64")]
impl From<&core::sync::atomic::AtomicU64> for Value {
    fn from(number: &core::sync::atomic::AtomicU64) -> Self {
        Self::Number(number.load(Ordering::Relaxed))
    }
}

impl From<&AtomicUsize> for Value {
    fn from(number: &AtomicUsize) -> Self {
        Self::Number(number.load(Ordering::Relaxed) as u64)
    }
}

/// Figures that are kept together. [`stats!`](crate::stats) makes it.
pub trait Stats {
    /// The figures, in groups that have no meaning.
    const FIGURES: &'static [&'static [Figure]];

    /// Their values, in the same order.
    fn values(&self) -> Vec<Value>;
}

/// Declares a struct, and which of its fields are figures: those with a kind and a name behind
/// them. What is written above such a field is its help.
///
/// | kind | |
/// |---|---|
/// | `counter` | grows; its name ends in `_total` |
/// | `gauge` | grows and falls |
/// | `peak` | the most that was seen |
/// | `counter_ns`, `gauge_ns`, `peak_ns` | the same in nanoseconds, shown in seconds; the name has `_seconds` |
/// | `histogram_ns` | durations by their size; the name ends in `_seconds` |
///
/// A name that does not fit its kind is refused when it is compiled:
///
/// ```compile_fail
/// statistics::stats! {
///     /// Wrong.
///     struct Wrong {
///         /// A counter says that it is a total.
///         runs: u64 => counter("example_runs"),
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! stats {
    (
        $(#[$meta:meta])*
        $vis:vis struct $of:ident {
            $($(#[doc = $help:literal])+ $field_vis:vis $field:ident: $type:ty $(=> $kind:ident($name:literal))?),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $of {
            $($(#[doc = $help])+ $field_vis $field: $type,)+
        }

        impl $crate::Stats for $of {
            const FIGURES: &'static [&'static [$crate::Figure]] = &[$($crate::figures!([$($help)+] $($kind $name)?)),+];

            fn values(&self) -> $crate::private::Vec<$crate::Value> {
                let mut values = $crate::private::Vec::with_capacity(<[&str]>::len(&[$($($name,)?)+]));
                // The name is here for the field to be left out where there is none.
                $($(let _ = $name; values.push($crate::Value::from(&self.$field));)?)+
                values
            }
        }
    };
}

/// The figure of a field, if it is one.
#[doc(hidden)]
#[macro_export]
macro_rules! figures {
    ([$($help:literal)+]) => {
        &[]
    };
    ([$($help:literal)+] $kind:ident $name:literal) => {
        &[$crate::private::figure(stringify!($kind), $name, concat!($($help),+))]
    };
}

/// What the macro needs.
#[doc(hidden)]
pub mod private {
    pub use alloc::vec::Vec;

    use super::{Figure, Kind};

    /// A figure by the name of its kind.
    pub const fn figure(kind: &str, name: &'static str, doc: &'static str) -> Figure {
        let (kind, is_ns) = match kind.as_bytes() {
            b"counter" => (Kind::Counter, false),
            b"counter_ns" => (Kind::Counter, true),
            b"gauge" => (Kind::Gauge, false),
            b"gauge_ns" => (Kind::Gauge, true),
            b"peak" => (Kind::Peak, false),
            b"peak_ns" => (Kind::Peak, true),
            b"histogram_ns" => (Kind::Histogram, true),
            _ => panic!("no such kind: counter, gauge, peak, the same with _ns, histogram_ns"),
        };
        check(kind, is_ns, name);
        Figure { name, doc, kind, is_ns }
    }

    /// Whether a name is what the conventions ask for.
    const fn check(kind: Kind, is_ns: bool, name: &str) {
        let total = ends_with(name, "_total");
        assert!(total == matches!(kind, Kind::Counter), "the name of a counter, and no other, ends in _total");
        let unit = if total { "_seconds_total" } else { "_seconds" };
        assert!(is_ns == ends_with(name, unit), "what is kept in nanoseconds, and nothing else, is named _seconds");
        let bytes = name.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let is_digit = bytes[at].is_ascii_digit() && at > 0;
            assert!(bytes[at].is_ascii_lowercase() || bytes[at] == b'_' || is_digit, "a name is of a-z, 0-9 and _");
            at += 1;
        }
    }

    const fn ends_with(name: &str, end: &str) -> bool {
        let (name, end) = (name.as_bytes(), end.as_bytes());
        if name.len() <= end.len() {
            return false;
        }
        let mut at = 0;
        while at < end.len() {
            if name[name.len() - end.len() + at] != end[at] {
                return false;
            }
            at += 1;
        }
        true
    }
}
