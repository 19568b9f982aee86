//! The suite for transports, and a transport in memory that proves the traits.

#![forbid(unsafe_code)]

pub mod memory;
pub mod suite;
