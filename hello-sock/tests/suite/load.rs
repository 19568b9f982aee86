//! The load generator: what it verifies, what it prints, and what it finds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::NET;
use crate::common::{Ended, Program, Server, hello_sock, run_command, until};
use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

fn json(ended: &Ended) -> Value {
    serde_json::from_slice(&ended.stdout).unwrap_or_else(|why| panic!("{why}: {ended:#?}"))
}

/// A server of the test's that handles each connection by `serve`, and the load client's command
/// for it.
fn against(serve: fn(TcpStream), args: &str) -> Command {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(|stream| drop(thread::spawn(move || serve(stream)))));
    hello_sock(&format!("-P {port} --no-cpumask-locks --json {args}"))
}

#[test]
fn every_echo_is_verified_and_figures_add_up() {
    let server = Server::start("");
    let mut rates = Vec::new();
    for (connections, depth, size) in [(1, 1, 1), (16, 1, 64), (3, 8, 1000), (2, 2, 100_000), (1, 500, 64)] {
        let ended = run_command(server.client(&format!("--load {connections},{depth},{size},0.3 --json")));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let report = json(&ended);
        let number = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key} in {report}"));
        for (key, value) in [("connections", connections), ("depth", depth), ("size", size), ("mismatches", 0), ("errors", 0)] {
            assert_eq!(number(key), value, "{key} in {report}");
        }
        assert_eq!(number("bytes"), number("echoes") * size, "{report}");
        assert!(number("echoes") >= connections * depth, "{report}");
        let counted: u64 = report["histogram"].as_array().unwrap().iter().map(|b| b["count"].as_u64().unwrap()).sum();
        assert_eq!(counted, number("echoes"), "{report}");
        let quantiles: Vec<u64> = ["p50", "p90", "p99", "p999", "max"].map(|q| report["latency_ns"][q].as_u64().unwrap()).into();
        assert!(quantiles.is_sorted() && quantiles[0] > 0, "{report}");
        let (rate, seconds) = (report["rate"].as_f64().unwrap(), report["seconds"].as_f64().unwrap());
        assert!((0.3..10.0).contains(&seconds), "{report}");
        // An echo that comes when the time is up counts in no rate, and on a busy machine the first
        // may.
        assert!(rate >= 0.0 && rate * seconds <= number("echoes") as f64 + 0.5, "{report}");
        rates.push(rate);
        assert_eq!((report["mode"].as_str(), report["backend"].as_str()), (Some("load"), Some(NET)));
        assert_eq!((&report["linked"], report["why"].as_str()), (&serde_json::json!(["uring", "posix"]), Some("asked for by name")));
        for part in ["echoes verified", "per second", "p50", "p99 ", "p99.9"] {
            assert!(ended.stderr.contains(part), "{}", ended.stderr);
        }
    }
    assert!(rates.iter().any(|rate| *rate > 0.0), "{rates:?}");
}

#[test]
fn a_full_window_larger_than_all_buffers_comes_back() {
    let server = Server::start("");
    let ended = run_command(server.client("--load 2,16,2097152,0.5 --json"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(json(&ended)["echoes"].as_u64().unwrap() >= 32);
}

#[test]
fn a_wrong_byte_is_found() {
    let flip = |mut stream: TcpStream| {
        let (mut block, mut at) = ([0; 4096], 0);
        while let Ok(n @ 1..) = stream.read(&mut block) {
            // The thousandth byte.
            if (at..at + n).contains(&1000) {
                block[1000 - at] ^= 1;
            }
            at += n;
            if stream.write_all(&block[..n]).is_err() {
                return;
            }
        }
    };
    let ended = run_command(against(flip, "--load 1,1,64,0.3"));
    assert!(ended.refusal(1).contains("came back wrong"), "{}", ended.stderr);
    assert_eq!(json(&ended)["mismatches"], 1);
}

#[test]
fn bytes_that_do_not_come_back_are_found() {
    let swallow = |mut stream: TcpStream| while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {};
    let ended = run_command(against(swallow, "--load 3,1,64,0.2"));
    assert!(ended.refusal(1).contains("3 of 3 connections did not get everything back"), "{}", ended.stderr);
    let report = json(&ended);
    assert_eq!((&report["errors"], &report["echoes"]), (&3.into(), &0.into()), "{report}");
}

#[test]
fn connections_that_are_closed_at_once_are_counted_once() {
    let ended = run_command(against(drop, "--load 8,1,64,0.3"));
    ended.refusal(1);
    let report = json(&ended);
    assert_eq!((&report["errors"], &report["echoes"]), (&8.into(), &0.into()), "{report}");
}

#[test]
fn connections_that_a_full_server_turns_away_are_counted_and_the_others_go_on() {
    let server = Server::start("--sockets 3");
    let ended = run_command(server.client("--load 8,1,64,0.3 --json"));
    ended.refusal(1);
    let report = json(&ended);
    assert_eq!(report["errors"], 5, "{report}");
    assert!(report["echoes"].as_u64().unwrap() >= 3, "{report}");
}

#[test]
fn a_refused_connection_is_one_sentence_and_all_are_counted() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let ended = run_command(hello_sock(&format!("-P {port} --no-cpumask-locks --load 5,1,64,1 --json")));
    let why = ended.refusal(1);
    assert!(why.contains("5 of 5 connections failed") && why.contains("refused"), "{why}");
    assert_eq!(json(&ended)["errors"], 5);
}

#[test]
fn a_server_that_dies_in_the_middle_is_told() {
    let mut server = Server::start("");
    let mut client = Program::start_collecting(server.client("--load 4,1,64,60 --json"));
    server.program.nth_line_with("Accepting", 4);
    server.program.signal(Signal::KILL);
    server.program.wait();
    let ended = client.wait();
    ended.refusal(1);
    assert_eq!(json(&ended)["errors"], 4);
}

#[test]
fn a_signal_ends_it_with_its_report() {
    static BLOCKS: AtomicUsize = AtomicUsize::new(0);
    let count = |mut stream: TcpStream| {
        let mut block = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut block) {
            BLOCKS.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(&block[..n]).is_err() {
                return;
            }
        }
    };
    let mut client = Program::start_collecting(against(count, "--load 4,1,64,60"));
    // On some connection there has been a second message, so one came back.
    until("some echoes", || (BLOCKS.load(Ordering::SeqCst) > 20).then_some(()));
    client.signal(Signal::INT);
    let ended = client.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json(&ended)["errors"], 0);
}

#[test]
fn s96_a_load_that_is_ended_before_an_echo_came_back_has_failed() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let swallow = |mut stream: TcpStream| {
        while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
            SEEN.fetch_add(1, Ordering::SeqCst);
        }
    };
    let mut client = Program::start_collecting(against(swallow, "--load 1,1,64,60"));
    until("a message", || (SEEN.load(Ordering::SeqCst) > 0).then_some(()));
    client.signal(Signal::INT);
    let ended = client.wait();
    assert!(ended.refusal(1).contains("before an echo came back"), "{}", ended.stderr);
    assert_eq!(json(&ended)["echoes"], 0);
}

/// A listener whose backlog is full: its system answers no further SYN. Kept open by what is
/// returned with it.
pub(super) fn full_backlog() -> (Socket, Vec<Socket>, u16) {
    let tcp = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = tcp();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let at = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = tcp();
        let connected = socket.connect_timeout(&at, Duration::from_millis(300));
        waiting.push(socket);
        if connected.is_err() {
            return (listener, waiting, at.as_socket().unwrap().port());
        }
    }
}

#[test]
fn s96_a_load_ends_after_its_time_where_connections_do_not_come_up() {
    let (_listener, _waiting, port) = full_backlog();
    let ended = run_command(hello_sock(&format!("-P {port} --no-cpumask-locks --load 4,1,64,0.2 --json")));
    let why = ended.refusal(1);
    assert!(why.contains(&format!("4 of 4 connections to 127.0.0.1:{port} did not come up")), "{why}");
    assert_eq!(json(&ended)["errors"], 4);
    // A signal does not make it a success.
    let mut client = Program::start_collecting(hello_sock(&format!("-P {port} --no-cpumask-locks --load 4,1,64,60 --json")));
    client.line_with("Connecting");
    client.signal(Signal::INT);
    assert!(client.wait().refusal(1).contains("4 of 4 connections"));
}

#[test]
fn a_report_that_nobody_reads_is_an_error_and_no_panic() {
    let server = Server::start("");
    let mut command = server.client("--load 1,1,64,0.2 --json");
    command.stdout(Stdio::piped());
    let mut client = Program::start(command);
    drop(client.child().stdout.take());
    let why = client.wait().refusal(1);
    assert!(why.contains("write standard output"), "{why}");

    let mut command = hello_sock("-S -P 0 --no-cpumask-locks --json");
    command.stdout(Stdio::piped());
    let mut server = Program::start(command);
    drop(server.child().stdout.take());
    server.line_with("Listening");
    server.signal(Signal::INT);
    let why = server.wait().refusal(1);
    assert!(why.contains("write standard output"), "{why}");
}
