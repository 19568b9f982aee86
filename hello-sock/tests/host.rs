//! What a host may lack, and where it is not ours alone: no place for locks, no sysfs, containers
//! beside each other, little memory to lock.
//!
//! The hosts are mount namespaces of this machine, which root may make, and users where the system
//! lets them.

mod common;

use std::fs;
use std::process::Command;

use common::{Server, allowed_cores, echo, hello_sock, run_command};
use rustix::process::Signal;

/// None is asked for, unless a test does.
const NET: &str = "";

/// `args` of hello-sock after `change`, a shell's commands, on a host of its own.
fn on_a_host(change: &str, args: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = format!("set -e; mount --make-rprivate /; {change}; exec \"$@\"");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(env!("CARGO_BIN_EXE_hello-sock")).args(args.split_whitespace());
    let made = Command::new("unshare").args(command.get_args().take_while(|arg| *arg != "sh")).arg("true").status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "no namespace of mounts: run as root, or where users may make them (util-linux's `unshare`)"
    );
    command
}

const NO_PLACE_FOR_LOCKS: &str = "mount -t tmpfs -o ro none /var/tmp";
const NO_SYSFS: &str = "mount -t tmpfs none /sys";

/// What `/proc` says about the cores of a process' first thread, or of its parent, which is this
/// test.
fn cores_of(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

#[track_caller]
fn serves(command: Command) -> common::Ended {
    let mut server = Server::start_with(command);
    assert_eq!(echo(&mut server.connect(), b"hello"), b"hello");
    server.stop()
}

#[test]
fn s56_without_a_place_for_locks_cores_are_used_with_a_warning() {
    let core = allowed_cores()[0];
    let ended = serves(on_a_host(NO_PLACE_FOR_LOCKS, &format!("-S -P 0 -m [{core}]")));
    let why = format!(
        "other processes of this kind are not kept off the cores [{core}]: open the lock file of a core: /var/tmp/lcore_cpu_lock_{core:03}: "
    );
    assert_eq!(ended.stderr.matches(&why).count(), 1, "{}", ended.stderr);
    // A busy machine may hold a reactor up, which is said.
    for quiet in ["-S -P 0 --stall-limit 0", &format!("-S -P 0 -m [{core}] --no-cpumask-locks --stall-limit 0")] {
        let ended = serves(on_a_host(NO_PLACE_FOR_LOCKS, quiet));
        assert!(!ended.stderr.contains(": warn: "), "{}", ended.stderr);
    }
}

#[test]
fn s56_without_sysfs_or_with_cores_past_the_limit_a_mask_is_taken_as_ever() {
    let core = allowed_cores()[0];
    let many = tempfile::NamedTempFile::new().unwrap();
    fs::write(many.path(), "0-2047\n").unwrap();
    let many = format!("mount --bind {} /sys/devices/system/cpu/online", many.path().display());
    for (host, missing) in [(NO_SYSFS, "may not use [1023]"), (&many, "may not use [1023]"), ("true", "has no core [1023]")] {
        serves(on_a_host(host, &format!("-S -P 0 -m [{core}] --no-cpumask-locks")));
        let why = run_command(on_a_host(host, "-S -P 0 -m [1023] --no-cpumask-locks")).refusal(2);
        assert!(why.contains(missing), "{host}: {why}");
    }
}

#[test]
fn s57_containers_that_share_no_files_are_pinned_to_no_core() {
    const OWN_LOCKS: &str = "mount -t tmpfs none /var/tmp";
    let ours = cores_of(std::process::id());
    let mut both: Vec<_> = (0..2).map(|_| Server::start_with(on_a_host(OWN_LOCKS, "-S -P 0"))).collect();
    for server in &mut both {
        assert_eq!(echo(&mut server.connect(), b"hello"), b"hello");
        server.program.line_with("one reactor, which the kernel moves among the cores");
        assert_eq!(cores_of(server.program.pid()), ours);
        server.stop();
    }
    let core = allowed_cores()[0];
    let pinned = Server::start(&format!("-m [{core}]"));
    assert_eq!(cores_of(pinned.program.pid()), core.to_string());
}

/// hello-sock where `kib` can be locked: a user's limit, which does not bind who has the
/// capability.
fn with_memlock(kib: u32, args: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "sh", "-c", r#"ulimit -l "$0"; exec "$@""#, &kib.to_string()]);
    let server = hello_sock(args);
    command.arg(server.get_program()).args(server.get_args());
    command
}

/// From where not even a probe succeeds to the usual limit: there is always a server, of the one
/// backend or the other, and what was skipped is said in one line.
#[test]
fn s58_with_little_memory_to_lock_there_is_a_server_on_every_core() {
    let cores: Vec<_> = cores_of(std::process::id()).split(',').map(str::to_owned).collect();
    for kib in [8, 32, 48, 64, 8192] {
        let mut server = Server::start_with(with_memlock(kib, &format!("-S -P 0 --no-cpumask-locks --json -m [{}]", cores.join(","))));
        assert_eq!(echo(&mut server.connect(), b"hello"), b"hello");
        server.program.signal(Signal::INT);
        let ended = server.program.wait();
        assert_eq!(ended.code, Some(0), "{kib} KiB: {ended:?}");
        assert!(!ended.stderr.contains(": error: "), "{kib} KiB: {ended:?}");
        let is_posix = ended.stderr.contains("sock_impl(posix)");
        assert_eq!(ended.stderr.matches("network backend uring is skipped: ").count(), usize::from(is_posix), "{kib} KiB: {ended:?}");
        assert!(!is_posix || kib < 8192, "the usual limit is enough: {ended:?}");
    }
}
