//! Files that are made once: `target/vm/NAME.KEY`, where the key changes with all that the file
//! depends on.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};
use tempfile::{Builder, TempDir};

use crate::program;

/// Folders of runs begin with this, followed by the process' id.
const RUN: &str = "run-";

/// Where all of the machine's files are.
pub(super) fn folder() -> Result<PathBuf> {
    let folder = program::target()?.join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("could not make the folder {}", folder.display()))?;
    Ok(folder)
}

/// A key for everything that `of` is.
pub(super) fn key(of: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The file `name` for this `key`. If it is not there `make` writes it, and those of other keys go.
pub(super) fn get(name: &str, key: &str, make: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
    get_in(&folder()?, name, key, make)
}

fn get_in(folder: &Path, name: &str, key: &str, make: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
    let wanted = folder.join(format!("{name}.{key}"));
    if wanted.is_file() {
        return Ok(wanted);
    }
    // Made beside its place and moved there: two runs at once, or one that is ended, leave a whole
    // file or none.
    let mut file = Builder::new().prefix("new-").tempfile_in(folder)?;
    make(file.as_file_mut())?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("{name}.")) {
            // Another run may have been as quick.
            if let Err(error) = fs::remove_file(entry.path())
                && error.kind() != ErrorKind::NotFound
            {
                return Err(error).with_context(|| format!("could not remove {}", entry.path().display()));
            }
        }
    }
    file.persist(&wanted).with_context(|| format!("could not write {}", wanted.display()))?;
    Ok(wanted)
}

/// A folder for the files of one run, which goes when it is dropped. Those of runs that were killed
/// go now.
pub(super) fn run_folder() -> Result<TempDir> {
    let folder = folder()?;
    sweep(&folder)?;
    let prefix = format!("{RUN}{}-", process::id());
    Builder::new().prefix(&prefix).tempdir_in(folder).context("could not make a folder for this run")
}

fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix(RUN)?.split('-').next()) else { continue };
        if !Path::new("/proc").join(process).exists() {
            fs::remove_dir_all(entry.path()).with_context(|| format!("could not remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).expect("there").map(|e| e.expect("read").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_made_once_for_each_key_and_the_old_one_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let get = |key: &str, text: &'static str| {
            let path = get_in(folder.path(), "base", key, |file| Ok(file.write_all(text.as_bytes())?)).expect("made");
            fs::read_to_string(path).expect("read")
        };
        assert_eq!(get("1", "one"), "one");
        assert_eq!(get("1", "again"), "one");
        assert_eq!(get("2", "two"), "two");
        assert_eq!(names(folder.path()), ["base.2"]);
    }

    #[test]
    fn what_could_not_be_made_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(get_in(folder.path(), "base", "1", |_| bail!("no")).is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn folders_of_runs_that_were_killed_are_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = format!("run-{}-abc", process::id());
        // Process ids end below 2^22.
        for name in [&own, "run-99999999-abc", "other"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        sweep(folder.path()).expect("swept");
        assert_eq!(names(folder.path()), ["other", own.as_str()]);
    }
}
