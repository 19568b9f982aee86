//! The suite for transports, over a device. Without one it fails: `cargo xtask vm test` runs it in
//! a machine that has one.

mod common;

use common::env;

conformance::transport_suite!(env());
