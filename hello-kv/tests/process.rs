//! The program, with real peers, some of which mean no good.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);

/// The program; dropped, it is killed.
struct Server(Child, String);

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hello-kv"));
        let child = command.args(["127.0.0.1:0", "--no-cpumask-locks"]).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut server = Self(child, String::new());
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        server.1 = line.trim().strip_prefix("serves at ").expect("it says where it is").to_owned();
        server
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.1).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The most memory that it has had, in KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn ask(stream: &mut TcpStream, requests: &[u8], answers: &[u8]) {
    stream.write_all(requests).unwrap();
    let mut got = vec![0; answers.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(answers));
}

#[test]
fn s421_it_serves_over_each_backend_and_ends_with_a_signal() {
    for backend in ["posix", "uring"] {
        let mut args = vec!["-N", backend];
        if std::thread::available_parallelism().unwrap().get() > 1 {
            args.extend(["-m", "0,1"]);
        }
        let server = Server::start(&args);
        let mut streams = [(); 4].map(|()| server.connect());
        for (n, stream) in streams.iter_mut().enumerate() {
            ask(stream, format!("set {n} v{n}\r\nget {n}\r\n").as_bytes(), format!("+OK\r\n$2\r\nv{n}\r\n").as_bytes());
        }
        for stream in &mut streams {
            ask(stream, b"mget 0 1 2 3\r\ndbsize\r\n", b"*4\r\n$2\r\nv0\r\n$2\r\nv1\r\n$2\r\nv2\r\n$2\r\nv3\r\n:4\r\n");
        }
        server.end();
    }
}

#[test]
fn s426_one_peer_holds_a_bounded_part_of_the_memory() {
    const MIB: usize = 1 << 20;
    let server = Server::start(&[]);
    let mut good = server.connect();
    let value = vec![b'x'; MIB - 100];
    let set = [format!("*3\r\n$3\r\nSET\r\n$1\r\nv\r\n${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
    ask(&mut good, &set, b"+OK\r\n");
    let before = server.peak();
    // All the answers to one buffer of these would be 2.7 GiB.
    let mut deaf = server.connect();
    deaf.write_all(&b"get v\n".repeat(2_700)).unwrap();
    let mut many = server.connect();
    let keys = b"$1\r\nv\r\n".repeat(255);
    many.write_all(&[&b"*256\r\n$4\r\nMGET\r\n"[..], &keys].concat()).unwrap();
    // One whole answer to each: they are under way.
    let mut first = vec![0; MIB];
    deaf.read_exact(&mut first).unwrap();
    many.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"*255\r\n$1048476\r\nxxx"));
    // Requests of which the end never comes.
    let mut endless = server.connect();
    endless.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nw\r\n$1048000\r\n").unwrap();
    endless.write_all(&value[..MIB - 1000]).unwrap();
    ask(&mut good, b"ping\r\n", b"+PONG\r\n");
    let grown = server.peak() - before;
    assert!(grown < 64 << 10, "{grown} KiB more");
    // Whoever reads gets it all.
    let mut rest = 6 + 255 * (10 + value.len() as u64 + 2) - first.len() as u64;
    while rest > 0 {
        let want = first.len().min(rest as usize);
        many.read_exact(&mut first[..want]).unwrap();
        rest -= want as u64;
    }
    let grown = server.peak() - before;
    assert!(grown < 64 << 10, "{grown} KiB more");
    server.end();
}

#[test]
fn an_address_in_use_is_named() {
    let server = Server::start(&[]);
    let ended = Command::new(env!("CARGO_BIN_EXE_hello-kv")).arg(&server.1).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{} is in use by another socket", server.1)), "{said}");
    server.end();
}
