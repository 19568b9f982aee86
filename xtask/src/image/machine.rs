//! A machine of QEMU that boots an image: its command line, its console, its end.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::build::Image;
use crate::packages;

const QEMU: &str = "qemu-system-x86_64";

/// A machine of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// The smallest: no firmware to speak of, devices over MMIO.
    Microvm,
    /// A PC with PCI Express.
    Q35,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Microvm => "microvm",
            Self::Q35 => "q35",
        }
    }

    fn card(self) -> &'static str {
        match self {
            Self::Microvm => "virtio-net-device",
            Self::Q35 => "virtio-net-pci",
        }
    }
}

/// Makes sure that machines can be booted here.
pub(super) fn need() -> Result<()> {
    packages::need("an image's machine", &[packages::program("qemu-system-x86", QEMU)])
}

/// The command that boots `image`, with port `port` of 127.0.0.1 as its own. In software emulation,
/// which runs everywhere.
pub(super) fn command(kind: Kind, image: &Image, port: u16) -> Command {
    let mut command = Command::new(QEMU);
    let description = &image.description;
    command.args(["-M", kind.name(), "-accel", "tcg", "-m", &format!("{}k", description.memory >> 10)]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    // Without the signals of a terminal: ^C is the image's to take.
    command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
    command.args(["-netdev", &format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:{}", description.port)]);
    command.args(["-device", &format!("{},netdev=net", kind.card())]);
    if description.has_frames() {
        command.args(["-chardev", &format!("file,id=frames,path={}", image.frames().display())]);
        command.args(["-device", "isa-debugcon,iobase=0xe9,chardev=frames"]);
    }
    command.arg("-kernel").arg(&image.file);
    // A ^C at the terminal goes to every program of its group; the machine gets it through its
    // console.
    command.process_group(0);
    command
}

/// A free port of 127.0.0.1. QEMU does not tell which one it takes, so one is found for it.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not find a free port of 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// How an image ended, as its exit code says (`platform_x86::Exit`).
pub(super) fn ending(status: ExitStatus) -> String {
    let why = match status.code().map(|code| (code - 1) / 2) {
        Some(0x10) => "it was stopped in order",
        Some(0x11) => "no network backend is linked",
        Some(0x12) => "it found no network card",
        Some(0x13) => "its set-up failed",
        Some(0x14) => "it panicked",
        Some(0x15) => "a fault of the processor",
        _ => "QEMU failed or was killed",
    };
    format!("{why} ({status})")
}

/// The exit status of QEMU for an image that was stopped in order.
pub(super) const STOPPED: i32 = 33;
/// For an image without a backend.
pub(super) const NO_BACKEND: i32 = 35;
/// For one that panicked.
pub(super) const PANIC: i32 = 41;
/// For one that the processor found at fault.
pub(super) const FAULT: i32 = 43;

/// A running machine whose console is read. Dropped while it runs, it is killed.
pub(super) struct Guest {
    process: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    pub(super) at: SocketAddr,
    pub(super) started: Instant,
}

impl Guest {
    pub(super) fn start(kind: Kind, image: &Image) -> Result<Self> {
        Self::start_with(kind, image, "")
    }

    /// As [`start`](Self::start), with words on the kernel's command line.
    pub(super) fn start_with(kind: Kind, image: &Image, words: &str) -> Result<Self> {
        let port = free_port()?;
        let mut command = command(kind, image, port);
        command.args(["-append", words]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let started = Instant::now();
        let mut process = command.spawn().with_context(|| format!("could not start {QEMU}"))?;
        let output = process.stdout.take().context("its output is piped")?;
        let (to, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if to.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, lines, said: Vec::new(), at: (Ipv4Addr::LOCALHOST, port).into(), started })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line that begins with `start`, and gives the rest of it.
    pub(super) fn line(&mut self, start: &str, within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        if let Some(rest) = self.said.iter().find_map(|line| line.strip_prefix(start)) {
            return Ok(rest.trim().to_owned());
        }
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if let Some(rest) = line.strip_prefix(start) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("the image did not say {start:?} within {within:?}{}", self.said()),
                Err(RecvTimeoutError::Disconnected) => bail!("the image ended before it said {start:?}{}", self.said()),
            }
        }
    }

    /// What it has said, for an error.
    pub(super) fn said(&self) -> String {
        self.said.iter().map(|line| format!("\n  image | {line}")).collect()
    }

    /// Types ^C on its console.
    pub(super) fn interrupt(&mut self) -> Result<()> {
        let console = self.process.stdin.as_mut().context("its input is piped")?;
        console.write_all(&[3]).and_then(|()| console.flush()).context("could not type on the image's console")
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        wait(&mut self.process, Instant::now() + within).with_context(|| format!("the image did not end within {within:?}{}", self.said()))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Fails if it has ended and been waited for, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The end of a process, before `deadline`.
pub(super) fn wait(process: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        if let Ok(Some(status)) = process.try_wait() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        // There is no wait with a deadline, and nobody waits for these milliseconds.
        thread::sleep(Duration::from_millis(5));
    }
}
