//! Buffers and objects that come home on drop.
#![no_std]

extern crate alloc;

mod buf;
mod cache;
mod error;
#[doc(hidden)]
pub mod fmt;
mod mempool;
mod stack;
mod sync;

pub use buf::{Buf, BufGroup};
pub use cache::{Bulk, MempoolCache, Obj, SendObj};
pub use error::PoolError;
pub use mempool::{Mempool, MempoolConfig, MempoolStats};
// For the model checks in `tests/loom.rs`.
#[doc(hidden)]
pub use stack::{Chain, FreeStack, LinkArray, Links};
