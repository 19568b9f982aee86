//! A device that is taken away while it is used, and a machine without one. A program of its own,
//! which never opens the device itself: Soft-RoCE goes only when nobody has it open, and librdmacm
//! never closes it. Without a device it fails: `cargo xtask vm test` runs it in a machine that has
//! one, as root.

mod common;

use std::net::SocketAddr;
use std::process::Command;

use common::{RDMA, env, host};
use conformance::transport::{A, B, Setup, World};
use core_reactor::transport::{Access, Op, QueueOptions, Token, Transport, TransportError};

/// A device that is taken away ends its queues and gives back what was posted and exposed; without
/// any the transport says so; with a new one it works.
#[test]
fn s31_a_device_may_be_taken_away_and_come_back() {
    // It has to be named, here too.
    host();
    run("queues_of_a_device_that_is_taken_away");
    // Nobody has it open any more, so what the child has begun comes to its end.
    while Command::new("rdma").args(["link", "show", "rxe0/1"]).output().expect("the machine has it").status.success() {
        std::thread::yield_now();
    }
    run("a_machine_without_a_device");
    rdma(&["link", "add", "rxe0", "type", "rxe", "netdev", "d0"]);
    run("a_machine_with_a_device");
}

/// Runs this program again, for one test.
fn run(part: &str) {
    let program = std::env::current_exe().expect("a program knows where it is");
    let args = [part, "--exact", "--ignored", "--nocapture", "--test-threads=1"];
    let output = Command::new(program).args(args).output().expect("a child");
    assert!(output.status.success(), "{part}: {output:?}");
}

#[test]
#[ignore = "a part of s31_a_device_may_be_taken_away_and_come_back"]
fn queues_of_a_device_that_is_taken_away() {
    let mut world = World::with(&env(), &[Setup::default(), Setup { bufs: 2, receives: 2, ..Setup::default() }]);
    let (listener, at) = world.listen(B, &QueueOptions::default());
    let (near, far) = world.connect_at(A, B, at, &QueueOptions::default(), Token(1));
    let (_, key) = world.at(A).expose(near, b"exposed", Access::ReadWrite);
    for tag in 0..8 {
        world.at(A).send(near, b"message", tag);
    }
    let held = [world.received(B, far), world.received(B, far)];
    // It ends when this process does.
    let taking = Command::new("rdma").args(["link", "delete", "rxe0"]).spawn().expect("the machine has it");
    assert_eq!(&world.withdrawn(A, key)[..], b"exposed");
    assert_eq!(world.closed(A, near), Some(TransportError::DeviceRemoved("rxe0".into())));
    for tag in 0..8 {
        let done = world.done(A, near);
        assert_eq!((done.op, done.tag, done.error.is_some()), (Op::Message, tag, tag >= 2));
    }
    world.closed(B, far);
    assert_eq!(world.closed(B, listener), Some(TransportError::DeviceRemoved("rxe0".into())), "it would wait for ever");
    drop((held, taking));
}

#[test]
#[ignore = "a part of s31_a_device_may_be_taken_away_and_come_back"]
fn a_machine_without_a_device() {
    let why = RDMA.probe().expect_err("there is no device");
    assert!(matches!(why, TransportError::Unusable(_)), "{why}");
    println!("{why}");
    let at = SocketAddr::from(([127, 0, 0, 1], 0));
    let why = RDMA.listen(at, &QueueOptions::default()).err();
    assert!(matches!(why, Some(TransportError::Unusable(_))), "{why:?}");
    let why = RDMA.connect(at, &QueueOptions::default()).err();
    assert!(matches!(why, Some(TransportError::Unusable(_))), "{why:?}");
}

#[test]
#[ignore = "a part of s31_a_device_may_be_taken_away_and_come_back"]
fn a_machine_with_a_device() {
    RDMA.probe().expect("there is a device");
}

fn rdma(args: &[&str]) {
    let status = Command::new("rdma").args(args).status().expect("the machine has it");
    assert!(status.success(), "rdma {args:?}: {status}");
}
