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
