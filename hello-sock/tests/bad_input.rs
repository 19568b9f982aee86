//! Every bad input is one sentence and an exit code.

mod common;

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use common::{Program, allowed_cores, run};

/// No backend in particular: bad input is refused before one is used.
const NET: &str = "";

#[track_caller]
fn refused(args: &str, code: i32, parts: &[&str]) {
    let ended = run(args);
    ended.refusal(code);
    for part in parts {
        assert!(ended.stderr.contains(part), "{args}: no {part:?} in {:?}", ended.stderr);
    }
}

#[test]
fn ports() {
    for port in ["65536", "-1", "x", "99999999999999999999"] {
        refused(&format!("-S -P={port}"), 2, &[port, "--port"]);
    }
}

#[test]
fn addresses() {
    for host in ["localhost", "256.0.0.1", "127.0.0.1:80", "[::1", "::g"] {
        for mode in ["-S", ""] {
            refused(&format!("{mode} -H {host}"), 2, &["-H", host, "no IPv4 or IPv6 address"]);
        }
    }
}

#[test]
fn an_address_of_another_machine() {
    // TEST-NET-1 (RFC 5737) is nobody's.
    refused("-S -P 0 -H 192.0.2.1 --no-cpumask-locks", 1, &["192.0.2.1"]);
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    refused(&format!("-S -P {} --no-cpumask-locks", at.port()), 1, &[&at.to_string(), "in use"]);
}

#[test]
fn s11_masks_that_are_none_point_at_the_character() {
    for (mask, at) in [("0xZ", 2), ("0x", 2), ("[0-]", 3), ("[1]junk", 3), ("[3-1]", 3), ("[0,]", 3), ("[1024]", 1), ("7", 0)] {
        refused(&format!("-S -m {mask}"), 2, &[mask, "--cpumask", &format!("at character {at}")]);
    }
    refused("-S -m 0x0", 2, &["a mask without a core"]);
    refused("-S -m 0", 2, &["a mask without a core, or core 0 ([0])"]);
}

#[test]
fn a_mask_without_a_core_of_this_machine() {
    refused("-S -P 0 -m [1023]", 2, &["-m [1023]", "no core [1023]", "it has ["]);
    refused(&format!("-S -P 0 -m [{},1022]", allowed_cores()[0]), 2, &["no core [1022]"]);
}

#[test]
fn a_mask_outside_of_the_affinity() {
    let cores = allowed_cores();
    assert!(cores.len() >= 2, "this test needs two cores");
    // A process inherits the cores of the thread that starts it.
    thread::spawn(move || {
        let mut one = rustix::thread::CpuSet::new();
        one.set(cores[0]);
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        let (allowed, denied) = (format!("[{}]", cores[0]), format!("[{}]", cores[1]));
        refused(&format!("-S -P 0 -m {denied}"), 2, &[&format!("may not use {denied}"), &format!("affinity is {allowed}")]);
    })
    .join()
    .unwrap();
}

#[test]
fn an_unknown_backend_names_those_that_are_linked_and_the_feature() {
    for mode in ["-S", "", "--load 1,1,1,1"] {
        refused(&format!("{mode} -N nope --no-cpumask-locks"), 2, &["\"nope\"", "has uring, posix", "choose one of these"]);
    }
}

#[test]
fn an_unknown_log_flag() {
    refused("-S -L nope", 2, &["\"nope\"", "app", "posix", "reactor", "all"]);
}

#[test]
fn configurations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.json");
    let file = path.to_str().unwrap();
    let args = format!("-S -c {file} --no-cpumask-locks");
    refused(&args, 2, &[file, "No such file"]);
    // It never ends.
    refused("-S -c /dev/zero", 2, &["-c /dev/zero", "more than 1048576 bytes"]);
    fs::write(&path, b"{\xff}").unwrap();
    refused(&args, 2, &[file, "not UTF-8"]);
    for (json, parts) in [
        ("{\n\"cpumask\": \"[0-\"\n}", &["cpumask", "at character 3", "line 2"][..]),
        ("{\n\"busy_poll\": \"yes\"\n}", &["busy_poll", "line 2"]),
        ("{\n\"colour\": 1\n}", &["colour", "unknown field", "line 2"]),
        ("{\"logflags\": [\"nope\"]}", &["logflags", "\"nope\"", "line 1"]),
        ("{", &["line 1"]),
        // s201: keys of its own are no less strict.
        ("{\"app\":\n{\"rooms\": 1}}", &["app.rooms", "expected `sockets`", "line 2 column 8"]),
        ("{\"app\": {\"sockets\": 0}}", &["app.sockets", "0 connections are not between 1 and 16777214", "line 1"]),
        #[cfg(feature = "rpc")]
        ("{\"subsystems\": [{\"subsystem\": \"sock\"}]}", &["subsystems[0]", "missing field `config`", "line 1"]),
    ] {
        fs::write(&path, json).unwrap();
        refused(&args, 2, &[&["-c ", file][..], parts].concat());
    }
    fs::write(&path, "{\"sock_impl\": \"nope\"}").unwrap();
    refused(&args, 2, &["\"nope\"", "has uring, posix"]);
    fs::write(&path, "{\"app\": {\"sockets\": 101}} // too many").unwrap();
    let limited = Command::new("sh")
        .args(["-c", &format!("ulimit -n 100; exec \"$0\" {args} -P 0"), env!("CARGO_BIN_EXE_hello-sock")])
        .output()
        .expect("a shell");
    let stderr = String::from_utf8_lossy(&limited.stderr);
    assert!(limited.status.code() == Some(1) && stderr.contains("--sockets 101: each takes a descriptor"), "s201: {stderr}");
    // What stands on the command line comes first.
    let ended = run(&format!("{args} --sockets 5 -P 0 -N posix -t 0.1"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn options_that_do_not_go_together_or_are_none() {
    refused("-S --load 1,1,1,1", 2, &["--load", "--server"]);
    refused("--reuseport", 2, &["--server"]);
    refused("--load 1,1,1,1 -t 3", 2, &["--time", "--load"]);
    refused("-S --busy-poll --idle-spin 3", 2, &["--busy-poll", "--idle-spin"]);
    refused("-S -t 0", 2, &["--time", "above 0"]);
    refused("--load 1,2", 2, &["2 parts where 4 belong"]);
    refused("--load 20000,65536,1,1", 2, &["CONNECTIONS times DEPTH is 1310720000"]);
    refused("-S --sockets 0", 2, &["--sockets"]);
    refused("-S --colour", 2, &["--colour"]);
}

/// Neither more descriptors nor more memory than there can be.
#[test]
fn s99_more_than_the_machine_has_is_refused_with_the_numbers() {
    let no_descriptors = Command::new("sh")
        .args(["-c", "ulimit -n 100; exec \"$0\" -S -P 0 --sockets 101 --no-cpumask-locks", env!("CARGO_BIN_EXE_hello-sock")])
        .output()
        .expect("a shell");
    let stderr = String::from_utf8_lossy(&no_descriptors.stderr);
    assert_eq!(no_descriptors.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--sockets 101: each takes a descriptor, and this process may open 100 at most (see ulimit -Hn)"), "{stderr}");
    // 16 TiB; and what is less than the machine has and more than it has left the system would
    // grant.
    refused(
        "-S -P 0 --small-pool-count 1073741824 --no-cpumask-locks",
        1,
        &["16777216 MiB are asked for", "MiB available", "--small-pool-count"],
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for args in ["--help", "-h", "--version"] {
        let ended = run(args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args}");
    }
    let version = run("--version").stdout;
    assert_eq!(String::from_utf8(version).unwrap().trim(), concat!("hello-sock ", env!("CARGO_PKG_VERSION")));
}

/// What is printed there is lost, and the exit code says so. `change` is what a shell does to it.
#[test]
fn s98_an_output_that_is_not_written_is_an_error() {
    for args in ["--help", "--version", "-S -P 0 -t 0.01 --json --no-cpumask-locks"] {
        for (change, part) in [(">/dev/full", "No space left"), (">&-", "Bad file descriptor"), ("", "Broken pipe")] {
            let mut command = Command::new("sh");
            let script = format!("exec \"$0\" {args} {change}");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_hello-sock")]).stdout(Stdio::piped());
            let mut program = Program::start(command);
            drop(program.child().stdout.take());
            let ended = program.wait();
            if change.is_empty() && !args.contains("--json") {
                // Who has read enough of the help.
                assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args}");
                continue;
            }
            let why = ended.refusal(1);
            assert!(why.contains("write standard output: ") && why.contains(part), "{args} {change}: {why}");
        }
    }
}

/// A stream that was closed before the start has something in its place that reads as empty and
/// takes everything. The client does not even connect.
#[test]
fn s98_a_client_without_a_stream_does_not_start() {
    for (change, what) in [("<&-", "read standard input"), (">&-", "write standard output")] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" -P 1 --no-cpumask-locks {change}"), env!("CARGO_BIN_EXE_hello-sock")]);
        let why = Program::start(command).wait().refusal(1);
        assert!(why.ends_with(&format!("{what}: Bad file descriptor (error 9)")), "{why}");
    }
}

#[test]
fn a_stop_on_the_way_of_the_start_is_no_error() {
    let cores = allowed_cores();
    assert!(cores.len() >= 2, "this test needs two cores");
    let ended = run(&format!("-S -P 0 -t 1e-9 -m [{},{}] --no-cpumask-locks", cores[0], cores[1]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains(": error: "), "{}", ended.stderr);
}
