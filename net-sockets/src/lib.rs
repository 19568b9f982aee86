//! What the backends over the kernel's own sockets have in common.
//!
#![doc = include_str!("../README.md")]
//!
//! A backend makes [`Tcp`] sockets. How it learns that something can be read or written, and how
//! it does that, is its own.
//!
//! Not an interface for applications: the backends and this crate change together.
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

pub mod connect;
pub mod error;
pub mod options;
pub mod sys;
mod tcp;
mod unix;
pub mod whose;

pub use error::Errno;
pub use tcp::{Backend, Connect, Kind, Tcp};
pub use unix::SocketFile;
pub use whose::Whose;
