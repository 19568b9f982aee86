//! The machine as files: `/sys`, `/proc`, `/dev` and `/run` under one root, so that a test can hand
//! in a tree of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What the kernel does beside keeping files. Faked in tests.
pub(super) trait Kernel {
    /// Writes to a control file, which acts on it at once.
    fn write(&self, path: &Path, value: &str) -> io::Result<()>;

    /// Claims a block device until the file is dropped. "Busy" says that someone else has it: a
    /// mount in any namespace, swap, a volume manager.
    fn claim(&self, path: &Path) -> io::Result<File>;
}

/// The kernel that we run on.
struct Linux;

impl Kernel for Linux {
    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        // One write call: a control file reads each write as a whole value.
        let mut file = OpenOptions::new().write(true).open(path)?;
        io::Write::write_all(&mut file, value.as_bytes())
    }

    fn claim(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed()).open(path)
    }
}

/// A machine. All paths are relative to its root: `sys/bus/pci`.
pub(super) struct Host {
    root: PathBuf,
    kernel: Box<dyn Kernel>,
}

impl Host {
    /// The machine whose files are under `root`.
    pub(super) fn at(root: &Path) -> Result<Self> {
        Self::with_kernel(root, Box::new(Linux))
    }

    pub(super) fn with_kernel(root: &Path, kernel: Box<dyn Kernel>) -> Result<Self> {
        // Resolved, because devices are told apart by where their links lead.
        let root = root.canonicalize().with_context(|| format!("{} cannot be used as the root", root.display()))?;
        Ok(Self { root, kernel })
    }

    pub(super) fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.root.join(file)
    }

    pub(super) fn exists(&self, file: impl AsRef<Path>) -> bool {
        self.path(file).exists()
    }

    /// The text of a file, without white space around it.
    pub(super) fn read(&self, file: impl AsRef<Path>) -> Result<String> {
        let path = self.path(file);
        let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// As [`read`](Self::read); a file that is not there reads as empty.
    pub(super) fn read_if_there(&self, file: impl AsRef<Path>) -> Result<String> {
        if self.exists(&file) { self.read(file) } else { Ok(String::new()) }
    }

    pub(super) fn write(&self, file: impl AsRef<Path>, value: &str) -> Result<()> {
        let path = self.path(file);
        self.kernel.write(&path, value).with_context(|| format!("could not write {:?} to {}", value.trim_end(), path.display()))
    }

    pub(super) fn claim(&self, file: impl AsRef<Path>) -> io::Result<File> {
        self.kernel.claim(&self.path(file))
    }

    /// The names in a folder, sorted; none if it is not there.
    pub(super) fn list(&self, folder: impl AsRef<Path>) -> Result<Vec<String>> {
        let path = self.path(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("could not list {}", path.display())),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("could not list {}", path.display()))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// The last part of where a link leads (a driver, an IOMMU group); `None` if it is not there.
    pub(super) fn link_name(&self, link: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.path(link)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Where a path leads once all links are followed.
    pub(super) fn resolve(&self, file: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.path(file);
        path.canonicalize().with_context(|| format!("could not follow {}", path.display()))
    }

    /// Whether the caller may change the machine: the effective user of `/proc/self/status` is 0.
    pub(super) fn is_root(&self) -> Result<bool> {
        let status = self.read("proc/self/status")?;
        let ids = status.lines().find_map(|l| l.strip_prefix("Uid:")).context("/proc/self/status has no line Uid:")?;
        Ok(ids.split_whitespace().nth(1) == Some("0"))
    }
}
