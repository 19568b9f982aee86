//! Processes that are ended when they are no longer needed, come what may.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How often a child is looked at: seldom, so that it is not disturbed.
const LOOK: Duration = Duration::from_millis(10);

/// Time to end by itself after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// Bytes of a child's output that are kept for a message.
const KEPT: usize = 4096;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM end the run at the next look at a child.
pub(crate) fn catch_signals() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("could not catch SIGINT")
}

pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Sleeps, unless the run is interrupted.
fn pause() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    thread::sleep(LOOK);
    Ok(())
}

/// A running process. It is ended when this is dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    output: Option<JoinHandle<String>>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts a process on a core. What it writes is read along.
    pub(crate) fn start(name: &str, mut command: Command, core: usize) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = on_core(core, || command.spawn())?.with_context(|| format!("could not start {name}"))?;
        let output = child.stdout.take().map(read_along);
        let errors = child.stderr.take().map(read_along);
        Ok(Self { name: name.to_owned(), child, output, errors })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the process has ended, with what it said.
    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.failure(status)),
        }
    }

    /// Waits for the end and returns the standard output. `meanwhile` is called at each look.
    ///
    /// # Errors
    /// It fails, takes longer than `patience`, or `meanwhile` fails.
    pub(crate) fn finish(mut self, patience: Duration, mut meanwhile: impl FnMut() -> Result<()>) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(text(self.output.take())),
                Some(status) => return Err(self.failure(status)),
                None if Instant::now() > deadline => bail!("{} did not end within {} s", self.name, patience.as_secs()),
                None => {}
            }
            meanwhile()?;
            pause()?;
        }
    }

    fn failure(&mut self, status: ExitStatus) -> anyhow::Error {
        let said = text(self.errors.take());
        match said.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => anyhow!("{}", line.trim()),
            None => anyhow!("{} ended with {status}", self.name),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not all servers end by SIGTERM; those that do may have something to put away.
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), Pid::from_raw(self.pid() as i32)) {
            let _ = kill_process(pid, Signal::TERM);
            let deadline = Instant::now() + GRACE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Calls `f` while this thread is on a core, which the processes that it starts inherit.
fn on_core<R>(core: usize, f: impl FnOnce() -> R) -> Result<R> {
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("could not move to core {core}: choose others by --cores"))?;
    let result = f();
    sched_setaffinity(None, &before)?;
    Ok(result)
}

/// Reads to the end, so that no writer is held up, and keeps the end of it.
fn read_along(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut kept, mut buf) = (Vec::new(), [0; 1024]);
        while let Ok(n @ 1..) = from.read(&mut buf) {
            kept.extend_from_slice(&buf[..n]);
            let excess = kept.len().saturating_sub(KEPT);
            kept.drain(..excess);
        }
        String::from_utf8_lossy(&kept).into_owned()
    })
}

fn text(reader: Option<JoinHandle<String>>) -> String {
    reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let core = (0..).find(|core| sched_getaffinity(None).expect("has cores").is_set(*core)).expect("one of them");
        Running::start("a script", command, core).expect("starts")
    }

    #[test]
    fn the_output_of_a_process_that_ends_well_is_returned() {
        assert_eq!(sh("echo one; echo two").finish(PATIENCE, || Ok(())).expect("ends well"), "one\ntwo\n");
    }

    #[test]
    fn a_process_that_fails_is_an_error_in_its_last_words() {
        let why = sh("echo first >&2; echo the reason >&2; exit 3").finish(PATIENCE, || Ok(())).expect_err("fails").to_string();
        assert_eq!(why, "the reason");
        let why = sh("exit 3").finish(PATIENCE, || Ok(())).expect_err("fails").to_string();
        assert!(why.contains("exit status: 3"), "{why}");
    }

    #[test]
    fn a_process_is_gone_when_it_is_dropped_even_if_it_does_not_listen() {
        let ready = std::env::temp_dir().join(format!("echo-test-{}", std::process::id()));
        for trap in ["", "trap '' TERM; "] {
            let script = format!("{trap}: > {}; while true; do sleep 1; done", ready.display());
            let running = sh(&script);
            let pid = Pid::from_raw(running.pid() as i32).expect("not 0");
            let deadline = Instant::now() + PATIENCE;
            while std::fs::remove_file(&ready).is_err() {
                assert!(Instant::now() < deadline, "{script} did not begin");
            }
            assert!(rustix::process::test_kill_process(pid).is_ok());
            drop(running);
            assert!(rustix::process::test_kill_process(pid).is_err(), "{script}");
        }
    }
}
