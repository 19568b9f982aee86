//! What is to stand in the machine's file system, by path, and the archive of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::cache;
use super::cpio::Archive;

/// Files, folders and links of the machine. The folders above an entry come with it.
#[derive(Default)]
pub(super) struct Tree {
    // Sorted, so that a folder comes before what is in it.
    entries: BTreeMap<String, Entry>,
}

#[derive(Hash)]
enum Entry {
    Folder,
    Link(String),
    Text { text: String, permissions: u32 },
    File(Source),
}

/// A file of this computer, with what tells whether it has changed.
#[derive(Hash)]
struct Source {
    path: PathBuf,
    size: u64,
    permissions: u32,
    modified: (i64, i64),
}

impl Tree {
    pub(super) fn folder(&mut self, at: &str) {
        self.put(at, Entry::Folder);
    }

    pub(super) fn link(&mut self, at: &str, target: &str) {
        self.put(at, Entry::Link(target.into()));
    }

    pub(super) fn text(&mut self, at: &str, permissions: u32, text: impl Into<String>) {
        self.put(at, Entry::Text { text: text.into(), permissions });
    }

    /// The file `from` of this computer; links are followed.
    pub(super) fn file(&mut self, at: &str, from: &Path) -> Result<()> {
        let about = fs::metadata(from).with_context(|| format!("look at {}", from.display()))?;
        ensure!(about.is_file(), "{} is no file, and only files can be carried into the machine", from.display());
        let source = Source {
            path: from.into(),
            size: about.len(),
            permissions: about.mode() & 0o777,
            modified: (about.mtime(), about.mtime_nsec()),
        };
        self.put(at, Entry::File(source));
        Ok(())
    }

    /// A program with the libraries that it is linked to, which keep their paths. What is no
    /// program goes in alone.
    pub(super) fn program(&mut self, at: &str, from: &Path) -> Result<()> {
        self.file(at, from)?;
        for library in libraries(from)? {
            let path = library.to_str().with_context(|| format!("{} is no text", library.display()))?;
            if !self.has(path) {
                self.file(path, &library)?;
            }
        }
        Ok(())
    }

    pub(super) fn has(&self, at: &str) -> bool {
        self.entries.contains_key(at.trim_start_matches('/'))
    }

    /// Takes out what stands in `other` too, at the same path, as the libraries of all programs do.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.entries.retain(|path, entry| !matches!(entry, Entry::File(_) | Entry::Folder) || !other.entries.contains_key(path));
    }

    /// Bytes of all files.
    pub(super) fn size(&self) -> u64 {
        self.entries.values().map(|entry| if let Entry::File(source) = entry { source.size } else { 0 }).sum()
    }

    /// A name for exactly these contents, by the files' sizes and times.
    pub(super) fn key(&self) -> String {
        cache::key(&self.entries)
    }

    pub(super) fn write<W: Write>(&self, to: W) -> Result<W> {
        let mut archive = Archive::new(to);
        for (path, entry) in &self.entries {
            match entry {
                Entry::Folder => archive.folder(path)?,
                Entry::Link(target) => archive.link(path, target)?,
                Entry::Text { text, permissions } => archive.file(path, *permissions, text.len() as u64, text.as_bytes())?,
                Entry::File(source) => {
                    let file = File::open(&source.path).with_context(|| format!("open {}", source.path.display()))?;
                    archive.file(path, source.permissions, source.size, file)?;
                }
            }
        }
        archive.finish()
    }

    fn put(&mut self, at: &str, entry: Entry) {
        let at = at.trim_start_matches('/');
        for (end, _) in at.match_indices('/') {
            self.entries.entry(at[..end].into()).or_insert(Entry::Folder);
        }
        self.entries.insert(at.into(), entry);
    }
}

/// The libraries of a program, the dynamic linker among them; none for a script or a program
/// without.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut magic = [0; 4];
    let mut file = File::open(program).with_context(|| format!("open {}", program.display()))?;
    if file.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
        return Ok(Vec::new());
    }
    let out = Command::new("ldd").arg(program).output().context("could not start ldd")?;
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if !out.status.success() {
        ensure!(format!("{said}{complained}").contains("not a dynamic executable"), "ldd {}: {complained}", program.display());
        return Ok(Vec::new());
    }
    by_ldd(&said).with_context(|| format!("{} cannot be carried into the machine", program.display()))
}

/// Reads `libc.so.6 => /lib/…/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`,
/// `linux-vdso.so.1 (0x…)`, `statically linked`.
pub(super) fn by_ldd(said: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim) {
        let (name, place) = line.split_once(" => ").unwrap_or(("", line));
        if place == "not found" {
            bail!("its library {name} is not on this computer: install the package that has it");
        }
        if place.starts_with('/') {
            found.push(PathBuf::from(place.split(" (0x").next().unwrap_or(place)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_ldd_found() {
        let said = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found = by_ldd(said).expect("all found");
        assert_eq!(found, [PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]);
        assert!(by_ldd("\tstatically linked\n").expect("none").is_empty());
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let error = by_ldd("\tlibibverbs.so.1 => not found\n").expect_err("missing");
        assert_eq!(error.to_string(), "its library libibverbs.so.1 is not on this computer: install the package that has it");
    }

    #[test]
    fn this_test_brings_its_libraries_and_a_text_brings_none() {
        let own = std::env::current_exe().expect("known");
        let mut tree = Tree::default();
        tree.program("/job/test", &own).expect("carried");
        assert!(tree.entries.keys().any(|path| path.contains("libc.so")), "{:?}", tree.entries.keys());
        assert!(tree.has("/job") && tree.has("/job/test"));
        assert!(libraries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("looked at").is_empty());
    }

    #[test]
    fn what_the_other_tree_has_is_taken_out_and_links_and_texts_stay() {
        let (mut base, mut more) = (Tree::default(), Tree::default());
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        base.file("/lib/a", &manifest).expect("there");
        base.text("/etc/passwd", 0o644, "root");
        more.file("/lib/a", &manifest).expect("there");
        more.file("/lib/b", &manifest).expect("there");
        more.text("/etc/passwd", 0o644, "other");
        more.subtract(&base);
        assert_eq!(more.entries.keys().collect::<Vec<_>>(), ["etc/passwd", "lib/b"]);
    }

    #[test]
    fn the_key_follows_the_contents() {
        let tree = |text: &str| {
            let mut tree = Tree::default();
            tree.text("/a/b", 0o644, text);
            tree.key()
        };
        assert_eq!(tree("x"), tree("x"));
        assert_ne!(tree("x"), tree("y"));
    }

    #[test]
    fn a_folder_cannot_be_carried() {
        let error = Tree::default().file("/job/x", Path::new("/")).expect_err("a folder");
        assert_eq!(error.to_string(), "/ is no file, and only files can be carried into the machine");
    }
}
