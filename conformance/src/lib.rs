//! The suites that every backend must pass, written once.
//!
#![doc = include_str!("../README.md")]
//!
//! [`net_suite!`] makes one `#[test]` for each property of a network backend, for IPv4 and for
//! IPv6. A test is a function of an [`net::Env`] and is called after the statement that it proves
//! (`s19_…`: statement 19). Peers are plain sockets of the standard library, so a fault cannot hide
//! on both sides; some tests have the backend on both sides as well. What it takes for granted of
//! every backend, without a statement that says so, stands at the end of `docs/backend.md`.
//!
//! [`transport_suite!`] does the same for transports, over a [`transport::Env`].
#![deny(unsafe_code)]

pub mod heap;
pub mod net;
pub mod ordinary;
pub mod pipe;
pub mod platform;
pub mod sandbox;
pub mod transport;
