//! Files and disks to be tested on.
#![allow(dead_code, reason = "not every test program needs all")]

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

/// A disk that is made of a file, and goes with the last who has it open.
pub(crate) struct Loop {
    path: PathBuf,
    _file: NamedTempFile,
}

impl Loop {
    pub(crate) fn new(bytes: u64, sector: u32) -> Self {
        let file = file_in("/tmp", bytes);
        let args = ["--find", "--show", "--direct-io=off", "--sector-size", &sector.to_string(), file.path().to_str().expect("text")];
        let path = PathBuf::from(run("losetup", &args));
        Self { path, _file: file }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}
