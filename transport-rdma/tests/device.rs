//! The suite for transports, over a device. Without one it fails: `cargo xtask vm test` runs it in a machine that has one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use conformance::transport::Env;
use platform_linux::{ClockChoice, LinuxPlatform};
use transport_rdma::Rdma;

static RDMA: Rdma = Rdma::new();

conformance::transport_suite!(env());

fn env() -> Env {
    let host = std::env::var("LCORE_RDMA_ADDR").expect("LCORE_RDMA_ADDR is the address of a network interface with an RDMA device");
    Env {
        transport: &RDMA,
        host: host.parse::<IpAddr>().expect("LCORE_RDMA_ADDR is an address"),
        // TEST-NET-1 (RFC 5737).
        nowhere: SocketAddr::from(([192, 0, 2, 1], 4420)),
        platform: Arc::new(LinuxPlatform::with_clock(ClockChoice::Monotonic).expect("cores that may be used")),
    }
}
