//! One macro for each log level: `log` where there is an operating system, `defmt` in images,
//! nothing otherwise. The one place that picks.
//!
//! With the feature `defmt`, whoever uses a macro depends on `defmt` too: its macros name that
//! crate where they are used.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(all(feature = "log", feature = "defmt"))]
compile_error!("the features `log` and `defmt` exclude each other: build with one of them (never with --all-features)");

#[cfg(all(feature = "defmt", not(feature = "log")))]
#[doc(hidden)]
pub use defmt;
#[cfg(feature = "log")]
#[doc(hidden)]
pub use log;

/// An event that ends or endangers something.
#[macro_export]
macro_rules! error { ($($arg:tt)*) => { $crate::__emit!(error, $($arg)*) } }
/// An event that someone should look at.
#[macro_export]
macro_rules! warn { ($($arg:tt)*) => { $crate::__emit!(warn, $($arg)*) } }
/// A milestone.
#[macro_export]
macro_rules! info { ($($arg:tt)*) => { $crate::__emit!(info, $($arg)*) } }
/// A detail for whoever follows a fault.
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
