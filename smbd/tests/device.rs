//! Both programs over a device. Without one these fail: `cargo xtask vm test -p smbd` runs them in a machine that has one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// The machine's two processors do not do for several tests at a time.
static MACHINE: Mutex<()> = Mutex::new(());

fn machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn host() -> String {
    std::env::var("LCORE_RDMA_ADDR").expect("LCORE_RDMA_ADDR is the address of a network interface with an RDMA device")
}

/// A server as a process. Killed when it is dropped.
struct Server {
    child: Child,
    port: String,
    lines: Option<thread::JoinHandle<Vec<String>>>,
}

impl Server {
    fn start(args: &str) -> Self {
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
    fn client(&self, args: &str) -> (Option<i32>, String, String) {
        let ended = self.command(args).output().expect("the client starts");
        let [stdout, stderr] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
        println!("{stderr}{stdout}");
        (ended.status.code(), stdout, stderr)
    }

    /// Runs a client that has to succeed: what it printed.
    #[track_caller]
    fn good_client(&self, args: &str) -> String {
        let (code, stdout, stderr) = self.client(args);
        assert_eq!(code, Some(0), "{args}: {stderr}");
        stdout
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smbd-client"));
        command.args([&host(), &self.port]).args(args.split_whitespace());
        command
    }

    /// Stops it in order: its lines. All buffers have to be home.
    #[track_caller]
    fn stop(mut self) -> Vec<String> {
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

fn negotiate_stream_and_memory(wait: &str, mib: u64) {
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

#[test]
fn s30_s33_negotiated_streamed_and_moved_by_descriptor_polled() {
    // Less, as two programs that poll leave little of two emulated processors to the device, which is software.
    negotiate_stream_and_memory("polled", 16);
}

#[test]
fn s30_s33_negotiated_streamed_and_moved_by_descriptor_by_events() {
    negotiate_stream_and_memory("event", 64);
}

#[test]
fn s33_100_clients_at_once_over_two_cores() {
    let _machine = machine();
    let server = Server::start("--echo --wait event -m 0x3");
    let stdout = server.good_client("--wait event --load 100 --bytes 64K");
    assert!(stdout.contains("100 connections at once, all verified: 6553600 bytes echoed"), "{stdout}");
    let lines = server.stop();
    for core in [0, 1] {
        assert!(lines.iter().any(|line| line.contains(&format!("on core {core}: 50 connections, 0 failed"))), "{lines:#?}");
    }
}

#[test]
fn s33_a_client_killed_in_mid_transfer_costs_no_buffer_and_the_server_serves_on() {
    let _machine = machine();
    let server = Server::start("--echo --wait event");
    let mut client = server.command("--wait event --input -").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    // What lies between this pipe and the echo is less than 4 MiB: when 8 are in it, some are on their way and more have come back.
    client.stdin.as_mut().expect("it is piped").write_all(&vec![7; 8 << 20]).expect("it reads");
    client.kill().expect("it runs");
    assert_eq!(client.wait().expect("it ends").code(), None, "it did not end by itself");
    let stdout = server.good_client("--wait event --bytes 4M");
    assert!(stdout.contains("back: 4194304 bytes"), "{stdout}");
    server.stop();
}

#[test]
fn s31_refusals_are_one_sentence_and_exit_code_1() {
    let _machine = machine();
    let server = Server::start("--wait event");
    let (code, stdout, stderr) = server.client("--wait event --bytes 1M");
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "without the echo: {stderr}");
    let free = Server::start("--wait event");
    let (port, host) = (free.port.clone(), host());
    free.stop();
    let ended = Command::new(env!("CARGO_BIN_EXE_smbd-client")).args([&host, &port]).output().expect("it starts");
    let stderr = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("connect to {host}:{port}: refused")), "{stderr}");
    server.stop();
}
