//! The program against servers that do and do not echo: a wrong byte must never go unseen.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;

/// Serves each connection with `serve` on a thread of its own, for as long as the test process
/// lives.
fn server(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("has an address");
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(thread::spawn(move || serve(stream)))));
    at
}

/// Echoes everything, after `change` has had it: the bytes, and how many came before them on this
/// connection.
fn echo(mut stream: TcpStream, change: fn(&mut Vec<u8>, usize)) {
    let (mut buf, mut before) = (vec![0; 65536], 0);
    while let Ok(n @ 1..) = stream.read(&mut buf) {
        let mut bytes = buf[..n].to_vec();
        change(&mut bytes, before);
        before += n;
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}

fn load(at: SocketAddr, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.arg(at.to_string()).args(options).output().expect("the program starts")
}

/// Runs with both engines and returns what went wrong.
fn complaints(serve: fn(TcpStream), options: &[&str]) -> Vec<String> {
    let at = server(serve);
    ["epoll", "uring"]
        .map(|engine| {
            let out = load(at, &[options, &["--engine", engine]].concat());
            assert_eq!(out.status.code(), Some(1), "{engine}: {}", String::from_utf8_lossy(&out.stdout));
            assert!(out.stdout.is_empty(), "{engine}: a report in spite of the error");
            String::from_utf8_lossy(&out.stderr).into_owned()
        })
        .to_vec()
}

const SHORT: &[&str] = &["--connections", "4", "--depth", "3", "--size", "100", "--echoes", "5000"];

#[test]
fn an_honest_server_is_measured() {
    let at = server(|stream| echo(stream, |_, _| {}));
    for engine in ["epoll", "uring"] {
        for options in [SHORT, &["--idle", "30", "-c", "3", "--size", "200000", "-t", "0.2", "-w", "0.05"]] {
            let out = load(at, &[options, &["--engine", engine, "--watch", &std::process::id().to_string()]].concat());
            assert!(out.status.success(), "{engine}: {}", String::from_utf8_lossy(&out.stderr));
            let report: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
            let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"));
            assert!(number("echoes") > 0.0 && number("server_cpu_seconds") > 0.0, "{report}");
            if options == SHORT {
                assert_eq!(number("echoes"), 5000.0);
            }
            assert!((number("echoes_per_second") - number("echoes") / number("seconds")).abs() < 1.0, "{report}");
            let latency = |name: &str| report["latency"][name].as_f64().expect(name);
            assert!(latency("p50") > 0.0 && latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{report}");
        }
    }
}

#[test]
fn one_flipped_bit_is_seen_and_located() {
    let serve = |stream| {
        echo(stream, |bytes, before| {
            if (before..before + bytes.len()).contains(&34_567) {
                bytes[34_567 - before] ^= 1;
            }
        });
    };
    for complaint in complaints(serve, SHORT) {
        assert!(complaint.contains("byte 34567 of connection"), "{complaint}");
    }
}

#[test]
fn swapped_bytes_are_seen() {
    for complaint in complaints(|stream| echo(stream, |bytes, _| bytes.reverse()), SHORT) {
        assert!(complaint.contains("came back wrong"), "{complaint}");
    }
}

#[test]
fn bytes_that_were_never_sent_are_seen() {
    let serve = |stream| {
        echo(stream, |bytes, before| {
            if before > 20_000 {
                bytes.push(7)
            }
        })
    };
    for complaint in complaints(serve, SHORT) {
        assert!(complaint.contains("the server did not echo"), "{complaint}");
    }
}

#[test]
fn a_server_that_closes_early_is_seen() {
    let serve = |mut stream: TcpStream| {
        let mut buf = [0; 1000];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            let _ = stream.write_all(&buf[..n]);
            if n >= 300 {
                return;
            }
        }
    };
    for complaint in complaints(serve, SHORT) {
        assert!(complaint.contains("the server closed connection") || complaint.contains("the server broke connection"), "{complaint}");
    }
}

#[test]
fn a_server_that_sends_after_the_last_echo_is_seen() {
    let serve = |mut stream: TcpStream| {
        let mut buf = [0; 65536];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            let _ = stream.write_all(&buf[..n]);
        }
        let _ = stream.write_all(b"bye");
    };
    for complaint in complaints(serve, SHORT) {
        assert!(complaint.contains("a byte that was never sent"), "{complaint}");
    }
}

#[test]
fn a_watched_process_that_is_not_there_is_an_error() {
    let at = server(|stream| echo(stream, |_, _| {}));
    let out = load(at, &["--watch", "4194304", "--echoes", "1"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("not there"));
}
