//! The controller's side: a [`Queue`] for each connection, a [`Controller`] for each association.

mod admin;
mod cids;
mod connect;
mod controller;
mod fused;
mod io;
mod queue;
mod reservations;

pub use admin::{Namespace, Subsystem};
pub use connect::{MOST_ADMIN_ENTRIES, Refusal, Request};
pub use controller::{Config, Controller, Effect, Role, Verdict};
pub use fused::{Fuse, Fused, compare_and_write};
pub use io::{Io, ranges};
pub use queue::{Event, Misuse, Queue, Settings, Tag, Transfer};
pub use reservations::{Kept, Reservations, Sender, ToOthers};
