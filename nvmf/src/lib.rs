//! An NVMe over TCP target: subsystems and namespaces over block devices, and a poll group on each
//! core that serves them.
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
//! | let hosts in | [`Target::add_host`], `remove_host`, `allow_any_host`; [`Subsystem::hosts`] |
//! | say which way is good | [`Target::set_ana_state`]; [`Listener::ana`] |
//! | see who is connected | [`Subsystem::controllers`], [`Association::queues`] |
//! | see what was done | [`Target::figures`] |
#![no_std]
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod association;
mod atomic;
mod error;
mod figures;
mod listener;
mod namespace;
mod subsystem;
mod target;
mod transport;

pub use association::{Association, QueueInfo};
pub use error::NvmfError;
pub use figures::GroupFigures;
pub use listener::Listener;
pub use namespace::{Namespace, NamespaceConfig};
pub use nvme::log::AnaState;
pub use subsystem::{Subsystem, SubsystemConfig};
pub use target::Target;
pub use transport::Transport;

logging::part!("nvmf");
