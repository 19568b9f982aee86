//! One Ethernet interface of a host whose TCP is smoltcp's, and what passes between the two.
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

mod addresses;
mod device;
#[cfg(feature = "dhcp")]
mod dhcp;
mod filter;
mod filtered;
mod frame;
mod link;
mod neighbours;
mod proof;
mod time;
mod track;

pub use addresses::{Addresses, Network, ip};
pub use device::{NetDevice, PollOnly};
pub use filter::Verdict;
pub use frame::Ends;
pub use link::Link;
pub use proof::Proofs;
pub use smoltcp;
