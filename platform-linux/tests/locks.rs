//! Locks of cores between processes: each test that needs another process starts its own binary
//! again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use core_reactor::{CoreId, CpuSet, PlatformError};
use platform_linux::CpuLocks;

const DIR: &str = "LCORE_TEST_DIR";

fn cores(text: &str) -> CpuSet {
    text.parse().unwrap()
}

fn taken_by(result: Result<CpuLocks, PlatformError>) -> (CoreId, String) {
    match result.unwrap_err() {
        PlatformError::CoreTaken { core, by } => (core, by.into()),
        other => panic!("{other}"),
    }
}

/// What this process writes into its lock files.
fn me() -> String {
    format!("{} {}", std::process::id(), fs::read_link("/proc/self/ns/pid").unwrap().display())
}

/// A process that holds core 3 of `dir` until it is killed.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Holder {
    fn start(test: &str, dir: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut holder = Self(child);
        let out = holder.0.stdout.take().unwrap();
        assert!(BufReader::new(out).lines().any(|line| line.unwrap().ends_with("holding")), "the child could not claim");
        holder
    }
}

/// In the child: claims core 3 and waits for the end.
fn hold_if_child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let _locks = CpuLocks::claim_in(&PathBuf::from(dir), &cores("[3]")).unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "holding").unwrap();
    out.flush().unwrap();
    // It is killed long before; if not, it leaves no process behind.
    std::thread::sleep(Duration::from_secs(60));
    std::process::exit(99);
}

#[test]
fn a_core_of_another_process_is_refused_by_its_number_until_it_is_killed() {
    hold_if_child();
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start("a_core_of_another_process_is_refused_by_its_number_until_it_is_killed", dir.path());
    let (core, by) = taken_by(CpuLocks::claim_in(dir.path(), &cores("[2-4]")));
    assert_eq!(core, CoreId(3));
    assert!(by.starts_with(&format!("process {} (", holder.0.id())), "{by}");
    // All or nothing: core 2 was not kept.
    drop(CpuLocks::claim_in(dir.path(), &cores("[2]")).unwrap());
    drop(holder);
    let locks = CpuLocks::claim_in(dir.path(), &cores("[2-4]")).unwrap();
    assert_eq!(locks.cores(), cores("[2-4]"));
    let text = fs::read_to_string(dir.path().join("lcore_cpu_lock_003")).unwrap();
    assert_eq!(text, format!("{}\n", me()), "the number of the one that was killed is gone");
}

#[test]
fn a_drop_frees_the_cores_and_forgets_the_number() {
    let dir = tempfile::tempdir().unwrap();
    let locks = CpuLocks::claim_in(dir.path(), &cores("[0,1023]")).unwrap();
    let (core, by) = taken_by(CpuLocks::claim_in(dir.path(), &cores("[1023]")));
    assert_eq!(core, CoreId(1023));
    assert!(by.starts_with("this process ("), "{by}");
    drop(locks);
    assert_eq!(fs::read_to_string(dir.path().join("lcore_cpu_lock_1023")).unwrap(), "");
    CpuLocks::claim_in(dir.path(), &cores("[0,1023]")).unwrap();
}

#[test]
fn a_holder_that_has_not_written_its_number_is_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("lcore_cpu_lock_000")).unwrap();
    file.lock().unwrap();
    let (_, by) = taken_by(CpuLocks::claim_in(dir.path(), &cores("[0]")));
    assert!(by.starts_with("another process ("), "{by}");
}

#[test]
fn a_lock_file_is_for_every_user_and_no_link() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let _locks = CpuLocks::claim_in(dir.path(), &cores("[0]")).unwrap();
    let mode = fs::metadata(dir.path().join("lcore_cpu_lock_000")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let precious = dir.path().join("precious");
    fs::write(&precious, "keep").unwrap();
    symlink(&precious, dir.path().join("lcore_cpu_lock_001")).unwrap();
    let locks = CpuLocks::claim_in(dir.path(), &cores("[1]")).unwrap();
    assert!(matches!(locks.unlocked(), Some(PlatformError::Os { code: libc::ELOOP, .. })), "{:?}", locks.unlocked());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "keep");
}

#[test]
fn s56_without_a_place_for_its_file_a_core_stays_unlocked_and_it_is_said_why() {
    let locks = CpuLocks::claim_in(Path::new("/nowhere"), &cores("[0]")).unwrap();
    assert!(locks.cores().is_empty());
    let why = locks.unlocked().unwrap().to_string();
    assert_eq!(why, "open the lock file of a core: /nowhere/lcore_cpu_lock_000: No such file or directory (error 2)");
}

#[test]
fn s56_a_core_that_cannot_be_locked_does_not_hide_one_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lcore_cpu_lock_001")).unwrap();
    let some = CpuLocks::claim_in(dir.path(), &cores("[0-2]")).unwrap();
    assert_eq!(some.cores(), cores("[0,2]"));
    assert!(matches!(some.unlocked(), Some(PlatformError::Os { code: libc::EISDIR, .. })), "{:?}", some.unlocked());
    assert_eq!(taken_by(CpuLocks::claim_in(dir.path(), &cores("[1-2]"))).0, CoreId(2));
    drop(some);
    let all = CpuLocks::claim_in(dir.path(), &cores("[2]")).unwrap();
    assert!(all.unlocked().is_none());
}

/// Two containers that share the directory count processes from 1 each.
#[test]
fn s56_a_holder_that_another_container_numbers_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lcore_cpu_lock_000");
    let file = fs::File::create(&path).unwrap();
    file.lock().unwrap();
    for (text, by) in [
        (format!("{} pid:[1]\n", std::process::id()), format!("process {} of another container (", std::process::id())),
        ("1\n".into(), "process 1 of another container (".into()),
        (me() + "\n", "this process (".into()),
    ] {
        fs::write(&path, text).unwrap();
        let (_, holder) = taken_by(CpuLocks::claim_in(dir.path(), &cores("[0]")));
        assert!(holder.starts_with(&by), "{holder} without {by}");
    }
}

/// The place that applications use is there. The core is one that no machine here has, so no
/// running application is disturbed.
#[test]
fn the_shared_directory_can_be_used() {
    drop(CpuLocks::claim(&cores("[1023]")).unwrap());
}
