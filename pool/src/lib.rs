//! Buffers and objects that come home on drop.
#![no_std]

extern crate alloc;

mod buf;
#[doc(hidden)]
pub mod fmt;
mod stack;
mod sync;

pub use buf::{Buf, BufGroup};
// For the model checks in `tests/loom.rs`.
#[doc(hidden)]
pub use stack::{Chain, FreeStack, LinkArray, Links};
