//! The conformance suite over a TAP device: the peers are sockets of this machine's kernel, and
//! every segment goes through its TCP.
//!
//! Needs root, /dev/net/tun and `ip`, so plain `cargo test` leaves it out; `cargo xtask test --step
//! tap` runs it. Each test has a network namespace with a device and a host of its own.

mod device;
mod host;

conformance::net_suite_of!(host::env(host::V4), host::env(host::V6); net_statements);
