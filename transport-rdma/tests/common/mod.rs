//! The device that these tests are about.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use conformance::transport::Env;
use platform_linux::{ClockChoice, LinuxPlatform};
use transport_rdma::Rdma;

pub(crate) static RDMA: Rdma = Rdma::new();

/// The address of the device.
pub(crate) fn host() -> IpAddr {
    let host = std::env::var("LCORE_RDMA_ADDR").expect("LCORE_RDMA_ADDR is the address of a network interface with an RDMA device");
    host.parse().expect("LCORE_RDMA_ADDR is an address")
}

pub(crate) fn platform() -> Arc<LinuxPlatform> {
    Arc::new(LinuxPlatform::with_clock(ClockChoice::Monotonic).expect("cores that may be used"))
}

pub(crate) fn env() -> Env {
    // Nobody has an address of TEST-NET-1 (RFC 5737).
    Env { transport: &RDMA, host: host(), nowhere: SocketAddr::from(([192, 0, 2, 1], 4420)), platform: platform() }
}
