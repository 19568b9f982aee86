//! The cores of the machine, whether this process may use them or not.

use std::fs;

use core_reactor::{CoreId, CpuSet, PlatformError};

use crate::error::os_error;

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The cores that are switched on, of those that can be named.
///
/// ```
/// let online = platform_linux::online_cores()?;
/// assert!(!online.is_empty());
/// # Ok::<(), core_reactor::PlatformError>(())
/// ```
///
/// # Errors
/// The system does not tell: a container may have no sysfs.
pub fn online_cores() -> Result<CpuSet, PlatformError> {
    let fail = |why| os_error("read the cores of this machine", &why);
    let text = fs::read_to_string(ONLINE).map_err(fail)?;
    list(&text).ok_or_else(|| fail(std::io::ErrorKind::InvalidData.into()))
}

/// What the kernel writes: `0-3,8`. Cores past the limit, which a set cannot name and no one can
/// ask for, are left out.
fn list(text: &str) -> Option<CpuSet> {
    let mut cores = CpuSet::EMPTY;
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        for core in first..=last.min(CpuSet::LIMIT - 1) {
            cores.insert(CoreId(core as u16));
        }
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_past_the_limit_are_left_out() {
        for (text, cores) in [("0-3,8\n", "[0-3,8]"), ("0-1500\n", "[0-1023]"), ("2,1022-1023,1100,2000-3000\n", "[2,1022-1023]")] {
            assert_eq!(list(text), Some(cores.parse().unwrap()), "{text}");
        }
        assert_eq!(list("1024-1030\n"), Some(CpuSet::EMPTY));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "\n", "a", "1-", "0-3;8"] {
            assert_eq!(list(text), None, "{text:?}");
        }
    }
}
