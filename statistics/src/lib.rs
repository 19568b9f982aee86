//! Figures that are written down once, where they are counted, for whoever shows them.
//!
//! [`stats!`] declares a struct and says of its fields under which name, of which kind and with
//! which help they are shown. Whoever gathers adds such structs to [`Samples`], with labels that
//! tell them apart; whoever shows merges those into a list of [`Family`].
//!
//! ```
//! use core::sync::atomic::{AtomicU64, Ordering};
//! use statistics::{Samples, families, stats};
//!
//! stats! {
//!     /// What a cache has done.
//!     #[derive(Debug, Default)]
//!     pub struct CacheStats {
//!         /// Looks that found something.
//!         pub hits: AtomicU64 => counter("example_cache_hits_total"),
//!         /// Time in looks.
//!         pub busy_ns: AtomicU64 => counter_ns("example_cache_busy_seconds_total"),
//!     }
//! }
//!
//! let cache = CacheStats::default();
//! cache.hits.fetch_add(2, Ordering::Relaxed);
//! let mut samples = Samples::of_all();
//! samples.add(&[("cache", &"names")], &cache);
//! let [busy, hits] = &families(samples)[..] else { unreachable!() };
//! assert_eq!((hits.figure.name, hits.figure.help()), ("example_cache_hits_total", "Looks that found something."));
//! assert_eq!(hits.samples[0].text(&hits.figure), "2");
//! assert_eq!(busy.samples[0].text(&busy.figure), "0");
//! ```
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
