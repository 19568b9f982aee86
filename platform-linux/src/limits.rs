//! What the system grants this process, for the log and for errors that should name a number.
// UNSAFETY: getrlimit writes through a pointer.

use std::fmt;
use std::fs;
use std::path::Path;

/// Limits and hugepages as they are now. Its `Display` is a line for the log.
///
/// ```
/// use platform_linux::Limits;
///
/// let limits = Limits::read();
/// assert!(limits.free_hugepages <= limits.hugepages);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors (`ulimit -n`). `None`: no limit.
    pub descriptors: Option<u64>,
    /// What that can be raised to without privileges, also while the process runs (`ulimit -Hn`).
    /// `None`: no limit.
    pub most_descriptors: Option<u64>,
    /// Bytes that may be locked in memory, which registering buffers needs (`ulimit -l`). `None`:
    /// no limit.
    pub locked_bytes: Option<u64>,
    /// Hugepages of 2 MiB that the machine has.
    pub hugepages: u64,
    /// Those of them that are free.
    pub free_hugepages: u64,
}

impl Limits {
    /// Asks the system.
    pub fn read() -> Self {
        let hugepages = |count| hugepages(Path::new("/"), count);
        Self {
            descriptors: limits(libc::RLIMIT_NOFILE as i32)[0],
            most_descriptors: limits(libc::RLIMIT_NOFILE as i32)[1],
            locked_bytes: limits(libc::RLIMIT_MEMLOCK as i32)[0],
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

/// Bytes of memory that this process can still have, as far as the system tells: what is available
/// on the machine, its swap included, and no more than the control groups above it allow. More is
/// granted all the same, and ends in the death of some process when it is written to.
///
/// ```
/// // In bytes; none where the system does not tell.
/// if let Some(bytes) = platform_linux::available_memory() {
///     assert!(bytes > 0);
/// }
/// ```
pub fn available_memory() -> Option<u64> {
    available(Path::new("/"))
}

/// The same of a machine whose files lie under `root`.
fn available(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let bytes = |name: &str| {
        let words = info.lines().find_map(|line| line.strip_prefix(name))?;
        Some(words.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
    };
    let free = bytes("MemAvailable:")? + bytes("SwapFree:").unwrap_or(0);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().filter_map(|line| group_limit(root, line)).min().map_or(Some(free), |limit| Some(limit.min(free)))
}

/// The least limit of a control group, a line of `/proc/self/cgroup`, and of those above it. In a
/// container it may be seen under no path but the first.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let (folder, path, file) = match line.splitn(3, ':').collect::<Vec<_>>()[..] {
        ["0", "", path] => ("sys/fs/cgroup", path, "memory.max"),
        [_, "memory", path] => ("sys/fs/cgroup/memory", path, "memory.limit_in_bytes"),
        _ => return None,
    };
    let limits = Path::new(path.trim_start_matches('/')).ancestors().filter_map(|group| {
        // A group without a limit says so in a word.
        fs::read_to_string(root.join(folder).join(group).join(file)).ok()?.trim().parse::<u64>().ok()
    });
    limits.min()
}

/// The soft one and the hard one.
fn limits(of: i32) -> [Option<u64>; 2] {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel writes one rlimit. It knows both limits asked for, so it cannot fail.
    unsafe { libc::getrlimit(of as _, &mut limit) };
    [limit.rlim_cur, limit.rlim_max].map(|n| (n != libc::RLIM_INFINITY).then_some(n))
}

/// One of the counts of the kernel whose files lie under `root`; one without hugepages has none.
fn hugepages(root: &Path, count: &str) -> u64 {
    let path = root.join("sys/kernel/mm/hugepages/hugepages-2048kB").join(count);
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
        let files = table.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        assert_eq!(limits.most_descriptors, files.split_whitespace().nth(1).unwrap().parse().ok());
        assert_eq!(limits.locked_bytes, soft("Max locked memory"));
        let info = fs::read_to_string("/proc/meminfo").unwrap();
        let count = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(count("Hugepagesize:"), "2048 kB", "this test wants a machine whose default hugepage has 2 MiB");
        assert_eq!(count("HugePages_Total:"), limits.hugepages.to_string());
    }

    #[test]
    fn s99_available_memory_is_the_least_of_what_the_machine_and_its_groups_have() {
        const MIB: u64 = 1 << 20;
        let info = "MemTotal: 999999 kB\nMemAvailable: 65536 kB\nSwapFree: 1024 kB\n";
        let (v2, v1) = ("sys/fs/cgroup", "sys/fs/cgroup/memory");
        for (groups, files, available) in [
            ("", &[][..], Some(65 * MIB)),
            ("0::/a/b\n", &[(v2, "a/b/memory.max", "max")], Some(65 * MIB)),
            ("0::/a/b\n", &[(v2, "a/b/memory.max", "9437184"), (v2, "a/memory.max", "max")], Some(9 * MIB)),
            ("0::/a/b\n", &[(v2, "a/b/memory.max", "9437184"), (v2, "a/memory.max", "8388608")], Some(8 * MIB)),
            ("0::/not/seen\n", &[(v2, "memory.max", "7340032")], Some(7 * MIB)),
            ("0::/\n", &[(v2, "memory.max", "99999999999")], Some(65 * MIB)),
            ("9:name=systemd:/\n4:memory:/a\n0::/\n", &[(v1, "a/memory.limit_in_bytes", "6291456")], Some(6 * MIB)),
        ] {
            let machine = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = machine.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("proc/meminfo", info);
            write("proc/self/cgroup", groups);
            files.iter().for_each(|(folder, file, limit)| write(&format!("{folder}/{file}"), &format!("{limit}\n")));
            assert_eq!(super::available(machine.path()), available, "{groups:?}, {files:?}");
        }
        assert_eq!(super::available(Path::new("/nowhere")), None);
        assert!(available_memory().is_some_and(|bytes| bytes > MIB), "this machine tells");
    }

    #[test]
    fn hugepages_are_as_many_as_the_kernel_tells() {
        let machine = tempfile::tempdir().unwrap();
        let pages = machine.path().join("sys/kernel/mm/hugepages/hugepages-2048kB");
        fs::create_dir_all(&pages).unwrap();
        fs::write(pages.join("nr_hugepages"), "4\n").unwrap();
        assert_eq!((hugepages(machine.path(), "nr_hugepages"), hugepages(machine.path(), "free_hugepages")), (4, 0));
    }

    #[test]
    fn no_limit_reads_as_such() {
        let limits = Limits { descriptors: None, most_descriptors: None, locked_bytes: Some(8 << 20), hugepages: 4, free_hugepages: 3 };
        assert_eq!(limits.to_string(), "unlimited descriptors, 8192 KiB locked, 3 of 4 hugepages free");
    }
}
