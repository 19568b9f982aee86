//! SMB Direct (MS-SMBD) for both ends, sans-io: bytes and moments go in, actions come out.
//!
#![doc = include_str!("../README.md")]
//!
//! A [`Connection`] is one end. It is told of every message that arrives
//! ([`on_message`](Connection::on_message)) and of the time ([`on_time`](Connection::on_time)), and
//! asked what to do ([`next_action`](Connection::next_action)) and what to send
//! ([`next_fragment`](Connection::next_fragment)). It has no buffers: payload stays where the
//! transport put it, and is named by ranges. It allocates nothing, so what a peer sends cannot make
//! it grow.
//!
//! ```text
//!  client                                             server
//!  Asking ──(1) request out──► Awaiting               Awaiting ──(3) request in──► Granting ──(4) receives posted,
//!                                 │                      │                                     response out──┐
//!                                 │ (2) response in      │ (5) no common version                             │
//!                                 ▼                      ▼                                                   ▼
//!                               Open ◄── messages ──►  Refusing ──response out──► Last ──sent──► Closed  Open
//!                                 │
//!                                 └─(6) a fault, (7) no answer in time, anywhere ──────────────────────────► Closed
//! ```
//!
//! 1. 3.1.4.1: a client begins.
//! 2. 3.1.5.7: the response is checked.
//! 3. 3.1.5.6: the request is checked.
//! 4. 3.1.5.6, 3.1.5.9: what is granted has been posted.
//! 5. 3.1.5.6: the response says so, then the connection ends in order.
//! 6. 3.1.5.6 to 3.1.5.8: whatever a peer may not send.
//! 7. 3.1.2.1, 3.1.2.2, 3.1.6.
//!
//! Every state but Closed has a deadline, counted from the moment on at which it is entered, unless
//! it says otherwise:
//!
//! | state | deadline | then |
//! |---|---|---|
//! | Asking, Awaiting, Granting, Refusing | [`Settings::negotiate_timeout`] from the beginning of the connection | [`Ended::NegotiateTimeout`] |
//! | Open | [`Settings::idle`] from the peer's last message | an answer is asked for |
//! | Open, with an answer asked for | [`Settings::keep_alive`] | [`Ended::KeepAlive`] |
//! | Last | [`Settings::keep_alive`] | the reason of the refusal |
//!
//! Credits: each message takes a receive buffer that its receiver has posted, so a sender counts
//! how many it has been granted. With its last one it sends only what grants the peer some
//! (3.1.5.1), or both could wait for ever.
//!
//! Section numbers are those of MS-SMBD. All fields are little endian.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

mod connection;
mod credits;
mod ended;
mod fragments;
mod message;
mod negotiate;
mod reassembly;
mod settings;
pub mod wire;

pub use connection::{Action, Connection, Role};
pub use ended::{Ended, Rule};
pub use fragments::{Fragment, SendError};
pub use message::{Message, Received};
pub use negotiate::Agreed;
pub use reassembly::{Reassembly, ReassemblyError};
pub use settings::{Settings, SettingsError};
pub use wire::Descriptor;
