//! A lock for each core, so that two processes do not poll on one core unknowingly.
//!
//! The counterpart of SPDK's `/var/tmp/spdk_cpu_lock_NNN`. A lock is advisory and the kernel's
//! (`flock`): it ends with the process, however that ends. The file says whose it is. Files stay
//! when locks end: to remove one would let two processes lock two files of one name.
//!
//! They are advice: where there is no place for the files a core stays unlocked, and containers
//! with a place of their own each do not know of each other.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use core_reactor::{CoreId, CpuSet, PlatformError};

use crate::error::file_error;

/// Where the files are. Of the places that every user's processes share, the one that every
/// distribution lets all of them write to (`/run/lock` is root's alone on many).
const DIR: &str = "/var/tmp";

/// Cores claimed against other processes, until dropped.
#[derive(Default)]
pub struct CpuLocks {
    cores: CpuSet,
    files: Vec<File>,
    unlocked: Option<PlatformError>,
}

impl CpuLocks {
    /// Claims all of `cores` or, if one is taken, none. One whose lock file cannot be made or
    /// opened stays unlocked: see [`unlocked`](Self::unlocked).
    ///
    /// # Errors
    /// [`PlatformError::CoreTaken`]: another claim, of another process or this one, has a core.
    pub fn claim(cores: &CpuSet) -> Result<Self, PlatformError> {
        Self::claim_in(Path::new(DIR), cores)
    }

    /// Claims cores against the processes that use the same directory.
    ///
    /// ```
    /// use core_reactor::{CoreId, CpuSet};
    /// use platform_linux::CpuLocks;
    ///
    /// let dir = tempfile::tempdir()?;
    /// let mine = CpuLocks::claim_in(dir.path(), &CpuSet::of(CoreId(1)))?;
    /// assert!(CpuLocks::claim_in(dir.path(), &"0-1".parse()?).is_err(), "core 1 is taken");
    /// drop(mine);
    /// assert!(CpuLocks::claim_in(dir.path(), &"0-1".parse()?).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub fn claim_in(dir: &Path, cores: &CpuSet) -> Result<Self, PlatformError> {
        let mut locks = Self::default();
        for core in cores.iter() {
            match lock(dir, core) {
                Ok(file) => {
                    locks.files.push(file);
                    locks.cores.insert(core);
                }
                Err(why @ PlatformError::CoreTaken { .. }) => return Err(why),
                Err(why) => locks.unlocked = locks.unlocked.take().or(Some(why)),
            }
        }
        Ok(locks)
    }

    /// The cores that are locked.
    pub fn cores(&self) -> CpuSet {
        self.cores
    }

    /// Why the other cores of the claim are not, if any are: what was met first.
    pub fn unlocked(&self) -> Option<&PlatformError> {
        self.unlocked.as_ref()
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
            // Before the lock ends with the file, so that nobody reads the name of who has it no
            // more. No harm if it stays.
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
    // The lock holds without its owner's name too, on a disk that is full.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{} {}", std::process::id(), namespace().unwrap_or_default()));
    Ok(file)
}

/// Which processes the kernel counts together with this one: a number from elsewhere names another
/// process here, or none.
fn namespace() -> Option<String> {
    fs::read_link("/proc/self/ns/pid").ok()?.into_os_string().into_string().ok()
}

/// Opens a lock file, making it if need be, for every user to lock. Never through a link, as anyone
/// may put one into the directory.
fn open(path: &Path) -> io::Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
        options
    };
    loop {
        // First without O_CREAT, which the kernel refuses for another user's file in a shared
        // directory (fs.protected_regular).
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
    // Without its number it has the lock and is about to write that.
    let _ = file.read_to_string(&mut text);
    let mut words = text.split_whitespace();
    let pid = words.next().and_then(|word| word.parse::<u32>().ok());
    let is_here = words.next() == namespace().as_deref();
    let by = match pid {
        Some(pid) if is_here && pid == std::process::id() => format!("this process ({})", path.display()).into(),
        Some(pid) if is_here => format!("process {pid} ({})", path.display()).into(),
        Some(pid) => format!("process {pid} of another container ({})", path.display()).into(),
        None => format!("another process ({})", path.display()).into(),
    };
    PlatformError::CoreTaken { core, by }
}
