//! Block devices: named, opened, and read and written through channels of one core.
//!
#![doc = include_str!("../README.md")]
//!
//! A module (`bdev-malloc`) makes a [`Device`] and adds it to the [`Bdevs`] of an application under
//! a name. Whoever wants it looks it up ([`Bdev`]), opens it ([`Opened`]) and makes a [`Channel`]
//! on each core that uses it. A [`Request`] owns its buffers and is handed to a channel; it comes
//! back from [`Channel::poll`], in a [`Completion`], with the buffers in it. No callback runs in
//! between: drain the list, then act.
//!
//! ```text
//!  Bdevs::add ──► Bdev ──open──► Opened ──channel──► Channel ──submit──► (device)
//!                  │ resize ───────────────────────► Resized               │
//!                  │ remove ──► requests come back, ► Removed    Done ◄────┘ poll
//! ```
//!
//! Every request that was taken comes back exactly once, whatever happens: an abort, a reset, the
//! device's removal, a backend that drops it. A channel stays on its core, and so do its requests.
#![no_std]
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod channel;
mod device;
mod error;
mod io;
mod limits;
mod module;
mod registry;
mod request;
#[cfg(feature = "rpc")]
pub mod rpc;
mod shared;
mod stats;
mod uuid;

pub use channel::Channel;
#[doc(hidden)]
pub use core_reactor;
pub use core_reactor::net::{Frame, Token};
pub use device::{Device, DeviceChannel, Shape};
pub use error::BdevError;
pub use io::Io;
pub use limits::Limits;
pub use module::{BdevModule, LCORE_BDEV_MODULES, Params, create, module, register};
pub use registry::{Bdev, Bdevs, Mode, NewBdev, Opened};
pub use request::{BdevEvent, Completion, Completions, Kind, Kinds, Request};
pub use stats::{Figures, IoStats, ResetStats};
pub use uuid::Uuid;
