//! A program that runs beside us: its lines as they come, its end, and its death with ours.

use std::io::{BufRead, BufReader, Read};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Stdout,
    Stderr,
}

/// One line of output.
#[derive(Clone, Debug)]
pub(crate) struct Line(pub(super) From, pub(super) String);

/// Dropped while it runs, it is killed.
pub(crate) struct Child {
    name: &'static str,
    process: process::Child,
    lines: Receiver<Line>,
    seen: Vec<Line>,
}

impl Child {
    pub(crate) fn start(name: &'static str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("could not start the {name}"))?;
        let (to, lines) = mpsc::channel();
        let hear = |from, to: Sender<Line>| move |line| to.send(Line(from, line)).is_ok();
        pump(process.stdout.take(), hear(From::Stdout, to.clone()), || ());
        pump(process.stderr.take(), hear(From::Stderr, to), || ());
        Ok(Self { name, process, lines, seen: Vec::new() })
    }

    /// The next line of either output; `None` when both have ended.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Line>> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("the {} took too long and is ended{}", self.name, self.said()),
        }
    }

    /// Whether its output has ended; what it said until now is kept.
    pub(crate) fn has_ended(&mut self) -> bool {
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.seen.push(line),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGINT, as ^C does.
    pub(crate) fn interrupt(&self) -> Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::INT).with_context(|| format!("could not send SIGINT to the {}", self.name))
    }

    /// Its exit status. Its output has ended, so it is about to.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the {} closed its output but did not end, and is ended{}", self.name, self.said());
            }
            // There is no wait with a deadline, and this is over in a moment.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its lines so far, each on a new line with its name before it; statistics left out, as they
    /// are for programs.
    pub(crate) fn said(&self) -> String {
        let text = |line: &&Line| !(line.0 == From::Stdout && line.1.starts_with('{'));
        self.seen.iter().filter(text).map(|Line(_, line)| format!("\n{} | {line}", self.name)).collect()
    }

    /// The JSON object that it printed with this `mode`.
    pub(crate) fn json<T: DeserializeOwned>(&self, mode: &str) -> Result<T> {
        for Line(_, line) in self.seen.iter().filter(|line| line.0 == From::Stdout) {
            let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            if value.get("mode").is_some_and(|m| m == mode) {
                return serde_json::from_value(value).with_context(|| format!("not as expected: {line}"));
            }
        }
        bail!("the {} printed no JSON object with mode {mode:?}", self.name)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails if it has ended and been waited for, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Hands each line of `output` to `line` until that says no, and then calls `end`, on a thread of
/// its own.
pub(crate) fn pump(
    output: Option<impl Read + Send + 'static>,
    line: impl Fn(String) -> bool + Send + 'static,
    end: impl FnOnce() + Send + 'static,
) {
    thread::spawn(move || {
        // Bytes that are no text are shown as such: a line must not be lost for one of them.
        let lines = output.into_iter().flat_map(|output| BufReader::new(output).split(b'\n').map_while(Result::ok));
        for bytes in lines {
            if !line(String::from_utf8_lossy(&bytes).into_owned()) {
                break;
            }
        }
        end();
    });
}
