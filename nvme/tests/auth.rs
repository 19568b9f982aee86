//! A host and a target that authenticate each other, and what becomes of those who lie.

mod common;

use common::{Done, HOSTNQN, Pair, SUBNQN, World};
use nvme::auth::{Failure, Group, Hash, Host, HostError, LONGEST, Policy, REQUIRED, Secret, Step, Target};
use nvme::command::Sqe;
use nvme::{Code, Status, fabrics};
use zerocopy::IntoBytes;

/// Bytes that differ from call to call.
fn random(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut rng = fastrand::Rng::with_seed(seed);
    move |bytes| rng.fill(bytes)
}

fn secret(first: u8, hash: Option<Hash>) -> Secret {
    let bytes: [u8; 48] = std::array::from_fn(|at| (at as u8).wrapping_mul(5) ^ first);
    Secret::new(&bytes, hash).unwrap()
}

fn policy(hash: Hash, group: Group) -> Policy {
    Policy { hashes: vec![hash], groups: vec![group] }
}

/// Both ends of one queue.
struct Ends {
    host: Host,
    target: Target,
}

impl Ends {
    fn new(host: Policy, target: Policy, secrets: [&Secret; 2], controllers: [Option<&Secret>; 2]) -> Self {
        Self {
            host: Host::new(host, HOSTNQN, SUBNQN, secrets[0], controllers[0], 7),
            target: Target::new(target, HOSTNQN, SUBNQN, secrets[1], controllers[1]),
        }
    }

    /// Where both know everything.
    fn good(hash: Hash, group: Group) -> Self {
        let (one, two) = (secret(1, Some(Hash::Sha256)), secret(2, None));
        Self::new(policy(hash, group), Policy::default(), [&one, &one], [Some(&two), Some(&two)])
    }

    /// To the end, with what `change` makes of each message: number, from the host, bytes.
    fn run(&mut self, mut change: impl FnMut(usize, bool, &mut Vec<u8>)) -> Step {
        let (mut ours, mut theirs) = (random(1), random(2));
        for number in 0..8 {
            let (status, data) = match self.host.step() {
                Step::Send(sqe) => {
                    let mut data = self.host.data().to_vec();
                    change(number, true, &mut data);
                    let sqe = Sqe { cdw11: (data.len() as u32).into(), ..sqe };
                    (self.target.send(&sqe, &data, &mut theirs), Vec::new())
                }
                Step::Receive(sqe, length) => {
                    let mut data = vec![0xEE; length as usize];
                    let result = self.target.receive(&sqe, &mut data).map(|said| assert!(data[said..].iter().all(|byte| *byte == 0)));
                    change(number, false, &mut data);
                    (result, data)
                }
                ended => return ended,
            };
            let status = status.map_or_else(Status::from, |()| Status::SUCCESS);
            self.host.done(status, &data, &mut ours);
        }
        panic!("an authentication without end: {:?}", self.host.step());
    }
}

const HASHES: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

#[test]
fn s340_both_ends_know_each_other_with_every_hash_and_the_small_groups() {
    for hash in HASHES {
        for group in [Group::Null, Group::Ffdhe2048] {
            let mut ends = Ends::good(hash, group);
            assert_eq!(ends.run(|_, _, _| ()), Step::Authenticated, "{hash:?} {group:?}");
            assert!(ends.target.is_authenticated() && ends.target.failure().is_none() && !ends.target.is_over());
            // Again, without a break in between.
            ends.host = Ends::good(hash, group).host;
            assert_eq!(ends.run(|_, _, _| ()), Step::Authenticated);
        }
    }
}

#[test]
fn s340_one_way_is_enough_where_the_host_asks_nothing() {
    let (one, two) = (secret(1, None), secret(2, None));
    for controller in [None, Some(&two)] {
        let mut ends = Ends::new(Policy::default(), Policy::default(), [&one, &one], [None, controller]);
        assert_eq!(ends.run(|_, _, _| ()), Step::Authenticated);
        assert!(ends.target.is_authenticated());
    }
}

/// A host that asks has to be content before it is known. With sequence number 0 the challenge is
/// for the keys of a secure channel, of which there is none: it does not ask.
#[test]
fn s340_a_host_that_asked_is_known_when_it_is_content() {
    for asks in [true, false] {
        let mut ends = Ends::good(Hash::Sha256, Group::Null);
        let (mut ours, mut theirs) = (random(1), random(2));
        let mut out = vec![0; LONGEST];
        let receive = Sqe::authentication_receive(LONGEST as u32);
        let send = |target: &mut Target, data: &[u8], random: &mut dyn FnMut(&mut [u8])| {
            assert_eq!(target.send(&Sqe::authentication_send(data.len() as u32), data, random), Ok(()));
        };
        send(&mut ends.target, ends.host.data(), &mut theirs);
        ends.host.done(Status::SUCCESS, &[], &mut ours);
        ends.target.receive(&receive, &mut out).unwrap();
        ends.host.done(Status::SUCCESS, &out, &mut ours);
        let mut reply = ends.host.data().to_vec();
        assert_eq!((reply[1], reply[8]), (2, 1));
        if !asks {
            reply[12..16].fill(0);
        }
        send(&mut ends.target, &reply, &mut theirs);
        ends.target.receive(&receive, &mut out).unwrap();
        assert_eq!((out[1], out[8]), (3, asks.into()), "Success1, with a response if it asks");
        assert_eq!(ends.target.is_authenticated(), !asks);
        if asks {
            ends.host.done(Status::SUCCESS, &[], &mut ours);
            ends.host.done(Status::SUCCESS, &out, &mut ours);
            send(&mut ends.target, ends.host.data(), &mut theirs);
            assert!(ends.target.is_authenticated());
        }
    }
}

#[test]
fn s344_another_secret_is_found_out_on_either_side() {
    let (right, wrong) = (secret(1, Some(Hash::Sha384)), secret(9, Some(Hash::Sha384)));
    let mut ends = Ends::new(Policy::default(), Policy::default(), [&wrong, &right], [None, None]);
    assert_eq!(ends.run(|_, _, _| ()), Step::Failed(HostError::Refused(Failure::Failed as u8)));
    assert!(!ends.target.is_authenticated() && ends.target.is_over());
    assert_eq!(ends.target.failure(), Some(Failure::Failed));
    // The same bytes, transformed in another way.
    let other = secret(1, Some(Hash::Sha256));
    let mut ends = Ends::new(Policy::default(), Policy::default(), [&other, &right], [None, None]);
    assert_eq!(ends.run(|_, _, _| ()), Step::Failed(HostError::Refused(Failure::Failed as u8)));
    // A controller that does not know its own, or has none.
    let mut ends = Ends::new(Policy::default(), Policy::default(), [&right, &right], [Some(&right), Some(&wrong)]);
    assert_eq!(ends.run(|_, _, _| ()), Step::Failed(HostError::Controller(Failure::Failed)));
    assert!(!ends.target.is_authenticated() && ends.target.is_over(), "Failure2 came");
    let mut ends = Ends::new(Policy::default(), Policy::default(), [&right, &right], [Some(&right), None]);
    assert_eq!(ends.run(|_, _, _| ()), Step::Failed(HostError::Refused(Failure::Failed as u8)));
}

#[test]
fn s344_the_names_are_part_of_the_answer() {
    let one = secret(1, None);
    let mut ends = Ends::good(Hash::Sha256, Group::Null);
    ends.host = Host::new(Policy::default(), "nqn.2024-01.example:other", SUBNQN, &one, None, 7);
    ends.target = Target::new(Policy::default(), HOSTNQN, SUBNQN, &one, None);
    assert_eq!(ends.run(|_, _, _| ()), Step::Failed(HostError::Refused(Failure::Failed as u8)));
}

#[test]
fn s344_nothing_in_common_is_told() {
    let one = secret(1, None);
    for (host, target, why) in [
        (policy(Hash::Sha256, Group::Null), policy(Hash::Sha512, Group::Null), Failure::Hash),
        (policy(Hash::Sha256, Group::Null), policy(Hash::Sha256, Group::Ffdhe2048), Failure::Group),
    ] {
        let mut ends = Ends::new(host, target, [&one, &one], [None, None]);
        assert_eq!(ends.run(|_, _, _| ()), Step::Failed(HostError::Refused(why as u8)));
        assert_eq!(ends.target.failure(), Some(why));
    }
    // A secure channel, and another protocol.
    for (at, value, why) in [(6, 1, Failure::Concatenation), (7, 0, Failure::Protocol), (8, 2, Failure::Protocol)] {
        let mut ends = Ends::good(Hash::Sha256, Group::Null);
        let step = ends.run(|number, _, bytes| {
            if number == 0 {
                bytes[at] = value;
            }
        });
        assert_eq!(step, Step::Failed(HostError::Refused(why as u8)));
    }
}

/// A challenge with less than the host offered.
#[test]
fn s344_a_host_takes_only_what_it_offered() {
    for (at, value, why) in [(8, 2, Failure::Hash), (9, 0, Failure::Group)] {
        let mut ends = Ends::good(Hash::Sha256, Group::Ffdhe2048);
        let step = ends.run(|number, _, bytes| {
            if number == 1 {
                bytes[at] = value;
                bytes[6] = if at == 8 { 48 } else { 32 };
                if at == 9 {
                    bytes[10..12].fill(0);
                }
            }
        });
        assert_eq!(step, Step::Failed(HostError::Controller(why)));
    }
}

/// Each bit of each message that says something.
#[test]
fn s345_a_message_that_was_changed_is_never_taken() {
    for group in [Group::Null, Group::Ffdhe2048] {
        let mut lengths = Vec::new();
        Ends::good(Hash::Sha256, group).run(|_, _, bytes| {
            let said = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            lengths.push(said);
        });
        assert_eq!(lengths.len(), 5);
        for (number, length) in lengths.into_iter().enumerate().take(4).skip(1) {
            let step = if group == Group::Null { 1 } else { 29 };
            for at in (0..length).step_by(step) {
                let mut ends = Ends::good(Hash::Sha256, group);
                let end = ends.run(|it, _, bytes| {
                    if it == number {
                        bytes[at] ^= 0x10;
                    }
                });
                // Reserved bytes say nothing.
                let reserved = match number {
                    1 => matches!(at, 2 | 3 | 7),
                    2 => matches!(at, 2 | 3 | 7 | 9),
                    _ => matches!(at, 2 | 3 | 7 | 9..16),
                };
                assert_eq!(end == Step::Authenticated, reserved, "{group:?}, message {number}, byte {at}: {end:?}");
                assert!(reserved || matches!(end, Step::Failed(_)));
            }
        }
    }
}

#[test]
fn s345_what_was_said_before_is_no_answer() {
    let mut said = Vec::new();
    let mut ends = Ends::good(Hash::Sha256, Group::Null);
    assert_eq!(ends.run(|_, from_host, bytes| said.extend(from_host.then(|| bytes.clone()))), Step::Authenticated);
    let [negotiate, reply, success] = &said[..] else { panic!("three messages of the host") };

    // The same target, which may be asked again, and a new one: each asks something else.
    for mut target in [ends.target, Ends::good(Hash::Sha256, Group::Null).target] {
        let mut theirs = random(77);
        let mut out = [0; LONGEST];
        let send = |bytes: &[u8]| Sqe::authentication_send(bytes.len() as u32);
        let receive = Sqe::authentication_receive(LONGEST as u32);
        assert_eq!(target.send(&send(negotiate), negotiate, &mut theirs), Ok(()));
        assert!(target.receive(&receive, &mut out).is_ok());
        assert_eq!(target.send(&send(reply), reply, &mut theirs), Ok(()));
        assert_eq!((target.is_authenticated(), target.failure()), (false, Some(Failure::Failed)));
        // And then nothing helps any more.
        assert_eq!(target.send(&send(success), success, &mut theirs), Ok(()));
        assert_eq!(target.send(&send(negotiate), negotiate, &mut theirs), Ok(()));
        assert!(!target.is_authenticated());
        assert_eq!(target.receive(&receive, &mut out), Ok(8));
        assert_eq!((out[0], out[1], out[6], out[7]), (0, 0xF1, 1, 1));
        assert!(target.is_over());
        assert_eq!(target.receive(&receive, &mut out), Err(Code::CommandSequenceError));
        assert_eq!(target.send(&send(negotiate), negotiate, &mut theirs), Ok(()));
        assert!(target.is_over() && !target.is_authenticated());
    }

    // A right reply, twice.
    let mut ends = Ends::good(Hash::Sha256, Group::Null);
    let mut twice = None;
    let end = ends.run(|number, _, bytes| match number {
        2 => twice = Some(bytes.clone()),
        4 => bytes.clone_from(twice.as_ref().expect("a reply")),
        _ => {}
    });
    assert_eq!(end, Step::Authenticated, "as far as the host knows");
    assert_eq!((ends.target.is_authenticated(), ends.target.failure()), (false, Some(Failure::Message)));

    // Our own question, sent back.
    let mut ends = Ends::good(Hash::Sha256, Group::Null);
    let mut question = Vec::new();
    let end = ends.run(|number, _, bytes| match number {
        1 => question = bytes[16..48].to_vec(),
        2 => bytes[48..80].copy_from_slice(&question),
        _ => {}
    });
    assert_eq!(end, Step::Failed(HostError::Refused(Failure::Failed as u8)));
}

#[test]
fn s345_an_unknown_host_has_one_try() {
    let mut target = Ends::good(Hash::Sha256, Group::Null).target;
    let host = Ends::good(Hash::Sha256, Group::Null).host;
    let (mut theirs, negotiate) = (random(3), host.data().to_vec());
    let sqe = Sqe::authentication_send(negotiate.len() as u32);
    assert_eq!(target.send(&sqe, &negotiate, &mut theirs), Ok(()));
    assert_eq!(target.failure(), None);
    assert_eq!(target.send(&sqe, &negotiate, &mut theirs), Ok(()));
    assert_eq!(target.failure(), Some(Failure::Message));
}

#[test]
fn s345_commands_of_another_protocol_are_refused() {
    let mut target = Ends::good(Hash::Sha256, Group::Null).target;
    let mut theirs = random(3);
    let right = Sqe::authentication_send(8);
    for sqe in [
        Sqe { cdw10: 0xE901_0000.into(), ..right },
        Sqe { cdw10: 0xE900_0100.into(), ..right },
        Sqe { cdw10: 0x0001_0100.into(), ..right },
        Sqe { cdw11: 9.into(), ..right },
        Sqe { cdw11: 0.into(), ..right },
        Sqe::authentication_receive(8),
    ] {
        assert_eq!(target.send(&sqe, &[0; 8], &mut theirs), Err(Code::InvalidField), "{sqe:?}");
    }
    assert_eq!(target.receive(&right, &mut [0; 8]), Err(Code::InvalidField));
    assert_eq!(target.receive(&Sqe::authentication_receive(8), &mut [0; 8]), Err(Code::CommandSequenceError));
    // Too little room for the challenge: it stays.
    let negotiate = Ends::good(Hash::Sha256, Group::Null).host.data().to_vec();
    assert_eq!(target.send(&Sqe::authentication_send(72), &negotiate, &mut theirs), Ok(()));
    assert_eq!(target.receive(&Sqe::authentication_receive(47), &mut [0; 47]), Err(Code::InvalidField));
    assert_eq!(target.receive(&Sqe::authentication_receive(48), &mut [0; 48]), Ok(48));
    assert_eq!(fabrics::AUTHENTICATION_SEND, right.fctype());
}

/// Any bytes, in any order.
#[test]
fn s345_anything_may_be_sent() {
    for seed in 0..3_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut ends = Ends::good(HASHES[rng.usize(..3)], Group::Null);
        let odd = rng.usize(..5);
        let end = ends.run(|number, _, bytes| {
            if number == odd {
                // Less than says what it is, whose it is and which.
                let length = rng.usize(1..200);
                let front = rng.usize(..5).min(length);
                bytes.resize(length, 0);
                rng.fill(&mut bytes[front..]);
            }
        });
        // The host does not hear what becomes of its last message, the target does.
        assert!(odd == 4 || end != Step::Authenticated, "seed {seed}: {end:?}");
        assert!(odd == 3 || !ends.target.is_authenticated(), "seed {seed}");
    }
}

/// Over a queue: Connect's response asks for it, and the commands carry it.
#[test]
fn s340_an_authentication_over_a_queue() {
    let mut world = World::new(nvme::target::Role::Io);
    let one = secret(1, Some(Hash::Sha512));
    let (mut target, mut theirs) = (Target::new(Policy::default(), HOSTNQN, SUBNQN, &one, Some(&one)), random(8));
    world.authreq = REQUIRED;
    world.gate = Some(Box::new(move |sqe, data| match sqe.fctype() {
        fabrics::AUTHENTICATION_SEND => Some(target.send(sqe, data, &mut theirs)),
        fabrics::AUTHENTICATION_RECEIVE => Some(target.receive(sqe, data).map(|_| ())),
        _ => (!target.is_authenticated()).then_some(Err(Code::AuthenticationRequired)),
    }));
    let mut pair = Pair::new(5, nvme::Shape::default(), 31, 8192);
    pair.settle(&mut world);
    let data = fabrics::ConnectData::new([5; 16], fabrics::ANY_CONTROLLER, SUBNQN, HOSTNQN).unwrap();
    let connected = pair.call(&mut world, Sqe::connect(0, 32, 0), nvme::host::Payload::Send(1024), data.as_bytes());
    assert_eq!(connected.result >> 16, u64::from(REQUIRED));
    let mut call = |sqe, payload, data: &[u8]| -> Done { pair.call(&mut world, sqe, payload, data) };
    let refused = call(Sqe::property_get(fabrics::property::CAP, true), nvme::host::Payload::None, &[]);
    assert_eq!(refused.status.code(), Some(Code::AuthenticationRequired));
    let mut host = Host::new(Policy::default(), HOSTNQN, SUBNQN, &one, Some(&one), 99);
    let mut ours = random(4);
    loop {
        let done = match host.step() {
            Step::Send(sqe) => call(sqe, nvme::host::Payload::Send(host.data().len() as u32), host.data()),
            Step::Receive(sqe, length) => call(sqe, nvme::host::Payload::Receive(length), &[]),
            ended => {
                assert_eq!(ended, Step::Authenticated);
                break;
            }
        };
        host.done(done.status, &done.data, &mut ours);
    }
    let taken = call(Sqe::property_get(fabrics::property::CAP, true), nvme::host::Payload::None, &[]);
    assert!(taken.status.is_success());
}
