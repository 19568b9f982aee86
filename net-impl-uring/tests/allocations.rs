//! Nothing is allocated per I/O. A program of its own, because its heap counts.

use std::net::Ipv4Addr;

use conformance::heap::CountingHeap;
use conformance::net::{Env, steady};
use conformance::platform::self_driven;
use net_impl_uring::Uring;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap;

static URING: Uring = Uring::new();

fn env() -> Env {
    Env::on_loopback(&URING, Ipv4Addr::LOCALHOST.into(), self_driven())
}

#[test]
fn s17_s18_nothing_is_allocated_per_echo() {
    steady::s17_s18_nothing_is_allocated_per_echo(&env(), &HEAP);
}

#[test]
fn s26_an_idle_connection_is_small() {
    steady::s26_an_idle_connection_is_small(&env(), &HEAP);
}

#[test]
fn s99_room_for_a_socket_costs_what_is_said() {
    steady::s99_room_for_a_socket_costs_what_is_said(&env(), &HEAP);
}
