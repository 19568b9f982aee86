//! Files and disks to be tested on.
#![allow(dead_code, reason = "not every test program needs all")]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::NamedTempFile;

/// A file of so many bytes.
pub(crate) fn file_in(dir: &str, bytes: u64) -> NamedTempFile {
    let file = NamedTempFile::new_in(dir).expect("a file");
    file.as_file().set_len(bytes).expect("as many bytes");
    file
}

/// What a program has printed; it went well.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(program).args(args).output().unwrap_or_else(|why| panic!("{program}: {why}"));
    assert!(status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text").trim().to_owned()
}

/// A disk of this machine with such sectors, which may be written over and is all zeroes now: where
/// `LCORE_DISK_512` or `LCORE_DISK_4096` names one. Tests then run one at a time.
pub(crate) fn named_disk(bytes: u64, sector: u32) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(format!("LCORE_DISK_{sector}"))?);
    let mut disk = File::options().write(true).open(&path).expect("the disk that is named");
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut disk).and_then(|_| disk.sync_all()).expect("room for zeroes");
    Some(path)
}

/// A disk that is made of a file, and goes with the last who has it open.
pub(crate) struct Loop {
    path: PathBuf,
    file: NamedTempFile,
    /// Whoever makes one claims, for a moment, what may just have become another's.
    _turn: File,
}

impl Loop {
    /// `None`, which is said, where this user or machine has none.
    pub(crate) fn new(bytes: u64, sector: u32) -> Option<Self> {
        if let Err(why) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/loop-control") {
            eprintln!("skipped: no disks made of files: /dev/loop-control: {why}");
            return None;
        }
        let turn = File::create("/tmp/lcore-loop.lock").expect("a file");
        turn.lock().expect("one's turn comes");
        let file = file_in("/tmp", bytes);
        let args = ["--find", "--show", "--direct-io=off", "--sector-size", &sector.to_string(), file.path().to_str().expect("text")];
        let path = PathBuf::from(run("losetup", &args));
        Some(Self { path, file, _turn: turn })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes that it was asked for.
    pub(crate) fn flushes(&self) -> u64 {
        let name = self.path.file_name().and_then(|name| name.to_str()).expect("a name");
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).expect("sysfs");
        stat.split_whitespace().nth(15).expect("Linux 5.5 tells of flushes").parse().expect("a number")
    }

    /// Makes it so many bytes.
    pub(crate) fn set_len(&self, bytes: u64) {
        self.file.as_file().set_len(bytes).expect("another length");
        run("losetup", &["--set-capacity", self.path.to_str().expect("text")]);
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// Runs where mounts are nobody else's. Not at all, which is said, without the rights for it.
pub(crate) fn in_own_mounts(f: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: no memory is passed.
            let done = unsafe { libc::unshare(libc::CLONE_NEWNS) };
            let why = std::io::Error::last_os_error();
            if done != 0 && why.raw_os_error() == Some(libc::EPERM) {
                return eprintln!("skipped: no mounts of its own: {why}");
            }
            assert_eq!(done, 0, "unshare: {why}");
            run("mount", &["--make-rprivate", "/"]);
            f();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
