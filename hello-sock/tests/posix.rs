//! hello-sock over the backend posix: the suite that it runs over each.

mod common;
mod suite;

/// The backend.
const NET: &str = "posix";
