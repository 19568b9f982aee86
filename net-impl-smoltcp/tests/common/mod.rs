//! Hosts on a wire in memory, in a time that the test moves.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod host;
pub(crate) mod wire;
