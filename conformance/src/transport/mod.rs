//! The suite for transports, and a transport in memory that proves the traits.

pub mod memory;
pub mod suite;
