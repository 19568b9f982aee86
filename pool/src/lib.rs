//! Buffers and objects that come home on drop.
//!
#![doc = include_str!("../README.md")]
#![cfg_attr(not(loom), deny(missing_debug_implementations))]
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod account;
mod buf;
#[cfg(feature = "bytes")]
mod bytes;
mod cache;
mod config;
mod data;
mod error;
mod group;
mod local;
mod memory;
mod mempool;
mod objects;
mod pool;
mod request;
mod share;
mod slab;
mod stack;
mod sync;
mod wait;

logging::part!("pool");

pub use buf::{Buf, SendBuf};
pub use cache::{Bulk, MempoolCache, Obj, SendObj};
pub use config::{Class, ClassConfig, DATA_ALIGN, DataPoolConfig, GroupStats, PoolStats, ReserveConfig};
pub use data::DataPool;
pub use error::PoolError;
pub use group::BufGroup;
pub use memory::{HeapMemory, Memory};
#[cfg(not(loom))]
pub use mempool::mempools;
pub use mempool::{Mempool, MempoolConfig, MempoolStats};
pub use request::{Granted, Request};
// For the model checks in `tests/loom.rs`.
#[doc(hidden)]
pub use stack::{Chain, FreeStack, LinkArray, Links};
