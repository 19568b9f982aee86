//! A host and a target on a link that cuts bytes as a seed says: all data is what was written.

mod common;

use common::{BLOCKS, Pair, SHIFT, World, entry};
use nvme::command::{Blocks, DSM_DEALLOCATE, DsmRange, Sqe, io};
use nvme::fabrics::{cc, csts, property};
use nvme::host::Payload;
use nvme::identify::{self, cns};
use nvme::log::{self, DiscoveryHeader, GetLogPage, feature, lid};
use nvme::target::{Effect, Role};
use nvme::{Code, Shape};
use zerocopy::{FromBytes, IntoBytes};

const SHAPES: [Shape; 5] = [
    Shape { header_digest: false, data_digest: false, alignment: 0 },
    Shape { header_digest: true, data_digest: false, alignment: 0 },
    Shape { header_digest: false, data_digest: true, alignment: 3 },
    Shape { header_digest: true, data_digest: true, alignment: 0 },
    Shape { header_digest: true, data_digest: true, alignment: 31 },
];

/// What one command in flight is about.
struct Flight {
    cid: u16,
    slba: u64,
    blocks: u32,
    /// What a read has to find.
    wanted: Option<Vec<u8>>,
    status: Option<Code>,
}

/// Random reads, writes, compares and zeroes, many at a time, none over another.
fn random_io(seed: u64, shape: Shape) {
    let mut world = World::new(Role::Io);
    let mut pair = Pair::io(seed, shape, &mut world, 1);
    let mut model = vec![0_u8; (BLOCKS as usize) << SHIFT];
    let mut flights: Vec<Flight> = Vec::new();
    let mut left = 200;
    loop {
        let busy = |at: u64, blocks: u32| flights.iter().any(|it| at < it.slba + u64::from(it.blocks) && it.slba < at + u64::from(blocks));
        let slba = pair.rng.u64(..BLOCKS - 64);
        let blocks = if pair.rng.bool() { pair.rng.u32(1..=8) } else { pair.rng.u32(1..=64) };
        if left > 0 && flights.len() < 31 && !busy(slba, blocks) && pair.rng.bool() {
            left -= 1;
            let range = (slba as usize) << SHIFT..((slba + u64::from(blocks)) as usize) << SHIFT;
            let length = range.len() as u32;
            let opcode = [io::READ, io::WRITE, io::WRITE, io::COMPARE, io::WRITE_ZEROES, io::READ][pair.rng.usize(..6)];
            let sqe = Sqe::blocks(opcode, 1, slba, blocks, if pair.rng.bool() { Blocks::FUA } else { 0 });
            let (mut wanted, mut status, mut data, mut payload) = (None, None, Vec::new(), Payload::None);
            match opcode {
                io::READ => {
                    wanted = Some(model[range].to_vec());
                    payload = Payload::Receive(length);
                }
                io::WRITE => {
                    pair.rng.fill(&mut model[range.clone()]);
                    data = model[range].to_vec();
                    payload = Payload::Send(length);
                }
                io::COMPARE => {
                    data = model[range].to_vec();
                    if pair.rng.bool() {
                        data[pair.rng.usize(..length as usize)] ^= 4;
                        status = Some(Code::CompareFailure);
                    }
                    payload = Payload::Send(length);
                }
                _ => model[range].fill(0),
            }
            let cid = pair.host.submit(sqe, payload, &data);
            flights.push(Flight { cid, slba, blocks, wanted, status });
        } else if !pair.step(&mut world).expect("a right conversation") && left == 0 {
            break;
        }
        while let Some(done) = pair.host.done.pop_front() {
            let at = flights.iter().position(|it| it.cid == done.cid).expect("in flight");
            let flight = flights.swap_remove(at);
            assert_eq!(done.status.code(), Some(flight.status.unwrap_or(Code::Success)));
            if let Some(wanted) = flight.wanted {
                assert!(done.data == wanted, "stale data at {}", flight.slba);
            }
        }
    }
    assert!(flights.is_empty() && pair.target.queue.in_flight().next().is_none() && pair.host.queue.in_flight().next().is_none());
    assert!(world.disk.bytes == model);
}

#[test]
fn s242_random_io_is_what_was_written() {
    for seed in 0..60 {
        random_io(seed, SHAPES[seed as usize % SHAPES.len()]);
    }
}

#[test]
fn s243_a_controller_comes_up_and_is_shut_down() {
    for shape in SHAPES {
        let mut world = World::new(Role::Io);
        let (mut pair, bringup) = Pair::admin(1, shape, &mut world);
        assert_eq!((bringup.cntlid(), bringup.queues(), bringup.entries()), (3, 4, 32));
        assert_eq!((bringup.in_capsule(), bringup.max_transfer()), (4096, Some(128 * 1024)));
        let done = pair.call(&mut world, Sqe::property_set(property::CC, cc::EN | cc::ENTRY_SIZES | 1 << 14), Payload::None, &[]);
        assert!(done.status.is_success());
        let status = pair.call(&mut world, Sqe::property_get(property::CSTS, false), Payload::None, &[]).result as u32;
        assert_eq!(status & csts::SHST, csts::SHUTDOWN_COMPLETE);
        let _ = pair.call(&mut world, Sqe::property_set(property::CC, 0), Payload::None, &[]);
        let status = pair.call(&mut world, Sqe::property_get(property::CSTS, false), Payload::None, &[]).result;
        assert_eq!(status, 0);
        assert!(pair.target.effects.contains(&Effect::Shutdown) && pair.target.effects.contains(&Effect::Disabled));
    }
}

#[test]
fn s243_identify_says_what_hosts_need() {
    let mut world = World::new(Role::Io);
    let (mut pair, _) = Pair::admin(2, SHAPES[0], &mut world);
    let mut ask = |cns, nsid| pair.call(&mut world, Sqe::identify(cns, nsid), Payload::Receive(4096), &[]);
    let it = identify::Controller::read_from_bytes(&ask(cns::CONTROLLER, 0).data).unwrap();
    assert_eq!((it.cntlid.get(), it.kind, it.mdts, it.ioccsz.get(), it.icdoff.get()), (3, 1, 5, (64 + 4096) / 16, 0));
    assert!(it.kas.get() > 0 && it.maxcmd.get() == 32 && it.sgls.get() == 0x10_0001 && it.iorcsz.get() == 1);
    assert_eq!(it.ctratt.get() & 1 << 6, 1 << 6, "any command keeps alive");
    assert_eq!((it.sqes, it.cqes), (0x66, 0x44));
    let it = identify::Namespace::read_from_bytes(&ask(cns::NAMESPACE, 1).data).unwrap();
    assert_eq!((it.nsze.get(), it.formats[0].shift, it.nguid), (BLOCKS, SHIFT, [7; 16]));
    assert_eq!(ask(cns::NAMESPACE, 2).data, [0; 4096]);
    assert_eq!(ask(cns::ACTIVE_NAMESPACES, 0).data[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    let list = ask(cns::DESCRIPTORS, 1).data;
    assert_eq!(list[..4], [2, 16, 0, 0]);
    assert_eq!(list[20..24], [3, 16, 0, 0]);
    assert_eq!(list[40..46], [4, 1, 0, 0, 0, 0]);
    assert!(ask(cns::NAMESPACE_OF_SET, 1).status.is_success() && ask(cns::CONTROLLER_OF_SET, 0).status.is_success());
    let it = identify::IndependentNamespace::read_from_bytes(&ask(cns::NAMESPACE_INDEPENDENT, 1).data).unwrap();
    assert_eq!((it.nmic, it.nstat), (1, 1));
    for (cns, nsid, code) in
        [(cns::NAMESPACE, 5, Code::InvalidNamespace), (cns::DESCRIPTORS, 2, Code::InvalidNamespace), (0x77, 0, Code::InvalidField)]
    {
        assert_eq!(ask(cns, nsid).status.code(), Some(code));
    }
}

fn log_page(pair: &mut Pair, world: &mut World, page: &GetLogPage) -> common::Done {
    let length = page.length() as u32;
    pair.call(world, Sqe::get_log_page(0xFFFF_FFFF, page), Payload::Receive(length), &[])
}

#[test]
fn s243_log_pages_come_in_any_part() {
    let mut world = World::new(Role::Io);
    let (mut pair, _) = Pair::admin(3, SHAPES[3], &mut world);
    for (id, length) in [
        (lid::SUPPORTED, 1024),
        (lid::ERRORS, 64),
        (lid::SMART, 512),
        (lid::FIRMWARE, 512),
        (lid::CHANGED_NAMESPACES, 4096),
        (lid::EFFECTS, 4096),
    ] {
        let whole = log_page(&mut pair, &mut world, &GetLogPage::new(id, GetLogPage::RETAIN, 0, length));
        assert!(whole.status.is_success(), "{id:#x}");
        let part = log_page(&mut pair, &mut world, &GetLogPage::new(id, GetLogPage::RETAIN, 8, 32));
        assert_eq!(part.data, whole.data[8..40], "{id:#x}");
    }
    // Two groups: one with namespace 1, one with none.
    let ana = log_page(&mut pair, &mut world, &GetLogPage::new(lid::ANA, 0, 0, 128)).data;
    assert_eq!((ana[0], ana[8], ana[16], ana[20], ana[32], ana[48]), (6, 2, 1, 1, 1, 1));
    assert_eq!((ana[52], ana[56]), (2, 0));
    let groups = log_page(&mut pair, &mut world, &GetLogPage::new(lid::ANA, log::ANA_GROUPS_ONLY, 0, 128)).data;
    assert_eq!((groups[20], groups[48]), (0, 2));
    for (page, code) in [
        (GetLogPage::new(0x33, 0, 0, 64), Code::InvalidLogPage),
        (GetLogPage::new(lid::DISCOVERY, 0, 0, 64), Code::InvalidLogPage),
        (GetLogPage::new(lid::SMART, 0, 2, 64), Code::InvalidField),
        (GetLogPage::new(lid::SMART, 0, 512, 64), Code::InvalidField),
    ] {
        assert_eq!(log_page(&mut pair, &mut world, &page).status.code(), Some(code));
    }
    let page = GetLogPage::new(lid::SMART, 0, 0, 512);
    let done = pair.call(&mut world, Sqe::get_log_page(0, &page), Payload::Receive(256), &[]);
    assert_eq!(done.status.code(), Some(Code::SglLengthInvalid));
}

#[test]
fn s243_a_discovery_log_is_read_in_pieces() {
    let mut world = World::new(Role::Discovery);
    world.disk.entries = vec![entry("4420"), entry("4421")];
    world.disk.generation = 9;
    let (mut pair, _) = Pair::admin(4, SHAPES[0], &mut world);
    let header = log_page(&mut pair, &mut world, &GetLogPage::new(lid::DISCOVERY, GetLogPage::RETAIN, 0, 1024)).data;
    let header = DiscoveryHeader::read_from_bytes(&header).unwrap();
    assert_eq!((header.generation.get(), header.records.get(), header.recfmt.get()), (9, 2, 0));
    let entries = log_page(&mut pair, &mut world, &GetLogPage::new(lid::DISCOVERY, 0, 1024, 2048)).data;
    assert_eq!(entries, [world.disk.entries[0].as_bytes(), world.disk.entries[1].as_bytes()].concat());
    assert_eq!(pair.call(&mut world, Sqe::set_feature(feature::QUEUES, 0), Payload::None, &[]).status.code(), Some(Code::InvalidField));
}

#[test]
fn s244_an_event_is_told_once_until_its_page_was_read() {
    let mut world = World::new(Role::Io);
    let (mut pair, _) = Pair::admin(5, SHAPES[0], &mut world);
    let wanted = log::Event::Namespaces.bit();
    let _ = pair.call(&mut world, Sqe::set_feature(feature::EVENTS, wanted), Payload::None, &[]);
    assert_eq!(u64::from(wanted), pair.call(&mut world, Sqe::get_feature(feature::EVENTS), Payload::None, &[]).result);
    for _ in 0..4 {
        pair.host.submit(Sqe::new(nvme::command::admin::ASYNC_EVENT, 0), Payload::None, &[]);
    }
    let fifth = pair.host.submit(Sqe::new(nvme::command::admin::ASYNC_EVENT, 0), Payload::None, &[]);
    pair.settle(&mut world);
    // The fifth is one too many, whichever that is by the target's order.
    let done = pair.host.done.pop_front().unwrap();
    assert_eq!(done.status.code(), Some(Code::AsyncEventLimit));
    assert!(pair.host.done.is_empty() && done.cid <= fifth);

    let controller = world.controller.as_mut().unwrap();
    controller.namespace_changed(1);
    controller.namespace_changed(1);
    controller.raise(log::Event::Ana);
    pair.settle(&mut world);
    let done = pair.host.done.pop_front().unwrap();
    assert_eq!(log::Event::of(done.result as u32), Some(log::Event::Namespaces));
    world.controller.as_mut().unwrap().namespace_changed(2);
    pair.settle(&mut world);
    assert!(pair.host.done.is_empty(), "told before the log was read, or not wanted");

    let page = log_page(&mut pair, &mut world, &GetLogPage::new(lid::CHANGED_NAMESPACES, 0, 0, 4096));
    assert_eq!(page.data[..12], [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    pair.settle(&mut world);
    let done = pair.host.done.pop_front().unwrap();
    assert_eq!(log::Event::of(done.result as u32), Some(log::Event::Namespaces));
}

#[test]
fn s244_abort_ends_an_event_request_and_misses_what_is_done() {
    let mut world = World::new(Role::Io);
    let (mut pair, _) = Pair::admin(6, SHAPES[0], &mut world);
    let cid = pair.host.submit(Sqe::new(nvme::command::admin::ASYNC_EVENT, 0), Payload::None, &[]);
    pair.settle(&mut world);
    pair.host.submit(Sqe::abort(0, cid), Payload::None, &[]);
    pair.settle(&mut world);
    let (first, second) = (pair.host.done.pop_front().unwrap(), pair.host.done.pop_front().unwrap());
    assert_eq!((first.cid, first.status.code()), (cid, Some(Code::AbortRequested)));
    assert_eq!((second.status.is_success(), second.result), (true, 0));
    assert_eq!(pair.call(&mut world, Sqe::abort(0, cid), Payload::None, &[]).result, 1);
}

#[test]
fn s244_dataset_management_and_flush() {
    let mut world = World::new(Role::Io);
    let mut pair = Pair::io(7, SHAPES[1], &mut world, 1);
    world.disk.bytes.fill(1);
    let range = |slba: u64, blocks: u32| DsmRange { attributes: 0.into(), blocks: blocks.into(), slba: slba.into() };
    let mut ranges = [range(0, 0); 256];
    ranges[0] = range(10, 2);
    ranges[1] = range(20, 1);
    let mut sqe = Sqe::new(io::DATASET_MANAGEMENT, 1);
    (sqe.cdw10, sqe.cdw11) = (1.into(), DSM_DEALLOCATE.into());
    assert!(pair.call(&mut world, sqe, Payload::Send(4096), ranges.as_bytes()).status.is_success());
    let zero = |at: usize| world.disk.bytes[at << SHIFT] == 0;
    assert!(!zero(9) && zero(10) && zero(11) && !zero(12) && zero(20) && !zero(21));
    ranges[1] = range(BLOCKS, 1);
    let done = pair.call(&mut world, sqe, Payload::Send(4096), ranges.as_bytes());
    assert_eq!(done.status.code(), Some(Code::LbaOutOfRange));
    let done = pair.call(&mut world, sqe, Payload::Send(16), ranges[0].as_bytes());
    assert_eq!(done.status.code(), Some(Code::SglLengthInvalid));
    assert!(pair.call(&mut world, Sqe::new(io::FLUSH, 1), Payload::None, &[]).status.is_success());
    assert_eq!(world.disk.flushes, 1);
}

#[test]
fn s244_io_that_cannot_be_is_answered() {
    let mut world = World::new(Role::Io);
    let mut pair = Pair::io(8, SHAPES[0], &mut world, 1);
    let read = |nsid, slba, blocks| Sqe::blocks(io::READ, nsid, slba, blocks, 0);
    for (sqe, length, code) in [
        (read(1, BLOCKS, 1), 512, Code::LbaOutOfRange),
        (read(1, BLOCKS - 1, 2), 1024, Code::LbaOutOfRange),
        (read(1, u64::MAX, 1), 512, Code::LbaOutOfRange),
        (read(2, 0, 1), 512, Code::InvalidNamespace),
        (read(1, 0, 2), 512, Code::SglLengthInvalid),
        (read(1, 0, 1), 1024, Code::SglLengthInvalid),
        (read(1, 0, 512), 512 * 512, Code::InvalidField),
        (Sqe::blocks(io::READ, 1, 0, 1, 1 << 12), 512, Code::InvalidField),
        (Sqe::new(0x7E, 1), 512, Code::InvalidOpcode),
        (Sqe::new(0x82, 1), 512, Code::InvalidOpcode),
    ] {
        let done = pair.call(&mut world, sqe, Payload::Receive(length), &[]);
        assert_eq!(done.status.code(), Some(code), "{sqe:?}");
        assert!(done.status.is_final());
    }
    world.disk.namespace.read_only = true;
    let done = pair.call(&mut world, Sqe::blocks(io::WRITE, 1, 0, 1, 0), Payload::Send(512), &[1; 512]);
    assert_eq!(done.status.code(), Some(Code::WriteProtected));
}

#[test]
fn s245_damaged_data_is_no_success_and_the_queue_goes_on() {
    for (blocks, shape) in [(1, SHAPES[3]), (64, SHAPES[3]), (64, SHAPES[2])] {
        let mut world = World::new(Role::Io);
        let mut pair = Pair::io(9, shape, &mut world, 1);
        let data = vec![3; blocks << SHIFT];
        let sqe = Sqe::blocks(io::WRITE, 1, 0, blocks as u32, 0);
        pair.host.damage = true;
        let done = pair.call(&mut world, sqe, Payload::Send(data.len() as u32), &data);
        assert_eq!(done.status.code(), Some(Code::TransientTransportError));
        assert!(!done.status.is_final() && world.disk.bytes[0] == 0);
        assert!(pair.call(&mut world, sqe, Payload::Send(data.len() as u32), &data).status.is_success());
        assert_eq!(world.disk.bytes[..data.len()], data);
    }
}

#[test]
fn s243_several_queues_each_once() {
    let mut world = World::new(Role::Io);
    let (_admin, _) = Pair::admin(10, SHAPES[0], &mut world);
    let mut first = Pair::io(11, SHAPES[0], &mut world, 1);
    let mut fourth = Pair::io(12, SHAPES[3], &mut world, 4);
    assert!(first.call(&mut world, Sqe::blocks(io::WRITE, 1, 5, 1, 0), Payload::Send(512), &[9; 512]).status.is_success());
    let done = fourth.call(&mut world, Sqe::blocks(io::READ, 1, 5, 1, 0), Payload::Receive(512), &[]);
    assert_eq!(done.data, [9; 512]);
}

/// Compare and write as one: both or neither, and nothing between the two.
#[test]
fn s253_fused_commands_are_one_or_none() {
    for (seed, blocks) in [(13, 1), (14, 8), (15, 32), (16, 32), (17, 32)] {
        let mut world = World::new(Role::Io);
        let mut pair = Pair::io(seed, SHAPES[seed as usize % SHAPES.len()], &mut world, 1);
        let length = (blocks as usize) << SHIFT;
        let fused = |opcode, slba, fuse| {
            let mut sqe = Sqe::blocks(opcode, 1, slba, blocks, 0);
            sqe.flags |= fuse;
            sqe
        };
        let two = |pair: &mut Pair, world: &mut World, compare: Sqe, write: Sqe, old: u8, new: u8| {
            let first = pair.host.submit(compare, Payload::Send(length as u32), &vec![old; length]);
            let second = pair.host.submit(write, Payload::Send(length as u32), &vec![new; length]);
            pair.settle(world);
            let mut done: Vec<_> = pair.host.done.drain(..).collect();
            done.sort_by_key(|it| it.cid == second);
            assert_eq!((done[0].cid, done[1].cid), (first, second));
            [done[0].status.code().unwrap(), done[1].status.code().unwrap()]
        };
        let (compare, write) = (fused(io::COMPARE, 0, 1), fused(io::WRITE, 0, 2));
        assert_eq!(two(&mut pair, &mut world, compare, write, 0, 5), [Code::Success; 2]);
        assert_eq!(two(&mut pair, &mut world, compare, write, 0, 6), [Code::CompareFailure, Code::FailedFused]);
        assert_eq!(world.disk.bytes[..length], vec![5; length]);
        assert_eq!(two(&mut pair, &mut world, compare, fused(io::WRITE, 1, 2), 5, 6), [Code::FailedFused, Code::InvalidField]);
        assert_eq!(two(&mut pair, &mut world, compare, fused(io::COMPARE, 0, 2), 5, 6), [Code::InvalidField, Code::FailedFused]);
        // One without the other.
        assert_eq!(two(&mut pair, &mut world, compare, fused(io::WRITE, 0, 0), 5, 7), [Code::MissingFused, Code::Success]);
        assert_eq!(two(&mut pair, &mut world, fused(io::COMPARE, 0, 0), write, 7, 8)[1], Code::MissingFused);
        assert_eq!(world.disk.bytes[..length], vec![7; length]);
    }
}
