//! What hosts leave behind who go away at any byte, whom nobody hears of, or who are there when the
//! target ends: nothing. Queues, buffers, requests and controllers are as many as before.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bdev::{Bdev, BdevError, Device, DeviceChannel, Io, Kind, Kinds, Mode, NewBdev, Request, Shape as DeviceShape};
use bdev_fault::Faults;
use common::{BLOCK, Cut, HOSTNQN, Host, NQN, Wishes, World, id_of, pattern};
use core_reactor::{Cx, Instant};
use nvme::command::{Blocks, Sqe, admin, io};
use nvme::fabrics::{ConnectData, property};
use nvme::host::{Bringup, Payload};
use nvme::{Code, Shape};
use nvmf::NamespaceConfig;
use zerocopy::IntoBytes;

/// A command of a script, and its data.
type Line = (Sqe, Payload, Vec<u8>);

fn reads(sqe: Sqe, length: u32) -> Line {
    (sqe, Payload::Receive(length), Vec::new())
}

fn sends(sqe: Sqe, data: &[u8]) -> Line {
    (sqe, Payload::Send(data.len() as u32), data.to_vec())
}

fn plain(sqe: Sqe) -> Line {
    (sqe, Payload::None, Vec::new())
}

fn connect(cntlid: u16, qid: u16) -> Line {
    let data = ConnectData::new(id_of(HOSTNQN), cntlid, NQN, HOSTNQN).expect("names");
    sends(Sqe::connect(qid, 32, 15_000), data.as_bytes())
}

/// What an admin queue says from the beginning to its end.
fn admin_script() -> Vec<Line> {
    vec![
        connect(0xFFFF, 0),
        plain(Sqe::property_get(property::CAP, true)),
        plain(Sqe::property_set(property::CC, 0x46_0001)),
        reads(Sqe::identify(1, 0), 4096),
        plain(Sqe::set_feature(7, 3 << 16 | 3)),
        plain(Bringup::keep_alive()),
        plain(Sqe::property_set(property::CC, 0x46_4001)),
    ]
}

/// And an I/O queue, with data in the capsule, on request, in pieces, and fused.
fn io_script(cntlid: u16) -> Vec<Line> {
    let (small, large) = (pattern(1, BLOCK), pattern(2, 40 * BLOCK));
    let fused = |sqe: Sqe, bits: u8| Sqe { flags: sqe.flags | bits, ..sqe };
    vec![
        connect(cntlid, 1),
        sends(Sqe::blocks(io::WRITE, 1, 0, 1, Blocks::FUA), &small),
        sends(Sqe::blocks(io::WRITE, 1, 8, 40, 0), &large),
        reads(Sqe::blocks(io::READ, 1, 0, 40, 0), 40 * BLOCK as u32),
        sends(fused(Sqe::blocks(io::COMPARE, 1, 0, 1, 0), 1), &small),
        sends(fused(Sqe::blocks(io::WRITE, 1, 0, 1, 0), 2), &small),
        sends(Sqe::blocks(io::COMPARE, 1, 8, 40, 0), &large),
        plain(Sqe::blocks(io::WRITE_ZEROES, 1, 64, 8, 0)),
        plain(Sqe::new(io::FLUSH, 1)),
    ]
}

/// Plays a script until its end or until the host is gone. Which of them.
fn play(world: &mut World, host: &mut Host, script: &[Line]) -> bool {
    let mut open = Vec::new();
    world.until("ICResp", |_| {
        host.pump();
        host.queue.is_ready() || host.is_closed
    });
    for (sqe, payload, data) in script {
        if host.is_closed {
            return false;
        }
        open.push(host.submit(*sqe, *payload, data));
        // Of two fused commands the first has no answer before the second.
        if sqe.flags & 3 == 1 {
            continue;
        }
        world.until("an answer", |_| {
            host.pump();
            open.retain(|cid| host.done.iter().all(|done| done.cid != *cid));
            open.is_empty() || host.is_closed
        });
        if host.is_closed {
            return false;
        }
        assert!(host.done.drain(..).all(|done| done.status.is_success()), "{sqe:?}");
    }
    true
}

/// Cuts a conversation off at each of `places`, in order and by a reset in turn.
fn cut_everywhere(world: &mut World, good: &mut Host, what: &str, script: &[Line], places: impl Iterator<Item = Cut>) {
    let before = world.counts();
    let mut cuts = 0;
    for (at, cut) in places.enumerate() {
        let mut host = Host::half_open(world, Shape::default(), 31);
        host.cut = Some(cut);
        host.cut_resets = at % 2 == 0;
        let ended = play(world, &mut host, script);
        assert!(!ended, "{what}: the conversation is over before {cut:?}");
        cuts += 1;
        world.sim.run_for(Duration::from_millis(300));
        assert_eq!(world.counts(), before, "{what}: {cut:?}, {}", if host.cut_resets { "reset" } else { "closed" });
        if at % 16 == 0 {
            let data = pattern(at as u64, BLOCK);
            assert!(good.write(world, 200, &data).status.is_success() && good.read(world, 200, 1).data == data);
        }
    }
    assert!(cuts > 50, "{what}: {cuts} cuts");
}

/// Some of the places of so many bytes: closer together in front, where more headers are.
fn places(all: usize) -> impl Iterator<Item = usize> {
    (0..all.min(4000)).step_by(17).chain((4000..all).step_by(509))
}

#[test]
fn s317_a_host_that_goes_at_any_byte_leaves_nothing_behind() {
    let delay = Duration::from_micros(20);
    let device = Faults { delay: delay..=delay, ..Faults::none(1) };
    let mut world = World::with(Wishes { device: Some(device), ..Wishes::default() });
    let (keeps, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut good = Host::io(&mut world, &bringup, 2);
    for (what, script) in [("admin", admin_script()), ("I/O", io_script(bringup.cntlid()))] {
        // How long it is when nobody cuts it.
        let mut whole = Host::half_open(&mut world, Shape::default(), 31);
        assert!(play(&mut world, &mut whole, &script));
        let (sent, heard) = whole.moved;
        whole.sock.close();
        world.sim.run_for(Duration::from_millis(300));
        cut_everywhere(&mut world, &mut good, what, &script, places(sent).map(Cut::Sent));
        cut_everywhere(&mut world, &mut good, what, &script, places(heard).map(Cut::Heard));
    }
    drop((keeps, good));
    world.end();
}

/// In places that a conversation of one command at a time does not come to.
#[test]
fn s317_a_host_that_goes_while_it_waits_leaves_nothing_behind() {
    let mut world = World::with(Wishes { cores: 1, buffers: (8, 2), ..Wishes::default() });
    let (keeps, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let before = world.counts();
    let large = pattern(3, 256 * BLOCK);
    for reset in [false, true] {
        let mut victims: Vec<_> = (2..6).map(|qid| Host::io(&mut world, &bringup, qid)).collect();
        victims.push(Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0).0);
        // All buffers are with one that does not send what it was asked for.
        let mut hog = Host::io(&mut world, &bringup, 1);
        hog.is_mute = true;
        for _ in 0..8 {
            hog.submit(Sqe::blocks(io::WRITE, 1, 0, 256, 0), Payload::Send(256 * 512), &large);
            hog.submit(Sqe::blocks(io::WRITE, 1, 0, 17, 0), Payload::Send(17 * 512), &large[..17 * BLOCK]);
        }
        hog.pump();
        world.sim.settle();
        for (phase, host) in victims.iter_mut().enumerate() {
            match phase {
                // Data in a capsule, and more behind it; an R2T that does not come; a read; a
                // fused command whose second never comes; an event.
                0 => {
                    for n in 0..20 {
                        host.submit(Sqe::blocks(io::WRITE, 1, n * 8, 8, 0), Payload::Send(4096), &large[..4096]);
                    }
                }
                1 => drop(host.submit(Sqe::blocks(io::WRITE, 1, 0, 256, 0), Payload::Send(256 * 512), &large)),
                2 => drop(host.submit(Sqe::blocks(io::READ, 1, 0, 256, 0), Payload::Receive(256 * 512), &[])),
                3 => {
                    let sqe = Sqe::blocks(io::COMPARE, 1, 0, 1, 0);
                    host.submit(Sqe { flags: sqe.flags | 1, ..sqe }, Payload::Send(512), &large[..512]);
                }
                _ => drop(host.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[])),
            }
            host.pump();
        }
        world.sim.settle();
        assert!(world.figure(|it| it.buffer_waits.load(Ordering::Relaxed)) > 0);
        victims.push(hog);
        for victim in victims {
            if reset {
                victim.sock.reset();
            } else {
                victim.sock.close();
            }
        }
        world.sim.run_for(Duration::from_secs(1));
        assert_eq!(world.counts(), before, "reset: {reset}");
    }
    drop(keeps);
    world.end();
}

#[test]
fn s318_a_thousand_half_open_hosts_hold_up_nobody_and_are_closed() {
    let mut world = World::with(Wishes { cores: 1, ..Wishes::default() });
    let (mut keeps, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut good = Host::io(&mut world, &bringup, 1);
    let before = world.counts();
    let hello = |host: &mut Host, most| host.out.truncate(most);
    let mut half: Vec<_> = (0..1000)
        .map(|n| match n % 4 {
            // Nothing; a piece of ICReq; all of it; and half of a Connect.
            0 => {
                let mut host = Host::half_open(&mut world, Shape::default(), 31);
                hello(&mut host, 0);
                host
            }
            1 => {
                let mut host = Host::half_open(&mut world, Shape::default(), 31);
                hello(&mut host, 5);
                host
            }
            2 => Host::new(&mut world, Shape::default(), 31),
            _ => {
                let mut host = Host::new(&mut world, Shape::default(), 31);
                let (sqe, payload, data) = connect(0xFFFF, 0);
                host.submit(sqe, payload, &data);
                hello(&mut host, 72 + 500);
                host
            }
        })
        .collect();
    half.iter_mut().for_each(Host::pump);
    world.sim.settle();
    assert_eq!(world.counts().connecting, before.connecting + 1000);
    for n in 0..20 {
        let data = pattern(n, 64 * BLOCK);
        assert!(good.write(&mut world, n * 64, &data).status.is_success() && good.read(&mut world, n * 64, 64).data == data);
    }
    // There is room for 22 more, and those are served too.
    let (another, its) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let its = Host::io(&mut world, &its, 1);
    drop((another, its));
    world.sim.run_for(Duration::from_secs(11));
    for host in &mut half {
        host.closed(&mut world);
    }
    world.sim.run_for(Duration::from_secs(3));
    assert_eq!(world.counts(), before);
    assert!(keeps.call(&mut world, Bringup::keep_alive(), Payload::None, &[]).status.is_success());
    drop((keeps, good));
    world.end();
}

#[test]
fn s318_a_stranger_says_one_thing_at_a_time_and_more_than_that_is_not_kept() {
    let mut world = World::new();
    let (sqe, payload, data) = connect(0xFFFF, 0);
    let mut host = Host::new(&mut world, Shape::default(), 31);
    host.queue.set_in_capsule(0);
    host.is_mute = true;
    host.submit(sqe, payload, &data);
    host.submit(sqe, payload, &data);
    host.closed(&mut world);
    assert_eq!((host.asked.len(), host.terminated), (1, Some((nvme::Fes::SequenceError as u16, 0))));
    // Nobody reads what is behind the data of a Connect.
    let mut long = data;
    long.resize(8192, 0xFF);
    let mut other = Host::new(&mut world, Shape::default(), 31);
    assert!(other.call(&mut world, sqe, Payload::Send(8192), &long).status.is_success());
    drop((host, other));
    world.end();
}

#[test]
fn s318_who_finds_no_room_is_turned_away_until_there_is_some() {
    let mut world = World::with(Wishes { cores: 1, connections: 4, ..Wishes::default() });
    let (keeps, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut hosts: Vec<_> = (1..=3).map(|qid| Host::io(&mut world, &bringup, qid)).collect();
    let before = world.counts();
    for _ in 0..5 {
        let mut refused = Host::half_open(&mut world, Shape::default(), 31);
        refused.closed(&mut world);
    }
    assert_eq!((world.counts(), world.figure(|it| it.turned_away.load(Ordering::Relaxed))), (before, 5));
    hosts.pop();
    world.sim.settle();
    let mut again = Host::io(&mut world, &bringup, 3);
    assert!(again.read(&mut world, 0, 1).status.is_success());
    drop((keeps, hosts, again));
    world.end();
}

#[test]
fn s319_a_target_that_ends_under_load_takes_everything_home() {
    for (cores, delay) in [(1, Duration::ZERO), (2, Duration::from_millis(1)), (1, Duration::from_secs(3600))] {
        let device = Faults { delay: delay..=delay, ..Faults::none(1) };
        let net = net_impl_mem::Faults { window: 60_000, ..Default::default() };
        let mut world = World::with(Wishes { cores, device: Some(device), net, buffers: (64, 8), ..Wishes::default() });
        let (mut keeps, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
        keeps.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
        let mut queues: Vec<_> = (1..=6).map(|qid| Host::io(&mut world, &bringup, qid)).collect();
        let large = pattern(5, 256 * BLOCK);
        for (at, queue) in queues.iter_mut().enumerate() {
            // One sends nothing of what it is asked for, and one reads nothing.
            (queue.is_mute, queue.is_deaf) = (at == 1, at == 2);
            for n in 0..10 {
                queue.submit(Sqe::blocks(io::WRITE, 1, n * 8, 8, 0), Payload::Send(4096), &large[..4096]);
                queue.submit(Sqe::blocks(io::WRITE, 1, 256, 256, 0), Payload::Send(256 * 512), &large);
                queue.submit(Sqe::blocks(io::READ, 1, 256, 256, 0), Payload::Receive(256 * 512), &[]);
            }
            queue.pump();
        }
        let half = Host::half_open(&mut world, Shape::default(), 31);
        for _ in 0..20 {
            let _ = world.sim.turn();
            queues.iter_mut().for_each(Host::pump);
        }
        world.end();
        // Whatever came out is a right answer, and then the end of the connection.
        for queue in &mut queues {
            queue.is_deaf = false;
            queue.pump();
            assert!(queue.is_closed, "{cores} cores, {delay:?}");
            assert!(queue.done.iter().all(|done| matches!(done.code(), Code::Success | Code::AbortRequested)), "{:?}", queue.done);
        }
        drop((keeps, half));
    }
}

/// A device that has no channel to give while told so: a core out of descriptors.
struct Short {
    is_short: Arc<AtomicBool>,
}

impl Device for Short {
    fn channel(&self, _: &mut Cx<'_>, _: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        if self.is_short.load(Ordering::Relaxed) { Err(BdevError::Io("Too many open files")) } else { Ok(Box::new(Zeroes)) }
    }
}

struct Zeroes;

impl DeviceChannel for Zeroes {
    fn submit(&mut self, _: Instant, mut io: Io) {
        let request = io.request_mut();
        if request.kind == Kind::Read {
            let bytes = request.blocks as usize * BLOCK;
            request.fill_zeroes(bytes);
        }
        io.finish(Ok(()));
    }

    fn poll(&mut self, _: Instant) {}

    fn cancel(&mut self, _: &dyn Fn(&Request) -> bool) {}
}

fn short_device(world: &World, is_short: &Arc<AtomicBool>) -> Bdev {
    let shape = DeviceShape {
        product: "Short disk",
        block_size: BLOCK as u32,
        align: 1,
        optimal_boundary: 0,
        most_compare_and_write: 0,
        kinds: Kinds::of(&[Kind::Read, Kind::Write, Kind::Flush, Kind::Reset]),
        has_write_cache: false,
    };
    let new = NewBdev { name: "Short0".into(), aliases: Default::default(), uuid: None, blocks: 1024, shape };
    world.bdevs.add(new, Box::new(Short { is_short: is_short.clone() })).expect("a device")
}

#[test]
fn s320_a_device_that_a_core_cannot_use_now_is_not_ready_and_used_once_it_can_be() {
    let mut world = World::new();
    let is_short = Arc::new(AtomicBool::new(true));
    let device = short_device(&world, &is_short).open(Mode::ReadWrite).expect("it opens");
    assert_eq!(world.target.add_namespace(NQN, NamespaceConfig::new(device)).expect("a namespace"), 2);
    let (keeps, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, HOSTNQN, 0);
    let mut host = Host::io(&mut world, &bringup, 1);
    let read = Sqe::blocks(io::READ, 2, 0, 1, 0);
    for _ in 0..3 {
        let done = host.call(&mut world, read, Payload::Receive(512), &[]);
        // The host may try it again.
        assert_eq!((done.code(), done.status.is_final()), (Code::NamespaceNotReady, false));
        world.sim.run_for(Duration::from_secs(1));
    }
    assert_eq!(host.call(&mut world, Sqe::blocks(io::READ, 3, 0, 1, 0), Payload::Receive(512), &[]).code(), Code::InvalidNamespace);
    assert!(host.read(&mut world, 0, 1).status.is_success(), "the other one works");
    is_short.store(false, Ordering::Relaxed);
    world.sim.run_for(Duration::from_secs(1));
    assert!(host.call(&mut world, read, Payload::Receive(512), &[]).status.is_success());
    drop((keeps, host));
    world.end();
}
