//! The engine of all socket groups: [`Group`] is a [`SockGroup`](core_reactor::net::SockGroup) over
//! any [`Backend`].
//!
#![doc = include_str!("../README.md")]
//!
//! The engine keeps the slots of the sockets with the keys to them ([`Slab`]), what is to be sent
//! on them ([`Frames`]) and how much that may be ([`Limits`]), how much is read of each in a poll
//! ([`Turns`]), and what becomes of them when buffers run out ([`Supply`]). It knows the life of a
//! socket, from attach to "exactly one `Closed`, always the last". A backend knows its system: how
//! to receive, send, accept and connect. `docs/backend.md` says how one is written.
//!
//! Not an interface for applications: the backends and this crate change together.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod alarm;
mod backend;
mod frames;
mod group;
mod limits;
mod phase;
pub mod slab;
mod slots;
mod supply;
mod turns;
mod waiting;

pub use alarm::Alarm;
pub use backend::{
    Accept, Backend, Bufs, Connecting, Happened, Kind, Opened, Outgoing, Parts, Ready, Recv, Release, Released, Sending, Slot,
};
pub use frames::{Frames, Queue};
pub use group::Group;
pub use limits::{Limits, SPARING};
pub use slab::{Slab, SlotState};
pub use slots::PerSlot;
pub use supply::Supply;
pub use turns::Turns;
