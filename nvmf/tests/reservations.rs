//! Reservations that are kept beyond the end of a target, and who is told what was done to them.

mod common;

use std::sync::{Arc, Mutex};

use bdev::Mode;
use bdev_malloc::Config;
use common::{HOSTNQN, Host, NQN, World, id_of};
use nvme::command::{Sqe, admin, io};
use nvme::host::Payload;
use nvme::identify::cns;
use nvme::log::{self, GetLogPage, Notice, ReservationPage, feature, lid};
use nvme::{Code, Shape};
use nvmf::{Keeper, Kept, NamespaceConfig, ToKeep};
use zerocopy::{FromBytes, IntoBytes};

const OTHER: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000002";

/// Keeps what it is given, when the test says so.
#[derive(Default)]
struct Shelf(Mutex<Vec<ToKeep>>);

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

impl Keeper for Shelf {
    fn name(&self) -> &str {
        "a shelf"
    }

    fn keep(&self, what: ToKeep) {
        self.0.lock().expect("nobody panics").push(what);
    }
}

impl Shelf {
    /// The next that is to be kept: it is, or not.
    fn keeps(&self, world: &mut World, outcome: Result<(), String>) -> Option<Kept> {
        let mut next = self.0.lock().expect("nobody panics").remove(0);
        let kept = next.begin();
        next.end(outcome);
        world.sim.settle();
        kept
    }
}

/// A namespace 2 whose reservations are on a shelf.
fn add(world: &World, shelf: &Arc<Shelf>, kept: Option<Kept>) {
    bdev_malloc::malloc(&world.bdevs, Config::new(512, 100).name("Malloc1")).expect("a device");
    let device = world.bdevs.get("Malloc1").and_then(|bdev| bdev.open(Mode::ReadWrite)).expect("it opens");
    let mut config = NamespaceConfig::new(device);
    config.keeper = Some(shelf.clone());
    config.kept = kept;
    assert_eq!(world.target.add_namespace(NQN, config).expect("a namespace"), 2);
}

fn of(opcode: u8, nsid: u32, word: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode, nsid);
    sqe.cdw10 = word.into();
    sqe
}

/// A reservation command that is under way.
fn send(host: &mut Host, world: &mut World, opcode: u8, word: u32, keys: [u64; 2]) -> u16 {
    let length = if opcode == io::RESERVATION_RELEASE { 8 } else { 16 };
    let cid = host.submit(of(opcode, 2, word), Payload::Send(length), &keys.as_bytes()[..length as usize]);
    host.pump();
    world.sim.settle();
    host.pump();
    cid
}

const PERSIST: u32 = 0b11 << 30;

#[test]
fn s378_what_is_to_last_is_kept_before_it_is_answered() {
    let (mut world, shelf) = (World::new(), Arc::new(Shelf::default()));
    add(&world, &shelf, None);
    let (mut admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    let mut identify = of(admin::IDENTIFY, 2, cns::NAMESPACE.into());
    let rescap = |admin: &mut Host, world: &mut World, sqe| admin.call(world, sqe, Payload::Receive(4096), &[]).data[31];
    assert_eq!(rescap(&mut admin, &mut world, identify) & 1, 1, "they can be made to last");
    identify.nsid = 1.into();
    assert_eq!(rescap(&mut admin, &mut world, identify) & 1, 0, "of a namespace without a keeper they cannot");
    // What is not to last is not kept.
    let cid = send(&mut host, &mut world, io::RESERVATION_REGISTER, 0, [0, 11]);
    assert!(host.wait(&mut world, cid).status.is_success());
    assert!(shelf.0.lock().expect("nobody panics").is_empty());
    let one = id_of(HOSTNQN);
    for (opcode, word, keys, wanted) in [
        (io::RESERVATION_REGISTER, 2 | PERSIST, [11, 12], Some(Kept { hosts: vec![(one, 12)], held: None })),
        (
            io::RESERVATION_ACQUIRE,
            1 << 8,
            [12, 0],
            Some(Kept { hosts: vec![(one, 12)], held: Some((nvme::reservation::Kind::WriteExclusive, one)) }),
        ),
        (io::RESERVATION_RELEASE, 1 << 8, [12, 0], Some(Kept { hosts: vec![(one, 12)], held: None })),
        (io::RESERVATION_REGISTER, 2 | 0b10 << 30, [12, 13], None),
    ] {
        let cid = send(&mut host, &mut world, opcode, word, keys);
        assert!(host.done.is_empty(), "{opcode:#x}: it is not kept yet");
        assert_eq!(shelf.keeps(&mut world, Ok(())), wanted);
        assert!(host.wait(&mut world, cid).status.is_success());
    }
    // Not kept is not done, whoever has ended meanwhile.
    let cid = send(&mut host, &mut world, io::RESERVATION_REGISTER, 2 | PERSIST, [13, 14]);
    shelf.keeps(&mut world, Err("no room".into()));
    assert_eq!(host.wait(&mut world, cid).code(), Code::InternalError);
    send(&mut host, &mut world, io::RESERVATION_ACQUIRE, 1 << 8, [14, 0]);
    host.reset();
    world.sim.settle();
    shelf.keeps(&mut world, Ok(()));
    drop(admin);
    world.end();
}

#[test]
fn s478_many_changes_are_one_write_more() {
    let (mut world, shelf) = (World::new(), Arc::new(Shelf::default()));
    add(&world, &shelf, None);
    let (admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    let waiting = || shelf.0.lock().expect("nobody panics").len();
    let mut cids = vec![send(&mut host, &mut world, io::RESERVATION_REGISTER, PERSIST, [0, 1])];
    let one = |key| Some(Kept { hosts: vec![(id_of(HOSTNQN), key)], held: None });
    let mut first = shelf.0.lock().expect("nobody panics").remove(0);
    assert_eq!(first.begin(), one(1));
    for key in 1..20 {
        cids.push(send(&mut host, &mut world, io::RESERVATION_REGISTER, 2, [key, key + 1]));
        assert_eq!(waiting(), 1, "whatever comes while it is under way");
    }
    first.end(Ok(()));
    world.sim.settle();
    assert!(host.wait(&mut world, cids[0]).status.is_success());
    assert_eq!((waiting(), host.done.len()), (1, 0), "the others are not kept yet");
    assert_eq!(shelf.keeps(&mut world, Ok(())), one(20));
    for cid in &cids[1..] {
        assert!(host.wait(&mut world, *cid).status.is_success());
    }
    assert_eq!(waiting(), 0);
    drop((admin, host));
    world.end();
}

#[test]
fn s378_what_was_kept_holds_others_back_at_once() {
    let (mut world, shelf) = (World::new(), Arc::new(Shelf::default()));
    let one = id_of(HOSTNQN);
    let kept = Kept { hosts: vec![(one, 7)], held: Some((nvme::reservation::Kind::WriteExclusive, one)) };
    add(&world, &shelf, Some(kept));
    let (mut admin, bringup) = Host::admin(&mut world);
    let mut host = Host::io(&mut world, &bringup, 1);
    let (others_admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, OTHER, 0);
    let mut other = Host::io_of(&mut world, Shape::default(), NQN, OTHER, &bringup, 1);
    let write = Sqe::blocks(io::WRITE, 2, 0, 1, 0);
    assert_eq!(other.call(&mut world, write, Payload::Send(512), &[1; 512]).code(), Code::ReservationConflict);
    assert_eq!(host.call(&mut world, write, Payload::Send(512), &[1; 512]).code(), Code::Success);
    let mut report = of(io::RESERVATION_REPORT, 2, 31);
    report.cdw11 = 1.into();
    let data = host.call(&mut world, report, Payload::Receive(128), &[]).data;
    assert_eq!((data[4], data[5], data[9], data[66]), (1, 1, 1, 1), "held, one registrant, PTPLS, who holds it");
    // Feature 83h says the same, and changes it.
    let get = |admin: &mut Host, world: &mut World| {
        let sqe = of(admin::GET_FEATURES, 2, feature::RESERVATION_PERSISTENCE.into());
        admin.call(world, sqe, Payload::None, &[]).result
    };
    assert_eq!(get(&mut admin, &mut world), 1);
    let set = of(admin::SET_FEATURES, 2, feature::RESERVATION_PERSISTENCE.into());
    let cid = admin.submit(set, Payload::None, &[]);
    admin.pump();
    world.sim.settle();
    admin.pump();
    assert!(admin.done.is_empty());
    assert_eq!(shelf.keeps(&mut world, Ok(())), None);
    assert!(admin.wait(&mut world, cid).status.is_success());
    assert_eq!(get(&mut admin, &mut world), 0);
    // A namespace that has no keeper cannot.
    let mut set = of(admin::SET_FEATURES, 1, feature::RESERVATION_PERSISTENCE.into());
    set.cdw11 = 1.into();
    assert_eq!(admin.call(&mut world, set, Payload::None, &[]).code(), Code::InvalidField);
    drop((admin, host, other, others_admin));
    world.end();
}

fn page(admin: &mut Host, world: &mut World, flags: u8) -> (u64, u8, u8, u32) {
    let page = GetLogPage::new(lid::RESERVATIONS, flags, 0, 64);
    let data = admin.call(world, Sqe::get_log_page(0xFFFF_FFFF, &page), Payload::Receive(64), &[]).data;
    let page = ReservationPage::read_from_bytes(&data[..]).expect("a page");
    (page.count.get(), page.kind, page.behind, page.nsid.get())
}

/// One that succeeds.
fn done(host: &mut Host, world: &mut World, opcode: u8, word: u32, keys: [u64; 2]) {
    let cid = send(host, world, opcode, word, keys);
    assert!(host.wait(world, cid).status.is_success());
}

/// Both register, and one ends the other's registration.
fn preempt(world: &mut World, one: &mut Host, two: &mut Host) {
    done(one, world, io::RESERVATION_REGISTER, 1 << 3, [0, 11]);
    done(two, world, io::RESERVATION_REGISTER, 0, [0, 22]);
    done(one, world, io::RESERVATION_ACQUIRE, 1 | 1 << 8, [11, 22]);
}

#[test]
fn s380_a_host_is_told_what_others_have_done_to_its_registration() {
    let (mut world, shelf) = (World::new(), Arc::new(Shelf::default()));
    add(&world, &shelf, None);
    let (one_admin, bringup) = Host::admin(&mut world);
    let mut one = Host::io(&mut world, &bringup, 1);
    let (mut two_admin, bringup) = Host::admin_of(&mut world, Shape::default(), NQN, OTHER, 0);
    let mut two = Host::io_of(&mut world, Shape::default(), NQN, OTHER, &bringup, 1);
    assert_eq!(page(&mut two_admin, &mut world, 0), (0, 0, 0, 0));
    let event = |admin: &mut Host| admin.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
    let heard = |admin: &mut Host, world: &mut World, cid| log::Event::of(admin.wait(world, cid).result as u32);
    let first = event(&mut two_admin);
    preempt(&mut world, &mut one, &mut two);
    preempt(&mut world, &mut one, &mut two);
    assert_eq!(heard(&mut two_admin, &mut world, first), Some(log::Event::Reservations));
    let preempted = Notice::RegistrationPreempted as u8;
    // Looking at it and keeping the event changes nothing.
    assert_eq!(page(&mut two_admin, &mut world, GetLogPage::RETAIN), (1, preempted, 1, 2));
    let second = event(&mut two_admin);
    assert_eq!(page(&mut two_admin, &mut world, 0), (1, preempted, 1, 2));
    assert_eq!(heard(&mut two_admin, &mut world, second), Some(log::Event::Reservations), "there is one more");
    assert_eq!(page(&mut two_admin, &mut world, 0), (2, preempted, 0, 2));
    assert_eq!(page(&mut two_admin, &mut world, 0), (0, 0, 0, 0));
    // What a host does not want to hear.
    let mut mask = of(admin::SET_FEATURES, 0xFFFF_FFFF, feature::RESERVATION_MASK.into());
    mask.cdw11 = Notice::RegistrationPreempted.bit().into();
    assert!(two_admin.call(&mut world, mask, Payload::None, &[]).status.is_success());
    let get = of(admin::GET_FEATURES, 2, feature::RESERVATION_MASK.into());
    assert_eq!(two_admin.call(&mut world, get, Payload::None, &[]).result, 1 << 1);
    preempt(&mut world, &mut one, &mut two);
    assert_eq!(page(&mut two_admin, &mut world, 0), (0, 0, 0, 0));
    // All is cleared: that is another notice.
    done(&mut two, &mut world, io::RESERVATION_REGISTER, 0, [0, 22]);
    done(&mut one, &mut world, io::RESERVATION_RELEASE, 1, [11, 0]);
    assert_eq!(page(&mut two_admin, &mut world, 0), (3, Notice::ReservationPreempted as u8, 0, 2));
    mask.nsid = 9.into();
    assert_eq!(two_admin.call(&mut world, mask, Payload::None, &[]).code(), Code::InvalidNamespace);
    drop((one_admin, two_admin, one, two));
    world.end();
}
