//! Queues that TLS secures: whoever has the key of a host is that host, and nobody else is; what
//! goes wrong ends one connection, and everything is counted home.

mod common;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::tls::{key, psk};
use common::{BLOCK, HOSTNQN, Host, NQN, Wishes, World, id_of, pattern};
use nvme::command::Sqe;
use nvme::fabrics::{ConnectData, DISCOVERY_NQN};
use nvme::host::Payload;
use nvme::log::{DiscoveryHeader, GetLogPage, lid};
use nvme::{Code, Shape};
use nvmf::{HostKeys, NvmfError};
use zerocopy::IntoBytes;

const OTHER: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000002";

/// A world in which a host has a key, and a port that takes TLS only.
fn secured(at: usize, net: net_impl_mem::Faults) -> World {
    let mut world = World::with(Wishes { any_host: false, net, ..Wishes::default() });
    world.target.add_host_with_key(NQN, HOSTNQN, ("key0", key(at)), &HostKeys::default()).expect("it is new");
    world.secure(NQN, psk(at, HOSTNQN, NQN));
    world
}

fn works(world: &mut World, host: &mut Host) {
    let data = pattern(5, 8 * BLOCK);
    assert!(host.write(world, 100, &data).status.is_success());
    assert!(host.read(world, 100, 8).data == data);
}

fn refused(world: &World) -> u64 {
    world.figure(|it| it.tls_refused.load(Relaxed))
}

#[test]
fn s370_a_host_with_a_key_reads_and_writes_and_nobody_on_the_way_does() {
    let shapes = [Shape::default(), Shape { header_digest: true, data_digest: true, alignment: 0 }];
    for (at, shape) in [(0, shapes[0]), (1, shapes[1]), (2, shapes[1])] {
        let mut world = secured(at, net_impl_mem::Faults::default());
        let (admin, bringup) = Host::admin_of(&mut world, shape, NQN, HOSTNQN, 15_000);
        let mut hosts: Vec<_> = (1..=4).map(|qid| Host::io_of(&mut world, shape, NQN, HOSTNQN, &bringup, qid)).collect();
        for (seed, blocks) in [1, 8, 16, 33, 128, 256].into_iter().enumerate() {
            for host in &mut hosts {
                let data = pattern(seed as u64, blocks * BLOCK);
                assert!(host.write(&mut world, 7, &data).status.is_success());
                assert!(host.read(&mut world, 7, blocks as u32).data == data, "{blocks} blocks");
            }
        }
        // Many at a time, so that what does not fit into buffers has to wait.
        let data = pattern(9, 128 * BLOCK);
        assert!(hosts[0].write(&mut world, 0, &data).status.is_success());
        for host in &mut hosts {
            let cids: Vec<_> = (0..20)
                .map(|_| host.submit(Sqe::blocks(nvme::command::io::READ, 1, 0, 128, 0), Payload::Receive(128 * BLOCK as u32), &[]))
                .collect();
            for cid in cids {
                assert!(host.wait(&mut world, cid).data == data);
            }
        }
        assert_eq!(refused(&world), 0);
        drop((admin, hosts));
        world.end();
    }
}

#[test]
fn s371_who_has_no_key_or_another_or_speaks_no_tls_is_refused_and_others_go_on() {
    let mut world = secured(0, net_impl_mem::Faults::default());
    let plain = world.target.add_listener(NQN, "127.0.0.1:0".parse().expect("an address")).expect("a listener");
    let (admin, bringup) = Host::admin(&mut world);
    let mut good = Host::io(&mut world, &bringup, 1);
    let secure = world.at;
    let right = psk(0, HOSTNQN, NQN);
    let cases = [
        (secure, Some(psk(1, HOSTNQN, NQN)), "another key"),
        (secure, Some(psk(0, OTHER, NQN)), "a host that is not known"),
        (secure, Some(psk(0, HOSTNQN, "nqn.2016-06.io.spdk:none")), "a subsystem that is not known"),
        (secure, None, "no TLS where there has to be"),
    ];
    for (n, (at, offered, what)) in cases.into_iter().enumerate() {
        (world.at, world.offered) = (at, offered);
        let mut host = Host::half_open(&mut world, Shape::default(), 31);
        host.closed(&mut world);
        assert_eq!(refused(&world), n as u64 + 1, "{what}");
        assert!(!host.queue.is_ready());
        works(&mut world, &mut good);
    }
    // TLS where there is none: a protocol error as any other.
    (world.at, world.offered) = (plain, Some(right.clone()));
    Host::half_open(&mut world, Shape::default(), 31).closed(&mut world);
    assert_eq!(world.figure(|it| it.faults.load(Relaxed)), 1);
    // Who just says the name of the host with the key, without TLS.
    world.offered = None;
    let mut thief = Host::new(&mut world, Shape::default(), 31);
    let data = ConnectData::new(id_of(HOSTNQN), 0xFFFF, NQN, HOSTNQN).expect("names");
    assert_eq!(thief.call(&mut world, Sqe::connect(0, 32, 0), Payload::Send(1024), data.as_bytes()).code(), Code::InvalidHost);
    // And who has a key, and says the name of another that may connect.
    world.target.add_host(NQN, OTHER).expect("it is new");
    (world.at, world.offered) = (secure, Some(right));
    let mut thief = Host::new(&mut world, Shape::default(), 31);
    let data = ConnectData::new(id_of(OTHER), 0xFFFF, NQN, OTHER).expect("names");
    assert_eq!(thief.call(&mut world, Sqe::connect(0, 32, 0), Payload::Send(1024), data.as_bytes()).code(), Code::InvalidHost);
    works(&mut world, &mut good);
    drop((admin, good, thief));
    world.end();
}

#[test]
fn s371_a_handshake_that_does_not_end_is_ended() {
    let mut world = secured(0, net_impl_mem::Faults::default());
    let (admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut good = Host::io(&mut world, &bringup, 1);
    let mut half = Vec::new();
    for kept in [0, 1, 100] {
        let mut host = Host::half_open(&mut world, Shape::default(), 31);
        let session = host.session.as_mut().expect("it has one");
        session.output().truncate(kept);
        host.pump();
        half.push(host);
    }
    let late = |world: &World| world.figure(|it| it.late.load(Relaxed));
    world.sim.run_for(Duration::from_secs(9));
    half.iter_mut().for_each(Host::pump);
    assert_eq!((late(&world), half.iter().filter(|host| host.is_closed).count()), (0, 0));
    world.sim.run_for(Duration::from_secs(2));
    half.iter_mut().for_each(|host| host.closed(&mut world));
    assert_eq!((late(&world), refused(&world)), (3, 0));
    works(&mut world, &mut good);
    drop((admin, good, half));
    world.end();
}

#[test]
fn s371_damaged_records_end_their_queue_and_no_other() {
    let mut world = secured(2, net_impl_mem::Faults::default());
    let (admin, bringup) = Host::admin(&mut world);
    let mut good = Host::io(&mut world, &bringup, 1);
    let mut bad = Host::io(&mut world, &bringup, 2);
    let session = bad.session.as_mut().expect("it has one");
    session.write(&[4; 72]).expect("it is open");
    let at = session.output().len() / 2;
    session.output()[at] ^= 0x10;
    bad.closed(&mut world);
    assert_eq!(refused(&world), 1);
    works(&mut world, &mut good);
    drop((admin, good));
    world.end();
}

#[test]
fn s372_a_port_takes_tls_or_not_and_hosts_are_told() {
    let mut world = World::new();
    let second = "nqn.2016-06.io.spdk:cnode2";
    world.target.add_subsystem(nvmf::SubsystemConfig::new(second).any_host()).expect("it is new");
    let plain = world.at;
    let refused = world.target.add_secure_listener(second, plain);
    assert!(matches!(refused, Err(NvmfError::Invalid { what: "secure_channel", .. })), "{refused:?}");
    let secure = world.target.add_secure_listener(second, "127.0.0.1:0".parse().expect("an address")).expect("a listener");
    assert!(world.target.add_listener(NQN, secure).is_err());
    world.sim.settle();
    let (mut host, _) = Host::admin_of(&mut world, Shape::default(), DISCOVERY_NQN, HOSTNQN, 0);
    let page = GetLogPage::new(lid::DISCOVERY, 0, 0, 3072);
    let data = host.call(&mut world, Sqe::get_log_page(0, &page), Payload::Receive(3072), &[]).data;
    let entries: Vec<_> = data[size_of::<DiscoveryHeader>()..]
        .chunks(1024)
        .map(|it| (it[256..512].starts_with(second.as_bytes()), it[3] & 3, it[768]))
        .collect();
    assert_eq!(entries, [(false, 2, 0), (true, 1, 2)], "TREQ and SECTYPE");
    // A key goes with its host.
    let key_of = |world: &World| world.target.subsystem(second).expect("it is there").key_name(HOSTNQN);
    world.target.add_host_with_key(second, HOSTNQN, ("key0", key(0)), &HostKeys::default()).expect("it is new");
    assert!(matches!(
        world.target.add_host_with_key(second, HOSTNQN, ("key1", key(1)), &HostKeys::default()),
        Err(NvmfError::HostExists { .. })
    ));
    assert_eq!(key_of(&world).as_deref(), Some("key0"));
    world.target.remove_host(second, HOSTNQN).expect("it is there");
    assert_eq!(key_of(&world), None);
    let long = format!("nqn.2016-06.io.{}", "x".repeat(205));
    assert!(matches!(
        world.target.add_host_with_key(second, &long, ("key0", key(0)), &HostKeys::default()),
        Err(NvmfError::Invalid { what: "psk", .. })
    ));
    drop(host);
    world.end();
}

/// By close_notify, though the connection is there.
#[test]
fn s371_a_session_that_its_host_ends_ends_the_queue() {
    let mut world = secured(0, net_impl_mem::Faults::default());
    let (admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut good = Host::io(&mut world, &bringup, 1);
    let mut leaves = Host::io(&mut world, &bringup, 2);
    let before = world.counts();
    leaves.session.as_mut().expect("it has one").close();
    leaves.closed(&mut world);
    world.sim.run_for(Duration::from_secs(3));
    assert_eq!((world.counts().io, refused(&world)), (before.io - 1, 0));
    works(&mut world, &mut good);
    drop((admin, good, leaves));
    world.end();
}

/// Its port took TLS by the time that it said who it is.
#[test]
fn s371_a_plain_connection_is_none_of_a_port_that_has_become_secure() {
    let mut world = World::new();
    let mut host = Host::new(&mut world, Shape::default(), 31);
    world.target.remove_listener(NQN, world.at).expect("it is there");
    world.sim.settle();
    assert_eq!(world.target.add_secure_listener(NQN, world.at).expect("it is free"), world.at);
    world.sim.settle();
    let data = ConnectData::new(id_of(HOSTNQN), 0xFFFF, NQN, HOSTNQN).expect("names");
    let done = host.call(&mut world, Sqe::connect(0, 32, 0), Payload::Send(1024), data.as_bytes());
    assert_eq!(done.code(), Code::InvalidHost);
    assert!(world.target.subsystem(NQN).expect("it is there").controllers().is_empty());
    drop(host);
    world.end();
}

/// More answers than a buffer has room for, in front of the data of a read.
#[test]
fn s370_what_does_not_fit_in_front_of_data_comes_behind_it() {
    let mut transport = nvmf::Transport::default();
    transport.max_queue_depth = 512;
    let mut world = World::with(Wishes { any_host: false, cores: 1, transport, ..Wishes::default() });
    world.target.add_host_with_key(NQN, HOSTNQN, ("key0", key(0)), &HostKeys::default()).expect("it is new");
    world.secure(NQN, psk(0, HOSTNQN, NQN));
    let (admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut host = Host::new(&mut world, Shape::default(), 400);
    let data = ConnectData::new(id_of(HOSTNQN), bringup.cntlid(), NQN, HOSTNQN).expect("names");
    assert!(host.call(&mut world, Sqe::connect(1, 401, 0), Payload::Send(1024), data.as_bytes()).status.is_success());
    let data = pattern(3, 23 * BLOCK);
    assert!(host.write(&mut world, 0, &data).status.is_success());
    // One poll takes as many from a device, and answers them together.
    for _ in 0..255 {
        host.submit(Sqe::new(nvme::command::io::FLUSH, 1), Payload::None, &[]);
    }
    let read = host.submit(Sqe::blocks(nvme::command::io::READ, 1, 0, 23, 0), Payload::Receive(23 * BLOCK as u32), &[]);
    world.until("all answers", |_| {
        host.pump();
        host.done.len() == 256
    });
    assert!(host.done.iter().all(|done| done.status.is_success() && (done.cid != read || done.data == data)));
    drop((admin, host));
    world.end();
}
