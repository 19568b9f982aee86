//! Figures that are written down once, where they are counted, for whoever shows them.
//!
#![doc = include_str!("../README.md")]
//!
//! [`stats!`] declares a struct and says of its fields under which name, of which kind and with
//! which help they are shown. Whoever gathers adds such structs to [`Samples`], with labels that
//! tell them apart; whoever shows merges those into a list of [`Family`].
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod declare;
mod family;
mod sample;

#[doc(hidden)]
pub use declare::private;
pub use declare::{Figure, Kind, Stats, Times, Value};
pub use family::{Family, Seconds, Shown, families};
pub use sample::{Labels, Samples};
