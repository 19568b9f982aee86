//! An NVMe over TCP target: subsystems and namespaces over block devices, and a poll group on each
//! core that serves them.
//!
#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! A [`Target`] is what there is, for any thread to look at and to change: [`Subsystem`]s with
//! [`Namespace`]s, [`Listener`]s and hosts. Each method that changes it says in one sentence what
//! cannot be ([`NvmfError`]), and what it changes takes effect at once: hosts are told by events,
//! or disconnected.
//!
//! | to | call |
//! |---|---|
//! | make the transport | [`Target::create_transport`] |
//! | add, remove, find, list subsystems | [`Target::add_subsystem`], `remove_subsystem`, `subsystem`, `subsystems` |
//! | add, remove namespaces | [`Target::add_namespace`], `remove_namespace`; [`Subsystem::namespaces`] |
//! | listen | [`Target::add_listener`], `remove_listener`; [`Subsystem::listeners`] |
//! | listen by TLS, and let in who has a key | `add_secure_listener`, `add_host_with_key`, with the feature `tls` |
//! | let hosts in | [`Target::add_host`], `remove_host`, `allow_any_host`; [`Subsystem::hosts`] |
//! | have them show who they are | [`Target::add_host_with`], `set_keys`, `set_policy`; [`Helper`] |
//! | say which way is good | [`Target::set_ana_state`]; [`Listener::ana`] |
//! | see who is connected | [`Subsystem::controllers`], [`Association::queues`] |
//! | see what was done | [`Target::figures`] |
//!
//! # The way of a command
//!
//! A [`Server`] is a poll group on each core. A connection is one queue and lives on the core that
//! it was given to; the queues of a controller may be on several.
//!
//! ```text
//!  socket ──bytes──► nvme::target::Queue ──command──► a buffer (R2T, if data is to come) ──► device
//!                                                        │ none: it waits, first come first served
//!  socket ◄── all of a poll as one gathered send ◄── [head | data | digest] in one buffer ◄──┘
//! ```
//!
//! Admin commands are the controller's, which is under a lock that all of its queues can take; on
//! the way of I/O there is none.
#![no_std]
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod association;
mod atomic;
mod connect;
mod error;
mod figures;
mod group;
mod hosts;
mod keeping;
#[cfg(feature = "tls")]
mod keys;
mod listener;
mod namespace;
#[cfg(feature = "rpc")]
mod rpc;
mod server;
mod shown;
mod subsystem;
mod target;
mod transport;
mod view;

pub use association::{Association, QueueInfo};
pub use error::NvmfError;
pub use figures::GroupFigures;
pub use hosts::{AllowedHost, Helper, HostKeys};
pub use keeping::ToKeep;
pub use listener::Listener;
pub use namespace::{CLAIM, Keeper, Namespace, NamespaceConfig};
pub use nvme::log::AnaState;
pub use nvme::target::Kept;
pub use server::{STAGGER, Server, ServerConfig, ServerError};
pub use subsystem::{Subsystem, SubsystemConfig};
pub use target::Target;
pub use transport::Transport;

logging::part!("nvmf");
