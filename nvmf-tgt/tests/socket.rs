//! The program over real sockets: a host as Linux's comes up, reads and writes.

mod common;

use common::{Host, NQN, Target};
use nvme::Shape;
use nvme::command::{Blocks, Sqe, io};
use nvme::host::Payload;

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 512) as u8 ^ (at as u8).wrapping_mul(31) ^ seed).collect()
}

/// Writes and reads on several queues, small and large.
fn conversation(args: &[&str], shape: Shape) {
    let target = Target::start(&[&["--malloc", "64M"], args].concat());
    let (mut admin, bringup) = Host::admin(target.at, shape, NQN);
    let mut queues: Vec<_> = (1..=4).map(|qid| Host::io(target.at, shape, NQN, &bringup, qid, 32)).collect();
    for (at, queue) in queues.iter_mut().enumerate() {
        for (n, blocks) in [1_u32, 8, 16, 17, 64, 256].into_iter().enumerate() {
            let (slba, data) = ((at * 4096 + n * 512) as u64, pattern((at * 7 + n) as u8, blocks as usize * 512));
            let length = data.len() as u32;
            let done = queue.call(Sqe::blocks(io::WRITE, 1, slba, blocks, Blocks::FUA), Payload::Send(length), &data);
            assert!(done.status.is_success(), "{done:?}");
            let done = queue.call(Sqe::blocks(io::READ, 1, slba, blocks, 0), Payload::Receive(length), &[]);
            assert!(done.status.is_success(), "{:?}", done.status);
            assert!(done.data == data, "{blocks} blocks are not what was written");
        }
        assert!(queue.call(Sqe::new(io::FLUSH, 1), Payload::None, &[]).status.is_success());
    }
    // Many at a time, read on another queue than they were written on.
    let all = pattern(99, 31 * 4096);
    let written: Vec<_> = all
        .chunks(4096)
        .enumerate()
        .map(|(n, data)| queues[0].submit(Sqe::blocks(io::WRITE, 1, n as u64 * 8, 8, 0), Payload::Send(4096), data))
        .collect();
    assert!(written.into_iter().all(|cid| queues[0].wait(cid).status.is_success()));
    let read: Vec<_> = (0..31).map(|n| queues[1].submit(Sqe::blocks(io::READ, 1, n * 8, 8, 0), Payload::Receive(4096), &[])).collect();
    let back: Vec<_> = read.into_iter().flat_map(|cid| queues[1].wait(cid).data).collect();
    assert!(back == all);
    assert!(admin.call(nvme::host::Bringup::keep_alive(), Payload::None, &[]).status.is_success());
    drop((admin, queues));
    assert!(target.stop(), "all is counted home");
}

#[test]
fn s261_a_host_writes_and_reads_over_real_sockets() {
    conversation(&[], Shape::default());
    conversation(&["-N", "posix"], Shape { header_digest: true, data_digest: true, alignment: 0 });
}

#[test]
fn s281_what_was_acknowledged_with_fua_or_flushed_outlives_a_killed_target() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path).and_then(|file| file.set_len(8 << 20)).expect("a file");
    let path = path.to_str().expect("a name");
    let blocks = |opcode, slba, control| Sqe::blocks(opcode, 1, slba, 1, control);
    let data = |slba: u64| pattern(slba as u8, 4096);
    {
        let mut target = Target::start(&["--file", path]);
        let (_admin, bringup) = Host::admin(target.at, Shape::default(), NQN);
        let mut host = Host::io(target.at, Shape::default(), NQN, &bringup, 1, 32);
        for slba in 0..50 {
            let control = if slba % 2 == 0 { Blocks::FUA } else { 0 };
            assert!(host.call(blocks(io::WRITE, slba, control), Payload::Send(4096), &data(slba)).status.is_success());
        }
        assert!(host.call(Sqe::new(io::FLUSH, 1), Payload::None, &[]).status.is_success());
        // In the middle of more.
        for slba in 100..130 {
            host.submit(blocks(io::WRITE, slba, 0), Payload::Send(4096), &data(slba));
        }
        target.child.kill().expect("it runs");
        target.child.wait().expect("its end");
    }
    let target = Target::start(&["--file", path]);
    let (_admin, bringup) = Host::admin(target.at, Shape::default(), NQN);
    let mut host = Host::io(target.at, Shape::default(), NQN, &bringup, 1, 32);
    for slba in 0..50 {
        let done = host.call(blocks(io::READ, slba, 0), Payload::Receive(4096), &[]);
        assert!(done.status.is_success() && done.data == data(slba), "block {slba}");
    }
    assert!(target.stop());
}

#[test]
fn s282_what_the_command_line_cannot_have_is_one_sentence_and_exit_code_2() {
    for (args, part) in [
        (&["--malloc", "64Q"][..], "--malloc 64Q"),
        (&["--malloc", "1M", "--nqn", "disk"][..], "is no NVMe qualified name"),
        (&["--file", "/none/disk.img"][..], "--file /none/disk.img"),
        (&["--malloc", "1M", "--listen", "localhost:4420"][..], "names are not looked up"),
        (&["--bdev", "floppy:size=1M"][..], "\"floppy\" is none"),
    ] {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_nvmf-tgt")).args(["--no-rpc", "--no-cpumask-locks"]).args(args).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
    }
}
