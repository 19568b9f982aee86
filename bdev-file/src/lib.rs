//! Files and disks of the system as block devices, for whatever makes the system calls.
//!
#![doc = include_str!("../README.md")]
//!
//! A [`Disk`] is a file that is open, and what it can do. [`Channel`] makes each request into
//! [`Call`]s, one at a time, and goes on with what was done in part; an [`Engine`] makes the calls:
//! the ring of `bdev-uring`, the threads of `bdev-aio`.
//!
//! ```text
//!  submit ─► claim ─► call ─► (engine) ─► result ─► finish
//!             ▲         ▲                   │
//!             │ waits   └── short, EINTR ◄──┤
//!             └─ others write there         └─► the next call: compare, then write
//! ```
//!
//! With `O_DIRECT` the kernel wants memory at multiples of a block. Buffers of the pool begin so;
//! what does not is copied through a buffer of a channel's own, and counted ([`Disk::bounced`]).
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

mod call;
mod channel;
mod claims;
mod config;
mod device;
mod disk;
mod error;
mod identity;
#[cfg(feature = "rpc")]
mod rpc;
mod sys;

pub use call::{Call, Engine, Op};
pub use channel::Channel;
pub use config::Config;
pub use device::{Module, create};
pub use disk::Disk;
#[cfg(feature = "rpc")]
pub use rpc::{Create, rescan};
