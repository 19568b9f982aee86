//! The example that the README shows: short, and no toy.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

/// The example as a process; dropped, it is killed.
struct Example(Child, String);

/// The example, to be started.
fn echo(at: &str) -> Command {
    // Cargo builds examples beside the tests of a package (`cargo test -p lcore`); a single
    // `--test` alone needs `--examples` too.
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/echo");
    assert!(program.exists(), "{} is not built: cargo build -p lcore --examples", program.display());
    let mut command = Command::new(program);
    command.arg(at);
    command
}

impl Example {
    fn start() -> Self {
        let child = echo("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut example = Self(child, String::new());
        let mut line = String::new();
        BufReader::new(example.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        example.1 = line.trim().strip_prefix("echoes at ").expect("it says where it is").to_owned();
        example
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.1).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_readme_shows_it_as_it_is() {
    let source = include_str!("../examples/echo.rs").trim_end();
    assert!(include_str!("../../README.md").contains(source), "README.md shows another echo server than examples/echo.rs");
}

#[test]
fn an_address_that_is_none_is_named() {
    let ended = echo("nowhere").output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("error: \"nowhere\" is no address with a port"), "{said}");
}

#[test]
fn it_has_at_most_40_lines() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/echo.rs");
    let lines = fs::read_to_string(path).unwrap().lines().count();
    assert!(lines <= 40, "{lines} lines");
}

#[test]
fn it_echoes_to_a_peer_that_does_not_read_for_a_while_and_ends_with_a_signal() {
    const BYTES: u64 = 64 << 20;
    let mut example = Example::start();
    let mut writer = example.connect();
    writer.write_all(b"short").unwrap();
    let mut back = [0; 5];
    writer.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"short");
    let mut reader = writer.try_clone().unwrap();
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for block in 0..BYTES >> 16 {
                if writer.write_all(&[block as u8; 1 << 16]).is_err() {
                    return;
                }
                written.fetch_add(1 << 16, Ordering::SeqCst);
            }
            let _ = writer.shutdown(Shutdown::Write);
        });
        wait_until_stuck(&written);
        let (mut at, mut block, mut wrong) = (0u64, vec![0; 1 << 16], 0);
        while let Ok(n @ 1..) = reader.read(&mut block) {
            // Each 64 KiB have their own byte; a piece may lie in two of them.
            let (first, rest) = block[..n].split_at(n.min((1 << 16) - (at as usize & 0xFFFF)));
            wrong += u32::from(first != &[(at >> 16) as u8; 1 << 16][..first.len()]);
            wrong += u32::from(rest != &[((at >> 16) + 1) as u8; 1 << 16][..rest.len()]);
            at += n as u64;
        }
        let _ = reader.shutdown(Shutdown::Both);
        assert_eq!((at, wrong), (BYTES, 0), "bytes back, and wrong pieces");
    });
    kill_process(Pid::from_child(&example.0), Signal::INT).unwrap();
    assert_eq!(example.0.wait().unwrap().code(), Some(0));
}

/// Waits until `written` has not changed for a while.
fn wait_until_stuck(written: &AtomicU64) {
    let (mut last, mut since, deadline) = (0, Instant::now(), Instant::now() + PATIENCE);
    while last == 0 || since.elapsed() < Duration::from_millis(200) {
        let now = written.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(Instant::now() < deadline, "the writer was not held back");
        thread::sleep(Duration::from_millis(5));
    }
}
