//! One macro for each log level: `log` where there is an operating system, `defmt` in images,
//! nothing otherwise. The one place that picks.
//!
#![doc = include_str!("../README.md")]
//!
//! With the feature `defmt`, whoever uses a macro depends on `defmt` too: its macros name that
//! crate where they are used.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

#[cfg(all(feature = "log", feature = "defmt"))]
compile_error!("the features `log` and `defmt` exclude each other: build with one of them (never with --all-features)");

#[cfg(all(feature = "defmt", not(feature = "log")))]
#[doc(hidden)]
pub use defmt;
#[cfg(feature = "log")]
#[doc(hidden)]
pub use log;

#[cfg(feature = "log")]
#[doc(hidden)]
pub use linkme;

/// A part whose details can be switched on and off under a name. See [`part!`].
#[cfg(feature = "log")]
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    /// What it logs as: a path (`my_crate`, `my_crate::store`), and all that is below.
    pub target: &'static str,
}

#[cfg(feature = "log")]
impl Part {
    #[doc(hidden)]
    pub const fn new(name: &'static str, target: &'static str) -> Self {
        Self { name, target }
    }
}

/// All parts of the program.
#[cfg(feature = "log")]
#[linkme::distributed_slice]
pub static LCORE_LOG_PARTS: [Part];

/// Registers a part of the log, at link time: `part!("kv")` for what the calling crate logs,
/// `part!("kv", "my_crate::store")` for what is logged below a path. Does nothing where nothing
/// filters.
///
/// ```
/// // Its details are shown with `-L example`.
/// logging::part!("example");
/// # #[cfg(feature = "log")]
/// assert!(logging::LCORE_LOG_PARTS.iter().any(|part| part.name == "example"));
/// ```
#[macro_export]
macro_rules! part {
    ($name:expr) => {
        $crate::part!($name, env!("CARGO_CRATE_NAME"));
    };
    ($name:expr, $target:expr) => {
        $crate::__part!($name, $target);
    };
}

#[doc(hidden)]
#[cfg(feature = "log")]
#[macro_export]
macro_rules! __part {
    ($name:expr, $target:expr) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::LCORE_LOG_PARTS)]
            #[linkme(crate = $crate::linkme)]
            static PART: $crate::Part = $crate::Part::new($name, $target);
        };
    };
}
#[doc(hidden)]
#[cfg(not(feature = "log"))]
#[macro_export]
macro_rules! __part {
    ($name:expr, $target:expr) => {};
}

/// An event that ends or endangers something.
///
/// ```
/// logging::error!("disk {} is gone", "Malloc0");
/// ```
#[macro_export]
macro_rules! error { ($($arg:tt)*) => { $crate::__emit!(error, $($arg)*) } }
/// An event that someone should look at.
#[macro_export]
macro_rules! warn { ($($arg:tt)*) => { $crate::__emit!(warn, $($arg)*) } }
/// A milestone.
#[macro_export]
macro_rules! info { ($($arg:tt)*) => { $crate::__emit!(info, $($arg)*) } }
/// A detail for whoever follows a fault.
///
/// ```
/// let (id, bytes) = (7, 512);
/// logging::debug!("queue {}: {} bytes", id, bytes);
/// ```
#[macro_export]
macro_rules! debug { ($($arg:tt)*) => { $crate::__emit!(debug, $($arg)*) } }

#[doc(hidden)]
#[cfg(feature = "log")]
#[macro_export]
macro_rules! __emit { ($level:ident, $($arg:tt)*) => { $crate::log::$level!($($arg)*) } }
#[doc(hidden)]
#[cfg(all(feature = "defmt", not(feature = "log")))]
#[macro_export]
macro_rules! __emit { ($level:ident, $($arg:tt)*) => { $crate::defmt::$level!($($arg)*) } }
#[doc(hidden)]
#[cfg(not(any(feature = "log", feature = "defmt")))]
#[macro_export]
macro_rules! __emit { ($level:ident, $fmt:literal $(, $arg:expr)* $(,)?) => { { $( let _ = &$arg; )* } } }
