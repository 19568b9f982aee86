//! Keys out of files.

extern crate std;

use alloc::string::String;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::getuid;
use zeroize::Zeroizing;

use crate::{Key, KeyError, Keyring};

/// The longest key that is believed in; secrets have about a hundred characters.
const LONGEST: usize = 1024;

impl Keyring {
    /// Adds a key that is in a file, which is read now. As SPDK has it, the file is this user's and
    /// nobody else can read it.
    ///
    /// # Errors
    /// There is a key of that name; the file cannot be read, can be by others, or holds no text.
    pub fn add_file(&self, name: &str, path: &str) -> Result<(), KeyError> {
        if self.get(name).is_ok() {
            return Err(KeyError::Exists(name.into()));
        }
        self.add(Key::read(name, path)?)
    }
}

impl Key {
    /// Reads a file that holds a key.
    ///
    /// # Errors
    /// Those of [`Keyring::add_file`].
    pub fn read(name: &str, path: &str) -> Result<Self, KeyError> {
        if !path.starts_with('/') {
            return Err(KeyError::Relative(path.into()));
        }
        let wrong = |why| KeyError::Content { path: path.into(), why };
        let failed = |why: io::Error| KeyError::File { path: path.into(), why: Errno::from_io_error(&why).unwrap_or(Errno::IO) };
        // A pipe that nobody writes to would hold whoever opens it.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        // Of the file that is open: its name may be another's by now.
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(wrong("it is no file"));
        }
        if meta.mode() & 0o077 != 0 || meta.uid() != getuid().as_raw() {
            return Err(KeyError::Permissions { path: path.into(), mode: meta.mode() & 0o7777, owner: meta.uid() });
        }
        let text = text(file).map_err(failed)?.ok_or_else(|| wrong("it is longer than any key is"))?;
        let text = core::str::from_utf8(&text).map_err(|_| wrong("it holds no text"))?.trim();
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        Ok(Self { name: name.into(), path: Some(path.into()), text: Zeroizing::new(String::from(text)) })
    }
}

/// All of a file; `None` if it is too long.
fn text(mut file: File) -> io::Result<Option<Zeroizing<std::vec::Vec<u8>>>> {
    // In memory that does not move, so that nothing of it is left anywhere.
    let mut text = Zeroizing::new(std::vec![0; LONGEST + 1]);
    let mut len = 0;
    loop {
        match file.read(&mut text[len..])? {
            0 => break,
            some => len += some,
        }
    }
    text.truncate(len);
    Ok((len <= LONGEST).then_some(text))
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::string::ToString;

    use super::*;

    #[test]
    fn s356_a_key_is_read_from_a_file_that_nobody_else_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
        let write = |name: &str, text: &[u8], mode| {
            fs::write(at(name), text).unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        };
        let keyring = Keyring::new();
        for mode in [0o600, 0o400, 0o700] {
            write("good", b"DHHC-1:00:abc:\n", mode);
            keyring.add_file(&format!("{mode:o}"), &at("good")).unwrap();
            let key = keyring.get(&format!("{mode:o}")).unwrap();
            assert_eq!((key.text(), key.path()), ("DHHC-1:00:abc:", Some(&*at("good"))));
            fs::remove_file(at("good")).unwrap();
        }
        assert_eq!(keyring.add_file("600", &at("none")), Err(KeyError::Exists("600".into())));
        for mode in [0o640, 0o604, 0o644, 0o610, 0o601, 0o620, 0o602] {
            write("open", b"key", mode);
            let why = keyring.add_file("open", &at("open")).unwrap_err();
            assert!(matches!(why, KeyError::Permissions { mode: it, .. } if it == mode), "{why}");
        }
        write("long", &[b'x'; LONGEST + 1], 0o600);
        write("full", &[b'x'; LONGEST], 0o600);
        write("empty", b" \n", 0o600);
        write("bytes", &[0xFF, 0xFE], 0o600);
        for (path, part) in [
            (at("none"), "No such file"),
            (dir.path().to_str().unwrap().into(), "it is no file"),
            (at("long"), "longer than any key"),
            (at("empty"), "it is empty"),
            (at("bytes"), "holds no text"),
            ("open".into(), "the whole path"),
            (String::new(), "the whole path"),
            (format!("{}\0", at("full")), "key file"),
        ] {
            let why = keyring.add_file("wrong", &path).unwrap_err().to_string();
            assert!(why.contains(part), "{path:?}: {why}");
        }
        keyring.add_file("full", &at("full")).unwrap();
    }
}
