//! Hosts that have to show who they are: those who can are served, and nobody else is.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{BLOCK, Done, HOSTNQN, Host, NQN, World, id_of};
use keyring::Key;
use nvme::auth::{self, Failure, Group, Hash, HostError, Policy, Secret, Step};
use nvme::command::{Sqe, admin, io};
use nvme::fabrics::{ConnectData, asks_who, cc, property};
use nvme::host::{Bringup, Payload, Step as Up};
use nvme::{Code, Shape};
use nvmf::{Helper, HostKeys, NvmfError};
use zerocopy::IntoBytes;

type Work = Box<dyn FnOnce() + Send>;

/// Computes when the test says so.
#[derive(Default)]
struct Later(Mutex<(u64, Vec<Work>)>);

impl Helper for Later {
    fn random(&self, bytes: &mut [u8]) {
        let seed = &mut self.0.lock().unwrap().0;
        *seed += 1;
        fastrand::Rng::with_seed(*seed).fill(bytes);
    }

    fn compute(&self, work: Work) {
        self.0.lock().unwrap().1.push(work);
    }
}

impl Later {
    fn waiting(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    fn compute_all(&self) {
        let all = std::mem::take(&mut self.0.lock().unwrap().1);
        all.into_iter().for_each(|work| work());
    }
}

fn secret(first: u8) -> Secret {
    Secret::new(&[first; 48], Some(Hash::Sha384)).unwrap()
}

fn key(name: &str, first: u8) -> Option<Arc<Key>> {
    Some(Arc::new(Key::new(name, &secret(first).text())))
}

fn one_way() -> HostKeys {
    HostKeys { dhchap_key: key("host", 1), dhchap_ctrlr_key: None }
}

fn both_ways() -> HostKeys {
    HostKeys { dhchap_ctrlr_key: key("controller", 2), ..one_way() }
}

/// A target that knows a host with these keys.
fn world(keys: &HostKeys) -> (World, Arc<Later>) {
    let (world, later) = (World::new(), Arc::new(Later::default()));
    world.target.set_helper(later.clone());
    world.target.add_host_with(NQN, HOSTNQN, keys).unwrap();
    (world, later)
}

/// What the host knows.
fn knows(first: u8, controller: Option<u8>) -> auth::Host {
    auth::Host::new(Policy::default(), HOSTNQN, NQN, &secret(first), controller.map(secret).as_ref(), 3)
}

fn call(world: &mut World, later: &Later, host: &mut Host, sqe: Sqe, payload: Payload, data: &[u8]) -> Done {
    let cid = host.submit(sqe, payload, data);
    let mut found = None;
    world.until("an answer", |_| {
        later.compute_all();
        host.pump();
        found = host.done.iter().position(|done| done.cid == cid);
        found.is_some() || host.is_closed
    });
    found.and_then(|at| host.done.remove(at)).expect("an answer before the end")
}

/// Goes through an authentication, with what `change` makes of each message of the host.
fn prove(
    world: &mut World,
    later: &Later,
    host: &mut Host,
    end: &mut auth::Host,
    mut change: impl FnMut(usize, Vec<u8>) -> Vec<u8>,
) -> Step {
    for number in 0.. {
        let done = match end.step() {
            Step::Send(sqe) => {
                let data = change(number, end.data().to_vec());
                let sqe = Sqe { cdw11: (data.len() as u32).into(), ..sqe };
                call(world, later, host, sqe, Payload::Send(data.len() as u32), &data)
            }
            Step::Receive(sqe, length) => call(world, later, host, sqe, Payload::Receive(length), &[]),
            ended => return ended,
        };
        end.done(done.status, &done.data, &mut |bytes| fastrand::Rng::with_seed(9).fill(bytes));
    }
    unreachable!("the messages come to an end")
}

/// An admin queue that is connected and asked who it is.
fn asked(world: &mut World) -> Host {
    asked_as(world, 0)
}

fn asked_as(world: &mut World, kato: u32) -> Host {
    let mut host = Host::new(world, Shape::default(), 31);
    let data = ConnectData::new(id_of(HOSTNQN), 0xFFFF, NQN, HOSTNQN).unwrap();
    let done = host.call(world, Sqe::connect(0, 32, kato), Payload::Send(1024), data.as_bytes());
    assert!(done.status.is_success() && asks_who(done.result), "{done:?}");
    host
}

/// An admin queue whose controller is ready.
fn admin(world: &mut World, later: &Later, mut end: auth::Host) -> (Host, Bringup) {
    let mut host = Host::new(world, Shape::default(), 31);
    let data = ConnectData::new(id_of(HOSTNQN), 0, NQN, HOSTNQN).unwrap();
    let mut bringup = Bringup::new(data, 32, 15_000, 8);
    let mut was_asked = false;
    loop {
        match bringup.step() {
            Up::Ready => break,
            Up::Authenticate => {
                assert_eq!(prove(world, later, &mut host, &mut end, |_, data| data), Step::Authenticated);
                was_asked = true;
                bringup.authenticated();
            }
            Up::Submit(sqe, payload) => {
                let sends = if matches!(payload, Payload::Send(_)) { bringup.data().as_bytes().to_vec() } else { Vec::new() };
                let done = host.call(world, sqe, payload, &sends);
                bringup.done(done.status, done.result, &done.data).expect("a controller that comes up");
            }
        }
    }
    assert!(was_asked);
    (host, bringup)
}

fn io_queue(world: &mut World, bringup: &Bringup, qid: u16) -> Host {
    let (host, done) = Host::try_io(world, Shape::default(), NQN, HOSTNQN, bringup, qid);
    assert!(done.status.is_success() && asks_who(done.result), "{done:?}");
    host
}

fn failures(world: &World) -> u64 {
    world.figure(|it| it.unauthenticated.load(std::sync::atomic::Ordering::Relaxed))
}

fn successes(world: &World) -> u64 {
    world.figure(|it| it.authenticated.load(std::sync::atomic::Ordering::Relaxed))
}

#[test]
fn s357_a_host_that_shows_who_it_is_is_served_on_each_queue() {
    for (keys, controller, groups) in [
        (one_way(), None, vec![Group::Null]),
        (both_ways(), None, vec![Group::Null]),
        (both_ways(), Some(2), vec![Group::Null]),
        (both_ways(), Some(2), vec![Group::Ffdhe2048]),
    ] {
        let (mut world, later) = world(&keys);
        world.target.set_policy(Policy { groups, ..Policy::default() });
        let (_admin, bringup) = admin(&mut world, &later, knows(1, controller));
        let mut queue = io_queue(&mut world, &bringup, 1);
        assert_eq!(queue.read(&mut world, 0, 1).code(), Code::AuthenticationRequired);
        let end = prove(&mut world, &later, &mut queue, &mut knows(1, controller), |_, data| data);
        assert_eq!(end, Step::Authenticated);
        let data = vec![7; BLOCK];
        assert!(queue.write(&mut world, 3, &data).status.is_success());
        assert_eq!(queue.read(&mut world, 3, 1).data, data);
        assert_eq!((successes(&world), failures(&world)), (2, 0));
        drop(queue);
        world.end();
    }
}

/// Whatever it asks for, with data or without.
#[test]
fn s357_nothing_is_done_for_a_host_that_has_not() {
    let (mut world, later) = world(&one_way());
    let mut host = asked(&mut world);
    for (sqe, payload) in [
        (Sqe::property_get(property::CAP, true), Payload::None),
        (Sqe::property_set(property::CC, cc::EN | cc::ENTRY_SIZES), Payload::None),
        (Sqe::identify(1, 0), Payload::Receive(4096)),
        (Sqe::new(admin::KEEP_ALIVE, 0), Payload::None),
        (Sqe::new(admin::ASYNC_EVENT, 0), Payload::None),
        (Sqe::blocks(io::WRITE, 1, 0, 8, 0), Payload::Send(4096)),
        (Sqe::blocks(io::WRITE, 1, 0, 256, 0), Payload::Send(131_072)),
        (Sqe::fabrics(nvme::fabrics::DISCONNECT), Payload::None),
    ] {
        let data = if let Payload::Send(length) = payload { vec![1; length as usize] } else { Vec::new() };
        let done = call(&mut world, &later, &mut host, sqe, payload, &data);
        assert_eq!(done.code(), Code::AuthenticationRequired, "{sqe:?}");
    }
    let long = Sqe::authentication_receive(131_072);
    assert_eq!(call(&mut world, &later, &mut host, long, Payload::Receive(131_072), &[]).code(), Code::InvalidField);
    let early = Sqe::authentication_receive(4096);
    assert_eq!(call(&mut world, &later, &mut host, early, Payload::Receive(4096), &[]).code(), Code::CommandSequenceError);
    let other = Sqe { cdw10: 0.into(), ..Sqe::authentication_send(8) };
    assert_eq!(call(&mut world, &later, &mut host, other, Payload::Send(8), &[0; 8]).code(), Code::InvalidField);
    // By none of these it has shown anything; it may still do so.
    let done = host.call(&mut world, Sqe::property_get(property::CAP, true), Payload::None, &[]);
    assert_eq!(done.code(), Code::AuthenticationRequired);
    assert_eq!(prove(&mut world, &later, &mut host, &mut knows(1, None), |_, data| data), Step::Authenticated);
    let done = host.call(&mut world, Sqe::property_get(property::CAP, true), Payload::None, &[]);
    assert!(done.status.is_success());
    // Another host is not asked, since any may connect; nor is this one elsewhere.
    let (other, _) = Host::admin_of(&mut world, Shape::default(), NQN, "nqn.2024-01.example:other", 0);
    drop((host, other));
    world.end();
}

#[test]
fn s358_a_host_that_cannot_is_told_and_disconnected() {
    for (end, groups) in [(knows(9, None), vec![Group::Null]), (knows(9, Some(2)), vec![Group::Ffdhe2048])] {
        let (mut world, later) = world(&both_ways());
        world.target.set_policy(Policy { groups, ..Policy::default() });
        let (mut host, mut end) = (asked(&mut world), end);
        let step = prove(&mut world, &later, &mut host, &mut end, |_, data| data);
        assert_eq!(step, Step::Failed(HostError::Refused(Failure::Failed as u8)));
        host.closed(&mut world);
        assert_eq!((successes(&world), failures(&world)), (0, 1));
        assert!(world.target.subsystem(NQN).unwrap().controllers().is_empty(), "the controller has ended with it");
        drop(host);
        world.end();
    }
    // A controller with another key than the host knows.
    let (mut world, later) = world(&both_ways());
    let (mut host, mut end) = (asked(&mut world), knows(1, Some(8)));
    assert_eq!(prove(&mut world, &later, &mut host, &mut end, |_, data| data), Step::Failed(HostError::Controller(Failure::Failed)));
    host.closed(&mut world);
    assert_eq!((successes(&world), failures(&world)), (0, 1));
    drop(host);
    world.end();
}

/// An I/O queue ends alone.
#[test]
fn s358_the_other_queues_go_on() {
    let (mut world, later) = world(&one_way());
    let (mut control, bringup) = admin(&mut world, &later, knows(1, None));
    let mut good = io_queue(&mut world, &bringup, 1);
    assert_eq!(prove(&mut world, &later, &mut good, &mut knows(1, None), |_, data| data), Step::Authenticated);
    let mut bad = io_queue(&mut world, &bringup, 2);
    assert!(matches!(prove(&mut world, &later, &mut bad, &mut knows(5, None), |_, data| data), Step::Failed(_)));
    bad.closed(&mut world);
    assert!(good.read(&mut world, 0, 1).status.is_success());
    assert!(control.call(&mut world, Sqe::new(admin::KEEP_ALIVE, 0), Payload::None, &[]).status.is_success());
    drop((control, good, bad));
    world.end();
}

/// In each phase: what was begun and not ended, and what was never begun.
#[test]
fn s359_a_host_that_does_not_go_on_is_cut_and_one_that_leaves_leaves_nothing() {
    for phase in 0..6 {
        for leaves in [false, true] {
            let (mut world, later) = world(&both_ways());
            world.target.set_policy(Policy { groups: vec![Group::Ffdhe2048], ..Policy::default() });
            let (mut host, mut end) = (asked(&mut world), knows(1, Some(2)));
            for _ in 0..phase {
                let done = match end.step() {
                    Step::Send(sqe) => {
                        let data = end.data().to_vec();
                        call(&mut world, &later, &mut host, sqe, Payload::Send(data.len() as u32), &data)
                    }
                    Step::Receive(sqe, length) => call(&mut world, &later, &mut host, sqe, Payload::Receive(length), &[]),
                    ended => panic!("{ended:?} in phase {phase}"),
                };
                end.done(done.status, &done.data, &mut |bytes| bytes.fill(4));
                if end.step() == Step::Authenticated {
                    break;
                }
            }
            if end.step() == Step::Authenticated {
                continue;
            }
            // And in the middle of a computation.
            if let (Step::Send(sqe), true) = (end.step(), leaves) {
                let data = end.data().to_vec();
                host.submit(sqe, Payload::Send(data.len() as u32), &data);
                for _ in 0..100 {
                    host.pump();
                    let _ = world.sim.turn();
                }
            }
            if leaves {
                drop(host);
                world.until("its end", |world| world.target.subsystem(NQN).unwrap().controllers().is_empty());
                later.compute_all();
            } else {
                world.sim.platform.advance(Duration::from_secs(11));
                host.closed(&mut world);
                assert_eq!(failures(&world), 1, "phase {phase}");
            }
            world.end();
        }
    }
}

/// What may wait to be computed, and how much of it from one address alone.
const MOST: usize = 64;
const ALONE: usize = MOST / 2;

/// So many hosts more have something computed for them, which waits.
fn fill(world: &mut World, later: &Later, hosts: usize) -> Vec<Host> {
    let Step::Send(sqe) = knows(1, None).step() else { panic!("it begins with a message") };
    let data = knows(1, None).data().to_vec();
    let all = (0..hosts).map(|_| {
        let (mut host, before) = (asked(world), later.waiting());
        host.submit(sqe, Payload::Send(data.len() as u32), &data);
        world.until("work", |_| {
            host.pump();
            later.waiting() > before
        });
        host
    });
    all.collect()
}

#[test]
fn s477_one_address_leaves_room_for_others() {
    let (mut world, later) = world(&one_way());
    world.target.set_policy(Policy { groups: vec![Group::Ffdhe2048], ..Policy::default() });
    let Step::Send(sqe) = knows(1, None).step() else { panic!("it begins with a message") };
    let data = knows(1, None).data().to_vec();
    let is_turned_away = |world: &mut World| {
        let done = asked(world).call(world, sqe, Payload::Send(data.len() as u32), &data);
        done.code() == Code::Interrupted && !done.status.is_final()
    };
    let mut hosts = fill(&mut world, &later, ALONE);
    assert!(is_turned_away(&mut world), "it leaves as much as it has");
    let first = world.at;
    world.at = world.target.add_listener(NQN, "[::1]:0".parse().unwrap()).unwrap();
    world.sim.settle();
    hosts.extend(fill(&mut world, &later, (MOST - ALONE) / 2));
    assert!(is_turned_away(&mut world), "so does who comes then");
    assert_eq!(later.waiting(), ALONE + (MOST - ALONE) / 2);
    // What has been computed makes room, for the first too.
    later.compute_all();
    world.sim.settle();
    world.at = first;
    hosts.extend(fill(&mut world, &later, ALONE));
    later.compute_all();
    drop(hosts);
    world.end();
}

#[test]
fn s360_no_more_is_computed_for_strangers_at_once_than_there_is_room_for() {
    let (mut world, later) = world(&one_way());
    world.target.set_policy(Policy { groups: vec![Group::Ffdhe2048], ..Policy::default() });
    let mut hosts = fill(&mut world, &later, ALONE);
    hosts.push(asked(&mut world));
    let (sqe, data) = (knows(1, None).step(), knows(1, None).data().to_vec());
    let Step::Send(sqe) = sqe else { panic!("it begins with a message") };
    let last = &mut hosts[ALONE];
    let done = last.call(&mut world, sqe, Payload::Send(data.len() as u32), &data);
    assert!(done.code() == Code::Interrupted && !done.status.is_final(), "{done:?}");
    assert_eq!(later.waiting(), ALONE);
    assert_eq!(world.figure(|it| it.auth_turned_away.load(std::sync::atomic::Ordering::Relaxed)), 1);
    // While something is computed nothing else is taken of that host, not even a second message.
    let receive = Sqe::authentication_receive(4096);
    assert_eq!(hosts[0].call(&mut world, receive, Payload::Receive(4096), &[]).code(), Code::CommandSequenceError);
    later.compute_all();
    // There is room again, and the one that was turned away has lost nothing.
    assert_eq!(prove(&mut world, &later, &mut hosts[ALONE], &mut knows(1, None), |_, data| data), Step::Authenticated);
    drop(hosts);
    world.end();
}

#[test]
fn s360_a_known_host_that_is_not_heard_has_lost_nothing() {
    let (mut world, later) = world(&one_way());
    let (mut known, bringup) = admin(&mut world, &later, knows(1, None));
    world.target.set_policy(Policy { groups: vec![Group::Ffdhe2048], ..Policy::default() });
    let hosts = fill(&mut world, &later, ALONE);
    let Step::Send(sqe) = knows(1, None).step() else { panic!("it begins with a message") };
    let data = knows(1, None).data().to_vec();
    let done = known.call(&mut world, sqe, Payload::Send(data.len() as u32), &data);
    assert!(done.code() == Code::Interrupted && !done.status.is_final(), "{done:?}");
    let odd = Sqe { cdw10: 0.into(), ..Sqe::authentication_send(8) };
    assert_eq!(known.call(&mut world, odd, Payload::Send(8), &[0; 8]).code(), Code::InvalidField);
    world.sim.platform.advance(Duration::from_secs(11));
    assert!(known.call(&mut world, Sqe::new(admin::KEEP_ALIVE, 0), Payload::None, &[]).status.is_success());
    later.compute_all();
    let mut queue = io_queue(&mut world, &bringup, 1);
    assert_eq!(prove(&mut world, &later, &mut queue, &mut knows(1, None), |_, data| data), Step::Authenticated);
    assert_eq!(prove(&mut world, &later, &mut known, &mut knows(1, None), |_, data| data), Step::Authenticated);
    drop((known, queue, hosts));
    world.end();
}

#[test]
fn s361_a_host_may_show_again_who_it_is_and_is_cut_if_it_cannot() {
    let (mut world, later) = world(&one_way());
    let (mut control, bringup) = admin(&mut world, &later, knows(1, None));
    let mut queue = io_queue(&mut world, &bringup, 1);
    assert_eq!(prove(&mut world, &later, &mut queue, &mut knows(1, None), |_, data| data), Step::Authenticated);
    for queue in [&mut control, &mut queue] {
        assert_eq!(prove(&mut world, &later, queue, &mut knows(1, None), |_, data| data), Step::Authenticated);
    }
    assert!(queue.read(&mut world, 0, 1).status.is_success());
    assert_eq!(successes(&world), 4);
    // With the keys that it has by now.
    world.target.set_keys(NQN, HOSTNQN, &HostKeys { dhchap_key: key("new", 6), dhchap_ctrlr_key: None }).unwrap();
    assert!(queue.read(&mut world, 0, 1).status.is_success(), "what is there goes on");
    assert_eq!(prove(&mut world, &later, &mut queue, &mut knows(6, None), |_, data| data), Step::Authenticated);
    // A reply that is wrong: nothing is done for it from then on.
    let mut end = knows(1, None);
    let mut after = None;
    for _ in 0..3 {
        let done = match end.step() {
            Step::Send(sqe) => {
                let data = end.data().to_vec();
                call(&mut world, &later, &mut queue, sqe, Payload::Send(data.len() as u32), &data)
            }
            Step::Receive(sqe, length) => call(&mut world, &later, &mut queue, sqe, Payload::Receive(length), &[]),
            ended => panic!("{ended:?}"),
        };
        end.done(done.status, &done.data, &mut |bytes| bytes.fill(4));
        after = Some(queue.read(&mut world, 0, 1).code());
    }
    assert_eq!(after, Some(Code::AuthenticationRequired));
    assert_eq!(prove(&mut world, &later, &mut queue, &mut end, |_, data| data), Step::Failed(HostError::Refused(1)));
    queue.closed(&mut world);
    // One that begins again and does not end.
    let Step::Send(sqe) = knows(6, None).step() else { panic!("it begins with a message") };
    let data = knows(6, None).data().to_vec();
    assert!(control.call(&mut world, sqe, Payload::Send(data.len() as u32), &data).status.is_success());
    world.sim.platform.advance(Duration::from_secs(11));
    control.closed(&mut world);
    drop((control, queue));
    world.end();
}

/// Changed, cut off, longer, of another time: nothing but the right messages is taken, and nothing
/// brings the target down.
#[test]
fn s362_whatever_a_host_sends_it_is_not_let_in_by_it() {
    let (mut world, later) = world(&both_ways());
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut host, mut end) = (asked(&mut world), knows(1, Some(2)));
        let odd = [0, 2, 4][rng.usize(..3)];
        let step = prove(&mut world, &later, &mut host, &mut end, |number, mut data| {
            if number == odd {
                match rng.u8(..4) {
                    0 => data.truncate(rng.usize(1..data.len() / 4) * 4),
                    1 => data.extend((0..rng.usize(1..1000) * 4).map(|_| 0xA5)),
                    2 => rng.fill(&mut data),
                    _ => {
                        let at = [0, 1, 4, 5][rng.usize(..4)];
                        data[at] ^= rng.u8(1..);
                    }
                }
            }
            data
        });
        // More than a message has, behind it, says nothing.
        let is_known = host.is_closed || {
            let done = host.submit(Sqe::property_get(property::CAP, true), Payload::None, &[]);
            world.until("an answer or the end", |_| {
                host.pump();
                host.is_closed || host.done.iter().any(|it| it.cid == done)
            });
            host.done.iter().any(|it| it.cid == done && it.status.is_success())
        };
        assert!(!is_known || host.is_closed || step == Step::Authenticated, "seed {seed}: {step:?}");
    }
    world.end();
}

#[test]
fn s363_keys_that_are_none_are_refused() {
    let world = World::new();
    let add = |keys: &HostKeys| world.target.add_host_with(NQN, HOSTNQN, keys);
    assert!(matches!(add(&one_way()), Err(NvmfError::NoAuthentication)), "nobody helps");
    world.target.set_helper(Arc::new(Later::default()));
    let alone = HostKeys { dhchap_key: None, ..both_ways() };
    assert!(matches!(add(&alone), Err(NvmfError::ControllerKeyAlone)));
    let none = HostKeys { dhchap_key: Some(Arc::new(Key::new("psk", "NVMeTLSkey-1:01:AAAA:"))), dhchap_ctrlr_key: None };
    let why = add(&none).unwrap_err().to_string();
    assert!(why.starts_with("key 'psk': a secret looks like DHHC-1:00:"), "{why}");
    assert!(matches!(world.target.set_keys(NQN, HOSTNQN, &one_way()), Err(NvmfError::NoHost { .. })));
    assert!(world.target.subsystem(NQN).unwrap().hosts().is_empty(), "nothing has changed");
    add(&both_ways()).unwrap();
    assert!(matches!(world.target.set_keys(NQN, HOSTNQN, &alone), Err(NvmfError::ControllerKeyAlone)));
    let hosts = world.target.subsystem(NQN).unwrap().hosts();
    let names = (hosts[0].dhchap_key().map(Key::name), hosts[0].dhchap_ctrlr_key().map(Key::name));
    assert_eq!(names, (Some("host"), Some("controller")));
    assert!(!format!("{hosts:?}").contains("DHHC"), "{hosts:?}");
    world.end();
}

/// Whoever says that it is a host is not one that lives.
#[test]
fn s398_who_has_not_shown_who_it_is_keeps_no_controller_alive() {
    let (mut world, later) = world(&one_way());
    // Silent from now on.
    let (control, bringup) = admin(&mut world, &later, knows(1, None));
    let mut strangers = Vec::new();
    for second in 0..18 {
        if second % 6 == 0 {
            strangers.push(io_queue(&mut world, &bringup, second / 6 + 1));
        }
        let last = strangers.last_mut().expect("one");
        last.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]);
        last.pump();
        world.sim.run_for(Duration::from_secs(1));
        last.pump();
    }
    assert_eq!(world.figure(|it| it.expired.load(std::sync::atomic::Ordering::Relaxed)), 1);
    assert!(world.target.subsystem(NQN).unwrap().controllers().is_empty());
    drop((control, strangers));
    world.end();
}

/// What was let through, and whose data comes when its host has lost what it had shown.
#[test]
fn s361_a_write_that_was_let_through_before_is_not_done() {
    let (mut world, later) = world(&one_way());
    let (control, bringup) = admin(&mut world, &later, knows(1, None));
    let mut queue = io_queue(&mut world, &bringup, 1);
    assert_eq!(prove(&mut world, &later, &mut queue, &mut knows(1, None), |_, data| data), Step::Authenticated);
    queue.is_mute = true;
    let write = queue.submit(Sqe::blocks(io::WRITE, 1, 0, 64, 0), Payload::Send(64 * 512), &vec![7; 64 * BLOCK]);
    world.until("R2T", |_| {
        queue.pump();
        !queue.asked.is_empty()
    });
    // It begins anew, and its reply is wrong.
    let mut end = knows(9, None);
    for _ in 0..3 {
        let done = match end.step() {
            Step::Send(sqe) => {
                let data = end.data().to_vec();
                call(&mut world, &later, &mut queue, sqe, Payload::Send(data.len() as u32), &data)
            }
            Step::Receive(sqe, length) => call(&mut world, &later, &mut queue, sqe, Payload::Receive(length), &[]),
            ended => panic!("{ended:?}"),
        };
        end.done(done.status, &done.data, &mut |bytes| bytes.fill(4));
    }
    assert_eq!(failures(&world), 1);
    queue.send_wanted(write);
    assert_eq!(queue.wait(&mut world, write).code(), Code::AuthenticationRequired);
    let mut again = io_queue(&mut world, &bringup, 2);
    assert_eq!(prove(&mut world, &later, &mut again, &mut knows(1, None), |_, data| data), Step::Authenticated);
    assert_eq!(again.read(&mut world, 0, 64).data, vec![0; 64 * BLOCK]);
    drop((control, queue, again));
    world.end();
}
