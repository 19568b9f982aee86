//! Every bad input of both programs is one sentence and an exit code.

use std::process::{Command, Output};

const SERVER: &str = env!("CARGO_BIN_EXE_smbd-server");
const CLIENT: &str = env!("CARGO_BIN_EXE_smbd-client");

fn run(program: &str, args: &str) -> Output {
    Command::new(program).args(args.split_whitespace()).output().expect("it starts")
}

#[track_caller]
fn refused(program: &str, args: &str, code: i32, parts: &[&str]) {
    let ended = run(program, args);
    let stderr = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(code), "{args}: {stderr}");
    assert!(ended.stdout.is_empty() && !stderr.contains("panicked"), "{args}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args}: no {part:?} in {stderr:?}");
    }
}

#[test]
fn addresses() {
    for host in ["localhost", "256.0.0.1", "127.0.0.1:80", "::g"] {
        refused(SERVER, &format!("-H {host}"), 2, &["-H", host, "no IPv4 or IPv6 address"]);
        refused(CLIENT, &format!("{host} 5445"), 2, &["HOST", host, "no IPv4 or IPv6 address"]);
    }
}

#[test]
fn ports() {
    for port in ["65536", "-1", "x"] {
        refused(SERVER, &format!("-P={port}"), 2, &[port, "--port"]);
        refused(CLIENT, &format!("127.0.0.1 -- {port}"), 2, &[port, "<PORT>"]);
    }
    refused(CLIENT, "127.0.0.1 0", 2, &["0", "<PORT>"]);
    refused(CLIENT, "127.0.0.1", 2, &["<PORT>"]);
}

#[test]
fn modes() {
    refused(SERVER, "--wait never", 2, &["never", "--wait", "polled or event"]);
    refused(SERVER, "--connections 0", 2, &["0", "--connections"]);
    refused(CLIENT, "127.0.0.1 1 --wait never", 2, &["never", "--wait", "polled or event"]);
    refused(CLIENT, "127.0.0.1 1 --bytes 1.5M", 2, &["1.5M", "--bytes", "64M"]);
    refused(CLIENT, "127.0.0.1 1 --load 1025", 2, &["1025", "--load"]);
    refused(CLIENT, "127.0.0.1 1 --rdma-read --bytes 1", 2, &["--rdma-read", "--bytes"]);
    refused(CLIENT, "127.0.0.1 1 --input - --load 2", 2, &["--input", "--load"]);
    refused(CLIENT, "127.0.0.1 1 --input /no/such/file", 2, &["--input /no/such/file", "No such file"]);
}

/// What is asked for is printed, or it is an error; `change` is what a shell does to the stream.
#[test]
fn s98_a_stream_that_is_not_there_is_an_error() {
    let with = |program: &str, args: &str, change: &str| {
        Command::new("sh").args(["-c", &format!("exec \"$0\" {args} {change}"), program]).output().expect("a shell")
    };
    for program in [SERVER, CLIENT] {
        for (args, change, code, part) in [
            ("--help", ">&-", 1, "write standard output: Bad file descriptor"),
            ("--version", ">/dev/full", 1, "write standard output: No space left"),
            ("--colour", ">&-", 2, "--colour"),
        ] {
            let ended = with(program, args, change);
            let stderr = String::from_utf8(ended.stderr).expect("text");
            assert_eq!(ended.status.code(), Some(code), "{program} {args} {change}: {stderr}");
            assert!(stderr.contains(part), "{program} {args} {change}: {stderr}");
        }
    }
    let ended = with(CLIENT, "127.0.0.1 5445 --input -", "<&-");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "smbd-client: read standard input: Bad file descriptor (error 9)\n");
}

#[test]
#[cfg(not(feature = "rdma"))]
fn s24_without_a_transport_both_name_the_feature() {
    for (program, args) in [(SERVER, ""), (CLIENT, "127.0.0.1 5445 --bytes 1K"), (SERVER, "-N rdma"), (CLIENT, "127.0.0.1 5445 -N rdma")] {
        refused(program, &format!("{args} --no-cpumask-locks"), 2, &["transport", "linked into this program", "--features rdma"]);
    }
}

/// On a machine without a device.
#[test]
#[cfg(feature = "rdma")]
fn s32_without_a_device_both_say_so() {
    for (program, args) in [(SERVER, ""), (CLIENT, "127.0.0.1 5445"), (SERVER, "-N rdma"), (CLIENT, "127.0.0.1 5445 -N rdma")] {
        refused(program, &format!("{args} --no-cpumask-locks"), 1, &["rdma", "not usable here", "device"]);
    }
    refused(SERVER, "-N nope --no-cpumask-locks", 2, &["\"nope\"", "has rdma", "choose"]);
}
