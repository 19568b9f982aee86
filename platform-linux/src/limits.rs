//! What the system grants this process, for the log and for errors that should name a number.
// UNSAFETY: getrlimit writes through a pointer.

use std::fmt;
use std::fs;
use std::path::Path;

/// Limits and hugepages as they are now. Its `Display` is a line for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors (`ulimit -n`). `None`: no limit.
    pub descriptors: Option<u64>,
    /// Bytes that may be locked in memory, which registering buffers needs (`ulimit -l`). `None`: no limit.
    pub locked_bytes: Option<u64>,
    /// Hugepages of 2 MiB that the machine has.
    pub hugepages: u64,
    /// Those of them that are free.
    pub free_hugepages: u64,
}

impl Limits {
    /// Asks the system.
    pub fn read() -> Self {
        Self {
            descriptors: soft_limit(libc::RLIMIT_NOFILE as i32),
            locked_bytes: soft_limit(libc::RLIMIT_MEMLOCK as i32),
            hugepages: hugepages("nr_hugepages"),
            free_hugepages: hugepages("free_hugepages"),
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
        let (descriptors, locked) = (limit(self.descriptors), limit(self.locked_bytes.map(|n| n >> 10)));
        write!(f, "{descriptors} descriptors, {locked} KiB locked, {} of {} hugepages free", self.free_hugepages, self.hugepages)
    }
}

fn soft_limit(of: i32) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel writes one rlimit. It knows both limits asked for, so it cannot fail.
    unsafe { libc::getrlimit(of as _, &mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// One of the kernel's counts; a kernel without hugepages has none.
fn hugepages(count: &str) -> u64 {
    let path = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").join(count);
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_that_proc_tells() {
        let table = fs::read_to_string("/proc/self/limits").unwrap();
        let soft = |name: &str| {
            let line = table.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().ok()
        };
        let limits = Limits::read();
        assert_eq!(limits.descriptors, soft("Max open files"));
        assert_eq!(limits.locked_bytes, soft("Max locked memory"));
        let info = fs::read_to_string("/proc/meminfo").unwrap();
        let count = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(count("Hugepagesize:"), "2048 kB", "this test wants a machine whose default hugepage has 2 MiB");
        assert_eq!(count("HugePages_Total:"), limits.hugepages.to_string());
    }

    #[test]
    fn no_limit_reads_as_such() {
        let limits = Limits { descriptors: None, locked_bytes: Some(8 << 20), hugepages: 4, free_hugepages: 3 };
        assert_eq!(limits.to_string(), "unlimited descriptors, 8192 KiB locked, 3 of 4 hugepages free");
    }
}
