#!/bin/sh
# Linux 6.18, io-uring 0.7.15 (seen 2026-11-29): IORING_OP_SEND_ZC charges what is to be sent to the locked memory of the user (RLIMIT_MEMLOCK), and answers ENOMEM
# when that is more than is left, where IORING_OP_SEND of the same bytes on the same socket works. The connection is as good as before. Whoever has CAP_IPC_LOCK, as
# root has, is not charged, and never sees it.
#
# Seen with 64 KiB to lock: "without a copy, 16 KiB: 16384; 128 KiB: -12; with a copy, 128 KiB: 131072". Fails if that changes. Needs cargo, util-linux (prlimit, and
# setpriv for root), io_uring with SEND_ZC (6.0), and the package io-uring. Exits with 2 where it cannot be tried.
set -eu
cannot() { echo "cannot be tried here: $1" >&2; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "send-zc"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
io-uring = "=0.7.15"
TOML
cat >src/main.rs <<'RUST'
use std::io::{Error, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

fn or_not<T>(what: &str, result: Result<T, Error>) -> T {
    result.unwrap_or_else(|why| {
        println!("{what}: {why}");
        std::process::exit(3)
    })
}

/// What a request answers; its memory is its own again then.
fn answer(ring: &mut IoUring, entry: squeue::Entry) -> i32 {
    // SAFETY: the bytes live until the last completion, which is waited for.
    unsafe { ring.submission().push(&entry) }.expect("an empty ring has room");
    let (mut first, mut more) = (None, true);
    while more {
        ring.submit_and_wait(1).expect("the kernel is entered");
        let completion = ring.completion().next().expect("one was waited for");
        first = first.or(Some(completion.result()));
        more = cqueue::more(completion.flags());
    }
    first.expect("there was one")
}

fn main() {
    let mut ring = or_not("io_uring_setup", IoUring::new(4));
    let mut probe = Probe::new();
    or_not("io_uring_register(PROBE)", ring.submitter().register_probe(&mut probe));
    if !probe.is_supported(opcode::SendZc::CODE) {
        or_not::<()>("SEND_ZC", Err(Error::other("this kernel does not have it")));
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let mut far = listener.accept().expect("a connection").0;
    let (bytes, fd) = (vec![7; 128 << 10], types::Fd(near.as_raw_fd()));
    let all = std::thread::spawn(move || {
        let mut got = Vec::new();
        far.read_to_end(&mut got).expect("an orderly end");
        assert!(got.iter().all(|byte| *byte == 7));
        got.len()
    });
    let few = answer(&mut ring, opcode::SendZc::new(fd, bytes.as_ptr(), 16 << 10).build());
    let many = answer(&mut ring, opcode::SendZc::new(fd, bytes.as_ptr(), 128 << 10).build());
    let copied = answer(&mut ring, opcode::Send::new(fd, bytes.as_ptr(), 128 << 10).flags(0x100).build()); // MSG_WAITALL
    drop(near);
    assert_eq!(all.join().expect("the peer is content") as i32, few.max(0) + many.max(0) + copied.max(0));
    println!("without a copy, 16 KiB: {few}; 128 KiB: {many}; with a copy, 128 KiB: {copied}");
}
RUST
export CARGO_TARGET_DIR="$dir/target"
unset RUSTFLAGS
cargo build --quiet
prlimit --version >/dev/null 2>&1 || cannot "prlimit is not there (util-linux)"
user=""
if [ "$(id -u)" = 0 ]; then
    # A user without an account or another process: what is locked is counted by user.
    id=$((1000000 + $$))
    user="setpriv --reuid $id --regid $id --clear-groups --bounding-set -ipc_lock"
    chmod -R go+rX "$dir"
    $user true || cannot "root cannot become another user"
fi
said=$(prlimit --memlock=65536:65536 $user target/debug/send-zc) || cannot "$said"
echo "$said"
[ "$said" = "without a copy, 16 KiB: 16384; 128 KiB: -12; with a copy, 128 KiB: 131072" ]
