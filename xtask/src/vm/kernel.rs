//! The kernel: which one, the ELF inside its image, and its modules.
//!
//! The bzImage in `/boot` is a decompressor around an ELF file (`vmlinux`). QEMU boots that one
//! directly, by its PVH note, in a third of the time.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::{cache, suites};
use crate::packages;

/// A kernel of the distribution.
pub(crate) struct Kernel {
    pub(super) version: String,
    image: PathBuf,
    /// Where `lib/modules` is.
    root: PathBuf,
}

/// Which kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Choice {
    /// The newest that is installed.
    #[default]
    Installed,
    /// The newest of all suites of the distribution.
    Newest,
    /// The newest whose version begins so: an installed one, or one of another suite.
    Version(String),
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "installed" => Ok(Self::Installed),
            "newest" => Ok(Self::Newest),
            _ if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['/', '|']) => Ok(Self::Version(text.into())),
            _ => Err("it is a version such as 6.12, or installed, or newest".into()),
        }
    }
}

impl Kernel {
    /// The newest in `/boot` whose modules are there too.
    pub(crate) fn newest() -> Option<Self> {
        Self::of(Path::new("/"), "")
    }

    /// The one that is asked for, fetched if it is not there.
    pub(super) fn get(choice: &Choice) -> Result<Self> {
        let missing = "/boot has no kernel with modules";
        let root = match choice {
            Choice::Installed => return Self::newest().context(missing),
            Choice::Version(version) => match Self::of(Path::new("/"), version) {
                Some(installed) => return Ok(installed),
                None => suites::get(Some(version))?,
            },
            Choice::Newest => suites::get(None)?,
        };
        Self::of(&root, "").with_context(|| format!("{} has no kernel with modules", root.display()))
    }

    /// The newest below `root` whose version begins with `prefix`.
    fn of(root: &Path, prefix: &str) -> Option<Self> {
        let version = newest(&root.join("boot"), &root.join("lib/modules"), prefix)?;
        Some(Self { image: root.join(format!("boot/vmlinuz-{version}")), version, root: root.into() })
    }

    /// The ELF file, extracted once.
    pub(super) fn elf(&self) -> Result<PathBuf> {
        let about = fs::metadata(&self.image).with_context(|| format!("look at {}", self.image.display()))?;
        let name = format!("vmlinux-{}", self.version);
        let key = cache::key(&(about.len(), about.modified()?));
        cache::get(&name, &key, |file| {
            println!("extracting the kernel out of {}", self.image.display());
            let image = fs::read(&self.image).with_context(|| format!("could not read {} (are you root?)", self.image.display()))?;
            extract(&image, file).with_context(|| format!("could not extract the kernel out of {}", self.image.display()))
        })
    }

    /// The names and files of `module` and of all that it needs, in the order of loading, unpacked;
    /// none if it is built in.
    pub(super) fn module(&self, module: &str) -> Result<Vec<(String, PathBuf)>> {
        let named = |file: &PathBuf| {
            let name = file.file_name().and_then(|name| name.to_str()?.split(".ko").next()).context("a module has a name")?;
            Ok((name.to_owned(), self.plain(name, file)?))
        };
        self.packed_modules(module)?.iter().map(named).collect()
    }

    /// Whether there is such a module, or it is built in.
    pub(super) fn has_module(&self, module: &str) -> bool {
        self.packed_modules(module).is_ok()
    }

    /// A module's file as insmod takes it.
    fn plain(&self, name: &str, file: &Path) -> Result<PathBuf> {
        let Some(packer) = file.extension().and_then(Packer::of_module) else { return Ok(file.into()) };
        let about = fs::metadata(file).with_context(|| format!("look at {}", file.display()))?;
        let key = cache::key(&(file, about.len(), about.modified()?));
        cache::get(&format!("{name}.ko-{}", self.version), &key, |to| {
            let from = File::open(file).with_context(|| format!("open {}", file.display()))?;
            let status = Command::new(packer.program).args(packer.args).stdin(from).stdout(to.try_clone()?).status();
            let status = status.with_context(|| format!("could not start {}, which the package {} has", packer.program, packer.package))?;
            ensure!(status.success(), "{} of {} ended with {status}", packer.program, file.display());
            Ok(())
        })
    }

    fn packed_modules(&self, module: &str) -> Result<Vec<PathBuf>> {
        let modprobe = packages::find("modprobe").context("modprobe is not there")?;
        let out = Command::new(modprobe)
            .arg("-d")
            .arg(&self.root)
            .args(["-S", &self.version, "--show-depends", module])
            .output()
            .context("could not start modprobe")?;
        ensure!(out.status.success(), "kernel {} has no module {module}: {}", self.version, String::from_utf8_lossy(&out.stderr).trim());
        let said = String::from_utf8_lossy(&out.stdout);
        Ok(said.lines().filter_map(|line| line.strip_prefix("insmod ")?.split(' ').next()).map(PathBuf::from).collect())
    }
}

fn newest(boot: &Path, modules: &Path, prefix: &str) -> Option<String> {
    let names = fs::read_dir(boot).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let versions = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
    let versions = versions.filter(|version| prefix.is_empty() || suites::begins(version, prefix));
    versions.filter(|version| modules.join(version).join("modules.dep").is_file()).max_by(|a, b| by_version(a, b))
}

/// 6.1.0-9 is older than 6.1.0-56: numbers count as numbers.
pub(super) fn by_version(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| text.split(['.', '-', '+']).map(|part| (part.parse::<u64>().ok(), part.to_owned())).collect::<Vec<_>>();
    parts(a).cmp(&parts(b))
}

/// Writes the ELF file inside the bzImage `image` to `to`.
fn extract(image: &[u8], to: &mut File) -> Result<()> {
    let payload = payload(image)?;
    let packer = Packer::of(payload)?;
    let mut unpack = Command::new(packer.program);
    unpack.args(packer.args).stdin(Stdio::piped()).stdout(to.try_clone()?);
    let mut child =
        unpack.spawn().with_context(|| format!("could not start {}, which the package {} has", packer.program, packer.package))?;
    let mut stdin = child.stdin.take().context("its input is piped")?;
    let payload = &payload[..payload.len() - packer.behind];
    let fed = stdin.write_all(payload);
    drop(stdin);
    let status = child.wait()?;
    ensure!(status.success(), "{} ended with {status}", packer.program);
    fed.with_context(|| format!("{} did not take it all", packer.program))?;
    let mut magic = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(to, &mut magic, 0).context("nothing was in it")?;
    ensure!(magic == *b"\x7fELF", "what was in it is no ELF file");
    Ok(())
}

/// The compressed kernel in a bzImage, by its header (the kernel's
/// `Documentation/arch/x86/boot.rst`).
fn payload(image: &[u8]) -> Result<&[u8]> {
    const SECTORS: usize = 0x1f1;
    const MAGIC: usize = 0x202;
    const PROTOCOL: usize = 0x206;
    const OFFSET: usize = 0x248;
    const LENGTH: usize = 0x24c;
    let word = |at: usize| image.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    ensure!(image.get(MAGIC..MAGIC + 4) == Some(b"HdrS"), "it is no bzImage of an x86 kernel");
    let protocol = word(PROTOCOL).unwrap_or(0) & 0xffff;
    ensure!(protocol >= 0x208, "its boot protocol {}.{} is too old to say where the kernel is", protocol >> 8, protocol & 0xff);
    // A count of 0 means 4, of old.
    let sectors = if image[SECTORS] == 0 { 4 } else { usize::from(image[SECTORS]) };
    let start = (sectors + 1) * 512 + word(OFFSET).context("its header is cut off")?;
    let length = word(LENGTH).context("its header is cut off")?;
    image
        .get(start..start + length)
        .with_context(|| format!("it is cut off: {} bytes, and the kernel is at {start}, {length} long", image.len()))
}

/// What unpacks a kernel.
#[derive(Debug, PartialEq)]
struct Packer {
    program: &'static str,
    args: &'static [&'static str],
    package: &'static str,
    /// Bytes behind the stream: the kernel's build appends its length where the format does not
    /// have it.
    behind: usize,
}

impl Packer {
    /// By what a module's file is called, if it is packed.
    fn of_module(extension: &OsStr) -> Option<Self> {
        Some(match extension.to_str()? {
            "xz" => Self { program: "xz", args: &["-dc"], package: "xz-utils", behind: 0 },
            "zst" => Self { program: "zstd", args: &["-dc"], package: "zstd", behind: 0 },
            "gz" => Self { program: "gzip", args: &["-dc"], package: "gzip", behind: 0 },
            _ => return None,
        })
    }

    fn of(payload: &[u8]) -> Result<Self> {
        Ok(match payload {
            [0xfd, b'7', b'z', b'X', b'Z', 0, _, _, _, _, ..] => Self { program: "xz", args: &["-dc"], package: "xz-utils", behind: 4 },
            [0x28, 0xb5, 0x2f, 0xfd, _, _, _, _, ..] => Self { program: "zstd", args: &["-dc"], package: "zstd", behind: 4 },
            [0x1f, 0x8b, ..] => Self { program: "gzip", args: &["-dc"], package: "gzip", behind: 0 },
            _ => bail!("it is packed neither by xz nor by zstd nor by gzip (it begins with {:02x?})", &payload[..payload.len().min(6)]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A bzImage around `payload`, with one sector before it.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"signature");
        image
    }

    fn packed(program: &str, contents: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        child.stdin.take().expect("piped").write_all(contents).expect("taken");
        child.wait_with_output().expect("ends").stdout
    }

    #[test]
    fn the_elf_file_comes_out_as_it_went_in() {
        let elf = [b"\x7fELF".to_vec(), vec![7; 100_000]].concat();
        let mut out = tempfile::tempfile().expect("a file");
        extract(&image(&packed("gzip", &elf)), &mut out).expect("extracted");
        let mut found = Vec::new();
        std::io::Seek::rewind(&mut out).expect("rewinds");
        out.read_to_end(&mut found).expect("read");
        assert_eq!(found, elf);
    }

    #[test]
    fn what_is_no_kernel_is_refused_with_the_reason() {
        let mut out = tempfile::tempfile().expect("a file");
        let mut why = |image: &[u8]| extract(image, &mut out).expect_err("refused").to_string();
        assert_eq!(why(b"#!/bin/sh"), "it is no bzImage of an x86 kernel");
        assert_eq!(
            why(&image(b"abcdefgh")),
            "it is packed neither by xz nor by zstd nor by gzip (it begins with [61, 62, 63, 64, 65, 66])"
        );
        assert_eq!(why(&image(&packed("gzip", b"text"))), "what was in it is no ELF file");
        let cut = image(&[0x1f; 4000]);
        assert_eq!(why(&cut[..2000]), "it is cut off: 2000 bytes, and the kernel is at 1040, 4000 long");
        let mut old = image(&[0x1f; 40]);
        old[0x206] = 4;
        assert_eq!(why(&old), "its boot protocol 2.4 is too old to say where the kernel is");
    }

    #[test]
    fn a_length_behind_the_stream_is_left_out() {
        let xz = [0xfd, b'7', b'z', b'X', b'Z', 0, 1, 2, 3, 4];
        assert_eq!(Packer::of(&xz).expect("known").behind, 4);
        assert_eq!(Packer::of(&[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3, 4]).expect("known").program, "zstd");
        assert!(Packer::of(&xz[..8]).is_err(), "too short to have its length behind it");
    }

    #[test]
    fn the_newest_kernel_with_modules_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let (boot, modules) = (folder.path().join("boot"), folder.path().join("modules"));
        fs::create_dir(&boot).expect("made");
        for (version, with_modules) in [("6.1.0-9-amd64", true), ("6.1.0-56-amd64", true), ("6.12.1-amd64", false)] {
            fs::write(boot.join(format!("vmlinuz-{version}")), "").expect("written");
            fs::create_dir_all(modules.join(version)).expect("made");
            if with_modules {
                fs::write(modules.join(version).join("modules.dep"), "").expect("written");
            }
        }
        assert_eq!(newest(&boot, &modules, "").as_deref(), Some("6.1.0-56-amd64"));
        assert_eq!(newest(&boot, &modules, "6.1.0-9").as_deref(), Some("6.1.0-9-amd64"));
        assert_eq!(newest(&boot, &modules, "6.12"), None, "its modules are not there");
        assert_eq!(newest(&folder.path().join("none"), &modules, ""), None);
    }

    #[test]
    fn a_kernel_is_named_by_its_version_or_by_a_word() {
        assert_eq!("6.12".parse(), Ok(Choice::Version("6.12".into())));
        assert_eq!(("newest".parse(), "installed".parse()), (Ok(Choice::Newest), Ok(Choice::Installed)));
        for wrong in ["", "latest", "6/1", "-7"] {
            assert!(wrong.parse::<Choice>().is_err_and(|why| why.contains("6.12")), "{wrong}");
        }
    }

    #[test]
    fn packed_modules_are_known_by_their_names() {
        assert_eq!(Packer::of_module(OsStr::new("xz")).map(|packer| (packer.program, packer.behind)), Some(("xz", 0)));
        assert_eq!(Packer::of_module(OsStr::new("zst")).map(|packer| packer.program), Some("zstd"));
        assert_eq!(Packer::of_module(OsStr::new("ko")), None);
    }
}
