//! `vm run`, `vm shell`: a command in one machine or in two.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::base::{self, Base};
use super::guest::{self, Job};
use super::machine::{End, Event, Session, Spec};
use super::options::{Cargo, Hardware, Limit, Network};
use super::tree::Tree;
use super::{build, cache, nvme, tls, two};
use crate::program::{self, Built};
use crate::{Exit, Usage, packages};

/// The machine's number in a session of one.
pub(super) const ONLY: usize = 0;
/// Exit codes for what no command in the machine has said, as timeout(1) has them.
const TIMED_OUT: u8 = 124;
const NO_VERDICT: u8 = 125;
const INTERRUPTED: u8 = 130;
/// A command's time, seconds.
const LIMIT: u64 = 120;
/// How much longer than our limit the machine gives itself.
const GRACE: u64 = 30;

/// Run a command in the machine, with its output and its exit code.
///
/// The command is a program of the workspace, which is built (`smbd-server`), one that the machine
/// has (`ibv_devinfo`, `ib_send_lat`, `rping`, `ip`, `rdma`, everything of busybox), a path
/// (`target/debug/x`), or one of this computer's. It runs as root in /job, without input; what it
/// prints comes as it is printed. There is an RDMA device `rxe0` (Soft-RoCE), whose address is in
/// LCORE_RDMA_ADDR. Files that it leaves in /out come to the folder given by --out.
///
/// A kernel that dies before the command begins is booted once more, which is said.
///
/// Exit codes: the command's own (128 and the signal's number if a signal killed it); 124 when it
/// takes longer than --timeout; 125 when the machine ended without a verdict or could not be made
/// ready; 130 when interrupted; 1 and 2 for everything that went wrong before.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm run -- ibv_devinfo -v
  cargo xtask vm run -p smbd -F rdma -- sh -c 'smbd-server -P 5445 & sleep 1; smbd-client $LCORE_RDMA_ADDR 5445'
  cargo xtask vm run --hosts 2 --server 'ib_send_lat -x 1' -- sh -c 'ib_send_lat -x 1 $LCORE_RDMA_PEER'
  cargo xtask vm run --nvme --to-host 4420 -- sh -c 'nvme discover -t tcp -a $LCORE_HOST_ADDR -s 4420'
  cargo xtask vm run --memlock 64 --file notes.txt --out results -- sh -c 'ulimit -l; cp notes.txt /out'")]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) cargo: Cargo,
    #[command(flatten)]
    pub(super) hardware: Hardware,
    #[command(flatten)]
    pub(super) limit: Limit,
    /// Bring what the command leaves in /out to this folder, which is made.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    pub(super) two: two::Options,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Look around in the machine: a shell on its console. Takes a terminal.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm shell
  cargo xtask vm shell -p smbd -F rdma")]
pub(super) struct Shell {
    #[command(flatten)]
    cargo: Cargo,
    #[command(flatten)]
    hardware: Hardware,
    /// What the shell leaves in /out comes to this folder, which is made.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Everything that a machine is started with.
pub(super) struct Ready {
    base: Base,
    pub(super) folder: TempDir,
    carried: Tree,
    hardware: Hardware,
    share: Option<PathBuf>,
}

impl Ready {
    pub(super) fn new(hardware: &Hardware, out: Option<&Path>) -> Result<Self> {
        let make = |out: &Path| {
            fs::create_dir_all(out).and_then(|()| out.canonicalize()).with_context(|| format!("could not make {}", out.display()))
        };
        let share = out.map(make).transpose()?;
        let mut carried = Tree::default();
        if hardware.nvme {
            nvme::carry(&mut carried)?;
        }
        Ok(Self { base: Base::get(&hardware.kernel)?, folder: cache::run_folder()?, carried, hardware: hardware.clone(), share })
    }

    /// Carries what the kernel's NVMe host takes for TLS, if it can do with it.
    pub(super) fn tls(&mut self) -> Result<()> {
        if self.base.kernel.has_module(tls::MODULE) { tls::carry(&mut self.carried) } else { Ok(()) }
    }

    /// Builds and carries what `cargo` names, and the program of the command `words`, whose name
    /// becomes the one in the machine.
    pub(super) fn load(&mut self, cargo: &Cargo, words: Option<&mut String>) -> Result<()> {
        for file in &cargo.files {
            self.carried.program(&file.to, &file.from)?;
        }
        let mut cargo = cargo.clone();
        if let Some(program) = words {
            *program = find(program, &self.base, &mut cargo, &mut self.carried)?;
        }
        for built in build::programs(&cargo)? {
            self.program(&built, &format!("/job/{}", built.name))?;
        }
        self.carried.subtract(&self.base.tree);
        Ok(())
    }

    /// Carries a program that cargo has built.
    pub(super) fn program(&mut self, built: &Built, at: &str) -> Result<()> {
        build::carry(built, at, self.folder.path(), &mut self.carried)?;
        self.carried.subtract(&self.base.tree);
        Ok(())
    }

    /// The machine for `job` and the text of its command.
    pub(super) fn spec(&self, name: &'static str, job: &Job, command: &str) -> Result<Spec> {
        let Hardware { memlock, hugepages, nvme, .. } = self.hardware.clone();
        let job = Job { memlock, hugepages, nvme, share: self.share.is_some(), ..job.clone() };
        let mut files = Tree::default();
        files.text("/vm/job", 0o644, job.script());
        files.text("/vm/command", 0o644, command);
        let archive = self.folder.path().join(name);
        base::append(&self.base, &[&self.carried, &files], &mut File::create(&archive)?)?;
        Ok(Spec {
            name,
            kernel: self.base.elf.clone(),
            archive,
            processors: self.hardware.smp,
            memory: self.hardware.memory(self.carried.size() + self.base.tree.size())?,
            verbose: self.hardware.verbose,
            share: self.share.clone(),
            wire: None,
            network: Network::default(),
        })
    }
}

/// Says where the machine finds the command's program; one of the workspace is noted to be built,
/// one of this computer is carried.
fn find(word: &str, base: &Base, cargo: &mut Cargo, carried: &mut Tree) -> Result<String> {
    let place = format!("/job/{word}");
    if base.tree.has(word)
        || base.has_program(word)
        || carried.has(&format!("/bin/{word}"))
        || carried.has(&place)
        || cargo.bin.iter().any(|bin| bin == word)
    {
        return Ok(word.into());
    }
    if word.contains('/') {
        let file = Path::new(word);
        let name = file.file_name().and_then(|name| name.to_str()).filter(|_| file.is_file());
        let name = name.ok_or_else(|| Usage(format!("{word} is no file here, and the machine has none of that name")))?;
        carried.program(&format!("/job/{name}"), file)?;
        return Ok(format!("/job/{name}"));
    }
    let programs = program::names()?;
    if programs.iter().any(|name| name == word) {
        cargo.bin.push(word.into());
        return Ok(word.into());
    }
    let here = packages::find(word).ok_or_else(|| {
        let (ours, tools) = (programs.join(", "), base::TOOLS.join(", "));
        Usage(format!("{word} is no program of this workspace ({ours}), none of the machine's ({tools}, and busybox's), and none on this computer's search path"))
    })?;
    carried.program(&place, &here)?;
    Ok(word.into())
}

pub(super) fn run(args: &Run) -> Result<()> {
    let mut words = args.command.clone();
    let mut ready = Ready::new(&args.hardware, args.out.as_deref())?;
    ready.load(&args.cargo, words.first_mut())?;
    let limit = args.limit.or(LIMIT);
    let job = Job { hosts: 1, limit: Some(own_limit(limit)), env: args.cargo.env.clone(), ..Job::default() };
    if let Some(server) = args.two.server()? {
        if args.network.is_wanted() {
            return Err(Usage("--to-host and --from-host are for one machine: the two have a wire instead".into()).into());
        }
        return two::run(&ready, &job, server, &args.two, &words, limit);
    }
    let job = Job { network: args.network.is_wanted(), ..job };
    let mut spec = ready.spec("machine", &job, &guest::command(&words))?;
    spec.network = args.network.clone();
    let (session, end) = to_the_end(&spec, limit, |event| show("", event))?;
    hand_on(&session, ONLY, end)
}

/// Boots a machine and hears it to its end. A kernel that dies before the command begins is given
/// another try.
pub(super) fn to_the_end(spec: &Spec, limit: Duration, mut on: impl FnMut(&Event) -> Result<()>) -> Result<(Session, End)> {
    let mut boots = 0;
    loop {
        boots += 1;
        let mut session = Session::new(limit)?;
        session.start(spec)?;
        let end = session.until_end(ONLY, |_, event| on(event))?;
        if !session.boots_again(boots, ONLY) {
            return Ok((session, end));
        }
    }
}

/// When a machine switches itself off, should nobody do it: seconds.
pub(super) fn own_limit(limit: Duration) -> u64 {
    limit.as_secs() + GRACE
}

/// Prints a line of a machine, with a word before it.
pub(super) fn show(before: &str, event: &Event) -> Result<()> {
    match event {
        Event::Console(line) => match without_power_down(line) {
            Some(line) => writeln!(std::io::stdout(), "{before}{line}").context("could not print what the machine says"),
            None => Ok(()),
        },
        Event::Qemu(line) => {
            eprintln!("{before}{line}");
            Ok(())
        }
        Event::Said(_) | Event::Ended => Ok(()),
    }
}

/// Takes off `[    3.35] reboot: Power down`, the kernel's last line, which no level of quiet keeps
/// away and which may come behind a line without an end.
fn without_power_down(line: &str) -> Option<&str> {
    match line.strip_suffix("] reboot: Power down").and_then(|rest| rest.rsplit_once('[')) {
        Some((before, _)) => Some(before).filter(|before| !before.is_empty()),
        None => Some(line),
    }
}

/// An error for everything but exit code 0: the command's exit code is ours, and what no command
/// has said has a code of its own.
pub(super) fn hand_on(session: &Session, machine: usize, end: End) -> Result<()> {
    let tail = |text: String| match session.tail(machine) {
        lines if lines.is_empty() => format!("{text}; its console said nothing"),
        lines => format!("{text}; its console's last lines:{lines}"),
    };
    let (code, why) = match end {
        End::Exit(0) => return Ok(()),
        End::Exit(code @ 129..=192) => (code, format!("the command was killed by signal {} (exit code {code})", code - 128)),
        End::Exit(code) => (code, format!("the command ended with exit code {code}")),
        End::Broken(why) => (NO_VERDICT, format!("the machine could not be made ready: {why}")),
        End::NoVerdict(status) => (NO_VERDICT, tail(format!("no verdict: the machine ended ({status}) before the command did"))),
        End::TimedOut(limit) => {
            (TIMED_OUT, tail(format!("it was not done within {} s (--timeout), and the machine was ended", limit.as_secs())))
        }
        End::Interrupted => (INTERRUPTED, "interrupted, and the machine was ended".into()),
    };
    Err(Exit(code, why).into())
}

pub(super) fn shell(args: &Shell) -> Result<()> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    ensure!(terminal, "a shell needs a terminal: use `cargo xtask vm run -- sh -c '…'`");
    let mut ready = Ready::new(&args.hardware, args.out.as_deref())?;
    ready.load(&args.cargo, None)?;
    let job = Job { hosts: 1, interactive: true, env: args.cargo.env.clone(), ..Job::default() };
    let spec = ready.spec("machine", &job, "")?;
    let mut qemu = spec.qemu("stdio,id=console,signal=off,mux=on", "null,id=control");
    let status = qemu.stdin(Stdio::inherit()).status().context("could not start qemu-system-x86_64")?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_last_line_is_not_shown_and_what_is_before_it_is() {
        assert_eq!(without_power_down("[    3.357689] reboot: Power down"), None);
        assert_eq!(without_power_down("a [b[   13.357689] reboot: Power down"), Some("a [b"));
        for line in ["", "text", "reboot: Power down", "[  1.2] sysrq: Trigger a crash"] {
            assert_eq!(without_power_down(line), Some(line));
        }
    }
}
