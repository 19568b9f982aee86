//! One macro for each log level: `log` where there is an operating system, `defmt` in images, nothing otherwise.

#[cfg(all(feature = "log", feature = "defmt"))]
compile_error!("the features `log` and `defmt` exclude each other: build with one of them (never with --all-features)");

/// An event that ends or endangers something.
#[doc(hidden)]
#[macro_export]
macro_rules! error_ { ($($arg:tt)*) => { $crate::__emit!(error, $($arg)*) } }
/// An event that someone should look at.
#[doc(hidden)]
#[macro_export]
macro_rules! warn_ { ($($arg:tt)*) => { $crate::__emit!(warn, $($arg)*) } }
/// A milestone.
#[doc(hidden)]
#[macro_export]
macro_rules! info_ { ($($arg:tt)*) => { $crate::__emit!(info, $($arg)*) } }
/// A detail for whoever follows a fault.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_ { ($($arg:tt)*) => { $crate::__emit!(debug, $($arg)*) } }

#[doc(hidden)]
#[cfg(feature = "log")]
#[macro_export]
macro_rules! __emit { ($level:ident, $($arg:tt)*) => { $crate::fmt::log::$level!($($arg)*) } }
#[doc(hidden)]
#[cfg(all(feature = "defmt", not(feature = "log")))]
#[macro_export]
macro_rules! __emit { ($level:ident, $($arg:tt)*) => { $crate::fmt::defmt::$level!($($arg)*) } }
#[doc(hidden)]
#[cfg(not(any(feature = "log", feature = "defmt")))]
#[macro_export]
macro_rules! __emit { ($level:ident, $fmt:literal $(, $arg:expr)* $(,)?) => { { $( let _ = &$arg; )* } } }

pub use crate::{debug_ as debug, error_ as error, info_ as info, warn_ as warn};
#[cfg(all(feature = "defmt", not(feature = "log")))]
#[doc(hidden)]
pub use defmt;
#[cfg(feature = "log")]
#[doc(hidden)]
pub use log;
