//! What belongs to the whole process: descriptors, and the order of tests that count them.

use std::fs::File;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static COMPANY: RwLock<()> = RwLock::new(());

/// Held by a test that may run beside others.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    // Another test's failure is its own.
    COMPANY.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Held by a test that counts or exhausts what belongs to the process.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    COMPANY.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Descriptors that this process has open.
pub(crate) fn open_descriptors() -> usize {
    // Less the one that reads the directory.
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count() - 1
}

/// Sees to it that the process may have this many descriptors, beside those of tests that run at
/// the same time.
///
/// # Panics
/// It may not.
pub fn need_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    assert!(most >= count, "this test needs {count} descriptors, and the hard limit is {most} (ulimit -Hn)");
    if limit.current.is_some_and(|now| now < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit }).expect("up to the hard limit is allowed");
    }
}

/// A limit on the descriptors of the process, and those taken.
pub struct Descriptors {
    before: Rlimit,
    held: Vec<File>,
}

impl Descriptors {
    /// Lets the process have few. Before anything is started that may remember how many it could
    /// have.
    pub fn few() -> Self {
        let before = getrlimit(Resource::Nofile);
        let few = open_descriptors() as u64 + 64;
        setrlimit(Resource::Nofile, Rlimit { current: Some(few), ..before }).expect("a lower limit is allowed");
        Self { before, held: Vec::new() }
    }

    /// Takes all that are left.
    pub fn exhaust(&mut self) {
        while let Ok(file) = File::open("/dev/null") {
            self.held.push(file);
        }
    }

    /// Frees this many.
    pub fn free(&mut self, count: usize) {
        let keep = self.held.len().checked_sub(count).expect("that many are held");
        self.held.truncate(keep);
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.before).expect("what was allowed before is allowed again");
    }
}
