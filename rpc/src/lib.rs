//! The control plane: JSON-RPC 2.0 as SPDK speaks it, served by a reactor beside its other work.
//!
#![doc = include_str!("../README.md")]
//!
//! A [`Method`] registers itself at link time, beside what it controls, and is called with a
//! [`Call`]: it takes the parameters out of it and answers, at once or later through a [`Reply`].
//! [`serve`] listens at an [`Address`] and runs on the thread that calls it, in steps of a few
//! microseconds; what a client sends or leaves unread can neither hold the reactor up nor fill the
//! memory. Written so that SPDK's own clients work against it as they are: `docs/rpc.md`.
#![deny(unsafe_code)]

mod address;
mod answer;
mod call;
mod client;
mod error;
mod method;
mod methods;
mod request;
pub mod scan;
mod server;
mod subsystem;

logging::part!("rpc");

pub use address::{Address, AddressError};
pub use answer::{List, Text};
pub use call::{Call, NoParams, Params, Reply};
pub use client::{CALL, VALUE};
pub use error::Error;
#[doc(hidden)]
pub use linkme;
pub use method::{DuplicateName, LCORE_RPC_METHODS, Method, Methods, Phases, register};
#[doc(hidden)]
pub use request::is_request;
pub use server::{Bound, CLIENTS, Control, Disposal, ServeError, serve};
pub use subsystem::{LCORE_RPC_SUBSYSTEMS, Subsystem, register_subsystem};
