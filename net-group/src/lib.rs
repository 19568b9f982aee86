//! What every socket group keeps, whatever its sockets are: their places with the keys to them ([`Slab`]), and what is to be sent on them
//! ([`Frames`]), and how much that may be ([`Limits`]).
//!
//! Not an interface for applications: the backends and this crate change together.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod frames;
mod limits;
pub mod slab;

pub use frames::{Frames, Queue};
pub use limits::Limits;
pub use slab::{Hot, Slab};
