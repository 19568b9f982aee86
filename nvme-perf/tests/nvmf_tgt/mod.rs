//! nvmf-tgt in a process of its own. It is built here, as cargo builds no program of another
//! package for a test.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const NQN: &str = "nqn.2016-06.io.spdk:cnode1";

pub(crate) struct NvmfTgt {
    child: Child,
    /// What it says on standard error.
    log: BufReader<std::process::ChildStderr>,
    port: u16,
}

fn built() -> PathBuf {
    static BUILD: Once = Once::new();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    BUILD.call_once(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo).args(["build", "--quiet", "-p", "nvmf-tgt"]).current_dir(top).status().unwrap();
        assert!(status.success(), "nvmf-tgt does not build");
    });
    // Beside nvme-perf, where both are built without a profile of their own.
    Path::new(env!("CARGO_BIN_EXE_nvme-perf")).with_file_name("nvmf-tgt")
}

impl NvmfTgt {
    pub(crate) fn start(args: &str) -> Self {
        let mut command = Command::new(built());
        command.args(["--listen", "127.0.0.1:0", "--nqn", NQN, "--no-rpc"]).args(args.split(' '));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // nvme connect -t tcp -a ADDRESS -s PORT -n NQN
        let port = line.split(' ').skip_while(|word| *word != "-s").nth(1).and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{line:?} has no port"));
        Self { child, log, port }
    }

    /// What comes after -r.
    pub(crate) fn name(&self) -> String {
        format!("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{} subnqn:{NQN}", self.port)
    }

    /// nvme-perf against it.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut words = args.split_whitespace().peekable();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nvme-perf"));
        if let Some(subcommand) = words.next_if(|word| !word.starts_with('-')) {
            command.arg(subcommand);
        }
        command.args(["-r", &self.name()]).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The JSON object of a run that went well.
    #[track_caller]
    pub(crate) fn run(&self, args: &str) -> serde_json::Value {
        let out = self.command(args).output().unwrap();
        let (stdout, stderr) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
        assert!(out.status.success(), "{args}: {}\n{stdout}\n{stderr}", out.status);
        serde_json::from_str(&stdout).unwrap_or_else(|why| panic!("{why}: {stdout}"))
    }

    /// Until a host has come up.
    /// Waits until `load` has one.
    pub(crate) fn wait_for_a_controller(&self, load: &mut Child) {
        // Its I/O queue needs a controller that is ready: when a second connection is there, both
        // are.
        let file = format!("/proc/{}/net/tcp", self.child.id());
        let local = format!(":{:04X}", self.port);
        // Fields, as the columns move where the machine has more than 9,999 sockets: number, local
        // address, remote address, state (01 is established).
        let is_one = |line: &str| matches!(line.split_whitespace().collect::<Vec<_>>()[..], [_, at, _, "01", ..] if at.ends_with(&local));
        let connections = || std::fs::read_to_string(&file).unwrap().lines().filter(|line| is_one(line)).count();
        while connections() < 2 {
            assert!(load.try_wait().unwrap().is_none(), "it has ended");
            std::thread::yield_now();
        }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in order: all of its buffers are home.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let mut text = String::new();
        self.log.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success() && text.contains("all buffers are home"), "{text}");
    }
}

impl Drop for NvmfTgt {
    fn drop(&mut self) {
        // A test that failed leaves none behind; one that has ended is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
