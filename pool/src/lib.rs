//! Buffers and objects that come home on drop.
#![no_std]

extern crate alloc;

mod buf;
#[doc(hidden)]
pub mod fmt;

pub use buf::{Buf, BufGroup};
