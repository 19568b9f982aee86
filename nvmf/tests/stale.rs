//! Writes that a slow device still has when their queue has ended: nothing of the same host goes
//! past them.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bdev::{BdevError, Device, DeviceChannel, Io, Kind, Kinds, Mode, NewBdev, Request, Shape};
use common::{BLOCK, HOSTNQN, Host, NQN, Wishes, World, id_of};
use core_reactor::{Cx, Instant};
use nvme::Code;
use nvme::command::{Sqe, io};
use nvme::fabrics::{ConnectData, Parameter, cc, invalid, property};
use nvme::host::{Bringup, Payload};
use nvmf::NamespaceConfig;
use zerocopy::IntoBytes;

const OTHER: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000002";
const SECOND: Duration = Duration::from_secs(1);

/// A disk that writes when its time has come, whoever has given up by then.
#[derive(Clone, Default)]
struct Slow {
    blocks: Arc<Mutex<Vec<u8>>>,
    /// What the next writes take, in nanoseconds.
    takes: Arc<AtomicU64>,
}

struct SlowChannel {
    disk: Slow,
    writing: Vec<(Instant, Io)>,
}

impl Device for Slow {
    fn channel(&self, _: &mut Cx<'_>, _: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        Ok(Box::new(SlowChannel { disk: self.clone(), writing: Vec::new() }))
    }
}

impl DeviceChannel for SlowChannel {
    fn submit(&mut self, now: Instant, mut io: Io) {
        let request = io.request_mut();
        let at = request.block as usize * BLOCK;
        if request.kind == Kind::Write {
            return self.writing.push((now + Duration::from_nanos(self.disk.takes.load(Ordering::Relaxed)), io));
        }
        let blocks = self.disk.blocks.lock().expect("nobody panics");
        request.fill(&blocks[at..at + request.blocks as usize * BLOCK]);
        io.finish(Ok(()));
    }

    fn poll(&mut self, now: Instant) {
        for (_, io) in self.writing.extract_if(.., |(due, _)| *due <= now) {
            let at = io.request().block as usize * BLOCK;
            let mut blocks = self.disk.blocks.lock().expect("nobody panics");
            let bytes = io.request().blocks as usize * BLOCK;
            io.request().copy_to(0, &mut blocks[at..at + bytes]);
            io.finish(Ok(()));
        }
    }

    fn cancel(&mut self, _: &dyn Fn(&Request) -> bool) {}

    fn due(&self) -> Option<Instant> {
        self.writing.iter().map(|(due, _)| *due).min()
    }
}

/// A target whose namespace 2 is such a disk.
fn world() -> (World, Slow) {
    world_with(Wishes::default())
}

/// The same on one core, with few buffers.
fn short_world() -> (World, Slow) {
    world_with(Wishes { cores: 1, buffers: (8, 2), ..Wishes::default() })
}

fn world_with(wishes: Wishes) -> (World, Slow) {
    let world = World::with(wishes);
    let disk = Slow { blocks: Arc::new(Mutex::new(vec![0; 64 * BLOCK])), ..Slow::default() };
    let shape = Shape {
        product: "Slow disk",
        block_size: BLOCK as u32,
        align: 1,
        optimal_boundary: 0,
        most_compare_and_write: 0,
        kinds: Kinds::of(&[Kind::Read, Kind::Write]),
        has_write_cache: false,
    };
    let new = NewBdev { name: "Slow0".into(), aliases: Vec::new(), uuid: None, blocks: 64, shape };
    let device = world.bdevs.add(new, Box::new(disk.clone())).and_then(|bdev| bdev.open(Mode::ReadWrite)).expect("a device");
    assert_eq!(world.target.add_namespace(NQN, NamespaceConfig::new(device)).expect("a namespace"), 2);
    (world, disk)
}

impl Slow {
    fn takes(&self, time: Duration) {
        self.takes.store(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// An admin queue whose host need not say that it lives.
fn admin_of(world: &mut World, hostnqn: &str) -> (Host, Bringup) {
    Host::admin_of(world, nvme::Shape::default(), NQN, hostnqn, 0)
}

/// An I/O queue of the other host.
fn others_io(world: &mut World, bringup: &Bringup, qid: u16) -> Host {
    Host::io_of(world, nvme::Shape::default(), NQN, OTHER, bringup, qid)
}

fn write(host: &mut Host, world: &mut World, byte: u8) -> u16 {
    let cid = host.submit(Sqe::blocks(io::WRITE, 2, 0, 1, 0), Payload::Send(512), &[byte; BLOCK]);
    settle(host, world);
    cid
}

fn settle(host: &mut Host, world: &mut World) {
    host.pump();
    world.sim.settle();
    host.pump();
}

/// A connection whose Connect has been sent.
fn connecting(world: &mut World, hostnqn: &str, cntlid: u16, qid: u16) -> (Host, u16) {
    let mut host = Host::new(world, nvme::Shape::default(), 31);
    let data = ConnectData::new(id_of(hostnqn), cntlid, NQN, hostnqn).expect("names");
    let cid = host.submit(Sqe::connect(qid, 32, 0), Payload::Send(1024), data.as_bytes());
    settle(&mut host, world);
    (host, cid)
}

/// A command with its data that has a buffer as long as it is done: a write of memory has none.
fn waits_for_a_buffer() -> Sqe {
    Sqe::blocks(io::COMPARE, 1, 0, 1, 0)
}

const ANY: u16 = nvme::fabrics::ANY_CONTROLLER;

fn byte(disk: &Slow) -> u8 {
    disk.blocks.lock().expect("nobody panics")[0]
}

#[test]
fn s373_a_host_that_comes_back_finds_its_older_writes_over() {
    for ends in [Host::close, Host::reset] {
        let (mut world, disk) = world();
        let (admin, bringup) = Host::admin(&mut world);
        let mut old = Host::io(&mut world, &bringup, 1);
        disk.takes(3 * SECOND);
        write(&mut old, &mut world, 1);
        ends(old);
        ends(admin);
        world.sim.settle();
        disk.takes(Duration::ZERO);
        let (mut new, cid) = connecting(&mut world, HOSTNQN, ANY, 0);
        // Nobody else waits for that.
        let (other, its) = connecting(&mut world, OTHER, ANY, 0);
        assert_eq!((new.done.len(), other.done.len(), other.done[0].cid), (0, 1, its));
        world.sim.run_for(2 * SECOND);
        new.pump();
        assert!(new.done.is_empty() && byte(&disk) == 0, "the older write is still to come");
        world.sim.run_for(SECOND + Duration::from_millis(1));
        assert!(new.wait(&mut world, cid).status.is_success());
        assert_eq!(byte(&disk), 1);
        let (admin, bringup) = Host::admin(&mut world);
        let mut host = Host::io(&mut world, &bringup, 1);
        let cid = write(&mut host, &mut world, 2);
        assert!(host.wait(&mut world, cid).status.is_success());
        world.sim.run_for(10 * SECOND);
        assert_eq!(byte(&disk), 2, "nothing lands behind it");
        drop((admin, host, new, other));
        world.end();
    }
}

#[test]
fn s373_a_queue_that_is_connected_again_waits_for_the_one_that_was() {
    let (mut world, disk) = world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut old = Host::io(&mut world, &bringup, 1);
    let mut lives = Host::io(&mut world, &bringup, 2);
    disk.takes(2 * SECOND);
    write(&mut old, &mut world, 1);
    old.reset();
    world.sim.settle();
    disk.takes(4 * SECOND);
    let slow = write(&mut lives, &mut world, 3);
    let (mut new, cid) = connecting(&mut world, HOSTNQN, bringup.cntlid(), 1);
    assert!(new.done.is_empty());
    world.sim.run_for(2 * SECOND + Duration::from_millis(1));
    new.pump();
    // The other queue's write is none of those.
    assert!(new.done.pop_front().is_some_and(|done| done.cid == cid && done.status.is_success()));
    assert_eq!(byte(&disk), 1);
    world.sim.run_for(2 * SECOND);
    assert!(lives.wait(&mut world, slow).status.is_success());
    drop((admin, lives, new));
    world.end();
}

#[test]
fn s374_who_waits_too_long_is_told_to_come_again() {
    let (mut world, disk) = world();
    let (admin, bringup) = Host::admin(&mut world);
    let mut old = Host::io(&mut world, &bringup, 1);
    disk.takes(20 * SECOND);
    write(&mut old, &mut world, 1);
    old.reset();
    admin.reset();
    world.sim.settle();
    let (mut new, _) = connecting(&mut world, HOSTNQN, ANY, 0);
    world.sim.run_for(5 * SECOND - Duration::from_millis(1));
    new.pump();
    assert!(new.done.is_empty());
    world.sim.run_for(SECOND);
    new.pump();
    let done = new.done.pop_front().expect("an answer");
    assert_eq!((done.code(), done.status.is_final()), (Code::ControllerBusy, false));
    assert!(world.target.subsystem(NQN).expect("it is there").controllers().is_empty());
    world.sim.run_for(20 * SECOND);
    assert_eq!(byte(&disk), 1);
    let (admin, _) = Host::admin(&mut world);
    drop((new, admin));
    world.end();
}

/// One that has vanished without a word, as far as the target knows, lives.
#[test]
fn s373_writes_of_a_connection_that_seems_to_live_are_waited_for_and_later_ones_are_not() {
    let (mut world, disk) = world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut old = Host::io(&mut world, &bringup, 1);
    disk.takes(2 * SECOND);
    write(&mut old, &mut world, 1);
    let (mut new, cid) = connecting(&mut world, HOSTNQN, ANY, 0);
    world.sim.run_for(SECOND);
    write(&mut old, &mut world, 2);
    new.pump();
    assert!(new.done.is_empty());
    world.sim.run_for(SECOND + Duration::from_millis(1));
    new.pump();
    assert!(new.done.pop_front().is_some_and(|done| done.cid == cid && done.status.is_success()));
    world.sim.run_for(SECOND);
    drop((admin, old, new));
    world.end();
}

#[test]
fn s375_preempt_and_abort_is_done_when_the_other_host_can_write_no_more() {
    let (mut world, disk) = world();
    let (one_admin, bringup_one) = admin_of(&mut world, HOSTNQN);
    let (two_admin, bringup_two) = admin_of(&mut world, OTHER);
    let mut one = Host::io(&mut world, &bringup_one, 1);
    let mut two = others_io(&mut world, &bringup_two, 1);
    let mut dead = others_io(&mut world, &bringup_two, 2);
    let command = |opcode, word: u32| {
        let mut sqe = Sqe::new(opcode, 2);
        sqe.cdw10 = word.into();
        sqe
    };
    let register = command(io::RESERVATION_REGISTER, 0);
    assert_eq!(one.call(&mut world, register, Payload::Send(16), [0_u64, 11].as_bytes()).code(), Code::Success);
    assert_eq!(two.call(&mut world, register, Payload::Send(16), [0_u64, 22].as_bytes()).code(), Code::Success);
    disk.takes(SECOND);
    write(&mut two, &mut world, 1);
    disk.takes(2 * SECOND);
    write(&mut dead, &mut world, 2);
    dead.reset();
    world.sim.settle();
    let preempt = one.submit(command(io::RESERVATION_ACQUIRE, 2 | 1 << 8), Payload::Send(16), [11_u64, 22].as_bytes());
    for (time, is_done) in [(0, false), (1, false), (1, true)] {
        settle(&mut one, &mut world);
        world.sim.run_for(time * SECOND + Duration::from_millis(1));
        one.pump();
        assert_eq!(one.done.iter().any(|done| done.cid == preempt), is_done);
    }
    assert!(one.done.iter().all(|done| done.status.is_success()));
    assert_eq!(byte(&disk), 2);
    drop((one, two, one_admin, two_admin));
    world.end();
}

#[test]
fn s376_a_controller_is_disabled_when_its_writes_are_over() {
    for stop in [cc::EN | cc::ENTRY_SIZES | 1 << 14, 0] {
        let (mut world, disk) = world();
        let (mut admin, bringup) = admin_of(&mut world, HOSTNQN);
        let mut queue = Host::io(&mut world, &bringup, 1);
        disk.takes(2 * SECOND);
        write(&mut queue, &mut world, 1);
        let cid = admin.submit(Sqe::property_set(property::CC, stop), Payload::None, &[]);
        settle(&mut admin, &mut world);
        world.sim.run_for(SECOND);
        // Other commands do not wait for it.
        assert!(admin.call(&mut world, Sqe::property_get(property::CSTS, false), Payload::None, &[]).status.is_success());
        admin.pump();
        assert!(admin.done.is_empty());
        world.sim.run_for(SECOND + Duration::from_millis(1));
        assert!(admin.wait(&mut world, cid).status.is_success());
        assert_eq!(byte(&disk), 1);
        drop((admin, queue));
        world.end();
    }
}

#[test]
fn s376_a_disk_that_never_answers_is_told() {
    let (mut world, disk) = world();
    let (mut admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut queue = Host::io(&mut world, &bringup, 1);
    disk.takes(20 * SECOND);
    write(&mut queue, &mut world, 1);
    let cid = admin.submit(Sqe::property_set(property::CC, 0), Payload::None, &[]);
    settle(&mut admin, &mut world);
    world.sim.run_for(6 * SECOND);
    assert_eq!(admin.wait(&mut world, cid).code(), Code::InternalError);
    assert!(admin.call(&mut world, Bringup::keep_alive(), Payload::None, &[]).code() == Code::CommandSequenceError);
    world.sim.run_for(20 * SECOND);
    drop((admin, queue));
    world.end();
}

/// A queue that is held back for want of buffers: what else it has sent is unread, and so is its
/// end.
fn held_back(world: &mut World, disk: &Slow, bringup: &Bringup) -> Host {
    let mut host = Host::io(world, bringup, 1);
    disk.takes(SECOND);
    for byte in 1..=20 {
        host.submit(Sqe::blocks(io::WRITE, 2, 0, 1, 0), Payload::Send(512), &[byte; BLOCK]);
    }
    settle(&mut host, world);
    assert!(world.figure(|it| it.buffer_waits.load(Ordering::Relaxed)) > 0);
    host
}

/// Alone, and another queue comes in its place; or it has gone without a word.
#[test]
fn s393_writes_that_wait_unread_in_a_queue_that_is_held_back_are_waited_for() {
    for has_ended in [true, false] {
        let (mut world, disk) = short_world();
        let (admin, bringup) = admin_of(&mut world, HOSTNQN);
        let old = held_back(&mut world, &disk, &bringup);
        let old = if has_ended {
            old.close();
            None
        } else {
            Some(old)
        };
        world.sim.settle();
        let (cntlid, qid) = if has_ended { (bringup.cntlid(), 2) } else { (ANY, 0) };
        let (mut new, cid) = connecting(&mut world, HOSTNQN, cntlid, qid);
        world.sim.run_for(SECOND + SECOND / 2);
        new.pump();
        assert!(new.done.is_empty() && byte(&disk) < 20, "{has_ended}: older writes are still to come");
        world.sim.run_for(SECOND);
        new.pump();
        assert!(new.done.pop_front().is_some_and(|done| done.cid == cid && done.status.is_success()), "{has_ended}");
        assert_eq!(byte(&disk), 20, "{has_ended}");
        drop((admin, old, new));
        world.end();
    }
}

#[test]
fn s393_a_queue_that_has_caught_up_keeps_nobody_waiting() {
    let (mut world, disk) = short_world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let old = held_back(&mut world, &disk, &bringup);
    let (mut new, cid) = connecting(&mut world, HOSTNQN, ANY, 0);
    disk.takes(Duration::ZERO);
    world.sim.run_for(SECOND + Duration::from_millis(1));
    new.pump();
    assert!(new.done.is_empty() && byte(&disk) == 20, "something may be on its way to a socket that was full");
    world.sim.run_for(SECOND / 2);
    new.pump();
    assert!(new.done.pop_front().is_some_and(|done| done.cid == cid && done.status.is_success()));
    drop((admin, old, new));
    world.end();
}

#[test]
fn s393_what_waits_unread_when_its_controller_ends_is_never_written() {
    let (mut world, disk) = short_world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let old = held_back(&mut world, &disk, &bringup);
    old.close();
    admin.close();
    world.sim.settle();
    let (mut new, cid) = connecting(&mut world, HOSTNQN, ANY, 0);
    assert!(new.done.is_empty());
    world.sim.run_for(SECOND + Duration::from_millis(1));
    new.pump();
    assert!(new.done.pop_front().is_some_and(|done| done.cid == cid && done.status.is_success()));
    let last = byte(&disk);
    world.sim.run_for(10 * SECOND);
    assert!((1..20).contains(&last) && byte(&disk) == last, "nothing lands behind it");
    drop(new);
    world.end();
}

/// What lies in a socket may be more than is read from it at a time.
#[test]
fn s393_the_end_of_a_queue_counts_however_much_is_in_front_of_it() {
    let (mut world, disk) = world_with(Wishes { cores: 1, ..Wishes::default() });
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut old = Host::io(&mut world, &bringup, 1);
    old.is_mute = true;
    let all = vec![7; 64 * BLOCK];
    for _ in 0..30 {
        old.submit(Sqe::blocks(io::WRITE, 2, 0, 64, 0), Payload::Send(64 * 512), &all);
    }
    settle(&mut old, &mut world);
    let mut new = Host::new(&mut world, nvme::Shape::default(), 31);
    disk.takes(SECOND);
    for cid in std::mem::take(&mut old.asked) {
        old.send_wanted(cid);
    }
    old.pump();
    assert!(old.out.is_empty() && old.moved.0 > 900_000);
    old.close();
    let data = ConnectData::new(id_of(HOSTNQN), bringup.cntlid(), NQN, HOSTNQN).expect("names");
    let cid = new.submit(Sqe::connect(2, 32, 0), Payload::Send(1024), data.as_bytes());
    settle(&mut new, &mut world);
    world.sim.run_for(SECOND / 2);
    new.pump();
    assert!(new.done.is_empty() && byte(&disk) == 0, "older writes are still to come");
    world.sim.run_for(SECOND);
    assert!(new.wait(&mut world, cid).status.is_success());
    assert_eq!(byte(&disk), 7);
    drop((admin, new));
    world.end();
}

/// Held back or not: whoever comes by another way waits for what it had sent by then.
#[test]
fn s393_a_queue_that_goes_on_writing_keeps_nobody_waiting() {
    let (mut world, disk) = short_world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut old = Host::io(&mut world, &bringup, 1);
    disk.takes(Duration::from_millis(100));
    let go_on = |old: &mut Host, world: &mut World| {
        while old.queue.in_flight().count() < 31 {
            old.submit(Sqe::blocks(io::WRITE, 2, 1, 1, 0), Payload::Send(512), &[3; BLOCK]);
        }
        old.pump();
        world.sim.run_for(Duration::from_millis(10));
        old.pump();
        old.done.clear();
    };
    go_on(&mut old, &mut world);
    let (mut new, cid) = connecting(&mut world, HOSTNQN, ANY, 0);
    assert!(new.done.is_empty());
    for _ in 0..200 {
        go_on(&mut old, &mut world);
        new.pump();
    }
    assert!(new.done.pop_front().is_some_and(|done| done.cid == cid && done.status.is_success()));
    drop((admin, old, new));
    world.end();
}

/// In each poll somebody else has something to say.
#[test]
fn s393_an_idle_queue_on_a_busy_core_keeps_nobody_waiting() {
    let (mut world, _) = world_with(Wishes { cores: 1, buffers: (4, 32), connections: 6, ..Wishes::default() });
    let (admin, bringup) = admin_of(&mut world, OTHER);
    let mut busy = [1, 2].map(|qid| others_io(&mut world, &bringup, qid));
    let (control, bringup) = admin_of(&mut world, HOSTNQN);
    let idle = Host::io(&mut world, &bringup, 1);
    let mut new = Host::new(&mut world, nvme::Shape::default(), 31);
    let data = vec![1; 64 * BLOCK];
    let writes = |host: &mut Host| {
        while host.queue.in_flight().count() < 15 {
            host.submit(Sqe::blocks(io::WRITE, 1, 0, 64, 0), Payload::Send(64 * 512), &data);
        }
        host.pump();
    };
    for host in &mut busy {
        host.is_mute = true;
        writes(host);
    }
    world.sim.settle();
    // More than is read in all looks, and from then on more in each turn.
    for host in &mut busy {
        host.pump();
        host.is_mute = false;
        let asked = std::mem::take(&mut host.asked);
        assert_eq!(asked.len(), 15);
        asked.into_iter().for_each(|cid| host.send_wanted(cid));
        host.pump();
    }
    let connect = ConnectData::new(id_of(HOSTNQN), ANY, NQN, HOSTNQN).expect("names");
    let cid = new.submit(Sqe::connect(0, 32, 0), Payload::Send(1024), connect.as_bytes());
    for _ in 0..300 {
        new.pump();
        let _ = world.sim.turn();
        for host in &mut busy {
            host.pump();
            host.done.clear();
            writes(host);
        }
    }
    new.pump();
    assert!(new.done.pop_front().is_some_and(|done| done.cid == cid && done.status.is_success()));
    drop((admin, busy, control, idle, new));
    world.end();
}

/// They are looked at together, and no oftener for each that comes.
#[test]
fn s354_who_connects_while_many_wait_is_looked_at_with_them() {
    let (mut world, disk) = world_with(Wishes { cores: 1, ..Wishes::default() });
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut old = Host::io(&mut world, &bringup, 1);
    disk.takes(3 * SECOND);
    write(&mut old, &mut world, 1);
    // Nobody has to wait for this one.
    let connect = |host: &mut Host, world: &mut World| {
        let data = ConnectData::new(id_of(OTHER), ANY, NQN, OTHER).expect("names");
        host.submit(Sqe::connect(0, 32, 0), Payload::Send(1024), data.as_bytes());
        settle(host, world);
    };
    let [mut early, mut late] = [(); 2].map(|()| Host::new(&mut world, nvme::Shape::default(), 31));
    let mut waiting: Vec<_> = (0..7).map(|_| connecting(&mut world, HOSTNQN, ANY, 0)).collect();
    connect(&mut early, &mut world);
    assert_eq!(early.done.len(), 1, "there are few");
    waiting.extend((0..3).map(|_| connecting(&mut world, HOSTNQN, ANY, 0)));
    connect(&mut late, &mut world);
    assert!(late.done.is_empty(), "it has no look of its own");
    world.sim.run_for(Duration::from_millis(2));
    settle(&mut late, &mut world);
    assert!(late.done.pop_front().is_some_and(|done| done.status.is_success()));
    world.sim.run_for(3 * SECOND);
    for (host, cid) in &mut waiting {
        assert!(host.wait(&mut world, *cid).status.is_success());
    }
    drop((admin, old, early, late, waiting));
    world.end();
}

#[test]
fn s398_a_connect_that_cannot_be_is_refused_at_once() {
    let (mut world, disk) = world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut old = Host::io(&mut world, &bringup, 1);
    let lives = Host::io(&mut world, &bringup, 2);
    disk.takes(2 * SECOND);
    write(&mut old, &mut world, 1);
    old.reset();
    world.sim.settle();
    for (cntlid, qid, code, at) in [
        (bringup.cntlid(), 200, Code::ConnectInvalid, invalid(Parameter::QID)),
        (bringup.cntlid() + 1, 1, Code::ConnectInvalid, invalid(Parameter::CNTLID)),
        (bringup.cntlid(), 2, Code::CommandSequenceError, 0),
    ] {
        let (new, _) = connecting(&mut world, HOSTNQN, cntlid, qid);
        assert_eq!(new.done.front().map(|done| (done.code(), done.result)), Some((code, at)), "{qid}");
    }
    // One that can be is looked at again when it has waited.
    let [(mut one, _), (mut two, _)] = [1, 1].map(|qid| connecting(&mut world, HOSTNQN, bringup.cntlid(), qid));
    world.sim.run_for(2 * SECOND + Duration::from_millis(1));
    [&mut one, &mut two].into_iter().for_each(Host::pump);
    let mut codes: Vec<_> = [&one, &two].iter().flat_map(|host| host.done.iter().map(|done| done.code())).collect();
    codes.sort_by_key(|code| *code as u16);
    assert_eq!(codes, [Code::Success, Code::CommandSequenceError]);
    drop((one, two));
    drop((admin, lives));
    world.end();
}

/// It is we who have it wait.
#[test]
fn s397_a_connect_that_waits_for_older_writes_has_come_in_time() {
    let (mut world, disk) = world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut old = Host::io(&mut world, &bringup, 1);
    let mut new = Host::new(&mut world, nvme::Shape::default(), 31);
    world.sim.run_for(8 * SECOND);
    disk.takes(4 * SECOND);
    write(&mut old, &mut world, 1);
    old.reset();
    world.sim.settle();
    let data = ConnectData::new(id_of(HOSTNQN), ANY, NQN, HOSTNQN).expect("names");
    let cid = new.submit(Sqe::connect(0, 32, 0), Payload::Send(1024), data.as_bytes());
    settle(&mut new, &mut world);
    world.sim.run_for(3 * SECOND);
    new.pump();
    assert!(new.done.is_empty() && !new.is_closed);
    world.sim.run_for(SECOND + Duration::from_millis(1));
    assert!(new.wait(&mut world, cid).status.is_success());
    drop((admin, new));
    world.end();
}

/// What its host says lies with us: neither its data, nor its keep alive, nor itself is late by
/// that.
#[test]
fn s397_a_queue_that_is_held_back_is_not_late() {
    let (mut world, disk) = short_world();
    let (admin, bringup) = admin_of(&mut world, OTHER);
    let mut busy = others_io(&mut world, &bringup, 1);
    let (mut control, bringup) = Host::admin_of(&mut world, nvme::Shape::default(), NQN, HOSTNQN, 2000);
    let mut held = Host::io(&mut world, &bringup, 1);
    held.is_mute = true;
    let data = vec![9; 64 * BLOCK];
    let asked = held.submit(Sqe::blocks(io::WRITE, 1, 0, 64, 0), Payload::Send(64 * 512), &data);
    settle(&mut held, &mut world);
    assert_eq!(held.asked, [asked]);
    disk.takes(6 * SECOND);
    for _ in 0..31 {
        busy.submit(Sqe::blocks(io::WRITE, 2, 0, 1, 0), Payload::Send(512), &[1; BLOCK]);
    }
    settle(&mut busy, &mut world);
    // Both are held back, and what is behind comes in time.
    let small = held.submit(waits_for_a_buffer(), Payload::Send(512), &[0; BLOCK]);
    let odd = control.submit(Sqe::set_feature(0x16, 0), Payload::Send(512), &data[..BLOCK]);
    settle(&mut held, &mut world);
    settle(&mut control, &mut world);
    for _ in 0..4 {
        let alive = control.submit(Bringup::keep_alive(), Payload::None, &[]);
        settle(&mut control, &mut world);
        assert!(control.done.iter().all(|done| done.cid != alive), "it is held back");
        world.sim.run_for(SECOND);
    }
    // Its buffer, and the time at which it is looked who is late, come together.
    world.sim.platform.advance(2 * SECOND + Duration::from_millis(10));
    assert!(held.wait(&mut world, small).status.is_success());
    control.wait(&mut world, odd);
    assert!(control.done.drain(..).all(|done| done.status.is_success()));
    // Others still wait for buffers, and it has 5 s from when it could go on.
    for _ in 0..3 {
        world.sim.run_for(SECOND);
        assert!(control.call(&mut world, Bringup::keep_alive(), Payload::None, &[]).status.is_success());
    }
    held.send_wanted(asked);
    assert!(held.wait(&mut world, asked).status.is_success());
    // From then on its time runs again.
    world.sim.run_for(4 * SECOND);
    control.closed(&mut world);
    held.closed(&mut world);
    world.sim.run_for(12 * SECOND);
    drop((admin, busy));
    world.end();
}

/// What would be a sign of its host waits in another of its queues.
#[test]
fn s397_a_controller_of_which_an_io_queue_is_held_back_does_not_expire() {
    let (mut world, disk) = short_world();
    let (admin, bringup) = admin_of(&mut world, OTHER);
    let mut busy = others_io(&mut world, &bringup, 1);
    let (mut control, bringup) = Host::admin_of(&mut world, nvme::Shape::default(), NQN, HOSTNQN, 2000);
    let mut held = Host::io(&mut world, &bringup, 1);
    disk.takes(6 * SECOND);
    for _ in 0..31 {
        busy.submit(Sqe::blocks(io::WRITE, 2, 0, 1, 0), Payload::Send(512), &[1; BLOCK]);
    }
    settle(&mut busy, &mut world);
    let small = held.submit(waits_for_a_buffer(), Payload::Send(512), &[0; BLOCK]);
    settle(&mut held, &mut world);
    world.sim.run_for(5 * SECOND);
    settle(&mut held, &mut world);
    assert!(held.done.is_empty() && !held.is_closed);
    world.sim.run_for(2 * SECOND);
    assert!(held.wait(&mut world, small).status.is_success());
    assert!(control.call(&mut world, Bringup::keep_alive(), Payload::None, &[]).status.is_success());
    // From then on its time runs again.
    world.sim.run_for(4 * SECOND);
    control.closed(&mut world);
    held.closed(&mut world);
    world.sim.run_for(12 * SECOND);
    drop((admin, busy));
    world.end();
}

/// All buffers are with commands whose data is behind one that finds none.
#[test]
fn s394_a_queue_does_not_wait_for_what_is_behind_what_waits() {
    for blocks in [17, 64] {
        let (mut world, _) = short_world();
        let (admin, bringup) = admin_of(&mut world, HOSTNQN);
        let mut host = Host::io(&mut world, &bringup, 1);
        let data = vec![5; 64 * BLOCK];
        for n in 0..20 {
            host.submit(Sqe::blocks(io::WRITE, 1, 64 * n, blocks, 0), Payload::Send(blocks * 512), &data[..blocks as usize * BLOCK]);
        }
        for n in 0..10 {
            host.submit(Sqe::blocks(io::WRITE, 1, 2048 + n, 1, 0), Payload::Send(512), &data[..BLOCK]);
        }
        world.until("all answers", |_| {
            host.pump();
            host.done.len() == 30
        });
        assert!(host.done.drain(..).all(|done| done.status.is_success()));
        assert_eq!(world.figure(|it| it.late.load(Ordering::Relaxed)), 0);
        drop((admin, host));
        world.end();
    }
}

/// The half of two fused commands at namespace 1.
fn half(opcode: u8, bits: u8) -> Sqe {
    let sqe = Sqe::blocks(opcode, 1, 0, 1, 0);
    Sqe { flags: sqe.flags | bits, ..sqe }
}

fn abort(world: &mut World, admin: &mut Host, cid: u16, qid: u16) -> u64 {
    let mut sqe = Sqe::new(nvme::command::admin::ABORT, 0);
    sqe.cdw10 = (u32::from(cid) << 16 | u32::from(qid)).into();
    admin.call(world, sqe, Payload::None, &[]).result
}

/// The second is what everything behind it waits for.
#[test]
fn s396_a_pair_that_is_held_back_is_not_aborted_by_its_first() {
    let (mut world, disk) = short_world();
    let (mut admin, bringup) = admin_of(&mut world, HOSTNQN);
    let [mut busy, mut host] = [1, 2].map(|qid| Host::io(&mut world, &bringup, qid));
    let first = host.submit(half(io::COMPARE, 1), Payload::Send(512), &[0; BLOCK]);
    settle(&mut host, &mut world);
    disk.takes(SECOND);
    for _ in 0..20 {
        busy.submit(Sqe::blocks(io::WRITE, 2, 0, 1, 0), Payload::Send(512), &[1; BLOCK]);
    }
    settle(&mut busy, &mut world);
    let second = host.submit(half(io::WRITE, 2), Payload::Send(512), &[4; BLOCK]);
    settle(&mut host, &mut world);
    assert_eq!(abort(&mut world, &mut admin, first, 2), 1, "it is not aborted");
    settle(&mut host, &mut world);
    assert!(host.done.is_empty());
    world.sim.run_for(4 * SECOND);
    for cid in [first, second] {
        assert!(host.wait(&mut world, cid).status.is_success());
    }
    assert!(host.read(&mut world, 0, 1).data == [4; BLOCK], "it goes on");
    drop((admin, busy, host));
    world.end();
}

/// What is excused while a queue is held back has an end, however often that is.
#[test]
fn s352_a_host_that_is_held_back_again_and_again_keeps_no_buffer_for_ever() {
    let (mut world, disk) = short_world();
    let (admin, bringup) = admin_of(&mut world, OTHER);
    let mut hoards = others_io(&mut world, &bringup, 1);
    let (control, bringup) = admin_of(&mut world, HOSTNQN);
    let mut good = Host::io(&mut world, &bringup, 1);
    hoards.is_mute = true;
    for _ in 0..8 {
        hoards.submit(Sqe::blocks(io::WRITE, 1, 0, 20, 0), Payload::Send(20 * 512), &[1; 20 * BLOCK]);
    }
    settle(&mut hoards, &mut world);
    assert_eq!(hoards.asked.len(), 8);
    disk.takes(Duration::from_millis(100));
    let mut go_on = |world: &mut World| {
        while hoards.queue.in_flight().count() < 31 {
            hoards.submit(Sqe::blocks(io::WRITE, 2, 0, 1, 0), Payload::Send(512), &[2; BLOCK]);
        }
        hoards.pump();
        world.sim.run_for(Duration::from_millis(50));
        hoards.pump();
        hoards.done.clear();
        hoards.is_closed
    };
    go_on(&mut world);
    let cid = good.submit(Sqe::blocks(io::WRITE, 1, 0, 20, 0), Payload::Send(20 * 512), &[3; 20 * BLOCK]);
    good.pump();
    assert!((0..1100).all(|_| !go_on(&mut world)), "it is held back, and excused");
    assert!(good.done.is_empty());
    assert!((0..200).any(|_| go_on(&mut world)), "a minute is long enough");
    assert!(good.wait(&mut world, cid).status.is_success());
    drop((admin, control, good));
    world.end();
}

/// Firsts that keep all buffers there are, those for data in capsules too.
fn firsts(world: &mut World, bringup: &Bringup) -> Vec<(Host, u16)> {
    let one = |qid| {
        let mut host = Host::io(world, bringup, qid);
        let cid = host.submit(half(io::COMPARE, 1), Payload::Send(512), &[0; BLOCK]);
        settle(&mut host, world);
        (host, cid)
    };
    (1..=12).map(one).collect()
}

#[test]
fn s353_a_first_whose_second_does_not_come_keeps_no_buffer_for_ever() {
    let (mut world, _) = short_world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut firsts = firsts(&mut world, &bringup);
    let mut good = Host::io(&mut world, &bringup, 20);
    // Nobody waits: there is time.
    world.sim.run_for(29 * SECOND);
    for (host, _) in &mut firsts {
        host.pump();
        assert!(host.done.is_empty());
    }
    world.sim.run_for(2 * SECOND);
    for (host, cid) in &mut firsts {
        assert_eq!(host.wait(&mut world, *cid).code(), Code::MissingFused);
        *cid = host.submit(half(io::COMPARE, 1), Payload::Send(512), &[0; BLOCK]);
        settle(host, &mut world);
    }
    // Somebody waits.
    let compare = good.submit(waits_for_a_buffer(), Payload::Send(512), &[0; BLOCK]);
    settle(&mut good, &mut world);
    world.sim.run_for(4 * SECOND);
    good.pump();
    assert!(good.done.is_empty());
    world.sim.run_for(2 * SECOND);
    assert!(good.wait(&mut world, compare).status.is_success());
    for (host, cid) in &mut firsts {
        assert_eq!(host.wait(&mut world, *cid).code(), Code::MissingFused);
        let second = host.call(&mut world, half(io::WRITE, 2), Payload::Send(512), &[1; BLOCK]);
        assert_eq!(second.code(), Code::FailedFused);
    }
    drop((admin, good, firsts));
    world.end();
}

#[test]
fn s353_pairs_that_wait_for_each_others_buffers_end() {
    let (mut world, _) = short_world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let mut firsts = firsts(&mut world, &bringup);
    let mut good = Host::io(&mut world, &bringup, 20);
    for (host, _) in &mut firsts {
        host.submit(half(io::WRITE, 2), Payload::Send(512), &[1; BLOCK]);
        settle(host, &mut world);
    }
    let compare = good.submit(waits_for_a_buffer(), Payload::Send(512), &[0; BLOCK]);
    settle(&mut good, &mut world);
    world.sim.run_for(62 * SECOND);
    assert!(good.wait(&mut world, compare).status.is_success());
    drop((admin, good, firsts));
    world.end();
}

/// Time passes, of a target that ends and so does not come to rest.
fn pass(world: &mut World, time: Duration) {
    let step = Duration::from_millis(1);
    for _ in 0..time.as_millis() {
        world.sim.platform.advance(step);
        for _ in 0..4 {
            let _ = world.sim.turn();
        }
    }
}

/// Nothing more is read once the end has been asked for, though a buffer comes home.
#[test]
fn s394_a_queue_that_was_held_back_takes_nothing_more_from_a_target_that_ends() {
    let (mut world, disk) = short_world();
    let (admin, bringup) = admin_of(&mut world, HOSTNQN);
    let [mut held, mut slow] = [1, 2].map(|qid| Host::io(&mut world, &bringup, qid));
    disk.takes(3 * SECOND);
    write(&mut slow, &mut world, 1);
    disk.takes(SECOND);
    for _ in 0..15 {
        held.submit(Sqe::blocks(io::WRITE, 2, 1, 1, 0), Payload::Send(512), &[2; BLOCK]);
    }
    settle(&mut held, &mut world);
    world.sim.lib().stop();
    pass(&mut world, Duration::from_millis(10));
    let late = held.submit(Sqe::blocks(io::WRITE, 1, 0, 1, 0), Payload::Send(512), &[3; BLOCK]);
    held.pump();
    disk.takes(Duration::ZERO);
    pass(&mut world, 2 * SECOND);
    held.pump();
    assert_eq!(held.done.len(), 15);
    assert!(held.done.drain(..).all(|done| done.status.is_success() && done.cid != late));
    drop((admin, held, slow));
    world.end();
}
