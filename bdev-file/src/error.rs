//! What errors of the system mean to who uses a device.

use bdev::BdevError;

/// The error of a call.
#[cold]
pub(crate) fn io_error(errno: i32) -> BdevError {
    BdevError::Io(match errno {
        libc::ENOSPC | libc::EDQUOT => "no space is left where the file is; make room there and try again",
        libc::EFBIG => "the file may not be so large; raise the limit of this process (ulimit -f) or of its file system",
        libc::ENOMEM | libc::EAGAIN | libc::ENOBUFS => "the system is short of memory; try again",
        libc::EROFS | libc::EPERM | libc::EACCES => "the file cannot be written to any more; see how its file system is mounted",
        libc::EBADF => "the file was opened for reading only",
        libc::ENODEV | libc::ENXIO => "the disk under the file is gone",
        libc::EINVAL => "the file does not take requests at such places; see its log line of the start",
        libc::EOPNOTSUPP => "the file cannot do that",
        libc::EIO => "the disk under the file has failed (EIO); see the system's log",
        _ => "the system has refused it",
    })
}

/// A file that ends before its device does.
#[cold]
pub(crate) fn too_short() -> BdevError {
    BdevError::Io("the file ends before the device does: it was truncated while it was open; make it as long as it was, or rescan it")
}
