//! What a device is called by hosts, so that they know it again when its program was restarted.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bdev::Uuid;

/// A number of this computer, which it keeps (machine-id(5)).
const MACHINE: &str = "/etc/machine-id";
/// So that the name is no other program's for the same thing.
const SEED: u64 = 0x6c63_6f72_655f_6664;

/// The same uuid each time for the device `name` on this file. None where the computer has no
/// number of its own: then another computer's disk could have it too.
pub(crate) fn of(name: &str, path: &Path) -> Option<Uuid> {
    let machine = fs::read_to_string(MACHINE).ok()?;
    on(machine.trim(), name, path)
}

fn on(machine: &str, name: &str, path: &Path) -> Option<Uuid> {
    let is_number = machine.len() == 32 && machine.bytes().all(|byte| byte.is_ascii_hexdigit());
    let file = is_number.then(|| fs::metadata(path).ok())??;
    let place = born(&file).unwrap_or(path.canonicalize().ok()?.display().to_string());
    Some(Uuid::of_name(&format!("{machine}\n{name}\n{place}"), SEED))
}

/// When a file was made, and its number, which it takes along to another place. Those of a disk are
/// its node's, which is made at each boot.
fn born(file: &Metadata) -> Option<String> {
    let born = file.is_file().then(|| file.created().ok())??;
    let nanoseconds = born.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some(format!("{} {nanoseconds}", file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "3d1219c7c4c5404aaa1f6d2a48adfda4";

    #[test]
    fn s316_a_device_on_a_file_is_known_again_and_no_other_is_taken_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, other) = (folder.path().join("disk"), folder.path().join("other"));
        for path in [&file, &other] {
            fs::write(path, [0; 4096]).expect("written");
        }
        let own = on(ONE, "Disk0", &file);
        assert!(own.is_some());
        fs::write(&file, [1; 8192]).expect("written");
        assert_eq!(on(ONE, "Disk0", &file), own, "after a write");
        assert_ne!(on(ONE, "Disk0", &other), own);
        assert_ne!(on(ONE, "Disk1", &file), own);
        assert_ne!(on("0000000000000000000000000000000a", "Disk0", &file), own);
        let disk = |path: &str| on(ONE, "Disk0", Path::new(path));
        assert!(disk("/dev/null").is_some() && disk("/dev/null") == disk("/dev/../dev/null") && disk("/dev/null") != disk("/dev/zero"));
    }

    #[test]
    fn s316_a_computer_without_a_number_promises_nothing() {
        for machine in ["", "uninitialized", "3d1219c7c4c5404aaa1f6d2a48adfda", "../../../../../../../../../../.."] {
            assert_eq!(on(machine, "Null", Path::new("/dev/null")), None, "{machine:?}");
        }
        assert_eq!(on(ONE, "Disk0", Path::new("/no/such")), None);
    }
}
