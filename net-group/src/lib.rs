//! What every socket group keeps, whatever its sockets are: their places with the keys to them ([`Slab`]), and what is to be sent on them
//! ([`Frames`]), how much that may be ([`Limits`]), how much is read of each in a poll ([`Turns`]), and what becomes of them when buffers run out
//! ([`Supply`]).
//!
//! Not an interface for applications: the backends and this crate change together.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod frames;
mod limits;
pub mod slab;
mod supply;
mod turns;

pub use frames::{Frames, Queue};
pub use limits::{Limits, SPARING};
pub use slab::{Hot, Slab};
pub use supply::Supply;
pub use turns::Turns;
