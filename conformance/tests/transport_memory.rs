//! The suite for transports, over the transport in memory: in fair weather, and in weather that delays and reorders what may be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use conformance::transport::memory::{MemoryTransport, Weather};
use conformance::transport::suite::Env;
use core_reactor::transport::{self, LCORE_TRANSPORTS, Transport};
use linkme::distributed_slice;
use platform_linux::{ClockChoice, LinuxPlatform};

mod calm {
    conformance::transport_suite!(super::env(conformance::transport::memory::Weather::CALM));
}

mod storm {
    conformance::transport_suite!(super::env(conformance::transport::memory::Weather { seed: 7, delay: 5, shuffle: true, pad: true }));
}

fn env(weather: Weather) -> Env {
    Env {
        transport: MemoryTransport::new(weather).leak(),
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        // TEST-NET-1 (RFC 5737).
        nowhere: SocketAddr::from(([192, 0, 2, 1], 4420)),
        platform: Arc::new(LinuxPlatform::with_clock(ClockChoice::Monotonic).expect("cores that may be used")),
    }
}

/// What is linked here, as a backend links itself.
#[distributed_slice(LCORE_TRANSPORTS)]
static MEMORY: &dyn Transport = &NETWORK;

static NETWORK: MemoryTransport = MemoryTransport::new(Weather::CALM);

#[test]
fn s24_a_linked_transport_is_found() {
    let names: Vec<_> = transport::linked().iter().map(|transport| transport.name()).collect();
    assert_eq!(names, ["memory"]);
    let selected = transport::select(None, &["rdma"]).expect("it works everywhere");
    assert_eq!(selected.to_string(), "memory (highest priority)");
    let selected = transport::select(Some("memory"), &["rdma"]).expect("it works everywhere");
    assert_eq!((selected.backend.name(), selected.why), ("memory", transport::Why::Name));
}

#[test]
fn s24_a_transport_that_is_not_linked_is_an_error_that_names_its_feature() {
    let text = transport::select(Some("rdma"), &["rdma"]).expect_err("it is not linked").to_string();
    assert_eq!(text, "transport \"rdma\" is not linked into this program, which has memory; build with --features rdma");
    let none = transport::select_from(&[], None, &[]).expect_err("there is none").to_string();
    assert_eq!(none, "no transport is linked into this program; build with a crate that implements Transport, named by a `use`");
}
