//! Verbs and the connection manager, as safe types.
//!
//! UNSAFETY: everything here calls C, and hands a device addresses that it reads and writes at
//! times of its own. What makes that sound, for all of the types:
//!
//! - An object of the library is destroyed once, by the type that owns it, after all that depends
//!   on it: whoever needs an object to live holds an `Rc` or `Arc` of it.
//! - Memory that the device may reach is owned here until the device has let go of it: frames by
//!   their [`QueuePair`], receive buffers by their [`SharedReceive`], exposed buffers by their
//!   [`Exposure`], and the pool that all of them are of by its [`Region`]. It is given back for a
//!   completion of the very request that named it ([`Completion`] is made by a completion queue
//!   only, and used up), or after its queue pair or registration was destroyed. If the library
//!   refuses to destroy, the memory is leaked.
//! - Only bytes of a pool are registered, never typed memory, and a pool's memory does not move.
#![allow(unsafe_code)]

mod address;
mod channel;
mod completion;
mod device;
mod id;
mod memory;
mod pair;
mod receive;

pub(crate) use channel::{CmEvent, EventChannel, Happened, Request};
pub(crate) use completion::{Completion, CompletionQueue, LOCAL, Status, status_text};
pub(crate) use device::{Device, DeviceLimits, devices};
pub(crate) use id::{ConnId, Parameters};
pub(crate) use memory::{Domain, Exposure, Region};
pub(crate) use pair::{Finished, PairConfig, QueuePair, Work};
pub(crate) use receive::SharedReceive;

use std::io;

/// An error number of the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    fn last() -> Self {
        Self(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// For calls that answer 0, or −1 with `errno` set, or an error number: librdmacm does the
    /// first, libibverbs the second.
    fn check(answer: i32) -> Result<(), Self> {
        match answer {
            0 => Ok(()),
            ..0 => Err(Self::last()),
            number => Err(Self(number)),
        }
    }
}

/// A number that no other queue pair or shared receive queue has: it rides in the ids of their work
/// requests, so that a completion is never taken for another's. Of 39 bits, as the id of a receive
/// has 24 for its place and one that says what it is; at a thousand queue pairs a second they last
/// for 17 years.
fn serial() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) & SERIALS
}

/// The bits of a serial number.
const SERIALS: u64 = (1 << 39) - 1;
