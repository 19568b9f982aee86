//! The program and hosts that do it no good, over real sockets: it goes on, and what they had comes
//! back, to the last descriptor.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{HOSTNQN, Host, NQN, Target, until};
use nvme::command::{Sqe, io};
use nvme::fabrics::ConnectData;
use nvme::host::{Payload, Queue, Settings};
use nvme::{Code, Shape};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use zerocopy::IntoBytes;

const BACKENDS: [&str; 2] = ["posix", "uring"];

/// Memory in blocks as a file has them.
const MALLOC: &str = "malloc:size=16M,block_size=4096";

/// This process may have as many descriptors as it may ask for.
fn many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the hard limit");
}

/// What a host says first, and then: ICReq, and a Connect of an admin queue with its data.
fn hello() -> (Vec<u8>, Vec<u8>) {
    let (mut queue, hello) = Queue::new(Settings { shape: Shape::default(), commands: 31, in_capsule: 8192 });
    let first = hello.parts().concat();
    let answer = nvme::pdu::IcResp::new(0, 0, 128 * 1024);
    queue.receive(&mut answer.as_bytes()).expect("a right answer");
    let data = ConnectData::new([5; 16], 0xFFFF, NQN, HOSTNQN).expect("names");
    let command = queue.submit(Sqe::connect(0, 32, 15_000), Payload::Send(1024)).expect("room");
    (first, [command.head.parts().concat(), data.as_bytes().to_vec()].concat())
}

/// Writes and reads a block.
fn works(host: &mut Host, seed: u8) {
    let data = vec![seed; 4096];
    let blocks = |opcode| Sqe::blocks(opcode, 1, 8, 1, 0);
    assert!(host.call(blocks(io::WRITE), Payload::Send(4096), &data).status.is_success());
    assert!(host.call(blocks(io::READ), Payload::Receive(4096), &[]).data == data);
}

fn half_open(backend: &str) {
    const ALL: usize = 1000;
    many_descriptors();
    let target = Target::start(&["--bdev", MALLOC, "-N", backend]);
    let (_admin, bringup) = Host::admin(target.at, Shape::default(), NQN);
    let mut host = Host::io(target.at, Shape::default(), NQN, &bringup, 1, 32);
    works(&mut host, 1);
    let (first, second) = hello();
    let before = target.descriptors();
    let mut resident = Vec::new();
    for round in 0..2 {
        let mut half: Vec<_> = (0..ALL)
            .map(|n| {
                let mut stream = TcpStream::connect(target.at).expect("a connection");
                // Nothing; a piece of ICReq; all of it; and half of a Connect.
                let (one, two) = [(0, 0), (5, 0), (first.len(), 0), (first.len(), 600)][n % 4];
                stream.write_all(&first[..one]).and_then(|()| stream.write_all(&second[..two])).expect("room");
                stream
            })
            .collect();
        until("a thousand connections", || target.descriptors() == before + ALL);
        for n in 0..20 {
            works(&mut host, n);
        }
        let (_other, its) = Host::admin(target.at, Shape::default(), NQN);
        works(&mut Host::io(target.at, Shape::default(), NQN, &its, 1, 32), round);
        for stream in &mut half {
            stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
            // ICResp, for those who had asked for it, and then the end.
            let mut rest = Vec::new();
            let end = stream.read_to_end(&mut rest);
            assert!(end.is_ok() || end.is_err_and(|why| why.kind() == std::io::ErrorKind::ConnectionReset));
            assert!([0, 128].contains(&rest.len()), "{}", rest.len());
        }
        drop((half, _other));
        target.has_again(before);
        works(&mut host, 99);
        resident.push(target.resident());
    }
    assert!(resident[1] <= resident[0] + 512, "KiB after each thousand: {resident:?}");
    drop((_admin, host));
    assert!(target.stop(), "all is counted home");
}

#[test]
fn s321_a_thousand_half_open_hosts_cost_nothing_that_does_not_come_back_posix() {
    half_open("posix");
}

#[test]
fn s321_a_thousand_half_open_hosts_cost_nothing_that_does_not_come_back_uring() {
    half_open("uring");
}

#[test]
fn s322_out_of_descriptors_hosts_that_are_in_are_served_and_others_come_in_later() {
    const ROOM: usize = 10;
    const ALL: usize = 30;
    for backend in BACKENDS {
        let dir = tempfile::tempdir().expect("a folder");
        let (disk, log) = (dir.path().join("disk.img"), dir.path().join("log"));
        File::create(&disk).and_then(|file| file.set_len(8 << 20)).expect("a file");
        let args = ["--file", disk.to_str().expect("a name"), "-N", backend];
        let open = |target: &Target| {
            let (admin, bringup) = Host::admin(target.at, Shape::default(), NQN);
            let host = Host::io(target.at, Shape::default(), NQN, &bringup, 1, 32);
            (admin, host)
        };
        let needed = {
            let target = Target::start(&args);
            let (_admin, mut host) = open(&target);
            works(&mut host, 1);
            target.descriptors()
        };
        let target = Target::start_with(&args, Stdio::from(File::create(&log).expect("a file")), Some(needed + ROOM));
        let (admin, mut host) = open(&target);
        works(&mut host, 2);
        let before = target.descriptors();
        let mut others: Vec<_> = (0..ALL).map(|_| TcpStream::connect(target.at).expect("it is queued")).collect();
        let said = |part: &str| std::fs::read_to_string(&log).expect("a log").matches(part).count();
        until("a line in the log", || said("out of file descriptors") == 1);
        for n in 0..50 {
            works(&mut host, n);
        }
        // They say hello, and are heard as those before them go.
        let (first, _) = hello();
        for mut other in others.drain(..) {
            other.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
            other.write_all(&first).expect("it is queued");
            let mut answer = [0; 128];
            other.read_exact(&mut answer).expect("ICResp");
        }
        target.has_again(before);
        assert_eq!(said("out of file descriptors"), 1, "{backend}");
        works(&mut host, 3);
        drop((admin, host));
        assert!(target.stop(), "all is counted home");
    }
}

#[test]
fn s320_a_disk_that_there_are_no_descriptors_for_is_not_ready_and_then_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = dir.path().join("disk.img");
    File::create(&disk).and_then(|file| file.set_len(8 << 20)).expect("a file");
    let target = Target::start(&["--file", disk.to_str().expect("a name"), "-N", "posix"]);
    let (_admin, bringup) = Host::admin(target.at, Shape::default(), NQN);
    // It is in, and has not said that it is a queue: until then the core needs no ring for the
    // disk.
    let mut host = Host::new(target.at, Shape::default(), 31);
    let pid = Pid::from_raw(i32::try_from(target.child.id()).expect("a number"));
    let limit = getrlimit(Resource::Nofile);
    let may_have = |most| {
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(most), ..limit }).expect("it may be set");
    };
    may_have(target.descriptors() as u64);
    let data = ConnectData::new([5; 16], bringup.cntlid(), NQN, HOSTNQN).expect("names");
    assert!(host.call(Sqe::connect(1, 32, 0), Payload::Send(1024), data.as_bytes()).status.is_success());
    let read = Sqe::blocks(io::READ, 1, 0, 1, 0);
    let done = host.call(read, Payload::Receive(4096), &[]);
    assert_eq!((done.status.code(), done.status.is_final()), (Some(Code::NamespaceNotReady), false));
    may_have(limit.current.unwrap_or(1024));
    until("a disk", || host.call(read, Payload::Receive(4096), &[]).status.is_success());
    drop((_admin, host));
    assert!(target.stop(), "all is counted home");
}

/// A host that writes for as long as it lives, when this binary is asked for it.
#[test]
#[ignore = "a part of the next test"]
fn a_host_that_is_killed() {
    let at: SocketAddr = std::env::var("LCORE_TARGET").expect("where").parse().expect("an address");
    let (_admin, bringup) = Host::admin(at, Shape::default(), NQN);
    let mut host = Host::io(at, Shape::default(), NQN, &bringup, 1, 32);
    let data = vec![7; 128 * 1024];
    for n in 0.. {
        host.call(Sqe::blocks(io::WRITE, 1, 0, 32, 0), Payload::Send(128 * 1024), &data);
        if n == 10 {
            println!("writes");
        }
    }
}

#[test]
fn s323_a_host_that_is_killed_in_the_middle_of_a_write_leaves_nothing_behind() {
    for backend in BACKENDS {
        let target = Target::start(&["--bdev", MALLOC, "-N", backend]);
        let (admin, bringup) = Host::admin(target.at, Shape::default(), NQN);
        let mut host = Host::io(target.at, Shape::default(), NQN, &bringup, 1, 32);
        works(&mut host, 1);
        let before = target.descriptors();
        for round in 0..10 {
            let mut command = Command::new(std::env::current_exe().expect("this test"));
            command.args(["--ignored", "--exact", "--nocapture", "a_host_that_is_killed"]).env("LCORE_TARGET", target.at.to_string());
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
            let mut said = String::new();
            while !said.contains("writes") {
                let mut some = [0; 256];
                let n = child.stdout.as_mut().expect("its output").read(&mut some).expect("text");
                assert!(n > 0, "the host has ended: {said}");
                said.push_str(&String::from_utf8_lossy(&some[..n]));
            }
            child.kill().and_then(|()| child.wait()).expect("its end");
            target.has_again(before);
            works(&mut host, round);
        }
        drop((admin, host));
        assert!(target.stop(), "all is counted home");
    }
}

/// Where a host goes away.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Nothing,
    HalfIcReq,
    IcRespUnread,
    Initialized,
    HalfConnect,
    ConnectUnanswered,
    Connected,
    HalfCapsule,
    R2tUnanswered,
    HalfData,
    DataUnread,
}

/// Brings a connection there.
fn bring_to(at: SocketAddr, cntlid: u16, phase: Phase) -> TcpStream {
    let (first, second) = hello();
    let large = vec![9; 128 * 1024];
    let open = || {
        let mut host = Host::new(at, Shape::default(), 31);
        let data = ConnectData::new([5; 16], cntlid, NQN, HOSTNQN).expect("names");
        assert!(host.call(Sqe::connect(2, 32, 0), Payload::Send(1024), data.as_bytes()).status.is_success());
        host.queue.set_in_capsule(8192);
        host
    };
    let write = |blocks: u32| (Sqe::blocks(io::WRITE, 1, 0, blocks, 0), Payload::Send(blocks * 4096));
    let raw = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.write_all(bytes).expect("room");
        stream
    };
    match phase {
        Phase::Nothing => raw(&[]),
        Phase::HalfIcReq => raw(&first[..60]),
        Phase::IcRespUnread => {
            let stream = raw(&first);
            stream.peek(&mut [0; 128]).expect("ICResp");
            stream
        }
        Phase::Initialized => Host::new(at, Shape::default(), 31).stream,
        Phase::HalfConnect | Phase::ConnectUnanswered => {
            let mut host = Host::new(at, Shape::default(), 31);
            let end = if matches!(phase, Phase::HalfConnect) { 700 } else { second.len() };
            host.stream.write_all(&second[..end]).expect("room");
            host.stream
        }
        Phase::Connected => open().stream,
        Phase::HalfCapsule => {
            let mut host = open();
            let (sqe, payload) = write(1);
            let head = host.queue.submit(sqe, payload).expect("room").head.parts().concat();
            host.stream.write_all(&[&head, &large[..1000]].concat()).expect("room");
            host.stream
        }
        Phase::R2tUnanswered | Phase::HalfData => {
            let mut host = open();
            let (sqe, payload) = write(32);
            let cid = host.submit(sqe, payload, &large);
            let mut r2t = [0; 24];
            host.stream.read_exact(&mut r2t).expect("R2T");
            assert!(host.queue.receive(&mut &r2t[..]).is_ok());
            if matches!(phase, Phase::HalfData) {
                let piece = host.queue.next_piece(cid).expect("it was asked for").head.parts().concat();
                host.stream.write_all(&[&piece, &large[..70_000]].concat()).expect("room");
            }
            host.stream
        }
        Phase::DataUnread => {
            let mut host = open();
            for _ in 0..20 {
                host.submit(Sqe::blocks(io::READ, 1, 0, 32, 0), Payload::Receive(128 * 1024), &[]);
            }
            host.stream.peek(&mut [0; 1]).expect("data");
            host.stream
        }
    }
}

#[test]
fn s323_a_reset_in_each_phase_leaves_nothing_behind() {
    use Phase::*;
    for backend in BACKENDS {
        let target = Target::start(&["--bdev", MALLOC, "-N", backend]);
        let (admin, bringup) = Host::admin(target.at, Shape::default(), NQN);
        let mut host = Host::io(target.at, Shape::default(), NQN, &bringup, 1, 32);
        works(&mut host, 1);
        let before = target.descriptors();
        let all = [
            Nothing,
            HalfIcReq,
            IcRespUnread,
            Initialized,
            HalfConnect,
            ConnectUnanswered,
            Connected,
            HalfCapsule,
            R2tUnanswered,
            HalfData,
            DataUnread,
        ];
        for phase in all {
            for resets in [true, false] {
                let stream = bring_to(target.at, bringup.cntlid(), phase);
                if resets {
                    set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
                }
                drop(stream);
                target.has_again(before);
                works(&mut host, phase as u8);
            }
        }
        drop((admin, host));
        assert!(target.stop(), "all is counted home");
    }
}

/// Hosts that read and write without a pause, until their connections end.
fn load(at: SocketAddr, qid: u16, bringup: &nvme::host::Bringup) {
    let mut host = Host::io(at, Shape::default(), NQN, bringup, qid, 32);
    let large = vec![3; 128 * 1024];
    while !host.is_gone {
        let cids: Vec<_> = (0..24)
            .map(|n| match n % 3 {
                0 => host.submit(Sqe::blocks(io::WRITE, 1, 64 + n * 32, 32, 0), Payload::Send(128 * 1024), &large),
                1 => host.submit(Sqe::blocks(io::WRITE, 1, 64 + n * 32, 1, 0), Payload::Send(4096), &large[..4096]),
                _ => host.submit(Sqe::blocks(io::READ, 1, 64 + n * 32, 32, 0), Payload::Receive(128 * 1024), &[]),
            })
            .collect();
        for cid in cids {
            if let Some(done) = host.try_wait(cid) {
                assert!(matches!(done.status.code(), Some(Code::Success | Code::AbortRequested)), "{:?}", done.status);
            }
        }
    }
}

fn stop_under_load(args: &[&str]) {
    for backend in BACKENDS {
        let target = Target::start(&[args, &["-m", "0x3", "-N", backend]].concat());
        let (mut admin, bringup) = Host::admin(target.at, Shape::default(), NQN);
        admin.submit(Sqe::new(nvme::command::admin::ASYNC_EVENT, 0), Payload::None, &[]);
        let (at, bringup) = (target.at, &bringup);
        std::thread::scope(|scope| {
            for qid in 1..=3 {
                scope.spawn(move || load(at, qid, bringup));
            }
            let mut watch = Host::io(at, Shape::default(), NQN, bringup, 4, 32);
            (0..50).for_each(|n| works(&mut watch, n));
            assert!(target.stop(), "{args:?} {backend}: all is counted home");
        });
    }
}

#[test]
fn s324_a_target_that_is_asked_to_end_under_load_ends_with_all_at_home() {
    stop_under_load(&["--bdev", MALLOC]);
    let dir = tempfile::tempdir().expect("a folder");
    let disk: &Path = &dir.path().join("disk.img");
    File::create(disk).and_then(|file| file.set_len(16 << 20)).expect("a file");
    stop_under_load(&["--file", disk.to_str().expect("a name")]);
}
