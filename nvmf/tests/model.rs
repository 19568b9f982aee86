//! What a target is asked to be, and cannot: each answer is one clear sentence, and
//! changes nothing.

mod common;

use bdev::Mode;
use common::{HOSTNQN, Host, NQN, World};
use nvmf::{AnaState, NamespaceConfig, NvmfError, SubsystemConfig, Target, Transport};

#[test]
fn s260_what_cannot_be_is_said() {
    let world = World::new();
    let target = &world.target;
    let none = "nqn.2016-06.io.spdk:none";
    let at = world.at;
    let elsewhere = "127.0.0.2:9".parse().expect("an address");
    let said = |outcome: Result<(), NvmfError>| outcome.expect_err("it cannot be").to_string();
    let before = target.generation();
    let device = || world.bdevs.get("Malloc0").and_then(|it| it.open(Mode::ReadWrite)).expect("it opens");
    let with = |nsid, anagrpid| {
        let mut config = NamespaceConfig::new(device());
        (config.nsid, config.anagrpid) = (nsid, anagrpid);
        target.add_namespace(NQN, config).map(drop)
    };
    let odd = bdev_malloc::malloc(&world.bdevs, bdev_malloc::Config::new(1536, 8).name("Odd")).and_then(|it| it.open(Mode::ReadWrite));
    let odd = NamespaceConfig::new(odd.expect("a device"));
    for (outcome, part) in [
        (target.create_transport(Transport::default()), "Transport type 'TCP' already exists"),
        (target.add_subsystem(SubsystemConfig::new(NQN)).map(drop), "already exists"),
        (target.add_subsystem(SubsystemConfig::new("cnode")).map(drop), "is no NVMe qualified name"),
        (target.remove_subsystem(none), "Subsystem with NQN 'nqn.2016-06.io.spdk:none' not found"),
        (target.remove_subsystem(nvme::fabrics::DISCOVERY_NQN), "is the discovery subsystem"),
        (with(Some(1), None), "has a namespace 1 already"),
        (with(Some(33), None), "33 is not between 1 and 32"),
        (with(None, Some(33)), "33 is not between 1 and 32"),
        (target.add_namespace(NQN, odd).map(drop), "Odd has blocks of 1536 bytes"),
        (target.remove_namespace(NQN, 2), "has no namespace 2"),
        (target.add_listener(NQN, at).map(drop), "already"),
        (target.add_listener(none, at).map(drop), "not found"),
        (target.remove_listener(NQN, elsewhere), "does not listen at 127.0.0.2:9"),
        (target.add_host(NQN, "host"), "is no NVMe qualified name"),
        (target.remove_host(NQN, HOSTNQN), "is not among those that may connect"),
        (target.allow_any_host(none, true), "not found"),
        (target.set_ana_state(NQN, at, None, AnaState::Optimized), "does not report ANA states"),
    ] {
        let why = said(outcome);
        assert!(why.contains(part), "{why}");
    }
    assert_eq!(target.generation(), before, "nothing has changed");
    world.end();
}

#[test]
fn s260_a_listener_needs_a_transport_and_an_address() {
    let target = Target::new();
    target.add_subsystem(SubsystemConfig::new(NQN)).expect("a subsystem");
    let at = "127.0.0.1:4420".parse().expect("an address");
    assert!(matches!(target.add_listener(NQN, at), Err(NvmfError::NoTransport)));
    let mut transport = Transport::default();
    transport.max_io_size = 5000;
    assert!(matches!(target.create_transport(transport), Err(NvmfError::Invalid { what: "max_io_size", .. })));
    target.create_transport(Transport::default()).expect("a transport");
    assert_eq!(target.add_listener(NQN, at).expect("it is remembered"), at);
    let free = "127.0.0.1:0".parse().expect("an address");
    assert!(matches!(target.add_listener(NQN, free), Err(NvmfError::Invalid { what: "trsvcid", .. })));
}

#[test]
fn s260_two_subsystems_share_a_port_until_the_last_leaves() {
    let mut world = World::new();
    let second = "nqn.2016-06.io.spdk:cnode2";
    world.target.add_subsystem(SubsystemConfig::new(second).any_host()).expect("a subsystem");
    world.target.add_listener(second, world.at).expect("the same port");
    let (admin, _) = Host::admin_of(&mut world, nvme::Shape::default(), second, HOSTNQN, 0);
    world.target.remove_listener(NQN, world.at).expect("it listens");
    world.sim.settle();
    let (more, _) = Host::admin_of(&mut world, nvme::Shape::default(), second, HOSTNQN, 0);
    let ids: Vec<_> = world.target.subsystem(second).expect("it is there").controllers().iter().map(|it| it.cntlid()).collect();
    assert_eq!(ids, [1, 2]);
    drop((admin, more));
    world.end();
}
