//! Both programs as processes, over a device.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// The machine's two processors do not do for several tests at a time.
static MACHINE: Mutex<()> = Mutex::new(());

pub(crate) fn machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub(crate) fn host() -> String {
    std::env::var("LCORE_RDMA_ADDR").expect("LCORE_RDMA_ADDR is the address of a network interface with an RDMA device")
}

/// A server as a process. Killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: String,
    lines: Option<thread::JoinHandle<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(args: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_smbd-server"))
            .args(args.split_whitespace())
            .args(["-N", "rdma"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let port = port_of(&mut stderr);
        let lines =
            Some(thread::spawn(move || stderr.lines().map(|line| line.expect("text")).inspect(|line| println!("{line}")).collect()));
        Self { child, port, lines }
    }

    /// Runs a client to its end: its exit code, what it printed, and what it logged.
    pub(crate) fn client(&self, args: &str) -> (Option<i32>, String, String) {
        let ended = self.command(args).output().expect("the client starts");
        let [stdout, stderr] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
        println!("{stderr}{stdout}");
        (ended.status.code(), stdout, stderr)
    }

    /// Runs a client that has to succeed: what it printed.
    #[track_caller]
    pub(crate) fn good_client(&self, args: &str) -> String {
        let (code, stdout, stderr) = self.client(args);
        assert_eq!(code, Some(0), "{args}: {stderr}");
        stdout
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smbd-client"));
        command.args([&host(), &self.port]).args(args.split_whitespace());
        command
    }

    /// Stops it in order: its lines. All buffers have to be home.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it can be signalled");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
        let lines = self.lines.take().expect("it was not stopped before").join().expect("its lines");
        let home = lines.iter().find_map(|line| Some(line.split_once("buffers home: ")?.1)).expect("it counts the buffers");
        let counts: Vec<u64> = home.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        assert!(counts.len() == 4 && counts[0] == counts[1] && counts[2] == counts[3] && counts[1] > 0, "{home}");
        lines
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.lines.is_some() {
            // It may have ended by itself, which the test has told already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn port_of(stderr: &mut BufReader<ChildStderr>) -> String {
    let mut all = String::new();
    while stderr.read_line(&mut all).expect("text") > 0 {
        if let Some((_, rest)) = all.split_once("listening on port ") {
            return rest.split(' ').next().expect("a port").into();
        }
    }
    panic!("the server does not listen: {all}");
}

pub(crate) fn negotiate_stream_and_memory(wait: &str, mib: u64) {
    let _machine = machine();
    let server = Server::start(&format!("--echo --wait {wait}"));
    let (code, _, stderr) = server.client(&format!("--wait {wait}"));
    assert_eq!(code, Some(0), "{stderr}");
    for said in [
        "Address resolved",
        "Route resolved",
        "Connected",
        "CreditsRequested 100, CreditsGranted 100",
        "Status 0x00000000, MaxReadWriteSize 1048576",
    ] {
        assert!(stderr.contains(said), "no {said:?} in {stderr}");
    }
    let stdout = server.good_client(&format!("--wait {wait} --bytes {mib}M"));
    let digest = |word| stdout.lines().find_map(|line| line.strip_prefix(word)).expect("a digest");
    assert_eq!(digest("sent: "), digest("back: "));
    assert!(digest("back: ").starts_with(&format!("{} bytes, SHA-256 ", mib << 20)), "{stdout}");
    let stdout = server.good_client(&format!("--wait {wait} --rdma-write --rdma-read"));
    assert!(stdout.contains("read 1048576 bytes") && stdout.contains("wrote 2097152 bytes") && stdout.contains("verified"), "{stdout}");
    let lines = server.stop();
    for said in ["Connect request from", "Connected: ", "Negotiate request from port", "Send completed", "Disconnected"] {
        assert_eq!(lines.iter().filter(|line| line.contains(said)).count(), 3, "{said}: {lines:#?}");
    }
}
