//! NVMe over TCP for both ends, sans-io: bytes and moments go in, what to do comes out.
//!
#![doc = include_str!("../README.md")]
//!
//! A connection is one queue. [`target::Queue`] is its controller's end, [`host::Queue`] its
//! host's. Each takes bytes in whatever pieces they come and says what has happened; what it is
//! told to do (answer, ask for data, send data) gives back a [`Head`], the bytes to send before
//! the data. Data itself is never touched but for its digest: it goes from the receive buffer to
//! where the caller wants it, and from there to the socket. [`target::Controller`] is what the
//! queues of one association have in common: properties, Identify, features, log pages, events,
//! keep alive. [`target::Fused`] and [`target::Reservations`] are for those who serve namespaces.
//! With the feature `auth`, `auth::Target` and `auth::Host` are the two ends of an authentication.
//!
//! ```text
//!   socket ──bytes──► Queue::receive ──► Event::Command ──► Controller::admin, or Io::read and a device
//!                        │                                             │
//!                        ├─► Event::Data ──► the command's buffer      │
//!                        └─► Event::Ready ────────────────────────────►│
//!   socket ◄──Head──── Queue::ask (a buffer is there: R2T)             │
//!   socket ◄──Head, data, digest── Queue::data, data_and_success ◄─────┤
//!   socket ◄──Head──── Queue::complete ◄───────────────────────────────┘
//! ```
//!
//! Memory: a queue has one slot for each of its entries, made when Connect is accepted, and room
//! for one header; a controller has its host's name, and up to 1024 changed namespaces. Nothing
//! that a peer sends makes them grow. What breaks the protocol comes back as a [`Fault`], and there
//! is a PDU that tells the peer; what breaks a command's rules is answered with its [`Status`].
//!
//! Section numbers are those of NVM Express Base Specification 2.0, NVM Command Set Specification
//! 1.0 and TCP Transport Specification 1.0. All fields are little endian.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "auth")]
pub mod auth;
pub mod command;
mod decoder;
pub mod digest;
pub mod fabrics;
mod fault;
mod head;
pub mod host;
pub mod identify;
pub mod log;
pub mod pdu;
pub mod reservation;
pub mod status;
pub mod target;

pub use command::{Cqe, Sqe};
pub use decoder::{Decoder, Expects, Header, Item, Side};
pub use fault::{Fault, Fes, Wrong};
pub use head::{Head, LastPdu, Shape};
pub use status::{Code, Status};
