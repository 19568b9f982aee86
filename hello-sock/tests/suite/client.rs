//! The client in pipes: everything comes back, and what goes wrong is said.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{Program, Server, hello_sock, run_command, until};
use rustix::process::Signal;
use sha2::{Digest, Sha256};

/// A file of `bytes` bytes of noise, open for reading, and its SHA-256.
fn noise(bytes: usize) -> (tempfile::NamedTempFile, [u8; 32]) {
    let (mut file, mut hash, mut state) = (tempfile::NamedTempFile::new().unwrap(), Sha256::new(), 7u64);
    let mut left = bytes;
    while left > 0 {
        let block: Vec<u8> = (0..left.min(1 << 16)).map(|_| noise_byte(&mut state)).collect();
        hash.update(&block);
        file.write_all(&block).unwrap();
        left -= block.len();
    }
    (file, hash.finalize().into())
}

fn noise_byte(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 24) as u8
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[test]
fn a_file_comes_back_through_a_pipe() {
    let server = Server::start("");
    for bytes in [1, 16_384, 65_537, 20_000_000] {
        let (file, hash) = noise(bytes);
        let mut command = server.client("-V");
        command.stdin(File::open(file.path()).unwrap());
        let ended = Program::start_collecting(command).wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!((ended.stdout.len(), sha(&ended.stdout)), (bytes, hash));
        assert!(ended.stderr.contains(&format!("{bytes} bytes out, {bytes} bytes in")), "{}", ended.stderr);
    }
}

#[test]
fn lines_come_back_one_by_one_while_the_input_stays_open() {
    let server = Server::start("");
    let mut command = server.client("");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Program::start(command);
    let (mut input, mut output) = (client.stdin(), client.child().stdout.take().unwrap());
    for line in ["first\n", "second\n", "third\n"] {
        input.write_all(line.as_bytes()).unwrap();
        let mut back = vec![0; line.len()];
        output.read_exact(&mut back).unwrap();
        assert_eq!(back, line.as_bytes());
    }
    drop(input);
    assert_eq!(client.wait().code, Some(0));
}

#[test]
fn empty_input_ends_well() {
    let server = Server::start("");
    let ended = run_command(server.client("--json"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let figures: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((figures["mode"].as_str(), &figures["bytes_out"], &figures["bytes_in"]), (Some("client"), &0.into(), &0.into()));
}

#[test]
fn a_refused_connection_is_one_sentence() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let why = run_command(hello_sock(&format!("-P {port} --no-cpumask-locks"))).refusal(1);
    assert!(why.contains(&format!("127.0.0.1:{port}: refused")), "{why}");
}

#[test]
fn a_server_that_dies_in_the_middle_is_told() {
    let mut server = Server::start("");
    let mut command = server.client("");
    command.stdin(Stdio::piped());
    let mut client = Program::start_collecting(command);
    let mut input = client.stdin();
    let feeder = thread::spawn(move || while input.write_all(&[5; 4096]).is_ok() {});
    server.program.line_with("Accepting");
    server.program.signal(Signal::KILL);
    server.program.wait();
    let ended = client.wait();
    let why = ended.refusal(1);
    assert!(why.contains("reset") || why.contains("closed the connection"), "{why}");
    assert!(ended.stdout.iter().all(|b| *b == 5));
    feeder.join().unwrap();
}

#[test]
fn a_server_that_ends_while_the_client_waits_for_input_is_told() {
    let mut server = Server::start("");
    let mut command = server.client("");
    command.stdin(Stdio::piped());
    let mut client = Program::start_collecting(command);
    let mut input = client.stdin();
    input.write_all(b"all of this comes back").unwrap();
    server.program.line_with("Accepting");
    server.stop();
    let why = client.wait().refusal(1);
    assert!(why.contains("the server closed the connection"), "{why}");
}

#[test]
fn a_peer_that_keeps_some_is_told() {
    let miser = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = miser.local_addr().unwrap().port();
    let mut command = hello_sock(&format!("-P {port} --no-cpumask-locks"));
    command.stdin(Stdio::piped());
    let mut client = Program::start_collecting(command);
    client.stdin().write_all(b"twelve bytes").unwrap();
    let (mut stream, _) = miser.accept().unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    stream.write_all(&got[..5]).unwrap();
    drop(stream);
    let ended = client.wait();
    let why = ended.refusal(1);
    assert!(why.contains("5 of 12 bytes came back"), "{why}");
    assert_eq!(ended.stdout, b"twelv");
}

#[test]
fn an_output_that_is_closed_is_told_and_no_panic() {
    let server = Server::start("");
    let mut command = server.client("");
    command.stdin(File::open("/dev/zero").unwrap()).stdout(Stdio::piped());
    let mut client = Program::start(command);
    let mut output = client.child().stdout.take().unwrap();
    output.read_exact(&mut [0; 10]).unwrap();
    drop(output);
    let why = client.wait().refusal(1);
    assert!(why.contains("write standard output"), "{why}");
}

#[test]
fn an_output_that_cannot_be_written_is_told() {
    let server = Server::start("");
    let mut command = server.client("");
    command.stdin(Stdio::piped()).stdout(File::options().write(true).open("/dev/full").unwrap());
    let mut client = Program::start(command);
    client.stdin().write_all(b"nowhere to go").unwrap();
    let why = client.wait().refusal(1);
    assert!(why.contains("No space left"), "{why}");
}

#[test]
fn an_input_that_cannot_be_read_is_told() {
    let server = Server::start("");
    let mut command = server.client("");
    command.stdin(File::open("/").unwrap());
    let why = Program::start_collecting(command).wait().refusal(1);
    assert!(why.contains("read standard input"), "{why}");
}

#[test]
fn an_output_that_is_not_read_holds_the_input_back_and_memory_too() {
    let server = Server::start("");
    let mut command = server.client("");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Program::start(command);
    let (mut input, mut output) = (client.stdin(), client.child().stdout.take().unwrap());
    let bytes: usize = 128 << 20;
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let writer = thread::spawn(move || {
        let block = [6; 1 << 16];
        for _ in 0..bytes / block.len() {
            input.write_all(&block).expect("the client takes it");
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    client.line_with("Connecting");
    // Nobody reads: all comes to a halt, and nothing is piled up.
    let (mut last, mut still) = (0, 0);
    until("the client to take no more", || {
        let now = taken.load(Ordering::Relaxed);
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        (still > 150).then_some(())
    });
    let resident = client.resident();
    assert!(!writer.is_finished(), "{} MiB vanished into a client whose output is not read", bytes >> 20);
    assert!(resident < 48 << 20, "the client holds {resident} bytes");
    let (mut block, mut back) = (vec![0; 1 << 16], 0);
    while back < bytes {
        let n = output.read(&mut block).unwrap();
        assert!(n > 0 && block[..n].iter().all(|b| *b == 6), "after {back} bytes");
        back += n;
    }
    writer.join().unwrap();
    let ended = client.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_client_ends_after_its_time_and_by_a_signal() {
    let server = Server::start("");
    let mut command = server.client("-t 0.2 --json");
    command.stdin(Stdio::piped());
    let mut client = Program::start_collecting(command);
    let _open = client.stdin();
    let ended = client.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_slice::<serde_json::Value>(&ended.stdout).expect("its report is there");
    assert!(ended.took >= Duration::from_millis(100), "{:?}", ended.took);

    let mut command = server.client("");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Program::start(command);
    let mut stdin = client.stdin();
    // A line has come back, so it is connected.
    stdin.write_all(b"a line\n").unwrap();
    let stdout = client.child().stdout.as_mut().unwrap();
    stdout.read_exact(&mut [0; 7]).unwrap();
    client.signal(Signal::INT);
    assert_eq!(client.wait().code, Some(0));
}

#[test]
fn s96_a_client_that_was_never_connected_has_failed() {
    let (_listener, _waiting, port) = super::load::full_backlog();
    let mut command = hello_sock(&format!("-P {port} -t 0.3 --no-cpumask-locks"));
    command.stdin(Stdio::piped());
    let mut client = Program::start_collecting(command);
    let _open = client.stdin();
    let why = client.wait().refusal(1);
    assert!(why.contains(&format!("ended before the connection to 127.0.0.1:{port} had come up")), "{why}");
}
