//! Hosts that break the protocol, vanish, say nothing, or take nothing; devices that fail and go;
//! buffers that run out. Who has done nothing goes on, and everything is counted home.

mod common;

use std::time::Duration;

use common::{BLOCK, HOSTNQN, Host, NQN, Wishes, World, id_of, pattern};
use nvme::command::{Sqe, io};
use nvme::fabrics::{ConnectData, Parameter, invalid};
use nvme::host::{Bringup, Payload};
use nvme::pdu::{CapsuleCmd, CommonHeader, H2cData, Kind};
use nvme::{Code, Fes, Shape};
use zerocopy::{FromZeros, IntoBytes};

/// A queue that is left alone, and still works.
fn works(world: &mut World, host: &mut Host) {
    let data = pattern(5, 8 * BLOCK);
    assert!(host.write(world, 100, &data).status.is_success());
    assert!(host.read(world, 100, 8).data == data);
}

#[test]
fn s270_what_breaks_the_protocol_ends_its_queue_and_no_other() {
    let mut world = World::new();
    let (mut admin, bringup) = Host::admin(&mut world);
    let mut good = Host::io(&mut world, &bringup, 1);
    let header = |kind, plen: u32| CommonHeader { plen: plen.into(), ..CommonHeader::new(kind) };
    let unasked = H2cData { ch: header(Kind::H2cData, 24), ttag: 3.into(), ..H2cData::new_zeroed() };
    let unasked = H2cData { ch: CommonHeader { pdo: 24, ..header(Kind::H2cData, 28) }, datal: 4.into(), ..unasked };
    let cases: [(Vec<u8>, Fes); 5] = [
        (vec![0x55; 128], Fes::InvalidHeaderField),
        (header(Kind::R2t, 24).as_bytes().to_vec(), Fes::InvalidHeaderField),
        (header(Kind::CapsuleCmd, 71).as_bytes().to_vec(), Fes::InvalidHeaderField),
        (header(Kind::IcReq, 128).as_bytes().iter().copied().chain([0; 120]).collect(), Fes::SequenceError),
        ([unasked.as_bytes(), &[0; 4]].concat(), Fes::InvalidHeaderField),
    ];
    for (at, (bytes, fes)) in cases.into_iter().enumerate() {
        let mut bad = Host::io(&mut world, &bringup, 2);
        bad.out.extend(bytes);
        bad.closed(&mut world);
        assert_eq!(bad.terminated.map(|(fes, _)| fes), Some(fes as u16), "case {at}");
        works(&mut world, &mut good);
        // Its place is free again.
        world.sim.settle();
    }
    assert_eq!(world.figure(|it| it.faults.load(std::sync::atomic::Ordering::Relaxed)), 5);
    assert!(admin.call(&mut world, Bringup::keep_alive(), Payload::None, &[]).status.is_success());
    drop((admin, good));
    world.end();
}

#[test]
fn s271_connects_that_cannot_be_are_answered_with_what_is_wrong() {
    let mut world = World::with(Wishes { any_host: false, ..Wishes::default() });
    world.target.add_host(NQN, HOSTNQN).expect("it is there");
    let (admin, bringup) = Host::admin(&mut world);
    let mut good = Host::io(&mut world, &bringup, 1);
    let other = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000002";
    let elsewhere = "nqn.2016-06.io.spdk:cnode2";
    let config = nvmf::SubsystemConfig::new(elsewhere).any_host();
    world.target.add_subsystem(config).expect("one that listens nowhere");
    let own = bringup.cntlid();
    for (nqn, hostnqn, cntlid, qid, entries, code, result) in [
        ("nqn.2016-06.io.spdk:none", HOSTNQN, 0xFFFF, 0, 32, Code::ConnectInvalid, invalid(Parameter::SUBNQN)),
        (elsewhere, HOSTNQN, 0xFFFF, 0, 32, Code::ConnectInvalid, invalid(Parameter::SUBNQN)),
        (NQN, other, 0xFFFF, 0, 32, Code::InvalidHost, 0),
        (NQN, other, own, 2, 32, Code::InvalidHost, 0),
        (NQN, HOSTNQN, own + 1, 2, 32, Code::ConnectInvalid, invalid(Parameter::CNTLID)),
        (NQN, HOSTNQN, 0xFFFF, 2, 32, Code::ConnectInvalid, invalid(Parameter::CNTLID)),
        (NQN, HOSTNQN, own, 128, 32, Code::ConnectInvalid, invalid(Parameter::QID)),
        (NQN, HOSTNQN, own, 2, 1, Code::ConnectInvalid, invalid(Parameter::SQSIZE)),
        (NQN, HOSTNQN, own, 2, 129, Code::ConnectInvalid, invalid(Parameter::SQSIZE)),
        (NQN, HOSTNQN, 0xFFFF, 0, 1025, Code::ConnectInvalid, invalid(Parameter::SQSIZE)),
        (NQN, HOSTNQN, own, 1, 32, Code::CommandSequenceError, 0),
    ] {
        let mut host = Host::new(&mut world, Shape::default(), 31);
        let data = ConnectData::new(id_of(hostnqn), cntlid, nqn, hostnqn).expect("names");
        let done = host.call(&mut world, Sqe::connect(qid, entries, 0), Payload::Send(1024), data.as_bytes());
        assert_eq!((done.code(), done.result), (code, result), "{nqn} {hostnqn} {cntlid:#x} {qid} {entries}");
        works(&mut world, &mut good);
    }
    // A host that may no longer connect is disconnected.
    world.target.remove_host(NQN, HOSTNQN).expect("it is there");
    good.closed(&mut world);
    drop((admin, good));
    world.end();
}

#[test]
fn s272_a_host_that_vanishes_in_any_phase_leaves_nothing_behind() {
    let delay = Duration::from_millis(5);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    for phase in 0..7 {
        for reset in [false, true] {
            let mut world = World::with(Wishes { device: Some(device.clone()), ..Wishes::default() });
            let (keeps, bringup) = Host::admin(&mut world);
            let victim = match phase {
                0 => Host::half_open(&mut world, Shape::default(), 31),
                1 => Host::new(&mut world, Shape::default(), 31),
                2 => Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0).0,
                _ => {
                    let mut host = Host::io(&mut world, &bringup, 1);
                    host.is_mute = true;
                    let data = pattern(1, 64 * BLOCK);
                    match phase {
                        // A command half sent; data asked for and not sent; in the device; unread.
                        3 => {
                            host.submit(Sqe::blocks(io::WRITE, 1, 0, 8, 0), Payload::Send(4096), &data[..4096]);
                            host.out.truncate(1000);
                        }
                        4 => drop(host.submit(Sqe::blocks(io::WRITE, 1, 0, 64, 0), Payload::Send(64 * 512), &data)),
                        5 => drop(host.submit(Sqe::blocks(io::READ, 1, 0, 64, 0), Payload::Receive(64 * 512), &[])),
                        _ => {
                            host.submit(Sqe::blocks(io::READ, 1, 0, 64, 0), Payload::Receive(64 * 512), &[]);
                            host.is_deaf = true;
                        }
                    }
                    host.pump();
                    world.sim.settle();
                    if phase == 6 {
                        world.sim.run_for(delay * 2);
                    }
                    host.pump();
                    host
                }
            };
            if reset {
                victim.sock.reset();
            } else {
                victim.sock.close();
            }
            world.sim.run_for(Duration::from_secs(1));
            let controllers = world.target.subsystem(NQN).expect("it is there").controllers();
            assert_eq!((controllers.len(), controllers[0].queues().len()), (1, 1), "phase {phase}");
            let mut again = Host::io(&mut world, &bringup, 1);
            let data = pattern(9, 512);
            let cid = again.submit(Sqe::blocks(io::WRITE, 1, 0, 1, 0), Payload::Send(512), &data);
            again.pump();
            world.sim.run_for(delay * 2);
            assert!(again.wait(&mut world, cid).status.is_success());
            drop((keeps, again));
            world.end();
        }
    }
}

#[test]
fn s273_who_takes_too_long_is_closed() {
    let mut world = World::new();
    let (admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut good = Host::io(&mut world, &bringup, 1);
    let mut half: Vec<_> = (0..20).map(|_| Host::half_open(&mut world, Shape::default(), 31)).collect();
    // These have said something, but not who they are.
    half.extend((0..20).map(|_| Host::new(&mut world, Shape::default(), 31)));
    half.iter_mut().take(20).for_each(|host| host.out.clear());
    let mut mute = Host::io(&mut world, &bringup, 2);
    mute.is_mute = true;
    mute.submit(Sqe::blocks(io::WRITE, 1, 0, 64, 0), Payload::Send(64 * 512), &[1; 64 * 512]);
    mute.pump();
    world.sim.run_for(Duration::from_secs(9));
    mute.pump();
    assert_eq!(mute.asked.len(), 1);
    half.iter_mut().for_each(|host| {
        host.pump();
        assert!(!host.is_closed);
    });
    world.sim.run_for(Duration::from_secs(2));
    half.iter_mut().for_each(|host| host.closed(&mut world));
    mute.pump();
    assert!(!mute.is_closed);
    world.sim.run_for(Duration::from_secs(20));
    mute.closed(&mut world);
    works(&mut world, &mut good);
    drop((admin, good));
    world.end();
}

#[test]
fn s274_a_silent_host_loses_its_controller_and_one_that_reads_does_not() {
    let mut world = World::new();
    let other = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000002";
    let (mut silent, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 2000);
    let mut its = Host::io(&mut world, &bringup, 1);
    let (reads_admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, other, 2000);
    let mut reads = Host::io_of(&mut world, Shape::default(), NQN, other, &bringup, 1);
    for _ in 0..6 {
        works(&mut world, &mut reads);
        world.sim.run_for(Duration::from_secs(1));
    }
    silent.closed(&mut world);
    its.closed(&mut world);
    works(&mut world, &mut reads);
    assert_eq!(world.figure(|it| it.expired.load(std::sync::atomic::Ordering::Relaxed)), 1);
    drop((silent, its, reads, reads_admin));
    world.end();
}

#[test]
fn s275_a_device_removed_under_load_answers_all_and_the_queue_goes_on() {
    let delay = Duration::from_millis(1);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), ..Wishes::default() });
    let (mut admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut queues: Vec<_> = (1..=2).map(|qid| Host::io(&mut world, &bringup, qid)).collect();
    for queue in &mut queues {
        for n in 0..10 {
            queue.submit(Sqe::blocks(io::READ, 1, n * 8, 8, 0), Payload::Receive(4096), &[]);
            queue.submit(Sqe::blocks(io::WRITE, 1, 2048 + n * 64, 64, 0), Payload::Send(64 * 512), &[1; 64 * 512]);
        }
        queue.pump();
    }
    world.sim.settle();
    world.bdevs.remove("Fault0").expect("it is there");
    world.until("all answers", |_| {
        queues.iter_mut().for_each(Host::pump);
        queues.iter().all(|queue| queue.done.len() == 20)
    });
    for queue in &mut queues {
        let codes: Vec<_> = queue.done.drain(..).map(|done| done.code()).collect();
        assert!(codes.iter().all(|code| matches!(code, Code::Success | Code::InvalidNamespace | Code::AbortRequested)), "{codes:?}");
        assert!(codes.contains(&Code::InvalidNamespace) || codes.contains(&Code::AbortRequested));
        assert_eq!(queue.read(&mut world, 0, 1).code(), Code::InvalidNamespace);
    }
    assert!(admin.call(&mut world, Bringup::keep_alive(), Payload::None, &[]).status.is_success());
    assert!(world.target.subsystem(NQN).expect("it is there").namespaces().is_empty());
    drop((admin, queues));
    world.end();
}

#[test]
fn s276_a_devices_errors_are_told_as_what_they_are() {
    let device = bdev_fault::Faults { errors: 1_000_000, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), ..Wishes::default() });
    let (admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    assert_eq!(host.write(&mut world, 0, &[1; 512]).code(), Code::WriteFault);
    let done = host.read(&mut world, 0, 1);
    assert_eq!(done.code(), Code::UnrecoveredRead);
    drop((admin, host));
    world.end();
}

#[test]
fn s277_one_that_never_reads_does_not_starve_the_others() {
    let net = net_impl_mem::Faults { window: 60_000, ..Default::default() };
    let mut world = World::with(Wishes { cores: 1, net, buffers: (64, 4), ..Wishes::default() });
    let (admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut deaf = Host::io(&mut world, &bringup, 1);
    let mut good = Host::io(&mut world, &bringup, 2);
    deaf.is_deaf = true;
    for n in 0..30 {
        deaf.submit(Sqe::blocks(io::READ, 1, n * 100, 64, 0), Payload::Receive(64 * 512), &[]);
    }
    deaf.pump();
    world.sim.settle();
    let data = pattern(2, 64 * BLOCK);
    let cid = good.submit(Sqe::blocks(io::WRITE, 1, 0, 64, 0), Payload::Send(64 * 512), &data);
    good.pump();
    // A few seconds at the most.
    for _ in 0..100 {
        world.sim.run_for(Duration::from_millis(100));
        good.pump();
    }
    assert!(good.wait(&mut world, cid).status.is_success());
    works(&mut world, &mut good);
    drop((admin, deaf, good));
    world.end();
}

#[test]
fn s277_commands_that_wait_for_buffers_are_served_in_turn() {
    let mut world = World::with(Wishes { buffers: (40, 2), ..Wishes::default() });
    let (admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut queues: Vec<_> = (1..=4).map(|qid| Host::io(&mut world, &bringup, qid)).collect();
    let data = pattern(4, 256 * BLOCK);
    for round in 0..5 {
        for (at, queue) in queues.iter_mut().enumerate() {
            for n in 0..6 {
                let slba = ((at * 6 + n) % 15 * 256) as u64;
                queue.submit(Sqe::blocks(io::WRITE, 1, slba, 256, 0), Payload::Send(256 * 512), &data);
            }
            for n in 0..20 {
                queue.submit(Sqe::blocks(io::WRITE, 1, 4000 + n, 8, 0), Payload::Send(4096), &data[..4096]);
            }
        }
        world.until("all answers", |_| {
            queues.iter_mut().for_each(Host::pump);
            queues.iter().all(|queue| queue.done.len() == 26)
        });
        for queue in &mut queues {
            assert!(queue.done.drain(..).all(|done| done.status.is_success()), "round {round}");
        }
    }
    assert!(world.figure(|it| it.buffer_waits.load(std::sync::atomic::Ordering::Relaxed)) > 20);
    drop((admin, queues));
    world.end();
}

#[test]
fn s278_damaged_data_is_answered_and_tried_again() {
    let shape = Shape { header_digest: true, data_digest: true, alignment: 0 };
    let mut world = World::new();
    let (admin, bringup) = Host::admin_of(&mut world, shape, NQN, HOSTNQN, 0);
    let mut host = Host::io_of(&mut world, shape, NQN, HOSTNQN, &bringup, 1);
    for blocks in [1, 64] {
        let data = pattern(8, blocks * BLOCK);
        host.damage = true;
        let done = host.write(&mut world, 0, &data);
        assert_eq!((done.code(), done.status.is_final()), (Code::TransientTransportError, false));
        assert!(host.write(&mut world, 0, &data).status.is_success());
        assert!(host.read(&mut world, 0, blocks as u32).data == data);
    }
    drop((admin, host));
    world.end();
}

#[test]
fn s279_a_subsystem_that_is_removed_closes_its_device() {
    let mut world = World::new();
    let (mut admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    works(&mut world, &mut host);
    world.target.remove_subsystem(NQN).expect("it is there");
    host.closed(&mut world);
    admin.closed(&mut world);
    world.sim.run_for(Duration::from_secs(1));
    assert_eq!(world.bdevs.get("Malloc0").expect("it is there").opens(), (0, 0));
    // Nobody listens any more.
    let sock = world.net.dial(world.at, &Default::default()).expect("a free port");
    world.until("a refusal", |_| matches!(sock.connected(), std::task::Poll::Ready(Err(_))));
    world.end();
}

/// Nothing that comes may panic, or hold others up.
#[test]
fn s280_random_bytes_end_their_own_queues_only() {
    let mut world = World::new();
    let (admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut good = Host::io(&mut world, &bringup, 1);
    let mut rng = fastrand::Rng::with_seed(11);
    for round in 0..300 {
        let mut bad = Host::io(&mut world, &bringup, 2);
        for _ in 0..rng.usize(1..20) {
            // A command that is right as a PDU, with random fields.
            let mut sqe = Sqe::new_zeroed();
            rng.fill(sqe.as_mut_bytes());
            if rng.bool() {
                sqe.flags = 0b0100_0000 | rng.u8(..4);
                sqe.opcode =
                    [io::READ, io::WRITE, io::COMPARE, io::DATASET_MANAGEMENT, io::FLUSH, 0x7F, io::RESERVATION_REGISTER][rng.usize(..7)];
                sqe.nsid = rng.u32(..3).into();
                sqe.sgl = nvme::command::Sgl::transport(rng.u32(..64) * 512);
                sqe.set_slba(rng.u64(..4096));
                sqe.cdw12 = rng.u32(..64).into();
            }
            let pdu = CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe };
            bad.out.extend(pdu.as_bytes());
        }
        if rng.bool() {
            let garbage: Vec<u8> = (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect();
            bad.out.extend(garbage);
        }
        while !bad.out.is_empty() {
            if let std::task::Poll::Ready(Ok(n)) = bad.sock.write(bad.out.make_contiguous()) {
                bad.out.drain(..n);
            } else {
                break;
            }
            let _ = world.sim.turn();
        }
        world.sim.settle();
        bad.sock.reset();
        world.sim.settle();
        if round % 50 == 0 {
            works(&mut world, &mut good);
        }
    }
    drop((admin, good));
    world.end();
}

#[test]
fn s275_a_namespace_removed_under_load_ends_its_commands_and_lets_the_device_go() {
    let delay = Duration::from_millis(1);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), ..Wishes::default() });
    let (admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut host = Host::io(&mut world, &bringup, 1);
    for n in 0..20 {
        host.submit(Sqe::blocks(io::WRITE, 1, n * 8, 8, 0), Payload::Send(4096), &[1; 4096]);
    }
    host.pump();
    world.sim.settle();
    world.target.remove_namespace(NQN, 1).expect("it is there");
    world.sim.run_for(delay * 3);
    host.pump();
    assert_eq!(host.done.len(), 20);
    assert!(host.done.drain(..).all(|done| done.status.is_success()));
    assert_eq!(host.read(&mut world, 0, 1).code(), Code::InvalidNamespace);
    world.sim.run_for(Duration::from_secs(1));
    assert_eq!(world.bdevs.get("Fault0").expect("it is there").opens(), (0, 0));
    drop((admin, host));
    world.end();
}

#[test]
fn s266_preempt_and_abort_ends_what_the_other_host_has_under_way() {
    let delay = Duration::from_secs(3600);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), ..Wishes::default() });
    let other = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000002";
    let (one_admin, bringup_one) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let (two_admin, bringup_two) = Host::admin_of(&mut world, Shape::default(), NQN, other, 0);
    let mut one = Host::io(&mut world, &bringup_one, 1);
    let mut two = Host::io_of(&mut world, Shape::default(), NQN, other, &bringup_two, 1);
    let send = |host: &mut Host, world: &mut World, opcode, word: u32, keys: [u64; 2]| {
        let mut sqe = Sqe::new(opcode, 1);
        sqe.cdw10 = word.into();
        host.call(world, sqe, Payload::Send(16), keys.as_bytes()).code()
    };
    assert_eq!(send(&mut one, &mut world, io::RESERVATION_REGISTER, 0, [0, 11]), Code::Success);
    assert_eq!(send(&mut two, &mut world, io::RESERVATION_REGISTER, 0, [0, 22]), Code::Success);
    assert_eq!(send(&mut two, &mut world, io::RESERVATION_ACQUIRE, 1 << 8, [22, 0]), Code::Success);
    let under_way = two.submit(Sqe::blocks(io::WRITE, 1, 0, 1, 0), Payload::Send(512), &[1; 512]);
    let spared = one.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]);
    two.pump();
    one.pump();
    world.sim.settle();
    // Preempt and Abort, of the holder.
    assert_eq!(send(&mut one, &mut world, io::RESERVATION_ACQUIRE, 2 | 1 << 8, [11, 22]), Code::Success);
    assert_eq!(two.wait(&mut world, under_way).code(), Code::AbortRequested);
    one.pump();
    assert!(one.done.iter().all(|done| done.cid != spared));
    assert_eq!(two.write(&mut world, 0, &[1; 512]).code(), Code::ReservationConflict);
    drop((one, two, one_admin, two_admin));
    world.sim.settle();
    world.end();
}

fn fused(opcode: u8, blocks: u32, bits: u8) -> Sqe {
    let sqe = Sqe::blocks(opcode, 1, 0, blocks, 0);
    Sqe { flags: sqe.flags | bits, ..sqe }
}

fn abort(world: &mut World, admin: &mut Host, cid: u16, qid: u16) -> u64 {
    let mut sqe = Sqe::new(nvme::command::admin::ABORT, 0);
    sqe.cdw10 = (u32::from(cid) << 16 | u32::from(qid)).into();
    let done = admin.call(world, sqe, Payload::None, &[]);
    assert!(done.status.is_success());
    done.result
}

/// Each is answered once; the one that Abort names as such, the other as fused to it.
#[test]
fn s396_two_fused_commands_that_a_device_has_end_together() {
    let delay = Duration::from_secs(1);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), ..Wishes::default() });
    let (mut admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut host = Host::io(&mut world, &bringup, 1);
    for names_first in [true, false] {
        let first = host.submit(fused(io::COMPARE, 1, 1), Payload::Send(512), &[0; BLOCK]);
        let second = host.submit(fused(io::WRITE, 1, 2), Payload::Send(512), &[1; BLOCK]);
        host.pump();
        world.sim.settle();
        let named = if names_first { first } else { second };
        assert_eq!(abort(&mut world, &mut admin, named, 1), 0);
        for cid in [first, second] {
            let code = if cid == named { Code::AbortRequested } else { Code::FailedFused };
            assert_eq!(host.wait(&mut world, cid).code(), code, "{names_first}");
        }
        // Nothing of theirs comes back to those who have their tags then.
        world.sim.run_for(delay / 2);
        let reads = [0; 2].map(|_| host.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]));
        host.pump();
        world.sim.run_for(delay * 3 / 4);
        host.pump();
        assert!(host.done.is_empty());
        world.sim.run_for(delay);
        for cid in reads {
            let done = host.wait(&mut world, cid);
            assert!(done.status.is_success() && done.data == [0; BLOCK], "{done:?}");
        }
    }
    drop((admin, host));
    world.end();
}

/// The same of two that wait for room at a device.
#[test]
fn s396_two_fused_commands_that_wait_for_room_end_together() {
    let delay = Duration::from_secs(3600);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), cores: 1, buffers: (1024, 32), ..Wishes::default() });
    let (mut admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut busy: Vec<_> = (2..=19).map(|qid| Host::io(&mut world, &bringup, qid)).collect();
    for host in &mut busy {
        for _ in 0..30 {
            host.submit(Sqe::new(io::FLUSH, 1), Payload::None, &[]);
        }
        host.pump();
    }
    let mut host = Host::io(&mut world, &bringup, 1);
    let first = host.submit(fused(io::COMPARE, 1, 1), Payload::Send(512), &[0; BLOCK]);
    let second = host.submit(fused(io::WRITE, 1, 2), Payload::Send(512), &[1; BLOCK]);
    host.pump();
    world.sim.settle();
    assert_eq!(abort(&mut world, &mut admin, second, 1), 0);
    assert_eq!(host.wait(&mut world, second).code(), Code::AbortRequested);
    assert_eq!(host.wait(&mut world, first).code(), Code::FailedFused);
    drop((admin, host, busy));
    world.end();
}

#[test]
fn s396_half_of_two_fused_commands_is_nothing() {
    let mut world = World::new();
    let (mut admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut host = Host::io(&mut world, &bringup, 1);
    let data = pattern(3, 64 * BLOCK);
    let gone = |world: &mut World, host: &mut Host, admin: &mut Host| {
        let first = host.submit(fused(io::COMPARE, 1, 1), Payload::Send(512), &[0; BLOCK]);
        host.pump();
        world.sim.settle();
        assert_eq!(abort(world, admin, first, 1), 0);
        assert_eq!(host.wait(world, first).code(), Code::AbortRequested);
    };
    // The first is aborted before the second comes, and before anything else does.
    gone(&mut world, &mut host, &mut admin);
    let second = host.call(&mut world, fused(io::WRITE, 1, 2), Payload::Send(512), &[1; BLOCK]);
    assert_eq!(second.code(), Code::FailedFused);
    gone(&mut world, &mut host, &mut admin);
    works(&mut world, &mut host);
    let second = host.call(&mut world, fused(io::WRITE, 1, 2), Payload::Send(512), &[1; BLOCK]);
    assert_eq!(second.code(), Code::MissingFused, "it follows another");
    assert!(host.read(&mut world, 0, 1).data == [0; BLOCK]);
    // One of them is aborted while the data of the second is to come.
    for names_first in [true, false] {
        let first = host.submit(fused(io::COMPARE, 64, 1), Payload::Send(64 * 512), &[0; 64 * BLOCK]);
        host.pump();
        world.sim.settle();
        host.pump();
        host.is_mute = true;
        let second = host.submit(fused(io::WRITE, 64, 2), Payload::Send(64 * 512), &data);
        host.pump();
        world.sim.settle();
        host.pump();
        assert_eq!(std::mem::take(&mut host.asked), [second]);
        let named = if names_first { first } else { second };
        assert_eq!(abort(&mut world, &mut admin, named, 1), 0);
        assert_eq!(host.wait(&mut world, first).code(), if names_first { Code::AbortRequested } else { Code::FailedFused });
        host.is_mute = false;
        host.send_wanted(second);
        assert_eq!(host.wait(&mut world, second).code(), if names_first { Code::FailedFused } else { Code::AbortRequested });
        works(&mut world, &mut host);
    }
    assert!(host.read(&mut world, 0, 64).data == [0; 64 * BLOCK]);
    drop((admin, host));
    world.end();
}

/// Whichever half it is by which the other fails.
#[test]
fn s396_two_answers_of_a_pair_count_as_two() {
    let mut world = World::new();
    let (mut admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut host = Host::io(&mut world, &bringup, 1);
    let answers = |world: &World| world.figure(|it| it.commands.load(std::sync::atomic::Ordering::Relaxed));
    for names_first in [true, false] {
        let before = answers(&world);
        let first = host.submit(fused(io::COMPARE, 64, 1), Payload::Send(64 * 512), &[0; 64 * BLOCK]);
        host.pump();
        world.sim.settle();
        host.pump();
        host.is_mute = true;
        let second = host.submit(fused(io::WRITE, 64, 2), Payload::Send(64 * 512), &[1; 64 * BLOCK]);
        host.pump();
        world.sim.settle();
        host.pump();
        assert_eq!(abort(&mut world, &mut admin, if names_first { first } else { second }, 1), 0);
        host.is_mute = false;
        host.send_wanted(second);
        for cid in [first, second] {
            host.wait(&mut world, cid);
        }
        assert_eq!(answers(&world) - before, 3, "theirs and that of Abort, {names_first}");
    }
    drop((admin, host));
    world.end();
}

#[test]
fn s396_a_damaged_first_fails_its_second_and_nothing_else() {
    let shape = Shape { header_digest: true, data_digest: true, alignment: 0 };
    let mut world = World::new();
    let (admin, bringup) = Host::admin_of(&mut world, shape, NQN, HOSTNQN, 0);
    let mut host = Host::io_of(&mut world, shape, NQN, HOSTNQN, &bringup, 1);
    for second_follows in [true, false] {
        host.damage = true;
        let first = host.submit(fused(io::COMPARE, 1, 1), Payload::Send(512), &[0; BLOCK]);
        if second_follows {
            let second = host.submit(fused(io::WRITE, 1, 2), Payload::Send(512), &[1; BLOCK]);
            assert_eq!(host.wait(&mut world, second).code(), Code::FailedFused);
        }
        assert_eq!(host.wait(&mut world, first).code(), Code::TransientTransportError);
        works(&mut world, &mut host);
    }
    // The second is damaged.
    let first = host.submit(fused(io::COMPARE, 1, 1), Payload::Send(512), &[0; BLOCK]);
    host.damage = true;
    let second = host.submit(fused(io::WRITE, 1, 2), Payload::Send(512), &[1; BLOCK]);
    assert_eq!(host.wait(&mut world, second).code(), Code::TransientTransportError);
    assert_eq!(host.wait(&mut world, first).code(), Code::FailedFused);
    works(&mut world, &mut host);
    drop((admin, host));
    world.end();
}
