//! Both programs over a device. Without one these fail: `cargo xtask vm test -p smbd` runs them in
//! a machine that has one.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Server, host, machine, negotiate_stream_and_memory};

#[test]
fn s30_s33_negotiated_streamed_and_moved_by_descriptor_polled() {
    // Less, as two programs that poll leave little of two emulated processors to the device, which
    // is software.
    negotiate_stream_and_memory("polled", 16);
}

#[test]
fn s33_100_clients_at_once_over_two_cores() {
    let _machine = machine();
    let server = Server::start("--echo --wait event -m 0x3");
    let stdout = server.good_client("--wait event --load 100 --bytes 64K");
    assert!(stdout.contains("100 connections at once, all verified: 6553600 bytes echoed"), "{stdout}");
    let lines = server.stop();
    for core in [0, 1] {
        assert!(lines.iter().any(|line| line.contains(&format!("on core {core}: 50 connections, 0 failed"))), "{lines:#?}");
    }
}

#[test]
fn s33_a_client_killed_in_mid_transfer_costs_no_buffer_and_the_server_serves_on() {
    let _machine = machine();
    let server = Server::start("--echo --wait event");
    let mut client = server.command("--wait event --input -").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    // What lies between this pipe and the echo is less than 4 MiB: when 8 are in it, some are on
    // their way and more have come back.
    client.stdin.as_mut().expect("it is piped").write_all(&vec![7; 8 << 20]).expect("it reads");
    client.kill().expect("it runs");
    assert_eq!(client.wait().expect("it ends").code(), None, "it did not end by itself");
    let stdout = server.good_client("--wait event --bytes 4M");
    assert!(stdout.contains("back: 4194304 bytes"), "{stdout}");
    server.stop();
}

#[test]
fn s31_refusals_are_one_sentence_and_exit_code_1() {
    let _machine = machine();
    let server = Server::start("--wait event");
    let (code, stdout, stderr) = server.client("--wait event --bytes 1M");
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "without the echo: {stderr}");
    let free = Server::start("--wait event");
    let (port, host) = (free.port.clone(), host());
    free.stop();
    let ended = Command::new(env!("CARGO_BIN_EXE_smbd-client")).args([&host, &port]).output().expect("it starts");
    let stderr = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("connect to {host}:{port}: refused")), "{stderr}");
    server.stop();
}

/// Before the first client finds out. Soft-RoCE's completion queues are the shortest there are.
#[test]
fn s89_more_connections_than_the_device_has_room_for_are_refused_at_the_start() {
    let _machine = machine();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smbd-server"));
    let ended = command.args(["-N", "rdma", "--connections", "1024", "--no-cpumask-locks"]).output().expect("the server starts");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("1024 connections on each core are more than the device has room for, which is 469"), "{stderr}");
}
