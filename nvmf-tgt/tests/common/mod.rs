//! A target as a process, and a host that talks to it over a real socket.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nvme::command::Sqe;
use nvme::digest::digest;
use nvme::fabrics::ConnectData;
use nvme::host::{Bringup, Event, Payload, Queue, Settings, Step};
use nvme::{Shape, Status};
use zerocopy::IntoBytes;

pub(crate) const NQN: &str = "nqn.2016-06.io.spdk:cnode1";
pub(crate) const HOSTNQN: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001";

/// A running nvmf-tgt, which ends with this.
pub(crate) struct Target {
    pub(crate) child: Child,
    pub(crate) at: SocketAddr,
}

impl Target {
    /// Starts it with these arguments, at a free port.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, Stdio::null(), None)
    }

    /// With its log somewhere, and with a limit of descriptors.
    pub(crate) fn start_with(args: &[&str], log: Stdio, descriptors: Option<usize>) -> Self {
        let program = env!("CARGO_BIN_EXE_nvmf-tgt");
        let mut command = match descriptors {
            None => Command::new(program),
            Some(most) => {
                let mut command = Command::new("sh");
                command.args(["-c", r#"ulimit -n "$0"; exec "$@""#, &most.to_string(), program]);
                command
            }
        };
        command.args(["--listen", "127.0.0.1:0", "--no-rpc", "--no-cpumask-locks"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("nvmf-tgt starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("its output")).read_line(&mut line).expect("a line");
        // nvme connect -t tcp -a 127.0.0.1 -s 34567 -n nqn…
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[..4], ["nvme", "connect", "-t", "tcp"], "{line:?}");
        let at = SocketAddr::new(words[5].parse().expect("an address"), words[7].parse().expect("a port"));
        Self { child, at }
    }

    /// Descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it lives").count()
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Until it has no more descriptors than that.
    pub(crate) fn has_again(&self, descriptors: usize) {
        until("descriptors that are given back", || self.descriptors() == descriptors);
    }

    /// Asks it to end; whether it says that all went well.
    pub(crate) fn stop(mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        self.child.wait().expect("its end").success()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds that nobody tells.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "after a minute there are still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) cid: u16,
    pub(crate) status: Status,
    pub(crate) result: u64,
    pub(crate) data: Vec<u8>,
}

/// A queue of a host.
pub(crate) struct Host {
    pub(crate) stream: TcpStream,
    pub(crate) queue: Queue,
    sends: Vec<Vec<u8>>,
    receives: Vec<Vec<u8>>,
    done: Vec<Done>,
    /// The target has ended the connection.
    pub(crate) is_gone: bool,
}

impl Host {
    pub(crate) fn new(at: SocketAddr, shape: Shape, commands: u16) -> Self {
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
        stream.set_nodelay(true).expect("an option");
        let (queue, hello) = Queue::new(Settings { shape, commands, in_capsule: 8192 });
        stream.write_all(&hello.parts().concat()).expect("ICReq");
        let many = || vec![Vec::new(); commands.into()];
        let mut host = Self { stream, queue, sends: many(), receives: many(), done: Vec::new(), is_gone: false };
        while !host.queue.is_ready() {
            assert!(!host.is_gone, "the target has closed the connection");
            host.receive();
        }
        host
    }

    /// An admin queue whose controller is ready.
    pub(crate) fn admin(at: SocketAddr, shape: Shape, nqn: &str) -> (Self, Bringup) {
        let mut host = Self::new(at, shape, 31);
        let data = ConnectData::new([5; 16], 0, nqn, HOSTNQN).expect("names");
        let queues = if nqn == nvme::fabrics::DISCOVERY_NQN { 0 } else { 4 };
        let mut bringup = Bringup::new(data, 32, 15_000, queues);
        while let Step::Submit(sqe, payload) = bringup.step() {
            let sends = if matches!(payload, Payload::Send(_)) { bringup.data().as_bytes().to_vec() } else { Vec::new() };
            let done = host.call(sqe, payload, &sends);
            bringup.done(done.status, done.result, &done.data).expect("a controller that comes up");
        }
        (host, bringup)
    }

    /// An I/O queue of that controller.
    pub(crate) fn io(at: SocketAddr, shape: Shape, nqn: &str, bringup: &Bringup, qid: u16, entries: u16) -> Self {
        let mut host = Self::new(at, shape, entries - 1);
        let data = ConnectData::new([5; 16], bringup.cntlid(), nqn, HOSTNQN).expect("names");
        let done = host.call(Sqe::connect(qid, entries, 0), Payload::Send(1024), data.as_bytes());
        assert!(done.status.is_success(), "{done:?}");
        host.queue.set_in_capsule(bringup.in_capsule());
        host
    }

    pub(crate) fn submit(&mut self, sqe: Sqe, payload: Payload, data: &[u8]) -> u16 {
        let command = self.queue.submit(sqe, payload).expect("room for a command");
        let mut bytes = command.head.parts().concat();
        if command.with_data {
            bytes.extend(self.with_digest(data));
        }
        self.sends[usize::from(command.cid)] = data.to_vec();
        self.receives[usize::from(command.cid)] =
            if let Payload::Receive(length) = payload { vec![0xEE; length as usize] } else { Vec::new() };
        self.put(&bytes);
        command.cid
    }

    fn with_digest(&self, data: &[u8]) -> Vec<u8> {
        let mut bytes = data.to_vec();
        if self.queue.shape().data_digest {
            bytes.extend_from_slice(&digest(data));
        }
        bytes
    }

    pub(crate) fn call(&mut self, sqe: Sqe, payload: Payload, data: &[u8]) -> Done {
        let cid = self.submit(sqe, payload, data);
        self.wait(cid)
    }

    pub(crate) fn wait(&mut self, cid: u16) -> Done {
        self.try_wait(cid).expect("the target keeps the connection")
    }

    /// None if the target ends the connection first.
    pub(crate) fn try_wait(&mut self, cid: u16) -> Option<Done> {
        loop {
            if let Some(at) = self.done.iter().position(|done| done.cid == cid) {
                return Some(self.done.swap_remove(at));
            }
            if self.is_gone {
                return None;
            }
            self.receive();
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.is_gone |= self.stream.write_all(bytes).is_err();
    }

    fn receive(&mut self) {
        let mut buf = [0; 65536];
        let n = match self.stream.read(&mut buf) {
            Err(why) if why.kind() == ErrorKind::ConnectionReset => 0,
            other => other.expect("an answer in time"),
        };
        if n == 0 {
            self.is_gone = true;
            return;
        }
        let mut bytes = &buf[..n];
        let mut wanted = Vec::new();
        while let Some(event) = self.queue.receive(&mut bytes).expect("a right answer") {
            match event {
                Event::Ready => {}
                Event::Data { cid, offset, bytes } => {
                    self.receives[usize::from(cid)][offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
                }
                Event::Wanted { cid } => wanted.push(cid),
                Event::Completed { cid, status, result } => {
                    self.done.push(Done { cid, status, result, data: std::mem::take(&mut self.receives[usize::from(cid)]) });
                }
                Event::Terminated { fes, fei } => panic!("terminated: FES {fes:#x}, FEI {fei:#x}"),
            }
        }
        for cid in wanted {
            while let Some(piece) = self.queue.next_piece(cid) {
                let begin = piece.offset as usize;
                let data = self.sends[usize::from(cid)][begin..begin + piece.length as usize].to_vec();
                let mut bytes = piece.head.parts().concat();
                bytes.extend(self.with_digest(&data));
                self.put(&bytes);
            }
        }
    }
}
