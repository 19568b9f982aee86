#!/bin/sh
# Linux 6.18, io-uring 0.7.15 (seen 2026-11-30): a multishot receive with IORING_RECVSEND_POLL_FIRST
# is never told of a reset that, behind some bytes, was there before it was armed. It tells of the
# bytes, says that it goes on, and is silent from then on, while the socket has its error. Without
# the flag, which is meant for sockets on which nothing is expected yet, the same request tells
# both. So a server that sets it behind accept keeps the connections of peers that have gone.
#
# Seen: "multishot: 5 bytes, then connection reset; the socket's own error: none" and "multishot,
# poll first: 5 bytes, then nothing; the socket's own error: connection reset". Fails if that
# changes. Needs cargo, io_uring with DEFER_TASKRUN (6.1), and the packages io-uring and libc. Exits
# with 2 where it cannot be tried.
set -eu
cannot() { echo "cannot be tried here: $1" >&2; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "multishot"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
io-uring = "=0.7.15"
libc = "=0.2.186"
TOML
cat >src/main.rs <<'RUST'
use std::io::{Error, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

fn or_not<T>(what: &str, result: Result<T, Error>) -> T {
    result.unwrap_or_else(|why| {
        println!("{what}: {why}");
        std::process::exit(3)
    })
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    // SAFETY: what the entry points to lives until the process ends.
    unsafe { ring.submission().push(entry) }.expect("there is room");
}

/// What is told within a second: the result, and whether the request goes on.
fn told(ring: &mut IoUring) -> Option<(i32, bool)> {
    let second = types::Timespec::new().sec(1);
    let _ = ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&second));
    ring.completion().next().map(|told| (told.result(), cqueue::more(told.flags())))
}

/// Two ends of a connection; the far one resets it when it is dropped.
fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let far = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the value is of the size that is said.
    let set = unsafe { libc::setsockopt(far.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const now).cast(), size_of_val(&now) as u32) };
    assert_eq!(set, 0);
    (listener.accept().expect("a connection").0, far)
}

fn in_words(told: Option<(i32, bool)>) -> String {
    match told {
        None => "nothing".into(),
        Some((n @ 1.., true)) => format!("{n} bytes"),
        Some((n @ 1.., false)) => format!("{n} bytes and the end of the request"),
        Some((0, _)) => "an orderly end".into(),
        Some((n, _)) => Error::from_raw_os_error(-n).kind().to_string(),
    }
}

fn main() {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    let mut ring = or_not("io_uring_setup", builder.build(8));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let memory = vec![0u8; 16 * 64].leak();
    push(&mut ring, &opcode::ProvideBuffers::new(memory.as_mut_ptr(), 64, 16, 0, 0).build());
    assert_eq!(told(&mut ring), Some((0, false)), "buffers");
    // IORING_RECV_MULTISHOT, without and with IORING_RECVSEND_POLL_FIRST.
    for (what, ioprio) in [("multishot", 2), ("multishot, poll first", 2 | 1)] {
        let (near, mut far) = connection(&listener);
        far.write_all(b"bytes").expect("there is room");
        drop(far);
        let receive = opcode::Recv::new(types::Fd(near.as_raw_fd()), std::ptr::null_mut(), 0).ioprio(ioprio).buf_group(0);
        push(&mut ring, &receive.build().flags(squeue::Flags::BUFFER_SELECT));
        let all = [told(&mut ring), told(&mut ring)];
        let error = near.take_error().expect("readable").map_or("none".into(), |why| why.kind().to_string());
        println!("{what}: {}; the socket's own error: {error}", all.map(in_words).join(", then "));
    }
}
RUST
export CARGO_TARGET_DIR="$dir/target"
unset RUSTFLAGS
cargo build --quiet
code=0
seen=$("$dir/target/debug/multishot") || code=$?
[ "$code" -ne 3 ] || cannot "$seen"
echo "$seen"
[ "$code" -eq 0 ]
[ "$seen" = "multishot: 5 bytes, then connection reset; the socket's own error: none
multishot, poll first: 5 bytes, then nothing; the socket's own error: connection reset" ] || { echo "that has changed" >&2; exit 1; }
