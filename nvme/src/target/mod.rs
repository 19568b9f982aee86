//! The controller's side: a [`Queue`] for each connection, a [`Controller`] for each association.

mod admin;
mod connect;
mod controller;
mod io;
mod queue;

pub use admin::{Namespace, Subsystem};
pub use connect::{Refusal, Request};
pub use controller::{Config, Controller, Effect, Role, Verdict};
pub use io::{Io, ranges};
pub use queue::{Event, Misuse, Queue, Settings, Tag, Transfer};
