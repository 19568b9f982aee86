//! The echo server as a module: poll groups that accept, hand over and echo. `no_std`, so that an
//! image can carry it too.
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod server;

pub use server::{GroupReport, Server, ServerConfig, ServerError};
