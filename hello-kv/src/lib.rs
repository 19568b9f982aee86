//! A key-value server that Redis' clients speak to, with a shard of the keys on each core.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod plan;
mod resp;
mod server;
mod store;

pub use server::{KvConfig, KvReport, KvServer};

/// Bytes that an empty list keeps for the next use. What is larger was an exception.
const KEPT: usize = 64 << 10;
