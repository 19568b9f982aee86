//! QEMU as a child: its command line, what is heard of it, the time limit, its end.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::guest::HOST;
use super::options::Network;
use super::signals;
use crate::child::pump;

/// Lines of the console that an error shows.
const TAIL: usize = 25;
/// How often we look for a signal while nothing happens.
const GLANCE: Duration = Duration::from_millis(100);
/// What init says when the machine is as it should be and the command begins.
pub(super) const READY: &str = "VM_READY";
/// A machine that has given its verdict is off within this time.
const POWER_OFF: Duration = Duration::from_secs(10);

/// What a machine is made of.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) kernel: PathBuf,
    pub(super) archive: PathBuf,
    pub(super) processors: u8,
    /// MiB.
    pub(super) memory: u64,
    pub(super) verbose: bool,
    /// A folder of this computer that it can write to.
    pub(super) share: Option<PathBuf>,
    /// The wire to the other machine: a socket's path, and whether this end makes it.
    pub(super) wire: Option<(PathBuf, bool)>,
    pub(super) network: Network,
}

impl Spec {
    /// QEMU with the console on `console` and the control line on `control`, both QEMU's chardev
    /// descriptions.
    pub(super) fn qemu(&self, console: &str, control: &str) -> Command {
        let quiet = if self.verbose { "" } else { " quiet loglevel=3" };
        let mut qemu = Command::new("qemu-system-x86_64");
        // Emulation, because it is to work everywhere; the kernel line saves what emulation makes
        // dear. On a busy computer an emulated timer may be too late for the kernel's check of it,
        // which would be a panic. So would be a false alarm of 6.1's hardened_usercopy: what an
        // NVMe host sends out of two huge pages side by side, to a process of the same machine,
        // is for it one copy that leaves a page.
        qemu.args(["-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-nodefaults", "-no-user-config", "-no-reboot"]);
        qemu.args(["-display", "none", "-smp", &self.processors.to_string(), "-m", &self.memory.to_string()]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.archive);
        qemu.args([
            "-append",
            &format!("console=ttyS0{quiet} panic=-1 mitigations=off tsc=reliable no_timer_check nokaslr random.trust_cpu=on hardened_usercopy=off"),
        ]);
        qemu.args(["-chardev", console, "-serial", "chardev:console", "-chardev", control, "-serial", "chardev:control"]);
        if let Some(folder) = &self.share {
            let share = format!("local,mount_tag=out,security_model=none,path={}", option(folder));
            qemu.args(["-virtfs", &share]);
        }
        if let Some((socket, makes_it)) = &self.wire {
            let server = if *makes_it { "on" } else { "off" };
            qemu.args(["-netdev", &format!("stream,id=wire,server={server},addr.type=unix,addr.path={}", option(socket))]);
            let address = if *makes_it { 1 } else { 2 };
            qemu.args(["-device", &format!("virtio-net-pci,netdev=wire,romfile=,mac=52:54:00:77:00:{address:02}")]);
        }
        if self.network.is_wanted() {
            qemu.args(["-netdev", &user_network(&self.network), "-device", "virtio-net-pci,netdev=user,romfile="]);
        }
        if self.verbose {
            eprintln!("{qemu:?}");
        }
        qemu
    }
}

/// `restrict` lets nothing through but what is named. A guestfwd to an address would be one
/// connection for all, so each has a netcat of its own.
fn user_network(Network { to_host, from_host }: &Network) -> String {
    let to = to_host.iter().map(|port| format!(",guestfwd=tcp:{HOST}:{port}-cmd:busybox nc 127.0.0.1 {port}"));
    let from = from_host.iter().map(|(here, there)| format!(",hostfwd=tcp:127.0.0.1:{here}-:{there}"));
    to.chain(from).fold("user,id=user,restrict=on".into(), |all, one| all + &one)
}

/// A path in one of QEMU's options, where a comma ends it and two are one.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// What one hears of a machine.
#[derive(Debug)]
pub(super) enum Event {
    /// A line of the console.
    Console(String),
    /// A line of QEMU's own.
    Qemu(String),
    /// A line that init said to us.
    Said(String),
    /// The console has ended, and with it QEMU.
    Ended,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// The command's exit code; 128 and the number of the signal that killed it.
    Exit(u8),
    /// The machine is not what it should be.
    Broken(String),
    /// It ended without a word.
    NoVerdict(ExitStatus),
    TimedOut(Duration),
    Interrupted,
}

/// A running QEMU; dropped, it is killed.
struct Machine {
    name: &'static str,
    process: process::Child,
    control: UnixStream,
    tail: VecDeque<String>,
    /// Its init has said that the command begins.
    ready: bool,
    end: Option<End>,
}

/// One or two machines, heard together, within one time limit.
pub(super) struct Session {
    machines: Vec<Machine>,
    /// For the threads that listen to a machine: its number and what it said.
    to: Sender<(usize, Event)>,
    heard: Receiver<(usize, Event)>,
    limit: Duration,
    deadline: Instant,
    _signals: signals::Caught,
}

impl Session {
    pub(super) fn new(limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let (to, heard) = mpsc::channel();
        Ok(Self { machines: Vec::new(), to, heard, limit, deadline, _signals: signals::Caught::catch()? })
    }

    /// Starts a machine and hands back its number.
    pub(super) fn start(&mut self, spec: &Spec) -> Result<usize> {
        let (ours, theirs) = UnixStream::pair()?;
        // The control line is QEMU's standard input: a descriptor that needs no name.
        let mut qemu = spec.qemu("file,id=console,path=/dev/fd/1", "socket,id=control,fd=0");
        qemu.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = qemu.spawn().context("could not start qemu-system-x86_64")?;
        let number = self.machines.len();
        let hear = |event: fn(String) -> Event| {
            let to = self.to.clone();
            move |line: String| to.send((number, event(line.trim_end_matches('\r').to_owned()))).is_ok()
        };
        let to = self.to.clone();
        // Whether somebody still listens is of no interest at the end.
        pump(process.stdout.take(), hear(Event::Console), move || drop(to.send((number, Event::Ended))));
        pump(process.stderr.take(), hear(Event::Qemu), || ());
        pump(Some(ours.try_clone()?), hear(Event::Said), || ());
        self.machines.push(Machine { name: spec.name, process, control: ours, tail: VecDeque::new(), ready: false, end: None });
        Ok(number)
    }

    /// The next event, with its machine; or the end of all, by the time limit or a signal.
    pub(super) fn next(&mut self) -> Result<Result<(usize, Event), End>> {
        loop {
            if signals::seen() {
                return Ok(Err(End::Interrupted));
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left.min(GLANCE)) {
                Ok((number, event)) => {
                    self.machines[number].note(&event)?;
                    return Ok(Ok((number, event)));
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(Err(End::TimedOut(self.limit))),
                Err(_) => {}
            }
        }
    }

    /// Hears all until the machine has ended.
    pub(super) fn until_end(&mut self, number: usize, mut on: impl FnMut(usize, &Event) -> Result<()>) -> Result<End> {
        loop {
            let (from, event) = match self.next()? {
                Ok(heard) => heard,
                // Its verdict counts, even if it does not manage to switch itself off.
                Err(end) => return Ok(self.end(number).unwrap_or(end)),
            };
            on(from, &event)?;
            if from == number && self.end(number).is_some() {
                match event {
                    Event::Ended => return self.end(number).context("it has ended"),
                    _ => self.deadline = self.deadline.min(Instant::now() + POWER_OFF),
                }
            }
        }
    }

    /// Waits until QEMU has made `file`; says how it ended otherwise.
    pub(super) fn until_made(&mut self, number: usize, file: &Path) -> Result<Option<End>> {
        while !file.exists() {
            if signals::seen() {
                return Ok(Some(End::Interrupted));
            }
            if let Some(status) = self.machines[number].process.try_wait()? {
                self.machines[number].end = Some(End::NoVerdict(status));
                return Ok(self.end(number));
            }
            if Instant::now() > self.deadline {
                return Ok(Some(End::TimedOut(self.limit)));
            }
            // It is a matter of milliseconds, and there is nothing else that tells.
            thread::sleep(Duration::from_millis(2));
        }
        Ok(None)
    }

    /// The end of a machine, if it has come.
    pub(super) fn end(&self, number: usize) -> Option<End> {
        self.machines[number].end.clone()
    }

    /// Whether `machine` is to be booted once more: its kernel died before our command began, which
    /// emulation brings about once in many boots and which says nothing about what is under test.
    pub(super) fn boots_again(&self, boots: u32, machine: usize) -> bool {
        let Machine { name, ready, end, .. } = &self.machines[machine];
        let again = worth_another_boot(boots, *ready, end.as_ref());
        if again {
            eprintln!(
                "the {name}'s kernel ended before the command began; it is booted once more. Its console's last lines:{}",
                self.tail(machine)
            );
        }
        again
    }

    /// Says a word to a machine's init.
    pub(super) fn tell(&mut self, number: usize, word: &str) -> Result<()> {
        let machine = &mut self.machines[number];
        writeln!(machine.control, "{word}").with_context(|| format!("the {} cannot be told to {word}", machine.name))
    }

    /// The last lines of a machine's console, indented.
    pub(super) fn tail(&self, number: usize) -> String {
        self.machines[number].tail.iter().map(|line| format!("\n  {line}")).collect()
    }

    /// Sets a new time limit, from now on.
    pub(super) fn allow(&mut self, limit: Duration) {
        (self.limit, self.deadline) = (limit, Instant::now() + limit);
    }
}

impl Machine {
    fn note(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Console(line) | Event::Qemu(line) => {
                if self.tail.len() == TAIL {
                    self.tail.pop_front();
                }
                self.tail.push_back(line.clone());
            }
            Event::Said(line) => {
                self.ready |= line == READY;
                self.end = self.end.take().or_else(|| verdict(line));
            }
            Event::Ended if self.end.is_none() => self.end = Some(End::NoVerdict(self.process.wait()?)),
            Event::Ended => {}
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first boot, no word that the machine is ready, and none why not: nothing of ours has run.
fn worth_another_boot(boots: u32, ready: bool, end: Option<&End>) -> bool {
    boots == 1 && !ready && matches!(end, Some(End::NoVerdict(_)))
}

/// `VM_EXIT=code` or `VM_BROKEN=why`.
fn verdict(line: &str) -> Option<End> {
    let (word, value) = line.split_once('=')?;
    match word {
        "VM_EXIT" => value.parse().ok().map(End::Exit),
        "VM_BROKEN" => Some(End::Broken(value.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_a_whole_line_with_a_code() {
        assert_eq!(verdict("VM_EXIT=0"), Some(End::Exit(0)));
        assert_eq!(verdict("VM_EXIT=137"), Some(End::Exit(137)));
        assert_eq!(verdict("VM_BROKEN=insmod: no"), Some(End::Broken("insmod: no".into())));
        for none in ["VM_EXIT=", "VM_EXIT=256", "VM_EXIT=0 ", "xVM_EXIT=0", "VM_READY", ""] {
            assert_eq!(verdict(none), None, "{none:?}");
        }
    }

    #[test]
    fn only_a_kernel_that_died_before_the_command_is_booted_again_and_only_once() {
        let died = End::NoVerdict(ExitStatus::default());
        assert!(worth_another_boot(1, false, Some(&died)));
        assert!(!worth_another_boot(2, false, Some(&died)), "a second time it is no accident");
        assert!(!worth_another_boot(1, true, Some(&died)), "the command may be what killed it");
        assert!(!worth_another_boot(1, false, None));
        for end in [End::Exit(125), End::Broken("insmod".into()), End::TimedOut(GLANCE), End::Interrupted] {
            assert!(!worth_another_boot(1, false, Some(&end)), "{end:?}");
        }
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_an_option() {
        assert_eq!(option(Path::new("/a,b/c")), "/a,,b/c");
    }

    #[test]
    fn the_way_to_this_computer_is_shut_but_for_what_is_named() {
        let network = Network { to_host: vec![4420, 8009], from_host: vec![(15, 16)] };
        let forwards =
            "guestfwd=tcp:10.0.2.100:4420-cmd:busybox nc 127.0.0.1 4420,guestfwd=tcp:10.0.2.100:8009-cmd:busybox nc 127.0.0.1 8009";
        assert_eq!(user_network(&network), format!("user,id=user,restrict=on,{forwards},hostfwd=tcp:127.0.0.1:15-:16"));
    }

    #[test]
    fn the_wire_has_one_end_that_makes_it() {
        let spec = |makes_it| Spec {
            name: "server",
            kernel: "vmlinux".into(),
            archive: "base".into(),
            processors: 2,
            memory: 1024,
            verbose: false,
            share: None,
            wire: Some(("wire".into(), makes_it)),
            network: Network::default(),
        };
        let line = |makes_it| format!("{:?}", spec(makes_it).qemu("null,id=console", "null,id=control"));
        assert!(
            line(true).contains("stream,id=wire,server=on,addr.type=unix,addr.path=wire") && line(true).contains("mac=52:54:00:77:00:01")
        );
        assert!(
            line(false).contains("stream,id=wire,server=off,addr.type=unix,addr.path=wire")
                && line(false).contains("mac=52:54:00:77:00:02")
        );
    }
}
