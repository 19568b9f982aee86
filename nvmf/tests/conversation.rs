//! Hosts and a target on a simulated network: what was written is read, on whatever queue.

mod common;

use common::{BLOCK, BLOCKS, HOSTNQN, Host, NQN, Wishes, World, pattern};
use nvme::command::{Blocks, DSM_DEALLOCATE, DsmRange, FUSED_FIRST, FUSED_SECOND, Sqe, admin, io};
use nvme::fabrics::{DISCOVERY_NQN, cc, property};
use nvme::host::Payload;
use nvme::log::{self, DiscoveryHeader, GetLogPage, feature, lid};
use nvme::{Code, Shape};
use nvmf::{AnaState, NamespaceConfig, ServerConfig};
use pool::ReserveConfig;
use zerocopy::{FromBytes, IntoBytes};

const SHAPES: [Shape; 4] = [
    Shape { header_digest: false, data_digest: false, alignment: 0 },
    Shape { header_digest: true, data_digest: true, alignment: 0 },
    Shape { header_digest: false, data_digest: true, alignment: 3 },
    Shape { header_digest: true, data_digest: false, alignment: 31 },
];

struct Flight {
    queue: usize,
    cid: u16,
    slba: u64,
    blocks: u32,
    wanted: Option<Vec<u8>>,
}

/// Random reads, writes and zeroes on queues of two cores, many at a time, none over another.
fn random_io(seed: u64, shape: Shape, wishes: Wishes) {
    let mut world = World::with(wishes);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (admin, bringup) = Host::admin_of(&mut world, shape, NQN, HOSTNQN, 0);
    let mut queues: Vec<_> = (1..=3).map(|qid| Host::io_of(&mut world, shape, NQN, HOSTNQN, &bringup, qid)).collect();
    let mut model = vec![0_u8; BLOCKS as usize * BLOCK];
    let mut flights: Vec<Flight> = Vec::new();
    let mut left = 150;
    world.until("the end of the load", |_| {
        for _ in 0..rng.u8(..4) {
            let (queue, slba) = (rng.usize(..3), rng.u64(..BLOCKS - 256));
            let blocks = if rng.bool() { rng.u32(1..=24) } else { rng.u32(1..=256) };
            let is_busy = |it: &Flight| slba < it.slba + u64::from(it.blocks) && it.slba < slba + u64::from(blocks);
            let on_queue = flights.iter().filter(|it| it.queue == queue).count();
            if left == 0 || on_queue == 31 || flights.iter().any(is_busy) {
                continue;
            }
            left -= 1;
            let range = slba as usize * BLOCK..(slba as usize + blocks as usize) * BLOCK;
            let length = range.len() as u32;
            let opcode = [io::READ, io::WRITE, io::WRITE, io::READ, io::WRITE_ZEROES][rng.usize(..5)];
            let sqe = Sqe::blocks(opcode, 1, slba, blocks, if rng.bool() { Blocks::FUA } else { 0 });
            let (mut wanted, mut data, mut payload) = (None, Vec::new(), Payload::None);
            match opcode {
                io::READ => (wanted, payload) = (Some(model[range].to_vec()), Payload::Receive(length)),
                io::WRITE => {
                    rng.fill(&mut model[range.clone()]);
                    (data, payload) = (model[range].to_vec(), Payload::Send(length));
                }
                _ => model[range].fill(0),
            }
            let cid = queues[queue].submit(sqe, payload, &data);
            flights.push(Flight { queue, cid, slba, blocks, wanted });
        }
        for (queue, host) in queues.iter_mut().enumerate() {
            host.pump();
            while let Some(done) = host.done.pop_front() {
                let at = flights.iter().position(|it| (it.queue, it.cid) == (queue, done.cid)).expect("in flight");
                let flight = flights.swap_remove(at);
                assert!(done.status.is_success(), "{:?}", done.status);
                assert!(flight.wanted.is_none_or(|wanted| wanted == done.data), "stale data at {}", flight.slba);
            }
        }
        left == 0 && flights.is_empty()
    });
    drop((admin, queues));
    world.end();
}

#[test]
fn s261_random_io_on_several_cores_is_what_was_written() {
    for seed in 0..8 {
        random_io(seed, SHAPES[seed as usize % SHAPES.len()], Wishes::default());
    }
}

#[test]
fn s262_few_buffers_and_a_slow_network_lose_nothing() {
    for seed in 20..24 {
        let net = net_impl_mem::Faults {
            delay: std::time::Duration::from_micros(3),
            jitter: std::time::Duration::from_micros(5),
            window: 40_000,
            short_per_mille: 100,
            ..Default::default()
        };
        random_io(seed, SHAPES[seed as usize % SHAPES.len()], Wishes { net, buffers: (24, 2), ..Wishes::default() });
    }
}

#[test]
fn s263_zeroes_unmap_compare_and_flush() {
    let mut world = World::new();
    let (_admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    let data = pattern(1, 8 * BLOCK);
    assert!(host.write(&mut world, 0, &data).status.is_success());
    let compare = |blocks| Sqe::blocks(io::COMPARE, 1, 0, blocks, 0);
    let length = data.len() as u32;
    assert!(host.call(&mut world, compare(8), Payload::Send(length), &data).status.is_success());
    let mut other = data.clone();
    other[4000] ^= 1;
    assert_eq!(host.call(&mut world, compare(8), Payload::Send(length), &other).code(), Code::CompareFailure);
    assert!(host.call(&mut world, Sqe::blocks(io::WRITE_ZEROES, 1, 2, 2, 0), Payload::None, &[]).status.is_success());
    let mut ranges = [DsmRange { attributes: 0.into(), blocks: 0.into(), slba: 0.into() }; 256];
    ranges[0] = DsmRange { attributes: 0.into(), blocks: 1.into(), slba: 5.into() };
    ranges[2] = DsmRange { attributes: 0.into(), blocks: 1.into(), slba: 7.into() };
    let mut dsm = Sqe::new(io::DATASET_MANAGEMENT, 1);
    (dsm.cdw10, dsm.cdw11) = (2.into(), DSM_DEALLOCATE.into());
    assert!(host.call(&mut world, dsm, Payload::Send(4096), ranges.as_bytes()).status.is_success());
    let mut wanted = data.clone();
    for block in [2, 3, 5, 7] {
        wanted[block * BLOCK..(block + 1) * BLOCK].fill(0);
    }
    assert!(host.read(&mut world, 0, 8).data == wanted);
    // Ranges that are all empty are nothing to do.
    ranges = [DsmRange { attributes: 0.into(), blocks: 0.into(), slba: 0.into() }; 256];
    assert!(host.call(&mut world, dsm, Payload::Send(4096), ranges.as_bytes()).status.is_success());
    for nsid in [1, nvme::command::ALL_NAMESPACES] {
        assert!(host.call(&mut world, Sqe::new(io::FLUSH, nsid), Payload::None, &[]).status.is_success());
    }
    assert_eq!(host.call(&mut world, Sqe::new(io::FLUSH, 2), Payload::None, &[]).code(), Code::InvalidNamespace);
    drop((_admin, host));
    world.end();
}

#[test]
fn s263_two_fused_commands_are_one() {
    let mut world = World::new();
    let (_admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    let (old, new) = (vec![0; BLOCK], pattern(3, BLOCK));
    let fused = |opcode, fuse| {
        let mut sqe = Sqe::blocks(opcode, 1, 9, 1, 0);
        sqe.flags |= fuse;
        sqe
    };
    let both = |host: &mut Host, world: &mut World, expected: &[u8], new: &[u8]| {
        let one = host.submit(fused(io::COMPARE, FUSED_FIRST), Payload::Send(512), expected);
        let two = host.submit(fused(io::WRITE, FUSED_SECOND), Payload::Send(512), new);
        [host.wait(world, one).code(), host.wait(world, two).code()]
    };
    assert_eq!(both(&mut host, &mut world, &old, &new), [Code::Success; 2]);
    assert_eq!(both(&mut host, &mut world, &old, &old), [Code::CompareFailure, Code::FailedFused]);
    assert!(host.read(&mut world, 9, 1).data == new);
    // One without the other.
    let done = host.call(&mut world, fused(io::WRITE, FUSED_SECOND), Payload::Send(512), &old);
    assert_eq!(done.code(), Code::MissingFused);
    let one = host.submit(fused(io::COMPARE, FUSED_FIRST), Payload::Send(512), &new);
    assert!(host.read(&mut world, 9, 1).status.is_success());
    assert_eq!(host.wait(&mut world, one).code(), Code::MissingFused);
    drop((_admin, host));
    world.end();
}

#[test]
fn s264_namespaces_come_and_go_and_hosts_hear_of_it() {
    let mut world = World::new();
    let (mut admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    let _ = admin.call(&mut world, Sqe::set_feature(feature::EVENTS, log::Event::Namespaces.bit()), Payload::None, &[]);
    let event = admin.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
    bdev_malloc::malloc(&world.bdevs, bdev_malloc::Config::new(512, 100).name("Malloc1")).expect("a device");
    let device = world.bdevs.get("Malloc1").and_then(|bdev| bdev.open(bdev::Mode::ReadWrite)).expect("it opens");
    let mut config = NamespaceConfig::new(device);
    config.nsid = Some(7);
    assert_eq!(world.target.add_namespace(NQN, config).expect("a namespace"), 7);
    let done = admin.wait(&mut world, event);
    assert_eq!(log::Event::of(done.result as u32), Some(log::Event::Namespaces));
    let page = GetLogPage::new(lid::CHANGED_NAMESPACES, 0, 0, 4096);
    let done = admin.call(&mut world, Sqe::get_log_page(0xFFFF_FFFF, &page), Payload::Receive(4096), &[]);
    assert_eq!(done.data[..8], [7, 0, 0, 0, 0, 0, 0, 0]);
    let write = |nsid| Sqe::blocks(io::WRITE, nsid, 99, 1, 0);
    assert!(host.call(&mut world, write(7), Payload::Send(512), &[3; 512]).status.is_success());
    assert_eq!(host.call(&mut world, write(6), Payload::Send(512), &[3; 512]).code(), Code::InvalidNamespace);

    // A device that is removed takes its namespace with it.
    let event = admin.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
    world.bdevs.remove("Malloc1").expect("it was there");
    let done = admin.wait(&mut world, event);
    assert_eq!(log::Event::of(done.result as u32), Some(log::Event::Namespaces));
    assert_eq!(world.target.subsystem(NQN).expect("it is there").namespaces().len(), 1);
    assert_eq!(host.call(&mut world, write(7), Payload::Send(512), &[3; 512]).code(), Code::InvalidNamespace);
    assert!(host.call(&mut world, write(1), Payload::Send(512), &[3; 512]).status.is_success());
    drop((admin, host));
    world.end();
}

#[test]
fn s265_discovery_tells_where_subsystems_are_and_that_they_changed() {
    let mut world = World::new();
    let (mut host, _) = Host::admin_of(&mut world, Shape::default(), DISCOVERY_NQN, HOSTNQN, 0);
    let event = host.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
    let look = |host: &mut Host, world: &mut World| {
        let page = GetLogPage::new(lid::DISCOVERY, 0, 0, 3072);
        let data = host.call(world, Sqe::get_log_page(0, &page), Payload::Receive(3072), &[]).data;
        let (header, _) = DiscoveryHeader::read_from_prefix(&data).expect("a header");
        (header.generation.get(), header.records.get(), data)
    };
    let (generation, records, data) = look(&mut host, &mut world);
    assert_eq!(records, 1);
    let text = |at: usize, length: usize| String::from_utf8_lossy(&data[1024 + at..1024 + at + length]).into_owned();
    assert_eq!(text(256, NQN.len()), NQN);
    assert_eq!((text(512, 10), text(32, 6)), ("127.0.0.1 ".into(), format!("{:<6}", world.at.port())));
    let second = world.target.add_listener(NQN, "127.0.0.1:0".parse().expect("an address")).expect("a listener");
    let done = host.wait(&mut world, event);
    assert_eq!(log::Event::of(done.result as u32), Some(log::Event::Discovery));
    let (later, records, _) = look(&mut host, &mut world);
    assert!(later > generation && records == 2);
    // A host that may not connect does not see it.
    world.target.allow_any_host(NQN, false).expect("it is there");
    assert_eq!(look(&mut host, &mut world).1, 0);
    world.target.add_host(NQN, HOSTNQN).expect("it is there");
    world.target.remove_listener(NQN, second).expect("it listens");
    assert_eq!(look(&mut host, &mut world).1, 1);
    drop(host);
    world.end();
}

#[test]
fn s266_reservations_hold_others_back_on_whatever_core() {
    let mut world = World::new();
    let other = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000002";
    let (_one, bringup_one) = Host::admin(&mut world);
    let (_two, bringup_two) = Host::admin_of(&mut world, Shape::default(), NQN, other, 0);
    let mut one = Host::io(&mut world, &bringup_one, 1);
    let mut two = Host::io_of(&mut world, Shape::default(), NQN, other, &bringup_two, 1);
    let send = |host: &mut Host, world: &mut World, opcode, word: u32, keys: [u64; 2], length: u32| {
        let mut sqe = Sqe::new(opcode, 1);
        sqe.cdw10 = word.into();
        host.call(world, sqe, Payload::Send(length), &keys.as_bytes()[..length as usize]).code()
    };
    assert_eq!(send(&mut one, &mut world, io::RESERVATION_REGISTER, 0, [0, 11], 16), Code::Success);
    assert_eq!(send(&mut one, &mut world, io::RESERVATION_ACQUIRE, 1 << 8, [11, 0], 16), Code::Success);
    assert_eq!(two.write(&mut world, 0, &[1; 512]).code(), Code::ReservationConflict);
    assert!(two.read(&mut world, 0, 1).status.is_success());
    assert!(one.write(&mut world, 0, &[1; 512]).status.is_success());
    let mut report = Sqe::new(io::RESERVATION_REPORT, 1);
    (report.cdw10, report.cdw11) = (31.into(), 1.into());
    let done = two.call(&mut world, report, Payload::Receive(128), &[]);
    assert_eq!((done.data[4], done.data[5]), (1, 1), "held, and one is registered");
    assert_eq!(send(&mut one, &mut world, io::RESERVATION_RELEASE, 1 << 8, [11, 0], 8), Code::Success);
    assert!(two.write(&mut world, 0, &[2; 512]).status.is_success());
    drop((_one, _two, one, two));
    world.end();
}

#[test]
fn s267_a_way_that_is_no_way_is_told() {
    let mut world = World::with(Wishes { ana: true, ..Wishes::default() });
    let (mut admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    let _ = admin.call(&mut world, Sqe::set_feature(feature::EVENTS, log::Event::Ana.bit()), Payload::None, &[]);
    let event = admin.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
    let at = world.at;
    world.target.set_ana_state(NQN, at, Some(1), AnaState::Inaccessible).expect("it listens there");
    assert_eq!(log::Event::of(admin.wait(&mut world, event).result as u32), Some(log::Event::Ana));
    let page = GetLogPage::new(lid::ANA, 0, 0, 128);
    let log = admin.call(&mut world, Sqe::get_log_page(0xFFFF_FFFF, &page), Payload::Receive(128), &[]).data;
    assert_eq!((log[16], log[32]), (1, AnaState::Inaccessible as u8));
    let done = host.read(&mut world, 0, 1);
    assert_eq!((done.code(), done.status.is_final()), (Code::AnaInaccessible, false));
    world.target.set_ana_state(NQN, at, None, AnaState::NonOptimized).expect("it listens there");
    assert!(host.read(&mut world, 0, 1).status.is_success());
    drop((admin, host));
    world.end();
}

#[test]
fn s268_an_abort_reaches_a_queue_of_another_core() {
    let delay = std::time::Duration::from_secs(3600);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), ..Wishes::default() });
    let (mut admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    // On each of the two cores.
    for qid in 1..=2 {
        let mut host = Host::io(&mut world, &bringup, qid);
        let cid = host.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]);
        host.pump();
        world.sim.settle();
        let done = admin.call(&mut world, Sqe::abort(qid, cid), Payload::None, &[]);
        assert_eq!(done.result, 0, "it was aborted");
        assert_eq!(host.wait(&mut world, cid).code(), Code::AbortRequested);
        assert_eq!(admin.call(&mut world, Sqe::abort(qid, cid), Payload::None, &[]).result, 1, "there is none any more");
    }
    let held = admin.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
    assert_eq!(admin.call(&mut world, Sqe::abort(0, held), Payload::None, &[]).result, 0);
    assert_eq!(admin.wait(&mut world, held).code(), Code::AbortRequested);
    drop(admin);
    world.end();
}

#[test]
fn s269_a_controller_that_is_shut_down_closes_its_queues() {
    let mut world = World::new();
    for stop in [cc::EN | cc::ENTRY_SIZES | 1 << 14, 0] {
        let (mut admin, bringup) = Host::admin(&mut world);
        let mut queues: Vec<_> = (1..=2).map(|qid| Host::io(&mut world, &bringup, qid)).collect();
        assert_eq!(world.target.subsystem(NQN).expect("it is there").controllers()[0].queues().len(), 3);
        assert!(admin.call(&mut world, Sqe::property_set(property::CC, stop), Payload::None, &[]).status.is_success());
        queues.iter_mut().for_each(|queue| queue.closed(&mut world));
        assert!(admin.call(&mut world, Sqe::property_get(property::CSTS, false), Payload::None, &[]).status.is_success());
        drop(admin);
        world.until("its end", |world| world.target.subsystem(NQN).expect("it is there").controllers().is_empty());
    }
    world.end();
}

#[test]
fn s262_data_in_capsules_waits_for_buffers_with_all_that_is_behind_it() {
    // Without digests it may have come already, as a whole.
    for shape in [SHAPES[0], SHAPES[1]] {
        data_waits_for_buffers(shape);
    }
}

fn data_waits_for_buffers(shape: Shape) {
    let delay = std::time::Duration::from_micros(50);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), buffers: (16, 2), ..Wishes::default() });
    let (admin, bringup) = Host::admin_of(&mut world, shape, NQN, HOSTNQN, 0);
    let mut queues: Vec<_> = (1..=4).map(|qid| Host::io_of(&mut world, shape, NQN, HOSTNQN, &bringup, qid)).collect();
    let slba = |queue: usize, n: u64| queue as u64 * 512 + n * 16;
    for (at, queue) in queues.iter_mut().enumerate() {
        for n in 0..31 {
            let data = pattern(slba(at, n), 16 * BLOCK);
            queue.submit(Sqe::blocks(io::WRITE, 1, slba(at, n), 16, 0), Payload::Send(8192), &data);
        }
    }
    world.until("all answers", |_| {
        queues.iter_mut().for_each(Host::pump);
        queues.iter().all(|queue| queue.done.len() == 31)
    });
    assert!(world.figure(|it| it.buffer_waits.load(std::sync::atomic::Ordering::Relaxed)) > 0);
    for (at, queue) in queues.iter_mut().enumerate() {
        assert!(queue.done.drain(..).all(|done| done.status.is_success()));
        for n in 0..31 {
            assert!(queue.read(&mut world, slba(at, n), 16).data == pattern(slba(at, n), 16 * BLOCK), "queue {at}, {n}");
        }
    }
    drop((admin, queues));
    world.end();
}

/// One that waits for a small buffer is aborted; its tag is that of one which waits for a large one
/// when the small one is there.
#[test]
fn s262_a_buffer_goes_to_whom_it_was_asked_for() {
    let delay = std::time::Duration::from_micros(200);
    let device = bdev_fault::Faults { delay: delay..=delay, ..bdev_fault::Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), buffers: (16, 2), cores: 1, ..Wishes::default() });
    let (mut admin, bringup) = Host::admin(&mut world);
    let [mut host, mut busy, mut more] = [1, 2, 3].map(|qid| Host::io(&mut world, &bringup, qid));
    let read = |blocks| Sqe::blocks(io::READ, 1, 0, blocks, 0);
    for _ in 0..31 {
        busy.submit(read(1), Payload::Receive(512), &[]);
        more.submit(read(256), Payload::Receive(131_072), &[]);
    }
    let waits = |world: &World| world.figure(|it| it.buffer_waits.load(std::sync::atomic::Ordering::Relaxed));
    world.until("all buffers to be away", |world| {
        busy.pump();
        more.pump();
        waits(world) >= 15 + 29
    });
    let first = host.submit(read(1), Payload::Receive(512), &[]);
    let before = waits(&world);
    world.until("it to wait", |world| {
        host.pump();
        waits(world) > before
    });
    let mut abort = Sqe::new(admin::ABORT, 0);
    abort.cdw10 = (u32::from(first) << 16 | 1).into();
    assert!(admin.call(&mut world, abort, Payload::None, &[]).status.is_success());
    assert_eq!(host.wait(&mut world, first).code(), Code::AbortRequested);
    let mut report = Sqe::new(io::RESERVATION_REPORT, 1);
    (report.cdw10, report.cdw11) = (32_767.into(), 1.into());
    host.submit(report, Payload::Receive(131_072), &[]);
    world.until("all answers", |_| {
        [&mut host, &mut busy, &mut more].into_iter().for_each(Host::pump);
        (host.done.len(), busy.done.len(), more.done.len()) == (1, 31, 31)
    });
    let done = host.done.pop_front().expect("it is there");
    assert!(done.status.is_success() && done.data.len() == 131_072, "{:?}", done.status);
    assert!(busy.done.drain(..).chain(more.done.drain(..)).all(|done| done.status.is_success()));
    drop((admin, host, busy, more));
    world.end();
}

#[test]
fn s377_a_namespace_goes_with_the_device_below_its_own() {
    let mut world = World::with(Wishes { device: Some(bdev_fault::Faults::none(1)), ..Wishes::default() });
    let (mut admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    let _ = admin.call(&mut world, Sqe::set_feature(feature::EVENTS, log::Event::Namespaces.bit()), Payload::None, &[]);
    let event = admin.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
    assert!(host.write(&mut world, 0, &[1; 512]).status.is_success());
    world.bdevs.remove("Malloc0").expect("it is there");
    assert_eq!(log::Event::of(admin.wait(&mut world, event).result as u32), Some(log::Event::Namespaces));
    assert!(world.target.subsystem(NQN).expect("it is there").namespaces().is_empty() && world.bdevs.list().is_empty());
    assert_eq!(host.read(&mut world, 0, 1).code(), Code::InvalidNamespace);
    drop((admin, host));
    world.end();
}

#[test]
fn s382_a_controller_says_who_made_it_and_takes_a_long_admin_queue() {
    let mut world = World::new();
    let mut long = Host::new(&mut world, Shape::default(), 31);
    let data = nvme::fabrics::ConnectData::new(common::id_of(HOSTNQN), nvme::fabrics::ANY_CONTROLLER, NQN, HOSTNQN).expect("names");
    let done = long.call(&mut world, Sqe::connect(0, 1024, 0), Payload::Send(1024), data.as_bytes());
    assert!(done.status.is_success(), "{done:?}");
    let (mut admin, _) = Host::admin(&mut world);
    let identify = Sqe::identify(nvme::identify::cns::CONTROLLER, 0);
    let data = admin.call(&mut world, identify, Payload::Receive(4096), &[]).data;
    let it = nvme::identify::Controller::read_from_bytes(&data[..]).expect("a structure");
    assert_eq!((it.vid.get(), it.ssvid.get(), it.ieee, it.rab), (0, 0, [0; 3], 6));
    assert_eq!((&it.serial, &it.model[..21]), (b"00000000000000000000", &b"lcore bdev Controller"[..]));
    drop((long, admin));
    world.end();
}

/// Data that is asked for comes while commands hold all buffers that they can.
#[test]
fn s348_what_is_received_has_buffers_of_its_own() {
    for buffers in [(24, 2), (1024, 64)] {
        let mut world = World::with(Wishes { buffers, ..Wishes::default() });
        let ServerConfig { receive, reserve, .. } = ServerConfig::new(world.net, world.target.clone(), world.pool.clone(), 2);
        assert!(receive.count > 0 && !receive.size.is_multiple_of(4096), "{receive:?}");
        let others = world.pool.group(ReserveConfig { small: 0, large: 0, control: 0 }).expect("a share");
        let held: Vec<_> = std::iter::from_fn(|| others.get()).collect();
        assert_eq!(held.len(), buffers.0 - 2 * reserve.small, "sockets hold none of them");
        let (admin, bringup) = Host::admin(&mut world);
        let mut host = Host::io(&mut world, &bringup, 1);
        let data = pattern(7, 64 * BLOCK);
        assert!(host.write(&mut world, 0, &data).status.is_success());
        assert!(host.read(&mut world, 0, 64).data == data);
        drop((admin, host, held, others));
        world.end();
    }
}
