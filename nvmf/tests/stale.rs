//! Writes that a slow device still has when their queue has ended: nothing of the same host goes
//! past them.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bdev::{BdevError, Device, DeviceChannel, Io, Kind, Kinds, Mode, NewBdev, Request, Shape};
use common::{BLOCK, HOSTNQN, Host, NQN, World, id_of};
use core_reactor::{Cx, Instant};
use nvme::Code;
use nvme::command::{Sqe, io};
use nvme::fabrics::{ConnectData, cc, property};
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
    let world = World::new();
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
    let (admin, bringup) = Host::admin_of(&mut world, nvme::Shape::default(), NQN, HOSTNQN, 0);
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
    let (admin, bringup) = Host::admin_of(&mut world, nvme::Shape::default(), NQN, HOSTNQN, 0);
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
    let (one_admin, bringup_one) = Host::admin_of(&mut world, nvme::Shape::default(), NQN, HOSTNQN, 0);
    let (two_admin, bringup_two) = Host::admin_of(&mut world, nvme::Shape::default(), NQN, OTHER, 0);
    let mut one = Host::io(&mut world, &bringup_one, 1);
    let mut two = Host::io_of(&mut world, nvme::Shape::default(), NQN, OTHER, &bringup_two, 1);
    let mut dead = Host::io_of(&mut world, nvme::Shape::default(), NQN, OTHER, &bringup_two, 2);
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
        let (mut admin, bringup) = Host::admin_of(&mut world, nvme::Shape::default(), NQN, HOSTNQN, 0);
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
    let (mut admin, bringup) = Host::admin_of(&mut world, nvme::Shape::default(), NQN, HOSTNQN, 0);
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
