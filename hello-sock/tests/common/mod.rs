//! hello-sock as a program beside the test: its lines as they come, its figures in /proc, its end,
//! and its death with the test's.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use rustix::process::{Pid, Signal, kill_process};

use crate::NET;

/// Nothing that is waited for takes this long, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A command that runs hello-sock with `args`, split at spaces, over the backend that this test
/// program is about, if it is about one.
pub(crate) fn hello_sock(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello-sock"));
    // So that a panic would show its backtrace.
    command.args(args.split_whitespace()).env("RUST_BACKTRACE", "1");
    if !args.is_empty() && !NET.is_empty() {
        command.args(["-N", NET]);
    }
    command
}

/// A running program. Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    stderr: Arc<Lines>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    pumps: Vec<JoinHandle<()>>,
}

/// What has come of a program.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// From the call of `wait` to its end.
    pub(crate) took: Duration,
}

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Program {
    /// Starts it; standard output is collected unless `command` has another place for it.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("hello-sock starts");
        let stderr = Arc::new(Lines::default());
        let (lines, from) = (stderr.clone(), child.stderr.take().expect("it is piped"));
        let pumps = vec![thread::spawn(move || lines.pump(from))];
        Self { child, stderr, stdout: None, pumps }
    }

    /// Starts it with standard output collected in memory.
    pub(crate) fn start_collecting(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        let mut program = Self::start(command);
        let mut from = program.child.stdout.take().expect("it is piped");
        program.stdout = Some(thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).expect("a pipe can be read");
            bytes
        }));
        program
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// For what the test has piped.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input was piped")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it can be signalled");
    }

    /// Its lines on standard error so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lines.lock().unwrap().clone()
    }

    /// Waits for a line on standard error that contains `part`.
    pub(crate) fn line_with(&self, part: &str) -> String {
        self.nth_line_with(part, 1)
    }

    /// Waits for the `n`th such line, counted from 1.
    pub(crate) fn nth_line_with(&self, part: &str, n: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.stderr.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().filter(|line| line.contains(part)).nth(n - 1) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line {n} with {part:?} came; these did: {lines:#?}");
            lines = self.stderr.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Ended {
        let began = Instant::now();
        let status = until("the program's end", || self.child.try_wait().expect("it is our child"));
        let took = began.elapsed();
        self.pumps.drain(..).for_each(|pump| pump.join().expect("a pump does not panic"));
        let stdout = self.stdout.take().map_or_else(Vec::new, |collector| collector.join().expect("a collector does not panic"));
        let stderr = self.stderr().join("\n");
        Ended { code: status.code(), status, stdout, stderr, took }
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it lives").count()
    }

    /// Processor time that it has used, of all its threads.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it lives");
        // The name, in parentheses, may contain anything; the fields after it are numbers. utime
        // and stime are fields 14 and 15 (proc(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Its resident memory, bytes.
    pub(crate) fn resident(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("it lives");
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails if it has ended and been waited for, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn pump(&self, from: impl Read) {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            self.lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            self.more.notify_all();
        }
    }
}

/// A server that listens.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) at: SocketAddr,
}

impl Server {
    /// Starts a server at a free port of 127.0.0.1, beside others that may use its cores.
    pub(crate) fn start(args: &str) -> Self {
        Self::start_with(hello_sock(&format!("-S -P 0 --no-cpumask-locks {args}")))
    }

    pub(crate) fn start_with(command: Command) -> Self {
        let program = Program::start_collecting(command);
        let line = program.line_with("Listening connection on ");
        let (_, rest) = line.split_once("Listening connection on ").unwrap();
        let (at, net) = rest.split_once(' ').unwrap();
        assert!(NET.is_empty() || net == format!("with sock_impl({NET})"), "{line}");
        Self { at: at.parse().unwrap(), program }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) -> Ended {
        self.program.signal(Signal::INT);
        let ended = self.program.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }

    /// Arguments for a client of this server.
    pub(crate) fn client(&self, args: &str) -> Command {
        hello_sock(&format!("-H {} -P {} --no-cpumask-locks {args}", self.at.ip(), self.at.port()))
    }
}

/// Waits until `look` finds something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Sends `bytes` and reads as many back.
pub(crate) fn echo(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    stream.write_all(bytes).expect("the server takes it");
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("it comes back");
    back
}

/// Runs hello-sock to its end with nothing on standard input.
pub(crate) fn run(args: &str) -> Ended {
    run_command(hello_sock(args))
}

pub(crate) fn run_command(mut command: Command) -> Ended {
    command.stdin(Stdio::null());
    Program::start_collecting(command).wait()
}

/// Without the bytes of its standard output, which may be many.
impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = self.stdout.len();
        write!(f, "ended with {}, {stdout} bytes on standard output, and on standard error:\n{}", self.status, self.stderr)
    }
}

impl Ended {
    /// Checks that it ended with `code` and said why in one line on standard error, which is
    /// returned; no panic, no backtrace.
    #[track_caller]
    pub(crate) fn refusal(&self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let said = |word| self.stderr.contains(word);
        assert!(!said("panicked") && !said("backtrace"), "{}", self.stderr);
        let complaint = |line: &&str| line.starts_with("error: ") || line.starts_with("hello_sock: ") || line.contains(": error: ");
        let lines: Vec<_> = self.stderr.lines().filter(complaint).collect();
        assert_eq!(lines.len(), 1, "one sentence is wanted: {}", self.stderr);
        lines[0].to_owned()
    }
}

/// The cores that this process may use.
pub(crate) fn allowed_cores() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).expect("the system tells");
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}
