//! The server as a process: its start, what /proc says of it, its stops, and its end.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// To start, and to end by SIGTERM.
const PATIENCE: Duration = Duration::from_secs(20);
/// Descriptors that it may have: more than any phase but one takes.
pub(crate) const DESCRIPTORS: usize = 3000;
/// Lines of its log that are kept for an error.
const LINES: usize = 12;

/// Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    pub(crate) at: SocketAddr,
    log: Arc<Log>,
    pumps: Vec<JoinHandle<()>>,
    report: Arc<Mutex<String>>,
}

/// What it says on standard error.
#[derive(Default)]
struct Log {
    state: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    last: VecDeque<String>,
    /// Where it listens, once it has said so.
    at: Option<SocketAddr>,
    /// The first line of a panic.
    panic: Option<String>,
    /// Nobody reads it for now.
    unread: bool,
    ended: bool,
}

impl Server {
    pub(crate) fn start(program: &Path, backend: &str, cores: &str) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["-S", "-P", "0", "-N", backend, "-m", cores, "--no-cpumask-locks", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("RUST_BACKTRACE", "1");
        let mut child = with_few_descriptors(|| command.spawn().with_context(|| format!("could not start {}", program.display())))?;
        let (log, report) = (Arc::new(Log::default()), Arc::new(Mutex::new(String::new())));
        let (stdout, stderr) = (child.stdout.take().context("no pipe")?, child.stderr.take().context("no pipe")?);
        let (lines, json) = (log.clone(), report.clone());
        let pumps = vec![thread::spawn(move || lines.pump(stderr)), thread::spawn(move || read_all(stdout, &json))];
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { child, at: nowhere, log, pumps, report };
        server.at = server.listening()?;
        Ok(server)
    }

    fn listening(&self) -> Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lock();
        loop {
            if let Some(at) = lines.at {
                return Ok(at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                drop(lines);
                bail!("the server did not start{}", self.said());
            }
            lines = self.log.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal).with_context(|| format!("could not send {signal:?} to the server"))
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id())).context("could not count the server's descriptors")?.count())
    }

    /// Its resident memory, bytes.
    pub(crate) fn resident(&self) -> Result<usize> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).context("could not read the server's memory")?;
        let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).context("statm(5) has other fields than expected")?;
        Ok(pages * rustix::param::page_size())
    }

    /// Nobody reads its log, or somebody does again.
    pub(crate) fn leave_log(&self, unread: bool) {
        self.log.lock().unread = unread;
        self.log.changed.notify_all();
    }

    /// An error if it has ended or panicked.
    pub(crate) fn lives(&mut self) -> Result<()> {
        if let Some(line) = &self.log.lock().panic {
            bail!("the server panicked: {line}");
        }
        match self.child.try_wait().context("could not look after the server")? {
            Some(status) => bail!("the server ended with {status}"),
            None => Ok(()),
        }
    }

    /// Ends it by SIGTERM; its report.
    pub(crate) fn stop(mut self) -> Result<(serde_json::Value, Duration)> {
        let began = Instant::now();
        self.signal(Signal::TERM)?;
        let status = loop {
            if let Some(status) = self.child.try_wait().context("could not look after the server")? {
                break status;
            }
            ensure!(began.elapsed() < PATIENCE, "the server did not end within {PATIENCE:?} of SIGTERM");
            // There is no wait with a deadline.
            thread::sleep(Duration::from_millis(1));
        };
        let took = began.elapsed();
        self.pumps.drain(..).try_for_each(JoinHandle::join).map_err(|_| anyhow!("a pump panicked"))?;
        ensure!(status.code() == Some(0), "SIGTERM ended the server with {status}{}", self.said());
        if let Some(line) = &self.log.lock().panic {
            bail!("the server panicked at its end: {line}");
        }
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((serde_json::from_str(&report).context("the server's report is no JSON")?, took))
    }

    /// The last lines of its log, for an error.
    pub(crate) fn said(&self) -> String {
        self.log.lock().last.iter().map(|line| format!("\nserver | {line}")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended and been waited for, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.leave_log(false);
    }
}

impl Log {
    fn pump(&self, from: impl Read) {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            self.lock().add(String::from_utf8_lossy(&line).into_owned());
            self.changed.notify_all();
            let mut lines = self.lock();
            while lines.unread {
                lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
            }
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn add(&mut self, line: String) {
        if let Some((_, rest)) = line.split_once("Listening connection on ") {
            self.at = rest.split(' ').next().and_then(|at| at.parse().ok());
        }
        if line.contains("panicked at") {
            self.panic.get_or_insert_with(|| line.clone());
        }
        // Thousands of these say nothing about a fault.
        let usual = ["Accepting a new connection", "Connection closed"].iter().any(|part| line.contains(part));
        if !usual {
            self.last.push_back(line);
        }
        if self.last.len() > LINES {
            self.last.pop_front();
        }
    }
}

/// Does something with the limit that the server is to inherit, and has our own back after it.
fn with_few_descriptors<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = getrlimit(Resource::Nofile);
    let set = |limit| setrlimit(Resource::Nofile, limit).context("could not set the limit of descriptors");
    set(Rlimit { current: Some(DESCRIPTORS as u64), ..before })?;
    let done = act();
    set(before)?;
    done
}

fn read_all(mut from: impl Read, into: &Mutex<String>) {
    let mut text = String::new();
    // What is missing is noticed when the report is read.
    let _ = from.read_to_string(&mut text);
    *into.lock().unwrap_or_else(PoisonError::into_inner) = text;
}
