//! The host's side: a [`Queue`] for each connection, and a [`Bringup`] that takes an admin queue to
//! a controller that is ready.

mod bringup;
mod commands;
mod queue;

pub use bringup::{Bringup, Failed, Step};
pub use queue::{Command, Event, Payload, Piece, Queue, Refused, Settings};
