//! NVMe over TCP for both ends of a queue, sans-io: bytes and moments go in, what to do comes out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod command;
mod decoder;
pub mod digest;
pub mod fabrics;
mod fault;
mod head;
pub mod identify;
pub mod log;
pub mod pdu;
pub mod reservation;
pub mod status;

pub use command::{Cqe, Sqe};
pub use decoder::{Decoder, Expects, Header, Item, Side};
pub use fault::{Fault, Fes, Wrong};
pub use head::{Head, Shape};
pub use status::{Code, Status};
