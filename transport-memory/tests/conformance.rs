//! The suite for transports, in fair weather, and in weather that delays and reorders what may be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use conformance::transport::{A, B, Env, World};
use core_reactor::transport::{self, Access, TransportError};
use platform_linux::{ClockChoice, LinuxPlatform};
use transport_memory::{MemoryTransport, Weather};

mod calm {
    conformance::transport_suite!(super::env(super::Weather::CALM));
}

mod storm {
    conformance::transport_suite!(super::env(super::Weather { seed: 7, delay: 5, shuffle: true, pad: true }));
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

// What is linked here, as a backend links itself.
transport::register!(NETWORK);

static NETWORK: MemoryTransport = MemoryTransport::new(Weather::CALM);

/// Stricter than what RDMA can promise, and so no part of the suite: what is exposed to one queue
/// is out of the reach of its group's others.
#[test]
fn s31_a_key_of_one_queue_is_nothing_to_another() {
    let mut world = World::new(&env(Weather::CALM));
    let (_, owner) = world.connect();
    let (near, far) = world.connect();
    let (memory, key) = world.drivers[B].expose(owner, b"not for all", Access::ReadWrite);
    world.drivers[A].write(near, b"!", memory, None, 1);
    assert_eq!(world.done(A, near).error, Some(TransportError::RemoteAccess));
    assert_eq!(world.closed(A, near), Some(TransportError::RemoteAccess));
    assert_eq!(world.closed(B, far), Some(TransportError::AccessViolation));
    world.drivers[B].group().withdraw(key).expect("it is exposed");
    assert_eq!(&world.withdrawn(B, key)[..], b"not for all");
}

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
