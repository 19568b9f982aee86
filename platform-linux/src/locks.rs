//! A lock for each core, so that two processes do not poll on one core unknowingly.
//!
//! The counterpart of SPDK's `/var/tmp/spdk_cpu_lock_NNN`. A lock is advisory and the kernel's (`flock`): it ends with the process, however
//! that ends. The file says whose it is. Files stay when locks end: to remove one would let two processes lock two files of one name.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use core_reactor::{CoreId, CpuSet, PlatformError};

use crate::error::{file_error, short};

/// Where the files are. Of the places that every user's processes share, the one that every distribution lets all of them write to
/// (`/run/lock` is root's alone on many).
const DIR: &str = "/var/tmp";

/// Cores claimed against other processes, until dropped.
pub struct CpuLocks {
    cores: CpuSet,
    files: Vec<File>,
}

impl CpuLocks {
    /// Claims all of `cores` or none.
    ///
    /// # Errors
    /// [`PlatformError::CoreTaken`]: another claim, of another process or this one, has a core; [`PlatformError::Os`]: a lock file cannot
    /// be made or opened.
    pub fn claim(cores: &CpuSet) -> Result<Self, PlatformError> {
        Self::claim_in(Path::new(DIR), cores)
    }

    /// Claims cores against the processes that use the same directory.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub fn claim_in(dir: &Path, cores: &CpuSet) -> Result<Self, PlatformError> {
        // If one fails, those already locked are dropped with the iterator, which frees them.
        let files = cores.iter().map(|core| lock(dir, core)).collect::<Result<_, _>>()?;
        Ok(Self { cores: *cores, files })
    }

    /// The cores claimed.
    pub fn cores(&self) -> CpuSet {
        self.cores
    }
}

impl fmt::Debug for CpuLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CpuLocks").field(&self.cores).finish()
    }
}

impl Drop for CpuLocks {
    fn drop(&mut self) {
        for file in &self.files {
            // Before the lock ends with the file, so that nobody reads the name of who has it no more. No harm if it stays.
            let _ = file.set_len(0);
        }
    }
}

fn lock(dir: &Path, core: CoreId) -> Result<File, PlatformError> {
    let path = dir.join(format!("lcore_cpu_lock_{:03}", core.0));
    let mut file = open(&path).map_err(|e| file_error("open the lock file of a core", &path, &e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken(core, &path, &mut file)),
        Err(TryLockError::Error(e)) => return Err(file_error("lock the lock file of a core", &path, &e)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| file_error("write the lock file of a core", &path, &e))?;
    Ok(file)
}

/// Opens a lock file, making it if need be, for every user to lock. Never through a link, as anyone may put one into the directory.
fn open(path: &Path) -> io::Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
        options
    };
    loop {
        // First without O_CREAT, which the kernel refuses for another user's file in a shared directory (fs.protected_regular).
        match options().open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match options().create_new(true).mode(0o666).open(path) {
            // Another process was quicker: open its file.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
            Ok(file) => {
                // Past the umask.
                file.set_permissions(Permissions::from_mode(0o666))?;
                return Ok(file);
            }
        }
    }
}

fn taken(core: CoreId, path: &Path, file: &mut File) -> PlatformError {
    let mut text = String::new();
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let by = match pid {
        Some(pid) if pid == std::process::id() => short(format_args!("this process ({})", path.display())),
        Some(pid) => short(format_args!("process {pid} ({})", path.display())),
        // It has the lock and is about to write its number.
        None => short(format_args!("another process ({})", path.display())),
    };
    PlatformError::CoreTaken { core, by }
}
