//! Whoever reads the log or the report may stop to: everything else goes on.

use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{PATIENCE, echo, hello_sock, until};

/// A server whose standard error is in the test's hands. Dropped, it is killed.
struct Server {
    child: Child,
    log: BufReader<PipeReader>,
    at: SocketAddr,
    /// Dropped, it calls off the thread that ends a server from which nothing comes, so that a line
    /// that is missing is no hang.
    _alive: Sender<()>,
}

impl Server {
    /// Reads the log up to the line that says where it listens, and no further.
    fn start(args: &str, stdout: impl Into<Stdio>) -> Self {
        let (log, stderr) = pipe().unwrap();
        let mut command = hello_sock(&format!("-S -P 0 --no-cpumask-locks {args}"));
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
        let (alive, watch) = channel();
        let pid = Pid::from_child(&child);
        thread::spawn(move || {
            if watch.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let mut server = Self { child, log: BufReader::new(log), at: SocketAddr::from(([127, 0, 0, 1], 0)), _alive: alive };
        // The command has a writing end too.
        drop(command);
        let line = server.line_with("Listening connection on ");
        let (_, rest) = line.split_once("Listening connection on ").unwrap();
        server.at = rest.split_once(' ').unwrap().0.parse().unwrap();
        server
    }

    fn line_with(&mut self, part: &str) -> String {
        let lines = self.log.by_ref().lines().map(Result::unwrap);
        lines.into_iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("the log ended without {part:?}"))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn terminate(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        until("the server's end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// More connections than a pipe and the queue before it have room for their lines.
fn serve_many(server: &Server) {
    let mut old = server.connect();
    for _ in 0..8_000 {
        assert_eq!(echo(&mut server.connect(), b"x"), b"x");
    }
    assert_eq!(echo(&mut old, b"y"), b"y", "of before");
}

#[test]
fn s50_a_log_that_nobody_reads_stops_neither_the_service_nor_its_end() {
    let mut server = Server::start("", Stdio::null());
    serve_many(&server);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn s50_a_log_that_is_read_again_goes_on_and_says_what_is_missing() {
    let mut server = Server::start("", Stdio::null());
    serve_many(&server);
    let gap = server.line_with(", were dropped here");
    let lost: u32 = gap.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(lost > 0 && gap.contains("hello_sock: warn: "), "{gap}");
    let stream = server.connect();
    let port = stream.local_addr().unwrap().port();
    server.line_with(&format!("from (127.0.0.1, {port})"));
    assert_eq!(server.terminate(), Some(0));
    server.line_with("shutting down");
}

#[test]
fn s50_a_report_that_nobody_reads_is_an_error_after_a_while_and_no_hang() {
    let (reader, writer) = conformance::pipe::full();
    let mut server = Server::start("--json", writer);
    assert_eq!(echo(&mut server.connect(), b"served"), b"served");
    assert_eq!(server.terminate(), Some(1));
    server.line_with("hello_sock: write standard output: nobody has read it for 5s");
    drop(reader);
}
