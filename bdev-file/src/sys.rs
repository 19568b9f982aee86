//! The system calls that std has not, each behind a safe function.
//!
//! UNSAFETY: calls into libc with pointers to memory that is lent for the length of the call.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use pool::Buf;

/// `BLKSSZGET`: bytes of a disk's sector.
const SECTOR_SIZE: libc::Ioctl = 0x1268;
/// `BLKPBSZGET`: bytes that a disk writes as one.
const PHYSICAL_SIZE: libc::Ioctl = 0x127b;
/// `BLKGETSIZE64`: bytes of a disk.
const SIZE: libc::Ioctl = 0x8008_1272_u32 as libc::Ioctl;

/// Bytes of a disk, of its sector, and those that it writes as one.
pub(crate) fn disk_sizes(disk: &File) -> io::Result<(u64, u32, u32)> {
    let (mut bytes, mut sector, mut physical) = (0u64, 0i32, 0u32);
    // SAFETY: the kernel writes eight bytes, then an int twice.
    let results = unsafe {
        [
            libc::ioctl(disk.as_raw_fd(), SIZE, &raw mut bytes),
            libc::ioctl(disk.as_raw_fd(), SECTOR_SIZE, &raw mut sector),
            libc::ioctl(disk.as_raw_fd(), PHYSICAL_SIZE, &raw mut physical),
        ]
    };
    if results.iter().any(|result| *result < 0) {
        return Err(io::Error::last_os_error());
    }
    Ok((bytes, sector as u32, physical))
}

/// Reads `len` bytes at `at` into the spare memory of a buffer, which need have no meaning.
pub(crate) fn try_read(file: &File, buf: &mut Buf, at: u64, len: usize) -> io::Result<usize> {
    let into = buf.spare_mut();
    let len = len.min(into.len());
    // SAFETY: the kernel writes `len` bytes at most, and there are as many.
    let n = unsafe { libc::pread(file.as_raw_fd(), into.as_mut_ptr().cast(), len, at as libc::off_t) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// A write beyond the size that this process may make files (`ulimit -f`) sends it a signal, which
/// ends it. Unless somebody has a use for that signal, it is ignored: the write fails then.
pub(crate) fn ignore_limit_signal() {
    // SAFETY: sets no function of ours, and puts back what was there.
    unsafe {
        let before = libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        if before != libc::SIG_DFL && before != libc::SIG_ERR {
            libc::signal(libc::SIGXFSZ, before);
        }
    }
}
