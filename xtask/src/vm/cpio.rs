//! Archives in the format "newc", which the kernel unpacks as its first file system.
//!
//! A header of 110 characters, the name with a zero, the contents; each padded to four bytes (the
//! kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`). Archives may be put one
//! behind the other, and a later entry replaces an earlier one.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, ensure};

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;
const TRAILER: &str = "TRAILER!!!";
/// Zeros at the end that one may count on, so that another archive can follow wherever it is read
/// in blocks.
const BLOCK: u64 = 512;

/// Writes one archive. Paths are relative to the root, without a slash before them; a folder comes
/// before what is in it.
pub(super) struct Archive<W> {
    to: W,
    entries: u32,
    written: u64,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, entries: 0, written: 0 }
    }

    pub(super) fn folder(&mut self, path: &str) -> Result<()> {
        self.header(path, FOLDER, 0)
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.header(path, LINK, target.len() as u64)?;
        self.put(target.as_bytes())?;
        self.pad(4)
    }

    /// A file of exactly `size` bytes, which `contents` has to give.
    pub(super) fn file(&mut self, path: &str, permissions: u32, size: u64, contents: impl Read) -> Result<()> {
        self.header(path, FILE | permissions, size)?;
        let copied = io::copy(&mut contents.take(size), &mut self.to).with_context(|| format!("copy {path} into the archive"))?;
        ensure!(copied == size, "/{path} became shorter while it was copied: {copied} bytes and not {size}");
        self.written += size;
        self.pad(4)
    }

    /// Writes the end and hands back what was written to.
    pub(super) fn finish(mut self) -> Result<W> {
        self.header(TRAILER, 0, 0)?;
        self.pad(BLOCK)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn header(&mut self, path: &str, mode: u32, size: u64) -> Result<()> {
        let size =
            u32::try_from(size).with_context(|| format!("/{path} has {size} bytes, and an archive holds files of less than 4 GiB"))?;
        self.entries += 1;
        let (inode, links, name) = (self.entries, 1, path.len() + 1);
        // inode, mode, uid, gid, links, mtime, size, device (2), of the device file (2), name's
        // length, checksum.
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name:08x}{0:08x}",
            0
        );
        self.put(header.as_bytes())?;
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.pad(4)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        Ok(self.to.write_all(bytes)?)
    }

    fn pad(&mut self, to: u64) -> Result<()> {
        let missing = self.written.next_multiple_of(to) - self.written;
        self.put(&vec![0; missing as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and contents of each entry, read by the description of the format and not by the
    /// code above.
    fn read(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let whole = archive.len();
        let mut entries = Vec::new();
        loop {
            let field =
                |n: usize| u32::from_str_radix(std::str::from_utf8(&archive[6 + 8 * n..14 + 8 * n]).expect("text"), 16).expect("hex");
            assert_eq!(&archive[..6], b"070701");
            let (mode, size, name) = (field(1), field(6) as usize, field(11) as usize);
            let text = String::from_utf8(archive[110..110 + name - 1].to_vec()).expect("text");
            assert_eq!(archive[110 + name - 1], 0, "the name ends with a zero");
            let at = (110 + name).next_multiple_of(4);
            if text == TRAILER {
                assert!(archive[at..].iter().all(|&b| b == 0) && whole.is_multiple_of(512));
                return entries;
            }
            entries.push((text, mode, archive[at..at + size].to_vec()));
            archive = &archive[(at + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn what_is_put_in_can_be_read_whatever_its_length() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("a").expect("written");
        for size in 0..9_u64 {
            let name = format!("a/{}", "n".repeat(size as usize + 1));
            archive.file(&name, 0o644, size, io::repeat(b'x')).expect("written");
        }
        archive.link("sh", "busybox").expect("written");
        let entries = read(&archive.finish().expect("written"));
        assert_eq!(entries.len(), 11);
        assert_eq!(entries[0], ("a".into(), 0o040_755, vec![]));
        for (size, (name, mode, contents)) in entries[1..10].iter().enumerate() {
            assert_eq!((name.len(), *mode, contents), (size + 3, 0o100_644, &vec![b'x'; size]));
        }
        assert_eq!(entries[10], ("sh".into(), 0o120_777, b"busybox".to_vec()));
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_cut() {
        let mut archive = Archive::new(Vec::new());
        archive.file("log", 0o644, 3, &b"abcdef"[..]).expect("written");
        let error = archive.file("short", 0o644, 9, &b"abc"[..]).expect_err("too short");
        assert_eq!(error.to_string(), "/short became shorter while it was copied: 3 bytes and not 9");
        let mut archive = Archive::new(Vec::new());
        archive.file("log", 0o644, 3, &b"abcdef"[..]).expect("written");
        assert_eq!(read(&archive.finish().expect("written")), [("log".into(), 0o100_644, b"abc".to_vec())]);
    }

    #[test]
    fn a_file_of_four_gibibytes_is_refused_before_it_is_read() {
        let error = Archive::new(Vec::new()).file("big", 0o644, 1 << 32, io::empty()).expect_err("too big");
        assert!(error.to_string().starts_with("/big has 4294967296 bytes"), "{error}");
    }
}
