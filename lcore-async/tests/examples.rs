//! The examples, as programs of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);

/// An example as a process; dropped, it is killed.
struct Example(Child, String);

impl Example {
    /// Starts it on a free port, and reads where that is behind `says`.
    fn start(name: &str, says: &str) -> Self {
        // Cargo builds examples beside the tests of a package (`cargo test -p lcore-async`); a
        // single `--test` alone needs `--examples` too.
        let here = std::env::current_exe().expect("it has a path");
        let program = here.parent().and_then(|deps| deps.parent()).expect("it lies in target").join("examples").join(name);
        assert!(program.exists(), "{} is not built: cargo build -p lcore-async --examples", program.display());
        let child = Command::new(program).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("it starts");
        let mut example = Self(child, String::new());
        let mut line = String::new();
        BufReader::new(example.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        example.1 = line.trim().strip_prefix(says).expect("it says where it is").to_owned();
        example
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.1).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
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
fn the_readme_shows_the_echo_server_as_it_is() {
    let source = include_str!("../examples/echo.rs").trim_end();
    assert!(include_str!("../README.md").contains(source), "README.md shows another echo server than examples/echo.rs");
}

#[test]
fn the_echo_server_echoes_and_ends_its_side_behind_its_peers() {
    let example = Example::start("async-echo", "echoes at ");
    let mut streams = [example.connect(), example.connect()];
    for stream in &mut streams {
        stream.write_all(b"hello").expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("it is connected");
        let mut back = String::new();
        stream.read_to_string(&mut back).expect("an end in order");
        assert_eq!(back, "hello");
    }
}

#[cfg(feature = "hyper")]
#[test]
fn the_http_server_greets() {
    let example = Example::start("async-http", "serves http://");
    let mut stream = example.connect();
    stream.write_all(b"GET /you HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end in order");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nHello, you!\n"), "{answer}");
}
